//! The delivery of an event: what the core and the wakers of a run call.

use std::panic::Location;
use std::task::Waker;

use sha2::{Digest, Sha256};
use tokio::task::Unconstrained;

use super::super::carried::Carried;
use super::super::divergence::{Divergence, untaken};
use super::super::journal::{Command, Commands, End};
use super::super::kind::{Completion, Kind};
use super::super::request::Failing;
use super::super::shared::BranchId;
use super::{Action, BranchFuture, Phase, Shared, Slot};
use crate::codec::Payload;
use crate::error::{Code, Error};

impl Shared {
    pub(in crate::replay) fn queue(&self, branch: BranchId) {
        self.state().woken.push_back(branch);
    }

    pub(in crate::replay) fn woken_from_outside(&self) {
        {
            let mut state = self.state();
            if state.phase == Phase::Discarding || state.has_stopped() {
                return;
            }
            let site = state.last_site;
            state.fault = Some(self.foreign("something outside the run woke it", site));
        }
        if let Some(alarm) = self.alarm.get() {
            alarm();
        }
    }

    fn foreign(&self, what: &str, site: Option<&'static Location<'static>>) -> Error {
        let error = Error::coded(
            Code::ForeignFuture,
            format!("the workflow awaits a future that is not a durable operation: {what}"),
        )
        .run(self.run_id())
        .help("move what is awaited into a #[step], or wrap it with workflow_runtime::nondeterministic");
        match site {
            Some(site) => error.operation(format!("after the operation issued at {site}")),
            None => error.operation("before the first operation"),
        }
    }

    /// Sets the callback (called outside every lock) for a wake from outside the run.
    pub(crate) fn on_alarm(&self, alarm: impl Fn() + Send + Sync + 'static) {
        let _ = self.alarm.set(Box::new(alarm));
    }

    pub(in crate::replay) fn begin(&self, at: u64, expected: Option<Commands>) -> u64 {
        let mut state = self.state();
        state.phase = Phase::Polling;
        state.event += 1;
        state.now = state.now.max(at);
        state.expected = expected.map(|commands| commands.into_vec().into_iter());
        state.now
    }

    pub(in crate::replay) fn seed(&self, seed: &str, carried: Option<&Carried>) {
        // Another check refuses a second first event.
        let _ = self.seed.set(Sha256::digest(seed.as_bytes()).into());
        if let Some(carried) = carried {
            self.state().take_over(carried);
        }
    }

    pub(in crate::replay) fn own_seed(&self) -> [u8; 32] {
        self.seed.get().copied().unwrap_or_default()
    }

    /// Sets the result of an operation, and returns its waker, or an error if no such operation is outstanding.
    pub(in crate::replay) fn complete(&self, op: u64, completion: Completion) -> Result<Option<Waker>, Error> {
        // Dropped after the lock is released.
        let _gone;
        let mut state = self.state();
        let now = state.now;
        match state.ops.get_mut(&op) {
            Some(slot) if slot.completion.is_none() && !matches!(slot.kind, Kind::Hook(_)) => {
                let deadline = match (&slot.kind, &completion) {
                    (Kind::Timer { until, .. }, Completion::Due) => *until,
                    _ => 0,
                };
                slot.completion = Some(completion);
                let waker = slot.waker.take();
                state.now = now.max(deadline);
                state.outstanding -= 1;
                let (unwinding, gone) = state.arm(op);
                _gone = gone;
                Ok(waker.or(unwinding))
            }
            _ => Err(untaken(
                format!("a result of operation {op}, which is in the journal here"),
                "that operation was not issued, or was dropped before",
                state.last_site,
            )),
        }
    }

    /// Converts the end of another run into the result of the operation that waits for it.
    pub(in crate::replay) fn ended(&self, op: u64, end: End) -> Completion {
        let adopt = self.with_open(op, |kind| match kind {
            Kind::Step(step) => Some(step.definition.adopt),
            _ => None,
        });
        match (adopt.flatten(), end) {
            (None, end) => Completion::Ended(end),
            (Some(_), End::Completed(value)) => Completion::Completed(value),
            (Some(_), End::Failed(error)) => Completion::Failed(error),
            (Some(adopt), End::Cancelled(reason)) => {
                let error = Error::coded(Code::Cancelled, format!("the step was cancelled: {reason}"));
                Completion::Failed(adopt(error.into_fatal()).error)
            }
            (Some(adopt), End::Continued(_)) => {
                let error = Error::coded(Code::Damaged, "a continuation was recorded as the end of a step");
                Completion::Failed(adopt(error.into_fatal()).error)
            }
        }
    }

    /// Records that an attempt failed, and the earliest time of the next one.
    pub(in crate::replay) fn attempt_failed(
        &self,
        op: u64,
        attempt: u32,
        error: &Payload,
        not_before: u64,
    ) -> Result<(), Error> {
        let mut state = self.state();
        let site = state.last_site;
        let live = state.expected.is_none();
        let now = state.now;
        let Some(Slot { kind: Kind::Step(step), .. }) = state.ops.get_mut(&op) else {
            return Err(untaken(
                format!("a failed attempt of operation {op}, which is in the journal here"),
                "that operation is no step that was issued",
                site,
            ));
        };
        step.attempt = attempt + 1;
        step.not_before = not_before;
        let since = step.failing.as_ref().map_or(now, |failing| failing.since);
        step.failing = Some(Box::new(Failing { since, error: error.clone() }));
        state.may_be_failing = true;
        if live {
            state.actions.push(Action::Arm { op, at: not_before });
        }
        Ok(())
    }

    pub(in crate::replay) fn next_woken(&self) -> Option<BranchId> {
        self.state().woken.pop_front()
    }

    pub(in crate::replay) fn take_spawned(&self) -> Vec<(BranchId, Unconstrained<BranchFuture>)> {
        std::mem::take(&mut self.state().spawned)
    }

    pub(in crate::replay) fn branch_ended(&self) {
        self.state().branches -= 1;
    }

    /// Whether the workflow has requested more operations or branches than a run may have.
    pub(crate) fn is_over_limit(&self) -> bool {
        self.state().is_over_limit
    }

    pub(crate) fn has_fault(&self) -> bool {
        self.state().has_stopped()
    }

    /// Ends the delivery of one event: returns the issued commands, or the reason why the run cannot continue. `later` are
    /// the commands that are recorded for later events.
    pub(in crate::replay) fn finish(
        &self,
        end: Option<&End>,
        later: impl FnOnce() -> Vec<Command>,
    ) -> Result<Commands, Error> {
        let mut state = self.state();
        state.phase = Phase::Idle;
        if let Some(fault) = state.fault.take() {
            return Err(fault);
        }
        if state.divergence.is_none()
            && let Some(command) = state.take_recorded()
        {
            state.diverge(Some(command), None);
        }
        if let Some(divergence) = state.divergence.take() {
            drop(state);
            let divergence = Divergence { later: later(), ended: end.is_some(), ..*divergence };
            return Err(divergence.explain(self.host.known));
        }
        state.expected = None;
        if end.is_none() && state.outstanding == 0 {
            return Err(self.foreign("it waits, and nothing durable is outstanding", state.last_site));
        }
        if let Some(end) = end {
            state.give_up_children(self);
            state.hand_on(end);
        }
        Ok(std::mem::take(&mut state.commands))
    }

    pub(in crate::replay) fn discard(&self) {
        self.state().phase = Phase::Discarding;
    }

    /// Ends the discarding of a part of the run.
    pub(in crate::replay) fn undiscard(&self) {
        self.state().phase = Phase::Polling;
    }

    /// Removes the slots and returns them, so that their contents are dropped outside the lock.
    pub(in crate::replay) fn clear(&self) -> impl Sized + use<> {
        let mut state = self.state();
        state.woken.clear();
        (std::mem::take(&mut state.ops), std::mem::take(&mut state.spawned), state.disarm())
    }
}
