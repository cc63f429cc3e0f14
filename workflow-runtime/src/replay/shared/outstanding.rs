//! The parts of a run that the engine reads: its actions, and the operations that have no result.

use super::super::kind::Kind;
use super::super::request::{Failing, LocalFuture, StepRequest};
use super::{Action, Actions, Shared, Slot};
use crate::codec::Payload;
use crate::definition::StepDefinition;
use crate::error::Error;
use crate::keys::KeyBase;

impl Shared {
    pub(crate) fn take_actions(&self) -> Actions {
        std::mem::take(&mut self.state().actions)
    }

    /// The actions that resume a replayed run, in the order in which its operations were issued.
    pub(crate) fn resume_actions(&self, now: u64) -> Vec<Action> {
        let state = self.state();
        let mut open: Vec<u64> =
            state.ops.iter().filter(|(_, slot)| slot.completion.is_none()).map(|(op, _)| *op).collect();
        open.sort_unstable();
        let action = |op: u64| match &state.ops[&op].kind {
            Kind::Timer { until, .. } => Some(Action::Arm { op, at: *until }),
            kind if kind.is_elsewhere() => None,
            // A step without further attempts was in progress if its time had passed, and then it may have to be undone.
            Kind::Step(step) if step.not_before > now || (step.not_before > 0 && !state.is_in_flight(op)) => {
                Some(Action::Arm { op, at: step.not_before })
            }
            _ => Some(Action::Repeat(op)),
        };
        open.into_iter().filter_map(action).collect()
    }

    /// The sleeps that have not ended, in the order in which they were issued.
    pub(crate) fn sleeps(&self) -> Vec<u64> {
        let state = self.state();
        let sleeps = |(_, slot): &(&u64, &Slot)| {
            slot.completion.is_none() && matches!(slot.kind, Kind::Timer { bounds: false, .. })
        };
        let mut sleeps: Vec<u64> = state.ops.iter().filter(sleeps).map(|(op, _)| *op).collect();
        sleeps.sort_unstable();
        sleeps
    }

    /// The steps without a result that the run itself executes, including suspended ones, with their arguments, in the
    /// order in which they were issued.
    pub(crate) fn open_steps(&self) -> Vec<(&'static StepDefinition, Payload)> {
        let state = self.state();
        let mut open: Vec<(u64, &StepRequest)> = Vec::new();
        for (op, slot) in state.ops.iter().filter(|(_, slot)| slot.completion.is_none()) {
            if let Kind::Step(step) = &slot.kind
                && step.is_here()
            {
                open.push((*op, step));
            }
        }
        open.sort_unstable_by_key(|(op, _)| *op);
        open.into_iter().map(|(_, step)| (step.definition, step.input.clone())).collect()
    }

    /// Reads an operation without a result.
    pub(crate) fn with_open<T>(&self, op: u64, f: impl FnOnce(&Kind) -> T) -> Option<T> {
        let state = self.state();
        state.ops.get(&op).filter(|slot| slot.completion.is_none()).map(|slot| f(&slot.kind))
    }

    /// The base of the idempotency key of an operation without a result.
    pub(crate) fn key_base(&self, op: u64) -> KeyBase {
        let state = self.state();
        state.ops.get(&op).map_or(state.base, |slot| slot.base)
    }

    /// Takes the future of an operation.
    pub(crate) fn take_local(&self, op: u64) -> Option<LocalFuture> {
        match self.state().ops.get_mut(&op) {
            Some(Slot { kind: Kind::Local(future), completion: None, .. }) => future.take(),
            _ => None,
        }
    }

    /// When the run has work: 0 while a step is to be executed, else the earliest deadline, if any.
    pub(crate) fn wake_at(&self) -> Option<u64> {
        let state = self.state();
        let mut earliest = None;
        for (op, slot) in state.ops.iter().filter(|(_, slot)| slot.completion.is_none()) {
            let due = match &slot.kind {
                kind if kind.is_elsewhere() => continue,
                _ if state.is_in_flight(*op) => 0,
                Kind::Timer { until, .. } => *until,
                Kind::Step(step) => step.not_before,
                _ => 0,
            };
            earliest = Some(earliest.map_or(due, |earliest: u64| earliest.min(due)));
            if earliest == Some(0) {
                break;
            }
        }
        earliest
    }

    /// Whether a step is in progress or will be attempted again.
    pub(crate) fn has_steps(&self) -> bool {
        let state = self.state();
        let here = |slot: &Slot| !slot.kind.is_elsewhere() && matches!(slot.kind, Kind::Step(_) | Kind::Local(_));
        state.ops.values().any(|slot| slot.completion.is_none() && here(slot))
    }

    /// Whether it waits for the end of another run that is not its child.
    pub(crate) fn awaits_runs(&self) -> bool {
        self.state().ops.values().any(|slot| slot.completion.is_none() && matches!(slot.kind, Kind::Watch(_)))
    }

    /// The failures of the step that has been failing for the longest time, if the last attempt of an open one has failed.
    pub(crate) fn failing(&self) -> Option<Failing> {
        let mut state = self.state();
        if !state.may_be_failing {
            return None;
        }
        let open = state.ops.iter().filter(|(_, slot)| slot.completion.is_none());
        let failing = open.filter_map(|(op, slot)| match &slot.kind {
            Kind::Step(step) => step.failing.as_deref().map(|failing| (failing.since, *op, failing)),
            _ => None,
        });
        let first = failing.min_by_key(|(since, op, _)| (*since, *op)).map(|(_, _, failing)| failing.clone());
        state.may_be_failing = first.is_some();
        first
    }

    /// Takes the fault that was caused outside the run's turns.
    pub(crate) fn take_fault(&self) -> Option<Error> {
        self.state().fault.take()
    }
}
