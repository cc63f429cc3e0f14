//! The metadata of a run.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::Status;

/// The metadata of a run: see [`Run::info`](crate::Run::info).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RunInfo {
    /// Its id.
    pub id: String,
    /// The id of the run that started it as its child, which may have been deleted since.
    pub parent: Option<String>,
    /// How many times it has [continued as new](crate::Invocation::continue_as_new).
    pub generation: u64,
    /// The id of its workflow.
    pub workflow: String,
    /// The current status.
    pub status: Status,
    /// When it was started.
    pub created_at: SystemTime,
    /// When an engine executed its first turn.
    pub started_at: Option<SystemTime>,
    /// When it ended.
    pub completed_at: Option<SystemTime>,
    /// When it resumes at the latest, if it waits for a time.
    pub wakes_at: Option<SystemTime>,
    /// What it waits for, if neither a time nor a step: why the run is stuck, or a build that has its workflow.
    pub waits_for: Option<String>,
}

/// Converts a stored time.
pub(crate) fn time(milliseconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(milliseconds)
}
