//! The id of the current run.

use crate::engine::step_info;
use crate::replay::current;

/// The id of the run that this code is part of, in a workflow and in its steps. `None` elsewhere.
///
/// ```
/// # use workflow_runtime::{Result, run_id, workflow};
/// #[workflow]
/// async fn who() -> Result<Option<String>> {
///     Ok(run_id())
/// }
/// ```
pub fn run_id() -> Option<String> {
    match current() {
        Some(run) => Some(run.run_id().to_string()),
        None => step_info().map(|info| info.run),
    }
}
