//! Drives a run by hand, and makes operations without the engine.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Debug;
use std::future::{Future, poll_fn};
use std::panic::Location;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use futures_util::FutureExt;
use serde::Serialize;
use serde_json::Value;
use tokio::sync::oneshot;

use crate::codec::{self, Payload};
use crate::definition::{
    Bodies, Described, Encoded, Execution, Policy, Resources, RunFuture, Source, Step, StepDefinition,
    WorkflowDefinition, adopt,
};
use crate::error::Error;
use crate::replay::{
    Action, Carried, ChildRequest, Command, Completion, Core, Delivery, Effects, End, Event, HookRequest, Host,
    Identity, Kind, Operation, Outstanding, Place, Received, Rollback, Shared, StepRequest, Target, TurnRecord,
    current, outstanding,
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

pub(super) struct AnyStep;

impl Step for AnyStep {
    type Args = Value;
    type Output = Result<Value, Error>;

    fn attempt(_: Value, _: &Resources) -> Result<Execution<Self::Output>, Error> {
        unreachable!("the core executes nothing")
    }
}

pub(super) fn step_definition(id: &'static str) -> &'static StepDefinition {
    Box::leak(Box::new(StepDefinition::new::<AnyStep>(source(id), Policy::DEFAULT)))
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

// Events.

pub(super) fn completed(op: u64, value: impl Serialize) -> Event {
    Event::Completed { op, value: json(value) }
}

pub(super) fn failed(op: u64, error: impl Serialize) -> Event {
    Event::Failed { op, error: json(error) }
}

pub(super) fn attempt_failed(op: u64, attempt: u32, not_before: u64) -> Event {
    Event::Attempt { op, attempt, error: json("busy"), not_before }
}

pub(super) fn due(op: u64) -> Event {
    Event::Timer { op }
}

pub(super) fn payload(op: u64, value: impl Serialize) -> Event {
    Event::Payload { op, value: json(value) }
}

pub(super) fn conflict(op: u64, owner: &str) -> Event {
    Event::Conflict { op, owner: owner.to_owned() }
}

pub(super) fn ended(op: u64, end: End) -> Event {
    Event::Ended { op, end }
}

pub(super) fn cancel(reason: &str) -> Event {
    Event::Cancel { reason: reason.to_owned() }
}

pub(super) fn suspended(op: u64, label: &str, payload: impl Serialize) -> Event {
    Event::Suspended { op, label: label.into(), payload: json(payload), type_name: "tests::Any".into() }
}

// Commands.

pub(super) fn step_command(op: u64, id: &'static str, input: impl Serialize) -> Command {
    let (rollback, run, given, key) = (false, None, None, None);
    Command::Step { op, step: id.into(), name: None, input: json(input), rollback, run, given, key }
}

pub(super) fn undoable_command(op: u64, id: &'static str, input: impl Serialize) -> Command {
    match step_command(op, id, input) {
        Command::Step { op, step, name, input, run, given, key, .. } => {
            Command::Step { op, step, name, input, rollback: true, run, given, key }
        }
        other => other,
    }
}

pub(super) fn timer_command(op: u64, until: u64) -> Command {
    Command::Timer { op, until }
}

pub(super) fn hook_command(op: u64, token: &'static str) -> Command {
    Command::Hook { op, token: token.into(), drawn: false, metadata: None }
}

pub(super) fn watch_command(op: u64, run: &'static str) -> Command {
    Command::Watch { op, run: run.into() }
}

pub(super) fn dropped(op: u64) -> Command {
    Command::Cancel { op }
}

// Runs.

/// The parameters of a run other than its code.
#[derive(Clone)]
pub(super) struct Setting {
    pub generation: u64,
    pub args: Payload,
    pub carried: Carried,
    pub seed: &'static str,
    /// The random number of the host.
    pub draw: u128,
    pub long_after: u64,
}

impl Default for Setting {
    fn default() -> Self {
        let (args, carried, seed) = (json(()), Carried::default(), SEED);
        Setting { generation: 0, args, carried, seed, draw: 7, long_after: u64::MAX }
    }
}

impl Setting {
    fn core(&self, definition: &'static WorkflowDefinition) -> Core {
        let draw = self.draw;
        let host = Host {
            bodies: Bodies::default(),
            draw: Arc::new(move || draw),
            known: |command| match command {
                Command::Step { step, .. } if !step.starts_with("gone") => Some(source("known")),
                _ => None,
            },
            queued: |step| (step.source.id == "queued").then(queue_workflow),
            queue_call: |definition, step, _, _, key| {
                Ok(ChildRequest { definition, input: json((&step.input, key)), ..child_request("unused", ()) })
            },
            long_after: self.long_after,
        };
        Core::new(definition, Identity { run: RUN.into(), workflow: WORKFLOW, generation: self.generation }, host)
    }
}

/// A run that a test drives. When it is dropped, the run is replayed from its stored form: for each number of turns, a
/// new core replays this many and then receives the events of the others for the first time. It must issue the same
/// commands and ends.
pub(super) struct Driven {
    definition: &'static WorkflowDefinition,
    setting: Setting,
    core: Core,
    turns: Vec<Delivery>,
    /// The observable facts of the core after each turn.
    observed: Vec<String>,
    /// The number of turns that were replayed, and not driven by the test.
    repeated: usize,
}

impl Driven {
    /// A run after its first event.
    #[track_caller]
    pub fn start(body: Body) -> Self {
        Self::start_as(body, Setting::default())
    }

    #[track_caller]
    pub fn start_as(body: Body, setting: Setting) -> Self {
        Self::try_start(body, setting).unwrap_or_else(|error| panic!("the run begins: {error:?}"))
    }

    pub fn try_start(body: Body, setting: Setting) -> Result<Self, Error> {
        Self::start_of(workflow(WORKFLOW, body), setting)
    }

    pub fn start_of(definition: WorkflowDefinition, setting: Setting) -> Result<Self, Error> {
        let mut driven = Self::before_start(Box::leak(Box::new(definition)), setting);
        let Setting { args, carried, seed, .. } = driven.setting.clone();
        driven.try_deliver(Event::Started { seed: seed.into(), args, carried: carried.some().map(Box::new) })?;
        Ok(driven)
    }

    fn before_start(definition: &'static WorkflowDefinition, setting: Setting) -> Self {
        let core = setting.core(definition);
        Driven { definition, setting, core, turns: Vec::new(), observed: Vec::new(), repeated: 0 }
    }

    pub fn try_deliver_at(&mut self, at: u64, event: Event) -> Result<Vec<Command>, Error> {
        let delivery = self.core.deliver(at, event)?;
        let commands = delivery.commands.clone();
        self.turns.push(delivery);
        self.observed.push(observed(&self.core));
        Ok(commands)
    }

    pub fn try_deliver(&mut self, event: Event) -> Result<Vec<Command>, Error> {
        self.try_deliver_at(self.turns.last().map_or(STARTED_AT, |last| last.at + 1), event)
    }

    /// Delivers an event, and returns the commands of the run.
    #[track_caller]
    pub fn deliver(&mut self, event: Event) -> Vec<Command> {
        self.try_deliver(event).unwrap_or_else(|error| panic!("the run goes on: {error:?}"))
    }

    #[track_caller]
    pub fn deliver_at(&mut self, at: u64, event: Event) -> Vec<Command> {
        self.try_deliver_at(at, event).unwrap_or_else(|error| panic!("the run goes on: {error:?}"))
    }

    /// Delivers an event, and returns the error with which the run refuses it.
    #[track_caller]
    pub fn refuse(&mut self, event: Event) -> Error {
        match self.try_deliver(event) {
            Ok(commands) => panic!("the run goes on with {commands:?}"),
            Err(error) => error,
        }
    }

    pub fn core(&self) -> &Core {
        &self.core
    }

    pub fn shared(&self) -> &Shared {
        self.core.shared()
    }

    pub fn turns(&self) -> &[Delivery] {
        &self.turns
    }

    pub fn last(&self) -> &Delivery {
        self.turns.last().expect("the run has begun")
    }

    /// The commands after the last event.
    pub fn commands(&self) -> &[Command] {
        &self.last().commands
    }

    /// The end of the run, as text. Empty while the run is unfinished.
    pub fn end(&self) -> String {
        self.last().end.as_ref().map_or(String::new(), |end| format!("{end:?}"))
    }

    pub fn actions(&self) -> Vec<Action> {
        self.shared().take_actions().into_vec()
    }

    pub fn effects(&self) -> Effects {
        self.shared().take_effects()
    }

    /// Replays the turns with other code.
    pub fn replayed_by(&self, body: Body) -> Result<Driven, Error> {
        self.replayed_as(body, self.setting.clone(), self.turns.clone())
    }

    /// Replays stored turns with some code.
    pub fn replayed_as(&self, body: Body, setting: Setting, turns: Vec<Delivery>) -> Result<Driven, Error> {
        self.replayed_of(workflow(WORKFLOW, body), setting, turns)
    }

    pub fn replayed_of(
        &self,
        definition: WorkflowDefinition,
        setting: Setting,
        turns: Vec<Delivery>,
    ) -> Result<Driven, Error> {
        let mut driven = Self::before_start(Box::leak(Box::new(definition)), setting);
        for (at, delivery) in stored(turns.clone()).into_iter().enumerate() {
            let later = || turns[at + 1..].iter().flat_map(|turn| turn.commands.clone()).collect();
            driven.core.replay(delivery, later)?;
            driven.observed.push(observed(&driven.core));
        }
        (driven.turns, driven.repeated) = (turns.clone(), turns.len());
        Ok(driven)
    }

    fn repeat_from_each_turn(&self) {
        for repeated in self.repeated..=self.turns.len() {
            let mut core = self.setting.core(self.definition);
            let mut open = BTreeMap::new();
            for (number, delivery) in stored(self.turns.clone()).into_iter().enumerate() {
                let what = format!("turn {number} of {}, of which {repeated} are repeated", self.turns.len());
                outstanding(&mut open, &TurnRecord { deliveries: vec![delivery.clone()] });
                if number < repeated {
                    core.replay(delivery, Vec::new).unwrap_or_else(|error| panic!("{what}: {error:?}"));
                    assert!(core.shared().take_actions().is_empty(), "{what}: a replay asks for nothing to be done");
                } else {
                    let again = core.deliver(delivery.at, delivery.event.clone());
                    let again = again.unwrap_or_else(|error| panic!("{what}: {error:?}"));
                    assert_eq!(text(&again), text(&delivery), "{what}");
                }
                assert_eq!(observed(&core), self.observed[number], "{what}");
                compare_outstanding(&core, &open);
            }
        }
    }
}

impl Drop for Driven {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.repeat_from_each_turn();
        }
    }
}

/// Asserts that the operations which are open by the journal alone are those of the core, except dropped steps that may
/// have to be undone.
fn compare_outstanding(core: &Core, open: &BTreeMap<u64, Outstanding>) {
    if core.has_ended() || core.shared().is_unwinding() {
        return;
    }
    let is_kept = |op: &u64| core.shared().can_be_undone(*op) && !open.contains_key(op);
    let by_core: BTreeSet<u64> = open_ops(core).into_iter().filter(|op| !is_kept(op)).collect();
    assert_eq!(by_core, open.keys().copied().collect());
}

/// Stores turns and reads them back.
fn stored(turns: Vec<Delivery>) -> Vec<Delivery> {
    let row = TurnRecord { deliveries: turns }.encode().expect("the turns are stored");
    TurnRecord::decode(row.format, row.checksum, &row.body).expect("the turns are read back").deliveries
}

fn text(delivery: &Delivery) -> String {
    serde_json::to_string(delivery).expect("a turn can be stored")
}

fn open_ops(core: &Core) -> BTreeSet<u64> {
    (0..100).filter(|op| core.shared().with_open(*op, |_| ()).is_some()).collect()
}

/// The observable facts of a core, which a replay must reproduce.
fn observed(core: &Core) -> String {
    let run = core.shared();
    let open = open_ops(core);
    let keys: Vec<_> = open.iter().map(|op| run.key_base(*op)).collect();
    let openings: Vec<_> = open.iter().map(|op| run.opening_once(*op)).collect();
    let steps: Vec<_> = open
        .iter()
        .filter_map(|op| {
            run.with_open(*op, |kind| match kind {
                Kind::Step(step) => Some((step.attempt, step.counted(), step.not_before, step.input.clone())),
                _ => None,
            })?
        })
        .collect();
    let facts: [&dyn Debug; 13] = [
        &run.now(),
        &core.has_ended(),
        &open,
        &keys,
        &openings,
        &steps,
        &run.sleeps(),
        &run.wake_at(),
        &run.has_steps(),
        &run.value(),
        &(run.is_unwinding(), run.is_failing(), run.is_continuing()),
        &(run.depth(), run.inherited()),
        &run.resume_actions(STARTED_AT),
    ];
    format!("{facts:#?}")
}
