//! What is removed, and how much of it at a time.

use super::{RunKey, Status};

/// How much is removed in one transaction, so that the commits of others do not wait for long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Rows, at the most.
    pub rows: usize,
    /// Bytes in them, about.
    pub bytes: usize,
}

impl Budget {
    /// Whether nothing more goes into it.
    pub(crate) fn is_spent(self) -> bool {
        self.rows == 0 || self.bytes == 0
    }

    /// Whether something was removed, and `left` of it is not enough to remove more. A portion of nothing only asks whether
    /// there is more.
    pub(crate) fn was_spent(self, left: Budget) -> bool {
        !self.is_spent() && left.is_spent()
    }

    /// What is left of it without these.
    pub(crate) fn less(self, rows: usize, bytes: usize) -> Self {
        Budget { rows: self.rows.saturating_sub(rows), bytes: self.bytes.saturating_sub(bytes) }
    }
}

/// A place in the order in which runs have ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ended {
    /// When the run has ended, in milliseconds since 1970.
    pub at: u64,
    /// The run.
    pub run: RunKey,
}

/// Runs of a status that are not kept any longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expired {
    /// Completed, failed or cancelled.
    pub status: Status,
    /// The last of them to have ended.
    pub until: Ended,
}
