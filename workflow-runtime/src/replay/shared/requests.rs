//! The requests of a run's futures: operations, their results, branches, the time, random bytes.

use std::panic::Location;
use std::task::Waker;

use chacha20::ChaCha12Rng;
use rand::SeedableRng;

use super::super::divergence::{Divergence, Found};
use super::super::journal::Command;
use super::super::kind::{Begins, Completion, Kind};
use super::{Action, BranchFuture, Phase, Shared, Slot, State};
use crate::codec::Recode;
use crate::definition::Source;
use crate::error::{Code, Error};
use crate::limits;

impl Shared {
    /// The time of the event that is being delivered.
    pub(crate) fn now(&self) -> u64 {
        self.state().now
    }

    /// Bytes of the run's own random sequence.
    pub(crate) fn with_rng<T>(&self, f: impl FnOnce(&mut ChaCha12Rng) -> T) -> T {
        // Taken out of the state, so that a caller's code never runs under the lock.
        let rng = self.state().rng.take();
        let mut rng = rng.unwrap_or_else(|| Box::new(ChaCha12Rng::from_seed(self.own_seed())));
        let value = f(&mut rng);
        self.state().rng = Some(rng);
        value
    }

    /// Checks that an operation may be polled now: by its own run, in its turn.
    pub(in crate::replay) fn check_turn(&self, site: &Location<'_>) -> Result<(), Error> {
        if self.is_current() {
            return Ok(());
        }
        Err(Error::coded(Code::OutsideRun, "an operation of a run was polled outside the run's turn")
            .run(self.run_id())
            .operation(format!("created at {site}"))
            .help("await it in the workflow; do not hand it to another task, thread or runtime")
            .into_fatal())
    }

    /// Issues an operation. `None` if the run has diverged: the caller then waits for its end.
    pub(in crate::replay) fn issue(
        &self,
        kind: Kind,
        site: &'static Location<'static>,
        waker: Option<&Waker>,
    ) -> Option<u64> {
        let mut kind = kind;
        let mut state = self.state();
        if state.has_stopped() || state.phase == Phase::Discarding {
            state.find_too(self, &kind, site);
            return None;
        }
        let op = state.next_op;
        if let Kind::Child(child) = &mut kind
            && let Some(named) = &mut child.named
        {
            named.token = self.child_token(state.base, op);
        }
        state.as_recorded(&mut kind);
        let (given, base) = (state.given(), state.key_base());
        let command = state.under_recorded_id(&kind, kind.command(op, || self.child_id(op)));
        if let Some(child) = state.earlier_child(&command) {
            self.earlier_children().insert(op, child);
        }
        if state.outstanding >= limits::OUTSTANDING_MAX {
            state.is_over_limit = true;
            state.fault = Some(
                Error::coded(Code::Limit, "the run has too many operations outstanding")
                    .operation(format!("{} at {site}", command.describe()))
                    .expected(format!("at most {}", limits::OUTSTANDING_MAX))
                    .help("bound the fan-out: futures::stream::iter(..).buffer_unordered(n)"),
            );
            return None;
        }
        drop(state);
        let source = kind.definition().map(|(source, _)| source);
        if !self.record_of(command, kind.recode(), source, Some(site)) {
            return None;
        }
        if let (Kind::Step(step), Some(given)) = (&mut kind, given) {
            step.input = given;
        }
        if let Kind::Hook(hook) = &mut kind {
            self.take_surplus(hook);
        }
        let mut state = self.state();
        state.last_site = Some(site);
        if state.expected.is_none() {
            match kind.begins() {
                Begins::At(at) => state.actions.push(Action::Arm { op, at }),
                Begins::Attempt => state.actions.push(Action::Dispatch(op)),
                Begins::Request => {
                    let inherited = state.inherited.clone();
                    if let Err(error) = state.effects.issued(op, base, &kind, self, inherited) {
                        state.fault = Some(error);
                        return None;
                    }
                }
            }
        }
        state.next_op += 1;
        if matches!(&kind, Kind::Child(child) if !child.has_result()) {
            return Some(op);
        }
        state.outstanding += 1;
        let event = state.event;
        state.ops.insert(op, Slot { kind, waker: waker.cloned(), completion: None, dropped: false, event, base });
        Some(op)
    }

    /// The operation's result; otherwise registers `waker` for it.
    pub(in crate::replay) fn take(&self, op: u64, waker: &Waker) -> Option<Completion> {
        let (completion, _dropped) = {
            let mut state = self.state();
            let slot = state.ops.get_mut(&op)?;
            match slot.completion.take() {
                Some(completion) => (Some(completion), state.ops.remove(&op)),
                None => {
                    if !slot.waker.as_ref().is_some_and(|last| last.will_wake(waker)) {
                        slot.waker = Some(waker.clone());
                    }
                    (None, None)
                }
            }
        };
        completion
    }

    /// Handles that the operation's future was dropped before it took the result.
    pub(in crate::replay) fn drop_operation(&self, op: u64) {
        // The slot may hold a user's future: it is dropped after the lock is released.
        let (slot, counts) = {
            let mut state = self.state();
            if state.phase != Phase::Polling || !self.is_current() {
                return;
            }
            if state.keeps_dropped(op) {
                let counts = !state.has_stopped();
                drop(state);
                if counts {
                    self.record(Command::Cancel { op }, |_| None, None);
                }
                return;
            }
            let mut slot = state.ops.remove(&op);
            if let Some(Slot { kind: Kind::Hook(hook), .. }) = &mut slot {
                state.leave(op, hook);
            }
            let open = slot.as_ref().is_some_and(|slot| slot.completion.is_none());
            state.outstanding -= usize::from(open);
            (slot, open && !state.has_stopped())
        };
        if !counts || !self.record(Command::Cancel { op }, |_| None, None) {
            return;
        }
        let mut state = self.state();
        if let Some(Slot { kind: kind @ Kind::Child(child), .. }) = &slot
            && child.is_bound()
        {
            state.dropped_child(self.target(op, kind));
        }
        if state.expected.is_some() {
            return;
        }
        match slot.as_ref().map(|slot| &slot.kind) {
            Some(kind) if kind.is_elsewhere() => state.effects.dropped(op, kind, self),
            _ => state.actions.push(Action::Abort(op)),
        }
    }

    /// Whether a drop now is made by the workflow itself, executed for
    /// the first time, and not by the engine or because of an error.
    pub(in crate::replay) fn counts_as_dropped(&self) -> bool {
        let state = self.state();
        state.phase == Phase::Polling
            && state.expected.is_none()
            && !state.has_stopped()
            && self.is_current()
            && !std::thread::panicking()
    }

    /// Records a command, or compares it with the recorded one: returns whether the run can continue.
    pub(super) fn record(&self, command: Command, recode: Recode, site: Option<&'static Location<'static>>) -> bool {
        self.record_of(command, recode, None, site)
    }

    /// [`record`](Self::record) for a command that names a definition.
    fn record_of(
        &self,
        command: Command,
        recode: Recode,
        source: Option<Source>,
        site: Option<&'static Location<'static>>,
    ) -> bool {
        let recorded = {
            let mut state = self.state();
            if state.phase == Phase::Discarding || state.has_stopped() {
                return false;
            }
            if state.expected.is_none() {
                state.commands.push(command);
                return true;
            }
            state.take_recorded()
        };
        // Outside the lock: comparing values may run code of the users' types.
        if recorded.as_ref().is_some_and(|recorded| command.matches(recorded, recode)) {
            return true;
        }
        let decodes = recorded.as_ref().and_then(Command::input).is_none_or(|input| recode(input).is_some());
        self.state().diverge(recorded, Some(Found { command, source, decodes, site }));
        false
    }

    /// Adds a branch. Its first poll comes after the branches that were woken before.
    pub(crate) fn spawn(&self, future: BranchFuture) {
        let future = tokio::task::unconstrained(future);
        let mut state = self.state();
        if state.phase == Phase::Discarding {
            drop(state);
            return;
        }
        if state.branches >= limits::BRANCHES_MAX {
            state.is_over_limit = true;
            let limit = format!("at most {}", limits::BRANCHES_MAX);
            state.fault.get_or_insert_with(|| {
                Error::coded(Code::Limit, "the run has too many branches alive").expected(limit)
            });
            return;
        }
        let branch = state.next_branch;
        state.next_branch += 1;
        state.branches += 1;
        state.spawned.push((branch, future));
    }

    /// Ends the run's turn with an error that the workflow does not receive.
    pub(crate) fn fail(&self, error: Error) {
        self.state().fault.get_or_insert(error);
    }
}

impl State {
    /// Notes where the code has diverged from the journal. The commands that follow are kept for the explanation.
    pub(super) fn diverge(&mut self, recorded: Option<Command>, found: Option<Found>) {
        let recorded = recorded.into_iter().chain(self.expected.take().into_iter().flatten()).collect();
        let (found, previous) = (found.into_iter().collect(), self.last_site);
        let divergence = Divergence { recorded, later: Vec::new(), found, ended: false, previous };
        self.divergence.get_or_insert_with(|| Box::new(divergence));
    }

    /// Notes an operation that the code issues after it has diverged from the journal.
    fn find_too(&mut self, run: &Shared, kind: &Kind, site: &'static Location<'static>) {
        let next = self.next_op;
        let Some(divergence) = &mut self.divergence else { return };
        if divergence.found.len() < limits::EXPLAINED_FOUND_MAX {
            let op = next + divergence.found.len() as u64;
            let command = kind.command(op, || run.child_id(op));
            let source = kind.definition().map(|(source, _)| source);
            divergence.found.push(Found { command, source, decodes: true, site: Some(site) });
        }
    }
}
