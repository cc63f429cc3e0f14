//! The actions of a run, performed once the turn that asks for them is committed.

use std::sync::Arc;

use super::super::attempt::{self, Begin};
use super::super::eviction;
use super::super::inner::Inner;
use super::super::parts::active_run::{ActiveRun, DriverState};
use super::super::parts::clock::Deadline;
use super::super::parts::mailbox::{Arrival, What};
use crate::definition::adopted;
use crate::error::{Code, Error};
use crate::replay::{Action, Actions, Kind};
use crate::store::NEVER;

/// Performs the actions of the committed turn.
pub(super) fn act(engine: &Arc<Inner>, live: &Arc<ActiveRun>, driver: &mut DriverState, due: Vec<u64>) {
    let mut actions = driver.core.shared().take_actions();
    // An attempt that became due in the turn that began the rollback has not started: decline it.
    actions.extend(due.into_iter().map(|op| match driver.core.shared().is_last_attempt(op) {
        true => Action::Decline(op),
        false => Action::Dispatch(op),
    }));
    if let [Action::Dispatch(op)] = actions[..] {
        // The only action: the attempt starts in this task, and often ends in it.
        engine.add_arrivals(live, attempt::dispatch(engine, live, driver, op, Begin::Here));
    } else {
        driver.ended_attempt = None;
        let overdue = perform(engine, live, driver, actions);
        engine.add_arrivals(live, overdue);
    }
}

/// Dispatches, arms and aborts. Returns the timers that are due already.
fn perform(engine: &Arc<Inner>, live: &Arc<ActiveRun>, driver: &mut DriverState, actions: Actions) -> Vec<Arrival> {
    let mut overdue = Vec::new();
    for action in actions {
        match action {
            Action::Dispatch(op) => overdue.extend(attempt::dispatch(engine, live, driver, op, Begin::Elsewhere)),
            Action::Repeat(op) => overdue.extend(attempt::dispatch(engine, live, driver, op, Begin::Again)),
            Action::Arm { op, at } => {
                if driver.core.shared().with_open(op, |_| ()).is_none() {
                    continue;
                }
                if driver.core.shared().is_last_attempt(op) {
                    overdue.extend(given_up(engine, driver, op));
                } else if engine.draining.is_cancelled() {
                    // The next engine arms it.
                } else if at != NEVER {
                    let deadline = deadline(engine, driver, op, at);
                    if engine.clock.has_come(deadline) {
                        overdue.push(Arrival { at, what: What::Due { op } });
                    } else {
                        driver.armed.insert(op, deadline);
                        engine.timers.arm(live, op, deadline, at);
                    }
                }
            }
            Action::GiveUp(op) => {
                let armed = driver.armed.remove(&op);
                if let Some(deadline) = armed {
                    engine.timers.disarm(live, op, deadline);
                }
                if armed.is_some() || (driver.core.shared().is_failing() && live.give_up_attempt(op)) {
                    overdue.extend(given_up(engine, driver, op));
                }
            }
            Action::Decline(op) => overdue.extend(given_up(engine, driver, op)),
            Action::Abort(op) => {
                live.abort_attempt(op);
                driver.backoffs.remove(&op);
                if let Some(deadline) = driver.armed.remove(&op) {
                    engine.timers.disarm(live, op, deadline);
                }
            }
        }
    }
    overdue
}

/// The deadline of an operation for which `at` is recorded.
fn deadline(engine: &Inner, driver: &mut DriverState, op: u64, at: u64) -> Deadline {
    if let Some(monotonic) = driver.backoffs.remove(&op) {
        return Deadline::Monotonic(monotonic);
    }
    let since = driver.core.shared().with_open(op, |kind| match kind {
        Kind::Timer { since, .. } => *since,
        _ => None,
    });
    // For an operation that was issued before this engine was opened, only the store time is known.
    let called = since.flatten().and_then(|since| Some((since, engine.clock.elapsed_at(since)?)));
    match called {
        // A run whose last event came from a clock that was ahead may have issued it in the future.
        Some((since, elapsed)) => {
            Deadline::Elapsed(elapsed.min(engine.clock.elapsed()).saturating_add(at.saturating_sub(since)))
        }
        None => Deadline::Store(at),
    }
}

/// Fails a step that had no running attempt when the rollback of the run began.
fn given_up(engine: &Inner, driver: &DriverState, op: u64) -> Option<Arrival> {
    let error = Error::coded(Code::Cancelled, "the run is being rolled back; the step is not attempted any more");
    let adopt = driver.core.shared().with_open(op, |kind| match kind {
        Kind::Step(step) => Some(step.definition.adopt),
        _ => None,
    })??;
    let error = error.into_fatal();
    let result = Err(adopted(adopt, error));
    Some(Arrival { at: engine.clock.now(), what: What::Attempt { op, result } })
}

/// Activates a run that was replayed or created: performs `actions`, and delivers overdue timers together
/// with its inbox messages, in their order.
pub(in crate::engine) fn activate(
    engine: &Arc<Inner>,
    live: &Arc<ActiveRun>,
    mut driver: DriverState,
    actions: Actions,
    messages: Vec<Arrival>,
) {
    let alarmed = (Arc::downgrade(engine), Arc::downgrade(live));
    driver.core.shared().on_alarm(move || {
        if let (Some(engine), Some(live)) = (alarmed.0.upgrade(), alarmed.1.upgrade()) {
            let at = engine.clock.now();
            engine.add_arrivals(&live, [Arrival { at, what: What::Alarm }]);
        }
    });
    engine.remember(live);
    engine.news.run_is_here(live.key);
    let alarm = driver.core.shared().has_fault().then(|| Arrival { at: engine.clock.now(), what: What::Alarm });
    let mut arrivals = perform(engine, live, &mut driver, actions);
    eviction::doze(engine, live, &mut driver);
    arrivals.extend(messages);
    // An alarm that was raised before `on_alarm` was set.
    arrivals.extend(alarm);
    engine.drive_if(live, live.start(Box::new(driver), arrivals));
    if engine.stopped.is_cancelled() || !engine.holds(live) {
        engine.retire(live);
    }
}
