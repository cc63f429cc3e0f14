//! The queue of claimed runs that are to be replayed.
//!
//! Claiming never waits for a replay: while too many runs are queued it claims none, and whoever else executes in the store
//! takes them. A replay that takes long makes room for others, so a few long journals delay no short one.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{Notify, Semaphore};

use super::{Inner, activations, load};
use crate::limits::{CLAIM_RUNS, REPLAY_IS_LONG_AFTER, REPLAYS_CONCURRENT, REPLAYS_LONG};
use crate::store::{Release, RunRow};

/// See the module.
pub(super) struct Replays {
    /// Of those that have not taken long yet.
    short: Semaphore,
    /// Of those that have.
    long: Semaphore,
    /// How many are claimed and wait for their replay.
    queued: AtomicUsize,
    /// Whether a claim was left out since there was no room.
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

/// A run in the queue.
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
    /// How many runs may be claimed now. If it is none, [`room`](Replays::room) resolves when it is some.
    pub fn free(&self) -> usize {
        let free = || CLAIM_RUNS.saturating_sub(self.queued.load(Ordering::Acquire));
        match free() {
            0 => {
                self.skipped.store(1, Ordering::Release);
                // Some may have left the queue before they could see that.
                free()
            }
            free => free,
        }
    }

    /// Resolves when there is room again after there was none.
    pub async fn room(&self) {
        self.room.notified().await;
    }
}

/// Replays a claimed run, in its turn.
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
                // The next engine's. If this does not reach the store that takes it when this one is gone.
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
