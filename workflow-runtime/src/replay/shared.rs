//! The state shared by a run's futures and its core: the operations, their results, the commands since the last event.

mod continuation;
mod effects;
mod hooks;
mod rollbacks;
mod streams;
mod surplus;
mod suspensions;

use std::collections::{BTreeSet, VecDeque};
use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::Waker;

use chacha20::ChaCha12Rng;
use rand::SeedableRng;
use rustc_hash::FxHashMap;
use sha2::{Digest, Sha256};
use tokio::task::Unconstrained;

use self::continuation::Continuation;
pub(crate) use self::continuation::Continued;
pub(crate) use self::effects::Effects;
use self::rollbacks::Rollbacks;
use self::streams::Streams;
pub(crate) use self::streams::{Chunk, closed_already, full};
use self::surplus::Surplus;
pub(crate) use self::surplus::{Forward, Heir};
use super::journal::{Carried, Command, End, Inherited};
use super::operation::{Completion, Kind, LocalFuture};
use super::waker::BranchId;
use crate::codec::{Payload, Recode};
use crate::definition::{Bodies, StepDefinition, WorkflowDefinition};
use crate::error::{Code, Error};
use crate::keys::{self, KeyBase};
use crate::limits;
use crate::replay::{ChildRequest, StepRequest};

/// A spawned branch; it writes its output to the slot of its handle.
pub(crate) type BranchFuture = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The actions of the engine once the turn is committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Execute the step.
    Dispatch(u64),
    /// Execute the step, of which an attempt may have been in progress in another process.
    Repeat(u64),
    /// Deliver the operation's event (or attempt it again) at this time.
    Arm { op: u64, at: u64 },
    /// Stop the work in progress for the operation, and forget its deadline.
    Abort(u64),
    /// Fail the step if no attempt of it is in progress; otherwise request the attempt to end.
    GiveUp(u64),
    /// Fail the step, of which no attempt is in progress.
    Decline(u64),
}

/// The current activity of the run.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Idle,
    Polling,
    /// The engine drops the futures. Calls of their destructors have no effect.
    Discarding,
}

/// An operation that was issued and whose future has not taken the result.
struct Slot {
    kind: Kind,
    waker: Option<Waker>,
    completion: Option<Completion>,
    /// Its future was dropped; its result may have to be undone.
    dropped: bool,
    /// The number of the event after which it was issued.
    event: u64,
    /// The base of its idempotency key.
    base: KeyBase,
}

struct State {
    phase: Phase,
    now: u64,
    rng: Option<Box<ChaCha12Rng>>,
    next_op: u64,
    /// The base of the idempotency keys of the operations that it issues.
    base: KeyBase,
    /// Counts the events.
    event: u64,
    next_branch: BranchId,
    ops: FxHashMap<u64, Slot>,
    /// How many of `ops` have no result.
    outstanding: usize,
    commands: Vec<Command>,
    actions: Vec<Action>,
    effects: Effects,
    streams: Streams,
    rollbacks: Rollbacks,
    continuation: Continuation,
    /// Payloads left by hooks that were dropped.
    surplus: Option<Box<Surplus>>,
    /// The run's state, as the workflow has set it.
    value: Option<Payload>,
    /// The keys of the attributes that the workflow has set.
    keys: BTreeSet<Box<str>>,
    inherited: Option<Arc<Inherited>>,
    /// While replaying: the recorded commands of this event that are not issued yet.
    expected: Option<std::vec::IntoIter<Command>>,
    fault: Option<Error>,
    /// Whether the workflow has requested more operations or branches than a run may have.
    is_over_limit: bool,
    woken: VecDeque<BranchId>,
    spawned: Vec<(BranchId, Unconstrained<BranchFuture>)>,
    branches: usize,
    /// Where the workflow issued its latest operation.
    last_site: Option<&'static Location<'static>>,
}

/// Called when something outside the run wakes it.
type Alarm = Box<dyn Fn() + Send + Sync>;

/// A source of unpredictable numbers.
pub(crate) type Draw = Arc<dyn Fn() -> u128 + Send + Sync>;

/// Makes the run that executes a call of a step of a queue: of the step's workflow, for an operation of a run, under a key.
pub(crate) type QueueCall =
    fn(&'static WorkflowDefinition, &StepRequest, &Identity, u64, String) -> Result<ChildRequest, Error>;

/// The functions and settings that the engine provides to a run.
#[derive(Clone)]
pub(crate) struct Host {
    pub draw: Draw,
    /// The workflow that executes a step of a queue, and the request of its run for a call.
    pub queued: fn(&StepDefinition) -> Option<&'static WorkflowDefinition>,
    pub queue_call: QueueCall,
    pub bodies: Bodies,
    /// The number of events after which `continue_as_new_suggested` returns true.
    pub long_after: u64,
}

/// The identity of a run.
#[derive(Clone)]
pub(crate) struct Identity {
    pub run: Arc<str>,
    /// The id of its workflow, in this build.
    pub workflow: &'static str,
    pub generation: u64,
}

impl Identity {
    /// The same for every attempt of an operation in this generation, and for no other operation.
    pub fn key(&self, op: u64) -> String {
        keys::execution(&self.run, self.generation, op)
    }

    /// The id of the child that an operation starts. `seed` is that of the run's first event.
    pub fn child_id(&self, seed: &[u8; 32], op: u64) -> Arc<str> {
        keys::child(seed, &self.run, self.generation, op).into()
    }

    /// The token of the child that an operation starts under an id of the workflow's choice.
    pub fn child_token(&self, seed: &[u8; 32], op: u64) -> u128 {
        keys::child_token(seed, &self.run, self.generation, op)
    }
}

/// See the module.
pub(crate) struct Shared {
    identity: Identity,
    /// The seed of its random values; known from its first event on.
    seed: OnceLock<[u8; 32]>,
    state: Mutex<State>,
    /// The ids of children that differ from those of this generation: an earlier one has started them.
    /// This lock is taken while the state is locked, and no other lock is taken while this one is held.
    earlier_children: Mutex<FxHashMap<u64, Arc<str>>>,
    alarm: OnceLock<Alarm>,
    host: Host,
}

tokio::task_local! {
    static CURRENT: Arc<Shared>;
}

/// The run that this thread is polling.
pub(crate) fn current() -> Option<Arc<Shared>> {
    CURRENT.try_with(Arc::clone).ok()
}

impl Shared {
    pub(super) fn host(&self) -> &Host {
        &self.host
    }

    pub(super) fn new(identity: Identity, host: Host) -> Arc<Self> {
        let base = KeyBase { generation: identity.generation, unwindings: 0 };
        Arc::new(Shared {
            identity,
            seed: OnceLock::new(),
            state: Mutex::new(State {
                phase: Phase::Idle,
                now: 0,
                rng: None,
                next_op: 0,
                base,
                event: 0,
                next_branch: 1,
                ops: FxHashMap::default(),
                outstanding: 0,
                commands: Vec::new(),
                actions: Vec::new(),
                effects: Effects::default(),
                streams: Streams::default(),
                rollbacks: Rollbacks::default(),
                continuation: Continuation::default(),
                surplus: None,
                value: None,
                keys: BTreeSet::new(),
                inherited: None,
                expected: None,
                fault: None,
                is_over_limit: false,
                woken: VecDeque::new(),
                spawned: Vec::new(),
                branches: 0,
                last_site: None,
            }),
            earlier_children: Mutex::default(),
            alarm: OnceLock::new(),
            host,
        })
    }

    /// A panic inside the lock would be a bug of the library: user code never runs under it.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn earlier_children(&self) -> MutexGuard<'_, FxHashMap<u64, Arc<str>>> {
        self.earlier_children.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn enter<T>(self: &Arc<Self>, f: impl FnOnce() -> T) -> T {
        CURRENT.sync_scope(self.clone(), f)
    }

    pub(super) fn is_current(&self) -> bool {
        CURRENT.try_with(|current| std::ptr::eq(Arc::as_ptr(current), self)).unwrap_or(false)
    }

    pub(crate) fn identity(&self) -> &Identity {
        &self.identity
    }

    pub(crate) fn run_id(&self) -> &Arc<str> {
        &self.identity.run
    }

    // Requests of futures.

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
    pub(super) fn check_turn(&self, site: &Location<'_>) -> Result<(), Error> {
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
    pub(super) fn issue(&self, kind: Kind, site: &'static Location<'static>, waker: Option<&Waker>) -> Option<u64> {
        let mut kind = kind;
        let mut state = self.state();
        if state.fault.is_some() || state.phase == Phase::Discarding {
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
        let command = kind.command(self, op);
        if let Some(child) = state.earlier_child(&command) {
            self.earlier_children().insert(op, child);
        }
        state.last_site = Some(site);
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
        if !self.record(command, kind.recode(), Some(site)) {
            return None;
        }
        if let (Kind::Step(step), Some(given)) = (&mut kind, given) {
            step.input = given;
        }
        if let Kind::Hook(hook) = &mut kind {
            self.take_surplus(hook);
        }
        let mut state = self.state();
        if state.expected.is_none() {
            match &kind {
                Kind::Timer { until, .. } => state.actions.push(Action::Arm { op, at: *until }),
                Kind::Step(step) if step.is_here() => state.actions.push(Action::Dispatch(op)),
                Kind::Local(_) => state.actions.push(Action::Dispatch(op)),
                Kind::Step(_) | Kind::Hook(_) | Kind::Child(_) | Kind::Watch(_) => {
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
    pub(super) fn take(&self, op: u64, waker: &Waker) -> Option<Completion> {
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
    pub(super) fn drop_operation(&self, op: u64) {
        // The slot may hold a user's future: it is dropped after the lock is released.
        let (slot, counts) = {
            let mut state = self.state();
            if state.phase != Phase::Polling || !self.is_current() {
                return;
            }
            if state.keeps_dropped(op) {
                let counts = state.fault.is_none();
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
            (slot, open && state.fault.is_none())
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
    pub(super) fn counts_as_dropped(&self) -> bool {
        let state = self.state();
        state.phase == Phase::Polling
            && state.expected.is_none()
            && state.fault.is_none()
            && self.is_current()
            && !std::thread::panicking()
    }

    /// Records a command, or compares it with the recorded one: returns whether the run can continue.
    fn record(&self, command: Command, recode: Recode, site: Option<&'static Location<'static>>) -> bool {
        let recorded = {
            let mut state = self.state();
            if state.phase == Phase::Discarding {
                return false;
            }
            match &mut state.expected {
                Some(expected) => expected.next(),
                None => {
                    state.commands.push(command);
                    return true;
                }
            }
        };
        // Outside the lock: comparing values may run code of the users' types.
        if recorded.as_ref().is_some_and(|recorded| command.matches(recorded, recode)) {
            return true;
        }
        let recorded =
            recorded.map_or_else(|| "no further command behind this event".to_owned(), |recorded| recorded.describe());
        let mut state = self.state();
        let site = site.or(state.last_site);
        state.fault = Some(nondeterminism(recorded, command.describe(), site));
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

    // Calls of wakers.

    pub(super) fn queue(&self, branch: BranchId) {
        self.state().woken.push_back(branch);
    }

    pub(super) fn woken_from_outside(&self) {
        {
            let mut state = self.state();
            if state.phase == Phase::Discarding || state.fault.is_some() {
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
        let error =
            Error::coded(Code::ForeignFuture, format!("the workflow awaits what is no durable operation: {what}"))
                .run(self.run_id())
                .help("move what is awaited into a #[step], or wrap it with workflow_runtime::nondeterministic");
        match site {
            Some(site) => error.operation(format!("after the operation issued at {site}")),
            None => error.operation("before the first operation"),
        }
    }

    // Calls of the core.

    /// Sets the callback (called outside every lock) for a wake from outside the run.
    pub(crate) fn on_alarm(&self, alarm: impl Fn() + Send + Sync + 'static) {
        let _ = self.alarm.set(Box::new(alarm));
    }

    pub(super) fn begin(&self, at: u64, expected: Option<Vec<Command>>) -> u64 {
        let mut state = self.state();
        state.phase = Phase::Polling;
        state.event += 1;
        state.now = state.now.max(at);
        state.expected = expected.map(Vec::into_iter);
        state.now
    }

    pub(super) fn seed(&self, seed: &str, carried: Option<&Carried>) {
        // Another check refuses a second first event.
        let _ = self.seed.set(Sha256::digest(seed.as_bytes()).into());
        if let Some(carried) = carried {
            self.state().take_over(carried);
        }
    }

    pub(super) fn own_seed(&self) -> [u8; 32] {
        self.seed.get().copied().unwrap_or_default()
    }

    /// Sets the result of an operation, and returns its waker, or an error if no such operation is outstanding.
    pub(super) fn complete(&self, op: u64, completion: Completion) -> Result<Option<Waker>, Error> {
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
            _ => Err(nondeterminism(
                format!("a result of operation {op}, which is in the journal here"),
                "that operation was not issued, or was dropped before".to_owned(),
                state.last_site,
            )),
        }
    }

    /// Converts the end of another run into the result of the operation that waits for it.
    pub(super) fn ended(&self, op: u64, end: End) -> Completion {
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
    pub(super) fn attempt_failed(&self, op: u64, attempt: u32, not_before: u64) -> Result<(), Error> {
        let mut state = self.state();
        let site = state.last_site;
        let live = state.expected.is_none();
        let Some(Slot { kind: Kind::Step(step), .. }) = state.ops.get_mut(&op) else {
            return Err(nondeterminism(
                format!("a failed attempt of operation {op}, which is in the journal here"),
                "that operation is no step that was issued".to_owned(),
                site,
            ));
        };
        step.attempt = attempt + 1;
        step.not_before = not_before;
        if live {
            state.actions.push(Action::Arm { op, at: not_before });
        }
        Ok(())
    }

    pub(super) fn next_woken(&self) -> Option<BranchId> {
        self.state().woken.pop_front()
    }

    pub(super) fn take_spawned(&self) -> Vec<(BranchId, Unconstrained<BranchFuture>)> {
        std::mem::take(&mut self.state().spawned)
    }

    pub(super) fn branch_ended(&self) {
        self.state().branches -= 1;
    }

    /// Whether the workflow has requested more operations or branches than a run may have.
    pub(crate) fn is_over_limit(&self) -> bool {
        self.state().is_over_limit
    }

    pub(crate) fn has_fault(&self) -> bool {
        self.state().fault.is_some()
    }

    /// Ends the delivery of one event: returns the issued commands, or the reason why the run cannot continue.
    pub(super) fn finish(&self, end: Option<&End>) -> Result<Vec<Command>, Error> {
        let mut state = self.state();
        state.phase = Phase::Idle;
        if let Some(fault) = state.fault.take() {
            return Err(fault);
        }
        if let Some(mut expected) = state.expected.take()
            && let Some(command) = expected.next()
        {
            let found = if end.is_some() { "the workflow ended" } else { "the workflow waits without it" };
            return Err(nondeterminism(command.describe(), found.to_owned(), state.last_site));
        }
        if end.is_none() && state.outstanding == 0 {
            return Err(self.foreign("it waits, and nothing durable is outstanding", state.last_site));
        }
        if let Some(end) = end {
            state.give_up_children(self);
            state.hand_on(end);
        }
        Ok(std::mem::take(&mut state.commands))
    }

    pub(super) fn discard(&self) {
        self.state().phase = Phase::Discarding;
    }

    /// Ends the discarding of a part of the run.
    pub(super) fn undiscard(&self) {
        self.state().phase = Phase::Polling;
    }

    /// Removes the slots and returns them, so that their contents are dropped outside the lock.
    pub(super) fn clear(&self) -> impl Sized + use<> {
        let mut state = self.state();
        state.woken.clear();
        (std::mem::take(&mut state.ops), std::mem::take(&mut state.spawned), state.disarm())
    }

    // Calls of the engine.

    pub(crate) fn take_actions(&self) -> Vec<Action> {
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

    /// Takes the fault that was caused outside the run's turns.
    pub(crate) fn take_fault(&self) -> Option<Error> {
        self.state().fault.take()
    }
}

fn nondeterminism(expected: String, found: String, site: Option<&'static Location<'static>>) -> Error {
    let error = Error::coded(Code::Nondeterminism, "the code did something else than the journal records")
        .expected(format!("as recorded, {expected}"))
        .found(format!("with this code, {found}"))
        .help(
            "deploy code that does what the unfinished runs did (the run then continues); move what differs \
             between two executions into a #[step]",
        );
    match site {
        Some(site) => error.operation(format!("at {site}")),
        None => error,
    }
}
