//! A cache of the ends of the journals of live runs and of their fences, after the last commits.
//!
//! A step appends one row; to check before each row whether the writer still owns the run would cost as much as the
//! write. Only this connection changes these runs, unless another connection commits, which changes `PRAGMA data_version`.
//! The cache is cleared then, after a rollback, and for a new connection.

use rusqlite::{Connection, Result};
use rustc_hash::FxHashMap;

use crate::store::{Fence, RowChange, RunKey};

#[derive(Default)]
pub(super) struct Heads {
    version: Option<i64>,
    runs: FxHashMap<RunKey, Head>,
}

/// The end of a journal.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub fence: Fence,
    pub generation: u64,
    /// The index of the next row.
    pub next: u64,
}

impl Heads {
    /// Called inside each transaction, before anything else. Returns whether another connection may have committed.
    pub fn begin(&mut self, connection: &Connection) -> Result<bool> {
        let version = connection.prepare_cached("PRAGMA data_version")?.query_row((), |row| row.get(0))?;
        let changed = self.version.replace(version) != Some(version);
        if changed {
            self.runs.clear();
        }
        Ok(changed)
    }

    /// Clears the cache.
    pub fn clear(&mut self) {
        self.runs.clear();
    }

    /// Drops the head of one run, whose owner may have changed.
    pub fn forget(&mut self, run: RunKey) {
        self.runs.remove(&run);
    }

    /// Whether the cache has this head for the run.
    pub fn is_at(&self, run: RunKey, head: Head) -> bool {
        self.runs.get(&run) == Some(&head)
    }

    /// Records that a row was appended at this head, with this change of the run's row.
    pub fn appended(&mut self, run: RunKey, head: Head, change: Option<&RowChange>) {
        // A run that has ended or is stuck appends no more rows, nor does one that was refused under this fence.
        if change.is_some_and(|change| change.wake_at.is_none() || change.is_released()) {
            self.runs.remove(&run);
        } else {
            self.runs.insert(run, Head { next: head.next + 1, ..head });
        }
    }
}
