//! How what a run has done is undone: when it fails or is cancelled, and what came of steps that it had dropped.
//!
//! A step with a rollback is never aborted, for it may have done what it does. Its result arms the rollback. When the
//! workflow has ended its future is dropped and a second root, made of the rollbacks, takes its place on the same journal.

use std::sync::Arc;
use std::task::{Poll, Waker};

use super::{Action, Shared, Slot, State};
use crate::codec::Payload;
use crate::error::Error;
use crate::replay::journal::End;
use crate::replay::operation::{Completion, Kind, Rollback};

/// What the rollbacks of a run are about.
#[derive(Default)]
pub(super) struct Rollbacks {
    /// Of steps that have succeeded, in the order of their results.
    armed: Vec<Armed>,
    unwinding: Option<Unwinding>,
}

#[derive(Clone)]
struct Armed {
    op: u64,
    value: Payload,
    rollback: Rollback,
    /// The workflow dropped the step before it had taken the result.
    dropped: bool,
}

struct Unwinding {
    /// How the workflow ended.
    end: End,
    /// The steps that were under way when it did.
    in_flight: Vec<u64>,
    waker: Option<Waker>,
    failures: Vec<Error>,
}

/// How a step can be undone, if it can. One that has suspended itself has not done what it does.
fn rollback(slot: &Slot) -> Option<&Rollback> {
    match &slot.kind {
        Kind::Step(step) if step.suspension().is_none() => step.rollback.as_ref(),
        _ => None,
    }
}

impl State {
    /// Arms the rollback of a step that has a result: who is to be woken by that, if the run is being unwound, and the
    /// slot if nobody will take it. That is to be dropped outside the lock: it may hold what the user's code has captured.
    pub(super) fn arm(&mut self, op: u64) -> (Option<Waker>, Option<Slot>) {
        let Some(slot) = self.ops.get(&op) else { return (None, None) };
        let dropped = slot.dropped;
        let armed = match (&slot.completion, rollback(slot)) {
            (Some(Completion::Completed(value)), Some(rollback)) => {
                let (value, rollback) = (value.clone(), rollback.clone());
                Some(Armed { op, value, rollback, dropped })
            }
            _ => None,
        };
        let Some(unwinding) = &mut self.rollbacks.unwinding else {
            self.rollbacks.armed.extend(armed);
            return (None, if dropped { self.ops.remove(&op) } else { None });
        };
        // What the rollbacks themselves do is not undone.
        let Some(at) = unwinding.in_flight.iter().position(|in_flight| *in_flight == op) else { return (None, None) };
        unwinding.in_flight.remove(at);
        self.rollbacks.armed.extend(armed);
        (unwinding.waker.take(), self.ops.remove(&op))
    }

    /// Gives out what is armed: it holds what the user's code has captured.
    pub(super) fn disarm(&mut self) -> impl Sized + use<> {
        std::mem::take(&mut self.rollbacks.armed)
    }

    /// Whether a step was under way when the run began to be unwound.
    pub(super) fn is_in_flight(&self, op: u64) -> bool {
        self.rollbacks.unwinding.as_ref().is_some_and(|unwinding| unwinding.in_flight.contains(&op))
    }

    /// The workflow dropped a step: whether that has to stay, since it may have to be undone.
    pub(super) fn keeps_dropped(&mut self, op: u64) -> bool {
        for armed in self.rollbacks.armed.iter_mut().filter(|armed| armed.op == op) {
            armed.dropped = true;
        }
        let event = self.event;
        match self.ops.get_mut(&op) {
            // One that this very event has asked for is not begun.
            Some(slot) if slot.completion.is_none() && rollback(slot).is_some() && slot.event < event => {
                slot.dropped = true;
                true
            }
            _ => false,
        }
    }
}

impl Shared {
    /// Whether rollbacks have to follow the end of the workflow.
    pub(in crate::replay) fn owes(&self, end: &End) -> bool {
        let state = self.state();
        let in_flight = state
            .ops
            .values()
            .any(|slot| slot.completion.is_none() && rollback(slot).is_some() && slot.event < state.event);
        in_flight
            || match end {
                End::Completed(_) | End::Continued(_) => state.rollbacks.armed.iter().any(|armed| armed.dropped),
                End::Failed(_) | End::Cancelled(_) => !state.rollbacks.armed.is_empty(),
            }
    }

    /// Begins to unwind: everything but the steps that have to be undone is given up. What was dropped is given out, to
    /// be dropped outside the lock.
    pub(in crate::replay) fn unwind(&self, end: End) -> impl Sized + use<> {
        let mut state = self.state();
        let state = &mut *state;
        let live = state.expected.is_none();
        let mut open: Vec<u64> =
            state.ops.iter().filter(|(_, slot)| slot.completion.is_none()).map(|(op, _)| *op).collect();
        open.sort_unstable();
        let mut in_flight = Vec::new();
        for op in open {
            let Some(slot) = state.ops.get(&op) else { continue };
            match &slot.kind {
                // One that this very event has asked for is not begun.
                Kind::Step(step) if rollback(slot).is_some() && slot.event < state.event => {
                    if live && step.not_before > 0 {
                        state.actions.push(Action::GiveUp(op));
                    }
                    in_flight.push(op);
                    continue;
                }
                kind if live && !kind.is_elsewhere() => state.actions.push(Action::Abort(op)),
                Kind::Child(child) if child.abandoned => {}
                // Its token stays open for the next generation.
                Kind::Hook(_) if matches!(end, End::Continued(_)) => {}
                kind if live => state.effects.dropped(op, kind, self),
                _ => {}
            }
            state.outstanding -= 1;
        }
        if live {
            // What was issued after this event is not begun any more.
            state.actions.retain(|action| match action {
                Action::Dispatch(op) | Action::Arm { op, .. } => in_flight.contains(op),
                Action::Abort(_) | Action::GiveUp(_) => true,
            });
        }
        let keeps_what_succeeded = matches!(end, End::Completed(_) | End::Continued(_));
        let (armed, disarmed): (Vec<_>, Vec<_>) =
            state.rollbacks.armed.drain(..).partition(|armed| armed.dropped || !keeps_what_succeeded);
        state.rollbacks.armed = armed;
        let (mut kept, gone): (Vec<_>, Vec<_>) = state.ops.drain().partition(|(op, _)| in_flight.contains(op));
        // They wake the rollbacks from now on, and not what is no more.
        let wakers: Vec<Option<Waker>> = kept.iter_mut().map(|(_, slot)| slot.waker.take()).collect();
        state.ops.extend(kept);
        state.woken.clear();
        state.branches = 0;
        state.rollbacks.unwinding = Some(Unwinding { end, in_flight, waker: None, failures: Vec::new() });
        (gone, disarmed, wakers, std::mem::take(&mut state.spawned))
    }

    /// The second root: undoes what is armed, the last first, and what is still under way once it has succeeded.
    pub(in crate::replay) async fn roll_back(self: Arc<Self>) {
        loop {
            let next = std::future::poll_fn(|context| {
                let mut state = self.state();
                let rollbacks = &mut state.rollbacks;
                match (rollbacks.armed.pop(), &mut rollbacks.unwinding) {
                    (Some(armed), _) => Poll::Ready(Some(armed)),
                    (None, Some(unwinding)) if !unwinding.in_flight.is_empty() => {
                        unwinding.waker = Some(context.waker().clone());
                        Poll::Pending
                    }
                    (None, _) => Poll::Ready(None),
                }
            });
            let Some(armed) = next.await else { return };
            let undone = match armed.rollback.begin(&armed.value) {
                None => Ok(()),
                Some(Ok(undo)) => undo.await,
                // What the step gave cannot be read: the run waits for a build that can.
                Some(Err(error)) => {
                    self.fail(error);
                    return std::future::pending().await;
                }
            };
            if let Err(error) = undone {
                tracing::error!(run = %self.run_id(), op = armed.op, ?error, "a rollback failed; the others go on");
                if let Some(unwinding) = &mut self.state().rollbacks.unwinding {
                    unwinding.failures.push(error);
                }
            }
        }
    }

    /// Whether an operation is a step with a rollback, and under way.
    pub(crate) fn can_be_undone(&self, op: u64) -> bool {
        self.with_open(op, |kind| matches!(kind, Kind::Step(step) if step.rollback.is_some())) == Some(true)
    }

    /// Whether the run is being unwound.
    pub(crate) fn is_unwinding(&self) -> bool {
        self.state().rollbacks.unwinding.is_some()
    }

    /// How the workflow had ended, while the run is being unwound.
    pub(super) fn unwinds_to(&self) -> Option<End> {
        self.state().rollbacks.unwinding.as_ref().map(|unwinding| unwinding.end.clone())
    }

    /// Whether a step was under way when the run began to be unwound: it is not attempted again.
    pub(crate) fn is_last_attempt(&self, op: u64) -> bool {
        self.state().is_in_flight(op)
    }

    /// How the workflow had ended, and which rollbacks failed.
    pub(in crate::replay) fn unwound(&self) -> Option<(End, Vec<Error>)> {
        self.state()
            .rollbacks
            .unwinding
            .as_mut()
            .map(|unwinding| (unwinding.end.clone(), std::mem::take(&mut unwinding.failures)))
    }
}
