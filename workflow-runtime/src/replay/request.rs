//! What a workflow asks for: the requests of steps, hooks, children and suspensions.

use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::BoxFuture;

use super::carried::Inherited;
use super::identity::Identity;
use crate::codec::Payload;
use crate::definition::{AttemptFailure, AttemptResult, Policy, StepDefinition, WorkflowDefinition};
use crate::error::Error;
use crate::keys;

/// A future that belongs to one operation, since no definition can make it again.
pub(crate) type LocalFuture = BoxFuture<'static, AttemptResult>;

/// The id of futures wrapped with `nondeterministic` in the journal.
pub(crate) const NONDETERMINISTIC: &str = "workflow_runtime::nondeterministic";

/// A step to execute.
#[derive(Clone)]
pub(crate) struct StepRequest {
    pub definition: &'static StepDefinition,
    pub input: Payload,
    pub policy: Cow<'static, Policy>,
    pub name: Option<Arc<str>>,
    /// The next attempt, from 1.
    pub attempt: u32,
    /// The earliest time of the attempt, in milliseconds since 1970; 0 for at once.
    pub not_before: u64,
    /// How its success is undone.
    pub rollback: Option<Rollback>,
    pub place: Place,
    /// If it is executed for another run: the call.
    pub origin: Option<Origin>,
    /// The suspensions of its attempts, if there were any.
    pub suspensions: Option<Box<Suspensions>>,
    /// The failures of its attempts since it was called or resumed, if there were any.
    pub failing: Option<Box<Failing>>,
}

/// The failures of a step that is attempted again.
#[derive(Clone)]
pub(crate) struct Failing {
    /// When the first of these attempts failed, in milliseconds since 1970.
    pub since: u64,
    /// The error of the last attempt.
    pub error: Payload,
}

/// The suspensions of a step.
#[derive(Clone, Default)]
pub(crate) struct Suspensions {
    /// The suspension that must be resumed before its next attempt.
    pub waits: Option<Suspension>,
    /// The values that it was resumed with, by label.
    pub resumed: Arc<BTreeMap<Box<str>, Payload>>,
    /// The payload of its last suspension that was resumed.
    pub last_payload: Option<Payload>,
    /// The number of attempts that ended in a suspension: they do not count for the policy.
    pub attempts: u32,
    /// The generation in which it was suspended, if that is not the run's: a retry does not change the id.
    pub since: Option<u64>,
}

/// A suspension of a step.
#[derive(Clone, Debug)]
pub(crate) struct Suspension {
    pub label: Box<str>,
    /// The payload that was passed to `suspend`.
    pub payload: Payload,
    /// The key of the type that it is resumed with, from the registry.
    pub type_name: Arc<str>,
}

impl Suspension {
    /// The token in the store by which the suspension is resumed.
    pub fn token(run: &str, label: &str) -> Arc<str> {
        keys::suspension(run, label).into()
    }

    /// The scope in which the store records answers to suspensions of a run. No suspension has this token: no label is "".
    pub fn scope(run: &str) -> Arc<str> {
        Suspension::token(run, "")
    }

    /// The label in such a token of this run.
    pub fn label<'t>(run: &str, token: &'t str) -> Option<&'t str> {
        keys::suspension_label(run, token)
    }
}

/// Where a step is executed.
#[derive(Clone, Copy)]
pub(crate) enum Place {
    /// By the run's own engine.
    Here,
    /// As a run of its own, of this workflow.
    Queue(&'static WorkflowDefinition),
    /// As a run of its own, which was started when the step was recorded.
    Elsewhere,
}

/// The call of a step that is executed as a run of its own.
#[derive(Clone)]
pub(crate) struct Origin {
    /// The run that calls the step.
    pub run: Arc<str>,
    /// The key of the call.
    pub key: Arc<str>,
    /// Whether the calling run undoes the step if the calling run does not succeed.
    pub undoable: bool,
    /// The generation of the calling run and the operation.
    pub place: (u64, u64),
}

impl StepRequest {
    pub fn is_here(&self) -> bool {
        matches!(self.place, Place::Here)
    }

    /// The suspension that the step waits for, if it is suspended.
    pub fn suspension(&self) -> Option<&Suspension> {
        self.suspensions.as_ref()?.waits.as_ref()
    }

    /// The number of attempts that count for the policy, including the next one.
    pub fn counted(&self) -> u32 {
        self.attempt - self.suspensions.as_ref().map_or(0, |suspensions| suspensions.attempts)
    }

    /// The run that called the step, from the point of view of the user.
    fn run<'r>(&'r self, own: &'r Arc<str>) -> &'r Arc<str> {
        self.origin.as_ref().map_or(own, |origin| &origin.run)
    }

    /// The token that the step waits for, if it is suspended.
    pub fn opening(&self, op: u64, own: &Identity) -> Option<Opening> {
        let Suspension { label, payload, type_name } = self.suspension()?;
        let suspensions = self.suspensions.as_ref();
        let since = suspensions.and_then(|suspensions| suspensions.since).unwrap_or(own.generation);
        let place = self.origin.as_ref().map_or((since, op), |origin| origin.place);
        let number = suspensions.map_or(0, |suspensions| suspensions.attempts);
        let run = self.run(&own.run);
        Some(Opening {
            op,
            token: Suspension::token(run, label),
            metadata: Some(payload.clone()),
            type_name: type_name.clone(),
            once: true,
            asked: Some(Asking::new(run, place, number, Some(self.definition.source.id))),
        })
    }
}

/// Undoes a step, given the result of the step.
#[derive(Clone)]
pub(crate) struct Rollback(Arc<Mutex<Option<Undo>>>);

type Undo = Box<dyn FnOnce(&Payload) -> Result<UndoFuture, Error> + Send>;
/// A rollback that has begun.
pub(crate) type UndoFuture = Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>;

impl Rollback {
    pub fn new(undo: impl FnOnce(&Payload) -> Result<UndoFuture, Error> + Send + 'static) -> Self {
        Rollback(Arc::new(Mutex::new(Some(Box::new(undo)))))
    }

    /// Begins the rollback; `None` the second time.
    pub fn begin(&self, value: &Payload) -> Option<Result<UndoFuture, Error>> {
        let undo = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        undo.map(|undo| undo(value))
    }
}

/// A child run to be started.
#[derive(Clone)]
pub(crate) struct ChildRequest {
    pub definition: &'static WorkflowDefinition,
    pub input: Payload,
    /// Whether it continues when its parent ends before it.
    pub abandoned: bool,
    /// Whether the parent does not wait for its end.
    pub detached: bool,
    /// The id that the workflow has chosen, if any.
    pub named: Option<Named>,
    /// The initial attributes.
    pub attributes: BTreeMap<Box<str>, Box<str>>,
    /// Converts an error of the engine into the error type of the waiting operation.
    pub adopt: fn(Error) -> AttemptFailure,
}

impl ChildRequest {
    /// Whether the operation has a result: the end of the child, or, of a detached one, its
    /// start. A detached child whose id the workflow has not chosen is started in any case.
    pub fn has_result(&self) -> bool {
        !self.detached || self.named.is_some()
    }

    /// Whether it is cancelled when its operation is dropped.
    pub fn is_bound(&self) -> bool {
        !self.detached
    }

    /// Whether it is cancelled with its parent.
    pub fn is_own(&self) -> bool {
        !self.abandoned && !self.detached
    }
}

/// An id that a workflow has chosen for a child run.
#[derive(Clone, Debug)]
pub(crate) struct Named {
    pub id: Arc<str>,
    /// The token of the run that the operation starts, if no run has the id. An existing run has another token.
    pub token: u128,
}

/// A child run that a run starts.
#[derive(Clone)]
pub(crate) struct StartedChild {
    pub op: u64,
    pub run: Arc<str>,
    pub request: ChildRequest,
    pub inherited: Option<Arc<Inherited>>,
    /// Whether the chosen id is that of the parent run itself.
    pub is_itself: bool,
    /// The digest of the arguments of an existing run with its id, if they are the same in another order.
    pub known_digest: Option<[u8; 32]>,
}

/// A hook to open, and its received payloads.
pub(crate) struct HookRequest {
    pub token: Arc<str>,
    /// The address that payloads are sent to: the token, or its replacement in the store.
    pub address: Arc<str>,
    pub drawn: bool,
    pub metadata: Option<Payload>,
    /// The key of the payloads' type, from the registry.
    pub type_name: &'static str,
    /// Checks that a payload has the type.
    pub check: fn(&Payload) -> Result<(), Error>,
    /// Whether it accepts one payload only.
    pub once: bool,
    /// Payloads that were delivered and not yet taken.
    pub received: VecDeque<Received>,
    /// Whether it has yielded a payload, or has received one of a later hook: it leaves the others to the next hook.
    pub yielded: bool,
    /// As a suspension: the generation in which it was opened, if that is not the run's: a retry does not change the id.
    pub since: Option<u64>,
}

impl HookRequest {
    /// Whether it accepts one payload only, and has received it.
    pub fn is_answered(&self) -> bool {
        self.once && (self.yielded || !self.received.is_empty())
    }

    /// Whether another hook had its token: behind the payloads that it has received, it yields nothing but the conflict.
    pub fn is_refused(&self) -> bool {
        self.received.iter().any(|received| matches!(received, Received::Conflict(_)))
    }

    pub fn opening(&self, op: u64, own: &Identity) -> Opening {
        let place = (self.since.unwrap_or(own.generation), op);
        Opening {
            op,
            token: self.address.clone(),
            metadata: self.metadata.clone(),
            type_name: self.type_name.into(),
            once: self.once,
            asked: self.once.then(|| Asking::new(&own.run, place, 1, None)),
        }
    }
}

/// An item that a hook yields.
#[derive(Clone, Debug)]
pub(crate) enum Received {
    Payload(Payload),
    /// The run that owns the token.
    Conflict(Arc<str>),
}

/// A token that a run opens.
#[derive(Clone, Debug)]
pub(crate) struct Opening {
    pub op: u64,
    pub token: Arc<str>,
    pub metadata: Option<Payload>,
    pub type_name: Arc<str>,
    pub once: bool,
    /// The suspension that waits for it, if any.
    pub asked: Option<Asking>,
}

/// The identity of a suspension within its run.
#[derive(Clone, Debug)]
pub(crate) struct Asking {
    pub id: Arc<str>,
    pub step: Option<&'static str>,
    /// See [`Suspension::scope`].
    pub scope: Arc<str>,
}

impl Asking {
    /// `place` is the generation and the operation; `number` counts the suspensions of the operation from 1.
    fn new(run: &str, place: (u64, u64), number: u32, step: Option<&'static str>) -> Self {
        Asking { id: format!("{}.{}.{number}", place.0, place.1).into(), step, scope: Suspension::scope(run) }
    }
}
