//! The queue of claimed runs that wait for their replay, and the permits of replays.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{Notify, Semaphore};

use crate::limits::{CLAIM_RUNS, REPLAYS_CONCURRENT, REPLAYS_LONG};

/// See the module.
pub struct ReplayQueue {
    /// Permits of replays that have not taken long yet.
    pub short: Semaphore,
    /// Permits of replays that have taken long.
    pub long: Semaphore,
    /// The number of claimed runs that wait for their replay.
    queued: AtomicUsize,
    /// Whether a claim was skipped since the queue was full.
    skipped: AtomicUsize,
    room: Notify,
}

impl Default for ReplayQueue {
    fn default() -> Self {
        ReplayQueue {
            short: Semaphore::new(REPLAYS_CONCURRENT),
            long: Semaphore::new(REPLAYS_LONG),
            queued: AtomicUsize::new(0),
            skipped: AtomicUsize::new(0),
            room: Notify::new(),
        }
    }
}

impl ReplayQueue {
    /// The number of runs that may be claimed now. If it is zero, [`room`](ReplayQueue::room) resolves when it is not.
    pub fn free(&self) -> usize {
        let free = || CLAIM_RUNS.saturating_sub(self.queued.load(Ordering::Acquire));
        match free() {
            0 => {
                self.skipped.store(1, Ordering::Release);
                // Runs may have left the queue before they could see `skipped`.
                free()
            }
            free => free,
        }
    }

    /// Resolves when the queue has room again after it was full.
    pub async fn room(&self) {
        self.room.notified().await;
    }

    /// A claimed run is queued.
    pub fn add(&self) {
        self.queued.fetch_add(1, Ordering::AcqRel);
    }

    /// A run has left the queue.
    pub fn remove(&self) {
        self.queued.fetch_sub(1, Ordering::AcqRel);
        if self.skipped.swap(0, Ordering::AcqRel) > 0 {
            self.room.notify_one();
        }
    }
}
