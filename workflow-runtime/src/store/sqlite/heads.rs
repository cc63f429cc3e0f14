//! Where the journals of live runs end and who holds the runs, as the last commits left them.
//!
//! A step is one row, and to look up before each whether its run is still the writer's would cost as much as to write it.
//! Only this connection changes these runs while nobody else commits, and that somebody did shows in `PRAGMA
//! data_version`: then, after a rollback, and on another connection nothing is known, and it is looked up again.

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
    /// Called inside each transaction, before anything else: whether others may have committed.
    pub fn begin(&mut self, connection: &Connection) -> Result<bool> {
        let version = connection.prepare_cached("PRAGMA data_version")?.query_row((), |row| row.get(0))?;
        let changed = self.version.replace(version) != Some(version);
        if changed {
            self.runs.clear();
        }
        Ok(changed)
    }

    /// Nothing is known any more.
    pub fn clear(&mut self) {
        self.runs.clear();
    }

    /// The run may be somebody else's now.
    pub fn forget(&mut self, run: RunKey) {
        self.runs.remove(&run);
    }

    /// Whether it is known that this is the run's head.
    pub fn is_at(&self, run: RunKey, head: Head) -> bool {
        self.runs.get(&run) == Some(&head)
    }

    /// A row was appended at this head, with this change of the run's row.
    pub fn appended(&mut self, run: RunKey, head: Head, change: Option<&RowChange>) {
        // One that has ended or is stuck gets no more of them.
        if change.is_some_and(|change| change.wake_at.is_none()) {
            self.runs.remove(&run);
        } else {
            self.runs.insert(run, Head { next: head.next + 1, ..head });
        }
    }
}
