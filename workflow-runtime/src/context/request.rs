//! Values that belong to a request, and that everything which is done for it can read.

use crate::engine;
use crate::model::RequestContext;
use crate::replay::current;

/// The [`RequestContext`] that the run was started with, in a workflow or in a step. Empty if there was none, and anywhere
/// else. Changing what this gives changes a copy.
pub fn request_context() -> RequestContext {
    let inherited = match current() {
        Some(run) => run.inherited(),
        None => engine::inherited(),
    };
    RequestContext { values: inherited.map(|inherited| inherited.context.clone()).unwrap_or_default() }
}
