//! The queue of claimed runs that wait for their replay.
//!
//! Claiming never waits for a replay: while too many runs are queued, the engine claims none, and other engines of the store
//! claim them. A long replay frees its permit for others, so a few long journals do not delay short ones.

use std::sync::Arc;

use super::inner::Inner;
use super::load;
use super::parts::activations;
use crate::limits::REPLAY_IS_LONG_AFTER;
use crate::store::{Release, RunRow};

/// A run in the queue; dropping it frees its place.
struct Queued(Arc<Inner>);

impl Drop for Queued {
    fn drop(&mut self) {
        self.0.replays.remove();
    }
}

/// Queues a claimed run, and replays it when a permit is free.
pub(super) fn queue(engine: &Arc<Inner>, row: RunRow, activation: activations::Guard) {
    engine.replays.add();
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
