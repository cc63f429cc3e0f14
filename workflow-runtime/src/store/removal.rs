//! What a removal deletes, and how much of it per transaction.

use super::{RunKey, Status};

/// The limit of a removal in one transaction, so that concurrent commits do not wait for long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Maximum number of rows.
    pub rows: usize,
    /// Approximate maximum number of bytes in them.
    pub bytes: usize,
}

impl Budget {
    /// Whether nothing more can be removed under it.
    pub(crate) fn is_spent(self) -> bool {
        self.rows == 0 || self.bytes == 0
    }

    /// Whether the removal used this budget up, where `left` is what remains of it. A budget of zero only asks whether
    /// there is anything to remove, and is never used up.
    pub(crate) fn was_spent(self, left: Budget) -> bool {
        !self.is_spent() && left.is_spent()
    }

    /// The remaining budget after removing these rows and bytes.
    pub(crate) fn less(self, rows: usize, bytes: usize) -> Self {
        Budget { rows: self.rows.saturating_sub(rows), bytes: self.bytes.saturating_sub(bytes) }
    }
}

/// A position in the order in which runs ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ended {
    /// When the run ended, in milliseconds since 1970.
    pub at: u64,
    /// The run.
    pub run: RunKey,
}

/// Runs of one status whose retention has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expired {
    /// Completed, failed or cancelled.
    pub status: Status,
    /// The last of them to end.
    pub until: Ended,
}
