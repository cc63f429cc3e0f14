//! The queue of claimed runs that wait for their replay.
//!
//! Claiming never waits for a replay: while too many runs are queued, the engine claims none, and other engines of the store
//! claim them. A long replay frees its permit for others, so a few long journals do not delay short ones.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{Notify, Semaphore};

use super::{Inner, activations, load};
use crate::limits::{CLAIM_RUNS, REPLAY_IS_LONG_AFTER, REPLAYS_CONCURRENT, REPLAYS_LONG};
use crate::store::{Release, RunRow};

/// See the module.
pub(super) struct Replays {
    /// Permits of replays that have not taken long yet.
    short: Semaphore,
    /// Permits of replays that have taken long.
    long: Semaphore,
    /// The number of claimed runs that wait for their replay.
    queued: AtomicUsize,
    /// Whether a claim was skipped since the queue was full.
    skipped: AtomicUsize,
    room: Notify,
}

impl Default for Replays {
    fn default() -> Self {
        Replays {
            short: Semaphore::new(REPLAYS_CONCURRENT),
            long: Semaphore::new(REPLAYS_LONG),
            queued: AtomicUsize::new(0),
            skipped: AtomicUsize::new(0),
            room: Notify::new(),
        }
    }
}

/// A run in the queue; dropping it frees its place.
struct Queued(Arc<Inner>);

impl Drop for Queued {
    fn drop(&mut self) {
        let replays = &self.0.replays;
        replays.queued.fetch_sub(1, Ordering::AcqRel);
        if replays.skipped.swap(0, Ordering::AcqRel) > 0 {
            replays.room.notify_one();
        }
    }
}

impl Replays {
    /// The number of runs that may be claimed now. If it is zero, [`room`](Replays::room) resolves when it is not.
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
}

/// Queues a claimed run, and replays it when a permit is free.
pub(super) fn queue(engine: &Arc<Inner>, row: RunRow, activation: activations::Guard) {
    engine.replays.queued.fetch_add(1, Ordering::AcqRel);
    let queued = Queued(engine.clone());
    let slot = engine.queues.take(&row.workflow);
    let replayed = engine.clone();
    let replay = async move {
        let engine = replayed;
        let permit = tokio::select! {
            biased;
            permit = engine.replays.short.acquire() => permit,
            () = engine.draining.cancelled() => {
                // Left to the next engine. If this write fails, the store releases the run once this engine is gone.
                let release = Release { run: row.key, fence: row.fence, inbox_seq: row.inbox_seq };
                if let Err(failed) = engine.batcher.send(release).await {
                    tracing::debug!(run = %row.id, error = ?failed.error, "a claimed run could not be given back");
                }
                return activation.settle();
            }
        };
        drop(queued);
        let mut load = std::pin::pin!(load::load(engine.clone(), row, slot));
        let is_short = tokio::select! {
            biased;
            () = &mut load => true,
            () = engine.environment.sleep(REPLAY_IS_LONG_AFTER) => false,
        };
        if !is_short {
            let _long = match engine.replays.long.try_acquire() {
                Ok(long) => {
                    drop(permit);
                    Some(long)
                }
                Err(_) => None,
            };
            load.await;
        }
        activation.settle();
    };
    engine.drivers.spawn_on(replay, &engine.runtime);
}
