//! The status of a run.

use serde::{Deserialize, Serialize};

/// The status of a run. In JSON it is the word that [`as_str`](Status::as_str) returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Status {
    /// Started, but no engine has executed its first turn yet.
    Pending,
    /// A step is being executed, or is due.
    Running,
    /// It waits for a time or a payload.
    Suspended,
    /// It returned `Ok`.
    Completed,
    /// It returned `Err`.
    Failed,
    /// It was cancelled.
    Cancelled,
    /// It needs a person or a deploy; it never counts as failed, and resumes once the cause is fixed.
    Stuck,
}

impl Status {
    pub(crate) const ALL: [Status; 7] = [
        Status::Pending,
        Status::Running,
        Status::Suspended,
        Status::Completed,
        Status::Failed,
        Status::Cancelled,
        Status::Stuck,
    ];

    /// Whether the run has ended.
    pub fn is_terminal(self) -> bool {
        matches!(self, Status::Completed | Status::Failed | Status::Cancelled)
    }

    /// The status as text, as it is stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Pending => "pending",
            Status::Running => "running",
            Status::Suspended => "suspended",
            Status::Completed => "completed",
            Status::Failed => "failed",
            Status::Cancelled => "cancelled",
            Status::Stuck => "stuck",
        }
    }

    /// Parses the text that [`as_str`](Status::as_str) returns.
    pub fn parse(word: &str) -> Option<Self> {
        Status::ALL.into_iter().find(|status| status.as_str() == word)
    }
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}
