//! Runs that wait for long leave memory: they cost only their rows then, and come back by replay.

use std::sync::Arc;

use super::Inner;
use super::active_run::{ActiveRun, DriverState, IDLE};
use super::timers::Deadline;
use crate::limits::CLAIM_AHEAD;
use crate::store::{Release, ReleaseAnswer};

/// Whether it is not worth while to leave memory.
pub(super) fn wakes_soon(engine: &Inner, driver: &DriverState) -> bool {
    let run = driver.core.shared();
    // A step that is suspended, or waits for its next attempt, leaves its place in the queue to others. It queues again
    // when it goes on, as a run that is due.
    if driver.slot.is_some() {
        let next = engine.clock.now().saturating_add(CLAIM_AHEAD.as_millis() as u64);
        return run.wake_at().is_some_and(|at| at <= next);
    }
    let Some(idle) = engine.settings.evict_after else { return true };
    // One that would be claimed again at once has no reason to leave.
    let next = engine.clock.now().saturating_add(idle.max(CLAIM_AHEAD.as_millis() as u64));
    run.has_steps() || run.wake_at().is_some_and(|at| at <= next)
}

/// Sees that a run which waits is asked to leave memory after a while.
pub(super) fn doze(engine: &Inner, live: &Arc<ActiveRun>, driver: &mut DriverState) {
    if let Some(deadline) = driver.armed.remove(&IDLE) {
        engine.timers.disarm(live.key, IDLE, deadline);
    }
    let idle = if driver.slot.is_some() { Some(0) } else { engine.settings.evict_after };
    if let Some(idle) = idle
        && !wakes_soon(engine, driver)
        && !engine.draining.is_cancelled()
    {
        let deadline = Deadline::Monotonic(engine.clock.monotonic().saturating_add(idle));
        driver.armed.insert(IDLE, deadline);
        engine.timers.arm(live, IDLE, deadline, 0);
    }
}

/// Gives a run back that waits: whether it is out of memory. It comes back by replay when it is due.
pub(super) async fn evict(engine: &Arc<Inner>, live: &Arc<ActiveRun>) -> bool {
    let Some(inbox_seq) = live.inbox_if_idle() else { return false };
    // A claim that comes before the run is forgotten is to come again.
    let activation = engine.activations.begin(&live.id);
    let release = Release { run: live.key, fence: live.fence, inbox_seq };
    match engine.batcher.send(release).await {
        Ok(ReleaseAnswer::Committed | ReleaseAnswer::Fenced) => {
            live.evicted(activation);
            engine.news.posted();
            true
        }
        Ok(ReleaseAnswer::Unread) => {
            activation.settle();
            engine.news.hint();
            false
        }
        Err(failed) => {
            tracing::warn!(run = %live.id, error = ?failed.error, "a run that waits could not be given back; it stays");
            activation.settle();
            false
        }
    }
}
