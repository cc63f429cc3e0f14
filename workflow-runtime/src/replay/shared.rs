//! The state shared by a run's futures and its core: the operations, their results, the commands since the last event.

mod continuation;
mod delivery;
mod effects;
mod hooks;
mod outstanding;
mod patches;
mod requests;
mod rollbacks;
mod streams;
mod surplus;
mod suspensions;

use std::borrow::Cow;
use std::collections::{BTreeSet, VecDeque};
use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::Waker;

use chacha20::ChaCha12Rng;
use rustc_hash::FxHashMap;
use smallvec::SmallVec;
use tokio::task::Unconstrained;

use self::continuation::Continuation;
pub(crate) use self::continuation::Continued;
pub(crate) use self::effects::Effects;
use self::rollbacks::Rollbacks;
use self::streams::Streams;
pub(crate) use self::streams::{Chunk, closed_already, full};
use self::surplus::Surplus;
pub(crate) use self::surplus::{Forward, Heir, placeholders};
use super::carried::Inherited;
use super::divergence::{Divergence, Known};
use super::identity::Identity;
use super::journal::{Command, Commands};
use super::kind::{Completion, Kind};
use crate::codec::Payload;
use crate::definition::{Bodies, StepDefinition, WorkflowDefinition};
use crate::error::Error;
use crate::keys::KeyBase;
use crate::replay::{ChildRequest, StepRequest};

/// The number of a branch: a part of the workflow with its own waker. The root is 0.
pub(super) type BranchId = u32;

pub(super) const ROOT: BranchId = 0;

/// A spawned branch; it writes its output to the slot of its handle.
pub(crate) type BranchFuture = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The actions of a turn: usually one.
pub(crate) type Actions = SmallVec<[Action; 1]>;

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
    /// Whether an attempt of one of `ops` has failed.
    may_be_failing: bool,
    commands: Commands,
    actions: Actions,
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
    /// Where the code has diverged from the journal.
    divergence: Option<Box<Divergence>>,
    /// The answers of `patched`, by name.
    patches: FxHashMap<Cow<'static, str>, bool>,
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

/// Makes the run that executes a call of a step of a queue: a run of the step's workflow, for an operation of a run,
/// under a key.
pub(crate) type QueueCall =
    fn(&'static WorkflowDefinition, &StepRequest, &Identity, u64, String) -> Result<ChildRequest, Error>;

/// The functions and settings that the engine provides to a run.
#[derive(Clone)]
pub(crate) struct Host {
    pub draw: Draw,
    /// The workflow that executes a step of a queue, and the request of its run for a call.
    pub queued: fn(&StepDefinition) -> Option<&'static WorkflowDefinition>,
    pub queue_call: QueueCall,
    pub known: Known,
    pub bodies: Bodies,
    /// The number of events after which `continue_as_new_suggested` returns true.
    pub long_after: u64,
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

impl State {
    /// Whether the run cannot continue.
    fn has_stopped(&self) -> bool {
        self.fault.is_some() || self.divergence.is_some()
    }
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
                may_be_failing: false,
                commands: Commands::new(),
                actions: Actions::new(),
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
                divergence: None,
                patches: FxHashMap::default(),
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
}
