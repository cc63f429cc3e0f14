//! The values of a request, readable by all code that is executed for it.

use crate::engine;
use crate::model::RequestContext;
use crate::replay::current;

/// The [`RequestContext`] that the run was started with, in a workflow or in a step. Empty if there was none, and
/// elsewhere. This returns a copy: changes to it do not affect the run.
pub fn request_context() -> RequestContext {
    let inherited = match current() {
        Some(run) => run.inherited(),
        None => engine::inherited(),
    };
    RequestContext { values: inherited.map(|inherited| inherited.context.clone()).unwrap_or_default() }
}
