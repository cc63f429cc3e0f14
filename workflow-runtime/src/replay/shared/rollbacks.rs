//! Rollbacks: undoing steps when a run fails or is cancelled, and steps that succeeded after the workflow had dropped them.
//!
//! A step with a rollback is never aborted, since it may already have taken effect. Its result arms the rollback. After
//! the workflow has ended, its future is dropped and a second root, made of the rollbacks, replaces it on the same
//! journal. It first waits for everything whose end can add a rollback: the attempts in progress of steps with
//! rollbacks, and the cancelled children, whose own rollbacks come before those of the run. Then it undoes in the
//! reverse order of the results. Each of these waits ends with an event of the journal, so a replay waits for the same.

use std::collections::BTreeSet;
use std::task::{Context, Poll, Waker};

use super::{Action, Shared, Slot, State};
use crate::codec::Payload;
use crate::error::Error;
use crate::replay::identity::Target;
use crate::replay::journal::End;
use crate::replay::kind::{Completion, Kind};
use crate::replay::request::Rollback;

/// The state of the rollbacks of a run.
#[derive(Default)]
pub(super) struct Rollbacks {
    /// The rollbacks of steps that have succeeded, in the order of their results.
    armed: Vec<Armed>,
    /// Children that the workflow has dropped: cancelled, and perhaps not ended yet.
    dropped_children: Vec<Target>,
    /// The operations whose rollbacks were armed when unwinding began, to be recorded.
    undoes: Vec<u64>,
    unwinding: Option<Unwinding>,
}

#[derive(Clone)]
pub(in crate::replay) struct Armed {
    pub op: u64,
    pub value: Payload,
    pub rollback: Rollback,
    /// The workflow dropped the step before it had taken the result.
    dropped: bool,
}

impl Rollbacks {
    pub(super) fn forget_dropped_children(&mut self) {
        self.dropped_children.clear();
    }
}

struct Unwinding {
    /// How the workflow ended.
    end: End,
    /// Operations that were in progress then and have not ended: steps that may have to be undone, and children.
    in_flight: BTreeSet<u64>,
    waker: Option<Waker>,
    failures: Vec<Error>,
}

/// The rollback of a step, if it has one. A suspended step has not taken effect.
fn rollback(slot: &Slot) -> Option<&Rollback> {
    match &slot.kind {
        Kind::Step(step) if step.suspension().is_none() => step.rollback.as_ref(),
        _ => None,
    }
}

/// Whether the end of a run waits for the end of an operation: of a step that may have to be undone, by this run or by the
/// run that has called it.
fn is_kept(slot: &Slot) -> bool {
    rollback(slot).is_some() || is_for_caller(slot)
}

/// Whether it is a step that is executed for another run, which undoes it.
fn is_for_caller(slot: &Slot) -> bool {
    match &slot.kind {
        Kind::Step(step) if step.suspension().is_none() => step.origin.as_ref().is_some_and(|origin| origin.undoable),
        _ => false,
    }
}

/// Whether it is a child that is cancelled with the run.
fn is_own_child(slot: &Slot) -> bool {
    matches!(&slot.kind, Kind::Child(child) if child.is_own())
}

impl State {
    /// Arms the rollback of a step that has a result. Returns the waker to call, if the run is being unwound, and the slot
    /// if no future takes it. The caller drops the slot outside the lock: it may hold captured values of the user's code.
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
        // Steps of the rollbacks themselves are not undone.
        if !unwinding.in_flight.remove(&op) {
            return (None, None);
        }
        // The run that called the step undoes it, and so needs its result.
        if let Some(Completion::Completed(value)) = &slot.completion
            && is_for_caller(slot)
        {
            unwinding.end = End::Completed(value.clone());
        }
        self.rollbacks.armed.extend(armed);
        let waker = if unwinding.in_flight.is_empty() { unwinding.waker.take() } else { None };
        (waker, self.ops.remove(&op))
    }

    /// Removes the armed rollbacks and returns them: they hold captured values of the user's code.
    pub(super) fn disarm(&mut self) -> impl Sized + use<> {
        std::mem::take(&mut self.rollbacks.armed)
    }

    /// Records that the workflow dropped a child, which cancels it. If the run fails, it waits for the child's end.
    pub(super) fn dropped_child(&mut self, child: Target) {
        self.rollbacks.dropped_children.push(child);
    }

    /// Whether a step was in progress when unwinding began.
    pub(super) fn is_in_flight(&self, op: u64) -> bool {
        self.rollbacks.unwinding.as_ref().is_some_and(|unwinding| unwinding.in_flight.contains(&op))
    }

    /// Handles that the workflow dropped a step: returns whether the slot must stay, since the step may have to be undone.
    pub(super) fn keeps_dropped(&mut self, op: u64) -> bool {
        for armed in self.rollbacks.armed.iter_mut().filter(|armed| armed.op == op) {
            armed.dropped = true;
        }
        let event = self.event;
        match self.ops.get_mut(&op) {
            // A step that this same event has issued was not begun.
            Some(slot) if slot.completion.is_none() && is_kept(slot) && slot.event < event => {
                slot.dropped = true;
                true
            }
            _ => false,
        }
    }
}

impl Shared {
    /// Whether the run must wait for or undo something after the end of the workflow.
    pub(in crate::replay) fn owes(&self, end: &End) -> bool {
        let state = self.state();
        let fails = matches!(end, End::Failed(_) | End::Cancelled(_));
        // Operations that this same event has issued were not begun.
        let in_flight = |slot: &Slot| {
            slot.completion.is_none() && slot.event < state.event && (is_kept(slot) || (fails && is_own_child(slot)))
        };
        let rollbacks = &state.rollbacks;
        state.ops.values().any(in_flight)
            || match fails {
                false => rollbacks.armed.iter().any(|armed| armed.dropped),
                true => !rollbacks.armed.is_empty() || !rollbacks.dropped_children.is_empty(),
            }
    }

    /// Begins to unwind: stops everything but what the run must wait for. Returns the dropped values, which the caller drops
    /// outside the lock.
    pub(in crate::replay) fn unwind(&self, end: End) -> impl Sized + use<> {
        let mut state = self.state();
        let state = &mut *state;
        let live = state.expected.is_none();
        let fails = matches!(end, End::Failed(_) | End::Cancelled(_));
        let mut open: Vec<u64> =
            state.ops.iter().filter(|(_, slot)| slot.completion.is_none()).map(|(op, _)| *op).collect();
        open.sort_unstable();
        let not_begun: BTreeSet<u64> = match live {
            true => std::mem::take(&mut state.actions)
                .into_iter()
                .filter_map(|action| match action {
                    Action::Dispatch(op) | Action::Arm { op, .. } => Some(op),
                    other => {
                        state.actions.push(other);
                        None
                    }
                })
                .collect(),
            false => BTreeSet::new(),
        };
        let mut in_flight = BTreeSet::new();
        for op in open {
            let Some(slot) = state.ops.get(&op) else { continue };
            let is_begun = slot.event < state.event;
            match &slot.kind {
                Kind::Step(step) if is_begun && is_kept(slot) => {
                    // If the workflow succeeds, the steps that it has dropped are not stopped, but they are not
                    // attempted again.
                    if live && (fails || step.not_before > 0) {
                        match (step.is_here(), not_begun.contains(&op)) {
                            (false, _) if fails => state.effects.stopped.push(self.target(op, &slot.kind)),
                            (false, _) => {}
                            (true, true) => state.actions.push(Action::Decline(op)),
                            (true, false) => state.actions.push(Action::GiveUp(op)),
                        }
                    } else if not_begun.contains(&op) {
                        state.actions.push(Action::Dispatch(op));
                    }
                    in_flight.insert(op);
                    continue;
                }
                kind @ Kind::Child(child) if is_begun && fails && is_own_child(slot) => {
                    let target = self.target(op, kind);
                    if live {
                        state.effects.stopped.push(target.clone());
                    }
                    if child.named.is_none() {
                        in_flight.insert(op);
                        continue;
                    }
                    // A run that the operation has not started is not cancelled, and not awaited.
                    if live {
                        state.effects.unwatch(op, target.run.clone());
                    }
                    state.rollbacks.dropped_children.push(target);
                }
                kind if live && !kind.is_elsewhere() => state.actions.push(Action::Abort(op)),
                Kind::Child(child) if !child.is_own() => {}
                // Its token stays open for the next generation.
                Kind::Hook(_) if matches!(end, End::Continued(_)) => {}
                kind if live => state.effects.dropped(op, kind, self),
                _ => {}
            }
            state.outstanding -= 1;
        }
        let (armed, disarmed): (Vec<_>, Vec<_>) =
            state.rollbacks.armed.drain(..).partition(|armed| armed.dropped || fails);
        state.rollbacks.undoes = armed.iter().map(|armed| armed.op).collect();
        state.rollbacks.armed = armed;
        if !fails {
            state.rollbacks.dropped_children.clear();
        }
        let (mut kept, gone): (Vec<_>, Vec<_>) = state.ops.drain().partition(|(op, _)| in_flight.contains(op));
        // From now on they wake the rollbacks, and not dropped futures.
        let wakers: Vec<Option<Waker>> = kept.iter_mut().map(|(_, slot)| slot.waker.take()).collect();
        state.ops.extend(kept);
        state.woken.clear();
        state.branches = 0;
        state.rollbacks.unwinding = Some(Unwinding { end, in_flight, waker: None, failures: Vec::new() });
        (gone, disarmed, wakers, std::mem::take(&mut state.spawned))
    }

    /// Takes the children that the workflow had dropped.
    pub(in crate::replay) fn take_dropped_children(&self) -> Vec<Target> {
        std::mem::take(&mut self.state().rollbacks.dropped_children)
    }

    /// Ready once no step is in flight that was when the unwinding began.
    pub(in crate::replay) fn poll_in_flight(&self, context: &mut Context<'_>) -> Poll<()> {
        match &mut self.state().rollbacks.unwinding {
            Some(unwinding) if !unwinding.in_flight.is_empty() => {
                unwinding.waker = Some(context.waker().clone());
                Poll::Pending
            }
            _ => Poll::Ready(()),
        }
    }

    /// Takes the rollback of the step whose result is the latest.
    pub(in crate::replay) fn next_rollback(&self) -> Option<Armed> {
        self.state().rollbacks.armed.pop()
    }

    /// Records that a rollback has failed.
    pub(in crate::replay) fn rollback_failed(&self, op: u64, error: Error) {
        tracing::error!(run = %self.run_id(), op, ?error, "a rollback failed; the other rollbacks are still executed");
        if let Some(unwinding) = &mut self.state().rollbacks.unwinding {
            unwinding.failures.push(error);
        }
    }

    /// Whether an operation is a step with a rollback, and in progress.
    pub(crate) fn can_be_undone(&self, op: u64) -> bool {
        let state = self.state();
        state.ops.get(&op).is_some_and(|slot| slot.completion.is_none() && is_kept(slot))
    }

    /// Whether the run is being unwound because it failed or was cancelled.
    pub(crate) fn is_failing(&self) -> bool {
        matches!(self.unwinds_to(), Some(End::Failed(_) | End::Cancelled(_)))
    }

    /// Takes the operations to undo, if unwinding has just begun.
    pub(in crate::replay) fn take_undoes(&self) -> Vec<u64> {
        std::mem::take(&mut self.state().rollbacks.undoes)
    }

    /// Whether the run is being unwound.
    pub(crate) fn is_unwinding(&self) -> bool {
        self.state().rollbacks.unwinding.is_some()
    }

    /// How the workflow had ended, while the run is being unwound.
    pub(super) fn unwinds_to(&self) -> Option<End> {
        self.state().rollbacks.unwinding.as_ref().map(|unwinding| unwinding.end.clone())
    }

    /// Whether a step was in progress when unwinding began: it is not attempted again.
    pub(crate) fn is_last_attempt(&self, op: u64) -> bool {
        self.state().is_in_flight(op)
    }

    /// How the workflow had ended, and the errors of failed rollbacks.
    pub(in crate::replay) fn unwound(&self) -> Option<(End, Vec<Error>)> {
        self.state()
            .rollbacks
            .unwinding
            .as_mut()
            .map(|unwinding| (unwinding.end.clone(), std::mem::take(&mut unwinding.failures)))
    }
}
