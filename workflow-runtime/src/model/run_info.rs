//! The metadata of a run.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;

use super::{RunError, Schema, Status, Waiting, rfc3339};

/// The metadata of a run: see [`Run::info`](crate::Run::info).
///
/// Its JSON has these fields and `"schema": 1`; times are RFC 3339 with milliseconds.
#[derive(Clone, Debug, Serialize)]
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
    #[serde(with = "rfc3339")]
    pub created_at: SystemTime,
    /// When an engine executed its first turn.
    #[serde(with = "rfc3339::option")]
    pub started_at: Option<SystemTime>,
    /// When it ended.
    #[serde(with = "rfc3339::option")]
    pub completed_at: Option<SystemTime>,
    /// When it resumes at the latest, if it waits for a time.
    #[serde(with = "rfc3339::option")]
    pub wakes_at: Option<SystemTime>,
    /// Since when it is [failing](crate::Runs::failing), if it is.
    #[serde(with = "rfc3339::option")]
    pub failing_since: Option<SystemTime>,
    /// The error with which it has failed, was cancelled, is stuck, or is failing.
    pub error: Option<RunError>,
    /// Why it does not move, as far as this is known without reading its journal: `None` if it moves, or waits for something
    /// that only [`Run::waiting`](crate::Run::waiting) finds.
    pub reason: Option<Waiting>,
    pub(crate) schema: Schema,
}

/// Converts a stored time.
pub(crate) fn time(milliseconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(milliseconds)
}
