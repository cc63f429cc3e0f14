//! Whether an engine works.

use serde::Serialize;

/// The answer of an engine or client whose store can be read: see [`Client::health`](crate::Client::health).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Health {
    /// Whether it executes runs now. A client never does, and of the engines on one SQLite file only one does at a time: the
    /// others take over when it ends.
    pub executes: bool,
    /// The process that holds the lock of the SQLite file and has another file open, which this one has replaced: nothing
    /// executes the runs of this file until that process ends.
    pub blocked_by: Option<u32>,
    /// How many runs it has in memory.
    pub runs: usize,
    /// How many attempts of steps it is executing.
    pub attempts: usize,
}
