//! Copies of the data behind each commit, from which a test continues as if the process had crashed there.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use super::rows::State;
use super::{MemoryStore, Shared};

/// The copies so far: behind each `every`th commit.
pub(super) struct Snapshots {
    clock: Box<dyn Fn() -> u64 + Send>,
    most: usize,
    every: u64,
    commits: u64,
    kept: Vec<(u64, u64, State)>,
}

impl fmt::Debug for Snapshots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshots").field("commits", &self.commits).finish_non_exhaustive()
    }
}

/// A store as it was behind a commit.
pub(crate) struct Snapshot {
    /// The number of the commit, from 1.
    pub commit: u64,
    /// The time of the commit, by the clock of the recording.
    pub at: u64,
    pub store: MemoryStore,
}

impl Shared {
    pub(super) fn keep(&self, state: &State) {
        let mut snapshots = self.snapshots.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(snapshots) = &mut *snapshots else { return };
        snapshots.commits += 1;
        if !snapshots.commits.is_multiple_of(snapshots.every) {
            return;
        }
        let at = (snapshots.clock)();
        snapshots.kept.push((snapshots.commits, at, state.clone()));
        // Thins out the copies evenly.
        if snapshots.kept.len() > snapshots.most {
            snapshots.every *= 2;
            let every = snapshots.every;
            snapshots.kept.retain(|(commit, ..)| commit.is_multiple_of(every));
        }
    }
}

impl MemoryStore {
    /// Copies the data behind each commit from now on: at most `most` copies, evenly chosen.
    pub(crate) fn record(&self, most: usize, clock: impl Fn() -> u64 + Send + 'static) {
        let snapshots = Snapshots { clock: Box::new(clock), most, every: 1, commits: 0, kept: Vec::new() };
        *self.shared.snapshots.lock().unwrap_or_else(PoisonError::into_inner) = Some(snapshots);
    }

    /// Ends the recording, and returns the number of commits and the copies.
    pub(crate) fn recorded(&self) -> (u64, Vec<Snapshot>) {
        let snapshots = self.shared.snapshots.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(Snapshots { commits, kept, .. }) = snapshots else { return (0, Vec::new()) };
        let copy = |(commit, at, mut state): (u64, u64, State)| {
            // The copy has no engine that has the right to execute.
            state.free();
            let shared = Arc::new(Shared { state: Mutex::new(state), ..Shared::default() });
            Snapshot { commit, at, store: MemoryStore { shared, ..MemoryStore::default() } }
        };
        (commits, kept.into_iter().map(copy).collect())
    }
}
