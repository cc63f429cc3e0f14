//! The workflows and steps of this build, collected at link time.
//!
//! `inventory` sees every definition in every crate that is linked into the program, wherever it stands: private, in a
//! nested module, in a function, in a test. It does not see a crate that no path of the program mentions, since that
//! crate is not linked: `use that_crate as _;` mentions it.

use std::collections::{BTreeSet, HashMap};
use std::future::Future;
use std::pin::Pin;
use std::sync::OnceLock;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::catalog::{self, Described};
use crate::codec::{self, Payload, Recode};
use crate::error::{Code, Error, Failure};
use crate::limits;
use crate::names;
use crate::queue;
use crate::replay::panic_text;
use crate::resources::{Requirement, Resources};
#[cfg(feature = "postgres")]
use crate::store::Transaction;
use crate::workflow::{Fallible, Stored, Workflow};

mod payloads;

pub(crate) use self::payloads::{check_payload, payload_type};

/// A value of success or a typed error, encoded: how a workflow or an attempt of a step ended.
pub(crate) type Encoded = Result<Payload, Payload>;
/// A workflow's future, whose output is encoded.
pub(crate) type RunFuture = Pin<Box<dyn Future<Output = Encoded> + Send>>;

/// Where a definition stands and what it looked like when it was compiled.
#[derive(Clone, Copy, Debug)]
pub struct Source {
    /// The id: the module's path and the function's name, or the pinned one.
    pub id: &'static str,
    /// The file, as the compiler names it.
    pub file: &'static str,
    /// The line of the function's name.
    pub line: u32,
    /// SHA-256 over the tokens of signature and body, in hex.
    pub fingerprint: &'static str,
    /// Whether it was compiled as a part of a test.
    pub test: bool,
}

/// A workflow of this build.
pub struct WorkflowDefinition {
    pub(crate) source: Source,
    pub(crate) was: &'static [&'static str],
    pub(crate) body: fn(&Payload) -> Result<RunFuture, Error>,
    pub(crate) recode_args: Recode,
    /// What JSON from elsewhere comes to as arguments.
    pub(crate) accept: fn(&WorkflowDefinition, serde_json::Value) -> Result<Payload, Error>,
    pub(crate) described: Described,
    /// Of the value of success.
    pub(crate) recode_output: Recode,
    /// What an encoded error becomes when a rollback fails as well.
    pub(crate) rollback_failed: fn(&Payload, &Error) -> Option<Payload>,
}

impl WorkflowDefinition {
    #[doc(hidden)]
    pub const fn new<W: Workflow>(source: Source, was: &'static [&'static str]) -> Self {
        WorkflowDefinition {
            source,
            was,
            body: body::<W>,
            recode_args: codec::recode::<W::Args>,
            accept: catalog::accept::<W>,
            described: Described::NOTHING,
            recode_output: codec::recode::<<W::Output as Fallible>::Ok>,
            rollback_failed: rollback_failed::<<W::Output as Fallible>::Err>,
        }
    }
}

impl WorkflowDefinition {
    #[doc(hidden)]
    pub const fn described(mut self, described: Described) -> Self {
        self.described = described;
        self
    }
}

fn rollback_failed<E: Failure>(error: &Payload, rollback: &Error) -> Option<Payload> {
    let error = codec::decode::<E>("the run's error", error).ok()?;
    let error = caught("`Failure::rollback_failed`", || error.rollback_failed(rollback)).ok()?;
    codec::encode("the run's error", &error).ok()
}

fn body<W: Workflow>(args: &Payload) -> Result<RunFuture, Error> {
    let future = W::run(codec::decode::<W::Args>("the workflow's arguments", args)?);
    Ok(Box::pin(async move { encode_outcome("the workflow's result", future.await) }))
}

/// Encodes an outcome. What does not encode is an error of the type's own, made from ours.
fn encode_outcome<R: Fallible>(what: &str, outcome: R) -> Encoded {
    let failed = |error: Error| -> Payload {
        let typed = <R::Err as From<Error>>::from(error.into_fatal());
        codec::encode("the error", &typed).unwrap_or_else(|_| never_encodes())
    };
    match outcome.into_result() {
        Ok(value) => codec::encode(what, &value)
            .and_then(|payload| codec::decode::<R::Ok>(what, &payload).map(|_| payload))
            .map_err(failed),
        Err(error) => Err(encode_error("the error", &error).unwrap_or_else(failed)),
    }
}

/// Encodes an error, and makes sure that it can be read again.
fn encode_error<E: Failure>(what: &str, error: &E) -> Result<Payload, Error> {
    let payload = codec::encode(what, error)?;
    codec::decode::<E>(what, &payload)?;
    Ok(payload)
}

/// Stands for an error whose own type refuses to be encoded twice over.
fn never_encodes() -> Payload {
    codec::encode("a text", "an error that cannot be encoded").unwrap_or_else(|_| unreachable!("a text encodes"))
}

/// When and how long a step is attempted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Policy {
    /// Attempts after the first.
    pub retries: u32,
    /// The upper bound of the delay before the first retry; it doubles with each.
    pub backoff_min: Duration,
    /// The largest upper bound.
    pub backoff_max: Duration,
    /// How long one attempt may take, if that is bounded.
    pub timeout: Option<Duration>,
    /// How long an attempt may go on without a [`heartbeat`](crate::heartbeat), if that is bounded.
    pub heartbeat: Option<Duration>,
}

impl Policy {
    /// What a step has unless it says otherwise.
    pub const DEFAULT: Policy = Policy {
        retries: limits::RETRIES,
        backoff_min: limits::BACKOFF.0,
        backoff_max: limits::BACKOFF.1,
        timeout: None,
        heartbeat: None,
    };

    /// With so many attempts after the first.
    pub const fn retries(self, retries: u32) -> Self {
        Policy { retries, ..self }
    }

    /// With these bounds of the delay before a retry.
    pub const fn backoff(self, backoff_min: Duration, backoff_max: Duration) -> Self {
        Policy { backoff_min, backoff_max, ..self }
    }

    /// With a bound on each attempt.
    pub const fn timeout(self, timeout: Duration) -> Self {
        Policy { timeout: Some(timeout), ..self }
    }

    /// With a bound on the silence of each attempt.
    pub const fn heartbeat(self, heartbeat: Duration) -> Self {
        Policy { heartbeat: Some(heartbeat), ..self }
    }
}

/// How an attempt runs.
pub enum Execution<R> {
    /// As a future on the runtime.
    Async(Pin<Box<dyn Future<Output = R> + Send>>),
    /// As a function on the blocking pool.
    Blocking(Box<dyn FnOnce() -> R + Send>),
    /// As a future on the runtime, in a transaction of the store, which it gives back.
    #[cfg(feature = "postgres")]
    Transaction(Transactional<R>),
}

/// An attempt that runs in a transaction.
#[cfg(feature = "postgres")]
pub type Transactional<R> =
    Box<dyn FnOnce(Transaction) -> Pin<Box<dyn Future<Output = (R, Transaction)> + Send>> + Send>;

/// A step: the hidden type behind each `#[step]` function. It is implemented by the attribute alone.
pub trait Step: 'static {
    /// The arguments, always as a tuple, without the resources.
    type Args: Stored;
    /// What the function returns: a `Result`.
    type Output: Fallible;

    /// The resources that the signature declares.
    fn requires() -> Vec<Requirement>;

    /// One attempt.
    fn execute(args: Self::Args, resources: &Resources) -> Result<Execution<Self::Output>, Error>;
}

/// How an attempt failed: what the engine has to know of the error, beside the error itself.
#[derive(Clone, Debug)]
pub(crate) struct AttemptFailure {
    /// The typed error, encoded.
    pub error: Payload,
    pub fatal: bool,
    pub retry_after: Option<Duration>,
}

/// What an attempt gave.
pub(crate) type AttemptResult = Result<Payload, AttemptFailure>;

/// A step of this build.
pub struct StepDefinition {
    pub(crate) source: Source,
    /// The queue whose workers execute it, if it is not executed where its run is.
    pub(crate) queue: Option<&'static str>,
    /// Whether it runs in a transaction of the store.
    #[cfg(feature = "postgres")]
    pub(crate) transaction: bool,
    pub(crate) policy: Policy,
    pub(crate) requires: fn() -> Vec<Requirement>,
    pub(crate) execute: fn(&'static str, &Payload, &Resources) -> Result<Execution<AttemptResult>, Error>,
    /// Turns an error of the engine's into the step's own type.
    pub(crate) adopt: fn(Error) -> AttemptFailure,
    pub(crate) recode_args: Recode,
    /// Whether a payload is its arguments.
    pub(crate) check_args: fn(&Payload) -> Result<(), Error>,
    /// The type of its arguments, for an error message.
    pub(crate) args_name: fn() -> &'static str,
    /// Whether another step has the id, looked up once.
    unique: OnceLock<Result<(), Error>>,
}

impl StepDefinition {
    #[doc(hidden)]
    pub const fn new<S: Step>(source: Source, policy: Policy) -> Self {
        StepDefinition {
            source,
            queue: None,
            #[cfg(feature = "postgres")]
            transaction: false,
            policy,
            requires: S::requires,
            execute: execute::<S>,
            adopt: adopt::<<S::Output as Fallible>::Err>,
            recode_args: codec::recode::<S::Args>,
            check_args: |args| {
                let fits = || codec::decode::<S::Args>("the step's arguments", args).map(drop);
                caught("the type of an argument", fits).and_then(|fits| fits)
            },
            args_name: std::any::type_name::<S::Args>,
            unique: OnceLock::new(),
        }
    }
}

impl StepDefinition {
    #[doc(hidden)]
    pub const fn queue(mut self, queue: &'static str) -> Self {
        self.queue = Some(queue);
        self
    }

    #[doc(hidden)]
    #[cfg(feature = "postgres")]
    pub const fn transaction(mut self) -> Self {
        self.transaction = true;
        self
    }

    /// Refuses a step whose id another step has too.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let look_up = || {
            names::not_reserved("the id of a step", self.source.id).map_err(Error::into_fatal)?;
            match registry().steps.get(self.source.id).map(Vec::as_slice).unwrap_or_default() {
                [] | [_] => Ok(()),
                several => Err(duplicate("steps", self.source.id, several.iter().map(|definition| definition.source))),
            }
        };
        self.unique.get_or_init(look_up).clone()
    }
}

fn execute<S: Step>(
    step: &'static str,
    args: &Payload,
    resources: &Resources,
) -> Result<Execution<AttemptResult>, Error> {
    let args = codec::decode::<S::Args>("the step's arguments", args)
        .map_err(|error| error.operation(format!("step `{step}`")).into_fatal())?;
    Ok(match S::execute(args, resources)? {
        Execution::Async(attempt) => Execution::Async(Box::pin(async move { attempt_result(step, attempt.await) })),
        Execution::Blocking(attempt) => Execution::Blocking(Box::new(move || attempt_result(step, attempt()))),
        #[cfg(feature = "postgres")]
        Execution::Transaction(attempt) => Execution::Transaction(Box::new(move |transaction| {
            Box::pin(async move {
                let (outcome, transaction) = attempt(transaction).await;
                (attempt_result(step, outcome), transaction)
            })
        })),
    })
}

pub(crate) fn attempt_result<R: Fallible>(step: &'static str, outcome: R) -> AttemptResult {
    match outcome.into_result() {
        // Decoded at once, so that what the journal holds is known to be readable before it is recorded.
        Ok(value) => codec::encode("the step's result", &value)
            .and_then(|payload| codec::decode::<R::Ok>("the step's result", &payload).map(|_| payload))
            .map_err(|error| adopt::<R::Err>(error.operation(format!("step `{step}`")).into_fatal())),
        Err(error) => Err(failure(error)),
    }
}

fn failure<E: Failure>(error: E) -> AttemptFailure {
    let (fatal, retry_after) = (error.is_fatal(), error.retry_after());
    match encode_error("the step's error", &error) {
        Ok(error) => AttemptFailure { error, fatal, retry_after },
        Err(error) => adopt::<E>(error.into_fatal()),
    }
}

/// An error of ours as that of a step, whatever the step's type does.
pub(crate) fn adopted(adopt: fn(Error) -> AttemptFailure, error: Error) -> AttemptFailure {
    caught("the error's type", || adopt(error.clone()))
        .unwrap_or_else(|panic| self::adopt::<Error>(error.because(panic)))
}

pub(crate) fn adopt<E: Failure>(error: Error) -> AttemptFailure {
    let (fatal, retry_after) = (error.is_fatal(), error.delay());
    let error = codec::encode("the step's error", &E::from(error)).unwrap_or_else(|_| never_encodes());
    AttemptFailure { error, fatal, retry_after }
}

/// What the attributes submit.
pub enum Item {
    /// A workflow.
    Workflow(&'static WorkflowDefinition),
    /// A step.
    Step(&'static StepDefinition),
    /// A type of payloads.
    #[cfg(feature = "schema")]
    Payload(PayloadDefinition),
}

inventory::collect!(Item);

/// A type of payloads, and how it is described.
#[cfg(feature = "schema")]
pub struct PayloadDefinition {
    /// The key of the type. Asking for it lets payloads be checked where they are sent.
    pub key: fn() -> &'static str,
    /// Its JSON Schema.
    pub schema: fn() -> serde_json::Value,
}

/// Every definition of this build by its id.
pub(crate) struct Registry {
    workflows: HashMap<&'static str, Vec<&'static WorkflowDefinition>>,
    steps: HashMap<&'static str, Vec<&'static StepDefinition>>,
    /// The workflows that execute the steps of queues, by their ids.
    queued: HashMap<&'static str, &'static WorkflowDefinition>,
    /// The schemas of payloads, by the keys of their types.
    #[cfg(feature = "schema")]
    payloads: HashMap<&'static str, fn() -> serde_json::Value>,
    /// SHA-256 over all ids and fingerprints, and the program's file: another value means another build.
    pub(crate) build: String,
}

/// The registry, made at its first use.
pub(crate) fn registry() -> &'static Registry {
    static REGISTRY: OnceLock<Registry> = OnceLock::new();
    REGISTRY.get_or_init(Registry::collect)
}

impl Registry {
    fn collect() -> Self {
        let mut workflows: HashMap<_, Vec<&'static WorkflowDefinition>> = HashMap::new();
        let mut steps: HashMap<_, Vec<&'static StepDefinition>> = HashMap::new();
        #[cfg(feature = "schema")]
        let mut payloads = HashMap::new();
        let mut sources = Vec::new();
        for item in inventory::iter::<Item> {
            match item {
                Item::Workflow(definition) => {
                    workflows.entry(definition.source.id).or_default().push(definition);
                    for was in definition.was {
                        workflows.entry(was).or_default().push(definition);
                    }
                    sources.push(definition.source);
                }
                Item::Step(definition) => {
                    steps.entry(definition.source.id).or_default().push(definition);
                    sources.push(definition.source);
                }
                #[cfg(feature = "schema")]
                Item::Payload(definition) => {
                    payloads.insert((definition.key)(), definition.schema);
                }
            }
        }
        sources.sort_by_key(|source| (source.id, source.fingerprint));
        let mut hash = Sha256::new();
        for source in sources {
            hash.update(source.id);
            hash.update(source.fingerprint);
        }
        // Helpers and constants have no fingerprint: the file tells that they may have changed.
        if let Ok(program) = std::env::current_exe().and_then(std::fs::metadata) {
            hash.update(program.len().to_le_bytes());
            let modified = program.modified().ok().and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
            hash.update(modified.unwrap_or_default().as_nanos().to_le_bytes());
        }
        let queued = steps.values().flatten().filter_map(|step| queue::workflow(step));
        let queued = queued.map(|workflow| (workflow.source.id, workflow)).collect();
        Registry {
            workflows,
            steps,
            queued,
            #[cfg(feature = "schema")]
            payloads,
            build: hex(&hash.finalize()),
        }
    }

    /// The workflow with this id, now or formerly.
    pub(crate) fn workflow(&self, id: &str) -> Result<&'static WorkflowDefinition, Error> {
        let found = self.workflows.get(id).map(Vec::as_slice).unwrap_or_default();
        if !found.is_empty() {
            names::not_reserved("the id of a workflow", id).map_err(Error::into_fatal)?;
        }
        if let Some(queued) = self.queued.get(id) {
            return Ok(queued);
        }
        match found {
            [one] => Ok(one),
            [] => Err(unknown("workflow", id, self.workflows.keys().copied())),
            several => Err(duplicate("workflows", id, several.iter().map(|definition| definition.source))),
        }
    }

    /// Refuses a build in which two definitions have one id, unless all of them are parts of tests: there a local function
    /// is often named as one of another test, and it is an error only to use it.
    pub(crate) fn check_ids(&self) -> Result<(), Error> {
        let workflows = self.workflows.iter().map(|(id, all)| ("workflows", *id, sources(all, |it| it.source)));
        let steps = self.steps.iter().map(|(id, all)| ("steps", *id, sources(all, |it| it.source)));
        let several = workflows.chain(steps).filter(|(.., sources)| sources.len() > 1);
        let refused = several.filter(|(.., sources)| sources.iter().any(|source| !source.test));
        match refused.min_by_key(|(kind, id, _)| (*kind, *id)) {
            Some((kind, id, sources)) => Err(duplicate(kind, id, sources.into_iter())),
            None => Ok(()),
        }
    }

    /// Every workflow, by its present id.
    pub(crate) fn workflows(&self) -> impl Iterator<Item = &'static WorkflowDefinition> {
        let definitions =
            self.workflows.iter().flat_map(|(id, definitions)| definitions.iter().map(move |it| (id, it)));
        definitions.filter(|(id, definition)| **id == definition.source.id).map(|(_, definition)| *definition)
    }

    /// The schema of the type of payloads with this key, if the build has it.
    pub(crate) fn payload_schema(&self, key: &str) -> Option<serde_json::Value> {
        #[cfg(feature = "schema")]
        return self.payloads.get(key).map(|schema| schema());
        #[cfg(not(feature = "schema"))]
        {
            let _ = key;
            None
        }
    }

    /// The ids of all workflows, former ones included.
    pub(crate) fn workflow_ids(&self) -> impl Iterator<Item = &'static str> {
        self.workflows.keys().copied()
    }

    /// The workflow that executes a step of a queue.
    pub(crate) fn queued(&self, step: &StepDefinition) -> Option<&'static WorkflowDefinition> {
        let id = queue::workflow_id(step.queue?, step.source.id);
        self.queued.get(&*id).copied()
    }

    /// The ids of the workflows that execute the steps of a queue.
    pub(crate) fn queued_in(&self, queue: &str) -> impl Iterator<Item = &'static str> {
        self.queued.keys().copied().filter(move |id| queue::parse_id(id).is_some_and(|(name, _)| name == queue))
    }

    /// Whether steps of this build have queues.
    pub(crate) fn has_queues(&self) -> bool {
        !self.queued.is_empty()
    }

    /// The queues that steps of this build have.
    pub(crate) fn queues(&self) -> Vec<&'static str> {
        let queues = self.steps.values().flatten().filter_map(|step| step.queue);
        queues.collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// The step with this id.
    pub(crate) fn step(&self, id: &str) -> Result<&'static StepDefinition, Error> {
        let found = self.steps.get(id).map(Vec::as_slice).unwrap_or_default();
        match found {
            [one] => Ok(one),
            [] => Err(unknown("step", id, self.steps.keys().copied())),
            several => Err(duplicate("steps", id, several.iter().map(|definition| definition.source))),
        }
    }

    /// Every step.
    pub(crate) fn steps(&self) -> impl Iterator<Item = &'static StepDefinition> {
        self.steps.values().flatten().copied()
    }
}

fn sources<T>(definitions: &[&'static T], source: fn(&'static T) -> Source) -> Vec<Source> {
    definitions.iter().map(|definition| source(definition)).collect()
}

fn unknown(kind: &str, id: &str, known: impl Iterator<Item = &'static str>) -> Error {
    let name = id.rsplit("::").next().unwrap_or(id);
    let near: Vec<_> = known.filter(|known| known.rsplit("::").next() == Some(name)).collect();
    let within_crate = id.split_once("::").map(|(_, path)| path);
    let is_elsewhere = |known: &&str| known.split_once("::").map(|(_, path)| path) == within_crate;
    let elsewhere = near.iter().copied().find(|known| within_crate.is_some() && is_elsewhere(known));
    let near = near.join(", ");
    let error =
        Error::coded(Code::NotRegistered, format!("no {kind} with the id `{}` is in this build", codec::excerpt(id)));
    if let Some(elsewhere) = elsewhere {
        // A module that two programs include is a part of two crates.
        error.found(near).help(format!(
            "an id begins with the crate, so a function of a module that two programs share has an id in each: put it into \
             a library, or pin its id with `id = \"…\"` in both; `was = \"{id}\"` lets `{elsewhere}` continue its runs"
        ))
    } else if near.is_empty() {
        error.help(
            "link the crate that defines it (`use that_crate as _;` if nothing else mentions it), or keep a moved or \
             renamed function alive with `was = \"…\"`",
        )
    } else {
        error.found(near).help(format!("if the function moved, add `was = \"{id}\"` to its attribute"))
    }
}

fn duplicate(kind: &str, id: &str, sources: impl Iterator<Item = Source>) -> Error {
    let places = sources.map(|source| format!("{}:{}", source.file, source.line)).collect::<Vec<_>>().join(" and ");
    Error::coded(Code::DuplicateId, format!("several {kind} have the id `{id}`"))
        .found(places)
        .help(
            "give one of them an id of its own: `id = \"…\"` in its attribute; an id is the path of the module and the name of \
             the function, so functions in two `impl`s or in two functions of one module can share it",
        )
        .into_fatal()
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Calls code of a user's type where a panic would be nobody's.
pub(crate) fn caught<T>(what: &str, call: impl FnOnce() -> T) -> Result<T, Error> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(call))
        .map_err(|panic| Error::coded(Code::Panic, format!("{what} panicked: {}", panic_text(&*panic))).into_fatal())
}
