//! Evicts runs that wait for long from memory: they then cost only their rows, and are activated by replay.

use std::sync::Arc;

use super::inner::Inner;
use super::parts::active_run::{ActiveRun, DriverState, IDLE};
use super::parts::clock::Deadline;
use crate::limits::CLAIM_AHEAD;
use crate::store::{Release, ReleaseAnswer};

/// Whether the run wakes so soon that an eviction is not worthwhile.
pub(super) fn wakes_soon(engine: &Inner, driver: &DriverState) -> bool {
    let run = driver.core.shared();
    // A step of a queue that is suspended, or waits for its next attempt, frees its slot. It queues again, as a run that
    // is due, when it resumes.
    if driver.slot.is_some() {
        let next = engine.clock.now().saturating_add(CLAIM_AHEAD.as_millis() as u64);
        return run.wake_at().is_some_and(|at| at <= next);
    }
    let Some(idle) = engine.settings.evict_after else { return true };
    // A run that would be claimed again at once stays.
    let next = engine.clock.now().saturating_add(idle.max(CLAIM_AHEAD.as_millis() as u64));
    run.has_steps() || run.wake_at().is_some_and(|at| at <= next)
}

/// Arms the timer that evicts a waiting run, if it is to be evicted.
pub(super) fn doze(engine: &Inner, live: &Arc<ActiveRun>, driver: &mut DriverState) {
    if let Some(deadline) = driver.armed.remove(&IDLE) {
        engine.timers.disarm(live, IDLE, deadline);
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

/// Releases a waiting run. Returns whether it is out of memory; it is replayed when it is due.
pub(super) async fn evict(engine: &Arc<Inner>, live: &Arc<ActiveRun>) -> bool {
    let Some(inbox_seq) = live.inbox_if_idle() else { return false };
    // A claim that arrives before the run is removed from memory has to be repeated.
    let activation = engine.activations.begin(&live.id);
    let release = Release { run: live.key, fence: live.fence, inbox_seq };
    match engine.batcher.send(release).await {
        Ok(ReleaseAnswer::Committed | ReleaseAnswer::Fenced) => {
            live.evicted(activation);
            engine.news.sent();
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
