//! Drives a run by hand, and makes operations without the engine.

mod driven;
mod events;

use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};
use std::future::{Future, poll_fn};
use std::panic::Location;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use futures_util::FutureExt;
use serde::Serialize;
use serde_json::Value;
use tokio::sync::oneshot;

pub(super) use self::driven::{Driven, Setting};
pub(super) use self::events::*;
use crate::codec::{self, Payload};
use crate::definition::{
    Attempt, Described, Encoded, Policy, RunFuture, Source, StepDefinition, WorkflowDefinition, adopt,
};
use crate::error::Error;
use crate::replay::{
    ChildRequest, Completion, HookRequest, Kind, Operation, Place, Received, Rollback, Shared, StepRequest, Target,
    current,
};

pub(super) const RUN: &str = "run-1";
pub(super) const WORKFLOW: &str = "tests::workflow";
pub(super) const SEED: &str = "000102030405060708090a0b0c0d0e0f";
/// The time of the first event.
pub(super) const STARTED_AT: u64 = 1_000;

pub(super) type Body = fn(&Payload) -> Result<RunFuture, Error>;

/// The body of a workflow.
pub(super) fn run(future: impl Future<Output = Encoded> + Send + 'static) -> Result<RunFuture, Error> {
    Ok(Box::pin(future))
}

pub(super) fn json(value: impl Serialize) -> Payload {
    codec::encode("a value", &value).expect("it can be encoded")
}

fn source(id: &'static str) -> Source {
    Source { id, file: file!(), line: 1, fingerprint: "", test: true }
}

pub(super) fn workflow(id: &'static str, body: Body) -> WorkflowDefinition {
    WorkflowDefinition {
        source: source(id),
        was: &[],
        body,
        recode_args: codec::recode::<Value>,
        accept: |_, args| Ok(json(args)),
        described: Described::NOTHING,
        pinned: false,
        is_published: false,
        recode_output: codec::recode::<Value>,
        rollback_failed: |error, failure| {
            let error: String = codec::decode("the error", error).expect("it is a text");
            Some(json(format!("{error}, and {failure}")))
        },
    }
}

/// A step that is never executed.
pub(super) fn any_step(source: Source) -> StepDefinition {
    let attempt: &Attempt<(Value,), Result<Value, Error>> = &Attempt(|_, _| unreachable!("the core executes nothing"));
    StepDefinition { source, ..StepDefinition::new(source.id, "", true, Described::NOTHING, attempt, ()) }
}

pub(super) fn step_definition(id: &'static str) -> &'static StepDefinition {
    let definition = any_step(source(id));
    // The tests give a step one value in place of a tuple.
    Box::leak(Box::new(StepDefinition { recode_args: codec::recode::<Value>, ..definition }))
}

/// The workflow that executes the steps of queues.
fn queue_workflow() -> &'static WorkflowDefinition {
    static WORKFLOW: OnceLock<WorkflowDefinition> = OnceLock::new();
    WORKFLOW.get_or_init(|| workflow("queue:tests/step", |_| unreachable!("the core starts no other run")))
}

pub(super) fn queue() -> Place {
    Place::Queue(queue_workflow())
}

// Operations.

/// An operation that is issued at its first poll.
pub(super) struct Awaited {
    operation: Operation,
    kind: Option<Kind>,
}

impl Future for Awaited {
    type Output = Completion;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Completion> {
        let Awaited { operation, kind } = &mut *self;
        let completion = ready!(operation.poll(context, || kind.take()));
        Poll::Ready(completion.expect("it is polled in its run's turn"))
    }
}

#[track_caller]
pub(super) fn operation(kind: Kind) -> Awaited {
    Awaited { operation: Operation::new(Location::caller()).expect("a run is polled"), kind: Some(kind) }
}

pub(super) fn step_request(id: &'static str, input: impl Serialize) -> StepRequest {
    StepRequest {
        definition: step_definition(id),
        input: json(input),
        policy: Cow::Borrowed(&Policy::DEFAULT),
        name: None,
        attempt: 1,
        not_before: 0,
        rollback: None,
        place: Place::Here,
        origin: None,
        suspensions: None,
        failing: None,
    }
}

#[track_caller]
pub(super) fn call(request: StepRequest) -> impl Future<Output = Encoded> + Send + Unpin {
    operation(Kind::Step(Box::new(request))).map(|completion| match completion {
        Completion::Completed(value) => Ok(value),
        Completion::Failed(error) => Err(error),
        other => panic!("a step ended with {other:?}"),
    })
}

#[track_caller]
pub(super) fn step(id: &'static str, input: impl Serialize) -> impl Future<Output = Encoded> + Send + Unpin {
    call(step_request(id, input))
}

/// A step with a rollback step, which receives the step's result.
#[track_caller]
pub(super) fn undoable(
    id: &'static str,
    input: impl Serialize,
    undo: &'static str,
) -> impl Future<Output = Encoded> + Send + Unpin {
    call(StepRequest { rollback: Some(undone_by(undo)), ..step_request(id, input) })
}

pub(super) fn undone_by(undo: &'static str) -> Rollback {
    Rollback::new(move |value| {
        let undo = step(undo, value.clone());
        Ok(Box::pin(async move { undo.await.map(drop).map_err(|error| Error::new(error.as_str())) }))
    })
}

#[track_caller]
pub(super) fn sleep_until(until: u64) -> impl Future<Output = ()> + Send + Unpin {
    operation(Kind::Timer { until, bounds: false, since: None }).map(|completion| match completion {
        Completion::Due | Completion::Woken => {}
        other => panic!("a timer ended with {other:?}"),
    })
}

pub(super) fn child_request(workflow_id: &'static str, input: impl Serialize) -> ChildRequest {
    let body: Body = |_| unreachable!("the core starts no other run");
    ChildRequest {
        definition: Box::leak(Box::new(workflow(workflow_id, body))),
        input: json(input),
        abandoned: false,
        detached: false,
        named: None,
        attributes: BTreeMap::new(),
        adopt: adopt::<Error>,
    }
}

/// The end of a child, or its start, as text.
#[track_caller]
pub(super) fn child(request: ChildRequest) -> impl Future<Output = String> + Send + Unpin {
    operation(Kind::Child(Box::new(request))).map(words)
}

/// The end of another run, as text.
#[track_caller]
pub(super) fn watch(run: &str) -> impl Future<Output = String> + Send + Unpin {
    operation(Kind::Watch(Target::from(Arc::from(run)))).map(words)
}

fn words(completion: Completion) -> String {
    match completion {
        Completion::Ended(end) => format!("{end:?}"),
        other => format!("{other:?}"),
    }
}

pub(super) struct Hook(Operation);

impl Hook {
    /// The text of a payload, or the owner of the token.
    pub fn next(&mut self) -> impl Future<Output = String> + Send + Unpin {
        poll_fn(|context| self.0.receive(context)).map(|received| match received.expect("it is polled in its turn") {
            Received::Payload(value) => value.as_str().to_owned(),
            Received::Conflict(owner) => format!("conflict with {owner}"),
        })
    }
}

pub(super) fn hook_request(token: &str) -> HookRequest {
    HookRequest {
        token: token.into(),
        address: token.into(),
        drawn: false,
        metadata: None,
        type_name: "tests::Any",
        check: |_| Ok(()),
        once: false,
        received: VecDeque::new(),
        yielded: false,
        since: None,
    }
}

#[track_caller]
pub(super) fn open_as(request: HookRequest) -> Hook {
    Hook(Operation::open(Location::caller(), request).expect("a run is polled"))
}

#[track_caller]
pub(super) fn open(token: &str) -> Hook {
    open_as(hook_request(token))
}

/// The run that is being polled.
pub(super) fn shared() -> Arc<Shared> {
    current().expect("a run is polled")
}

/// A branch, and the future of its output.
pub(super) fn spawn<T: Send + 'static>(
    branch: impl Future<Output = T> + Send + 'static,
) -> impl Future<Output = T> + Send + Unpin {
    let (sender, receiver) = oneshot::channel();
    shared().spawn(Box::pin(async move {
        let _ = sender.send(branch.await);
    }));
    receiver.map(|output| output.expect("the branch gives its output"))
}
