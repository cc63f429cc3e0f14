//! The attempt that runs the current code: what a step can read of it and request from it.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use futures_util::future::Either;
use tokio_util::sync::CancellationToken;

use super::Client;
use super::inner::{Handle, Inner};
use super::parts::active_run::ActiveRun;
use super::parts::life::Life;
use super::parts::mailbox::EarlyEnd;
use super::parts::outputs::WritingAttempt;
use crate::codec::Payload;
use crate::error::{Code, Error, Result};
use crate::keys::{self, KeyBase};
use crate::model::span_id;
use crate::replay::{self, Inherited, Origin, Suspension};

/// What a step can read about its current attempt: see [`step_info`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StepInfo {
    /// The id of the step's definition.
    pub step: String,
    /// The same for every attempt of this call, and different for every other call: send it to a service that deduplicates.
    ///
    /// A call keeps its key as long as it may have taken effect: over restarts, and over [`Run::retry`](crate::Run::retry),
    /// so that a charge which timed out but succeeded is not repeated. After rollbacks have undone a part of the run, the
    /// undone calls and all later calls get new keys when they are executed again, since a service would match the
    /// old keys to the undone calls. A [fork](crate::Run::fork) has its own keys, and so has each generation of a run that
    /// continues as new. A step of a queue has the key of its call.
    ///
    /// A step that is called inside a step has the key of the outer step, the id of its own
    /// definition, and the number of the call among the calls of the same step in that attempt.
    /// Calls of different steps may be made in any order; calls of one step must be made in the same
    /// order in each attempt. A task that a step [spawns](crate::spawn()) has its own counters.
    ///
    /// The format does not change: `run/generation/unwindings/operation`, with `/step/number` for each step inside, where
    /// `%` and `/` in ids are `%25` and `%2F`.
    pub idempotency_key: String,
    /// Counts from 1.
    pub attempt: u32,
    /// The id of the run.
    pub run: String,
}

/// The attempt that the current code is part of.
pub(super) struct Scope {
    /// The handle of the engine that executes the attempt.
    pub engine: Weak<Handle>,
    /// The calling operation, if the step is executed for another run.
    pub origin: Option<Origin>,
    pub op: u64,
    /// The base of the operation's idempotency key.
    pub base: KeyBase,
    pub attempt: u32,
    pub step: &'static str,
    /// The step that is an operation of the run: `step`, or the one that it was called in.
    pub outer: &'static str,
    pub live: Arc<ActiveRun>,
    pub inherited: Option<Arc<Inherited>>,
    /// For a step inside a step: the part of its key after the key of the operation.
    pub path: String,
    /// How often it has called each step.
    pub inner: Calls,
    pub life: Arc<Life>,
    /// The values that resumed earlier suspensions, by label.
    pub resumed: Option<Arc<BTreeMap<Box<str>, Payload>>>,
    /// The payload of the last suspension that was resumed.
    pub last_payload: Option<Payload>,
}

/// An attempt that writes to streams, and its engine.
#[derive(Clone)]
pub(crate) struct AttemptWriter {
    pub(super) engine: Weak<Handle>,
    pub(super) by: WritingAttempt,
}

tokio::task_local! {
    static SCOPE: Scope;
    /// The attempt whose chunk the running output function has received.
    static TAKES: AttemptWriter;
}

/// Makes a future one of an output function that has received a chunk of this attempt.
pub(super) fn taken<F: Future>(writer: AttemptWriter, future: F) -> impl Future<Output = F::Output> {
    TAKES.scope(writer, future)
}

/// The attempt whose chunk the running output function has received.
fn taken_from() -> Option<AttemptWriter> {
    // Not in a workflow whose first turn is polled by the function that starts it.
    replay::current().is_none().then(|| TAKES.try_with(Clone::clone).ok())?
}

/// Calls a function with the scope of the current attempt. `None` outside a step, and in a workflow: a
/// step that starts a run polls its first turn, and that run is not part of the step; its replays are polled outside.
///
/// All reads of the scope use this function, so that a first turn and a replay see the same.
pub(super) fn of_attempt<T>(look: impl FnOnce(&Scope) -> T) -> Option<T> {
    if replay::current().is_some() {
        return None;
    }
    SCOPE.try_with(look).ok()
}

/// The attempt that the current code is part of. `None` outside a step, and in a step that was called outside any run.
///
/// ```
/// # use workflow_runtime::{Result, step, step_info};
/// #[step]
/// async fn charge(cents: u32) -> Result<String> {
///     let key = step_info().map(|info| info.idempotency_key);
///     Ok(format!("charged {cents} under {key:?}"))
/// }
/// ```
pub fn step_info() -> Option<StepInfo> {
    of_attempt(|scope| {
        let (run, key) = match &scope.origin {
            Some(origin) => (&origin.run, format!("{}{}", origin.key, scope.path)),
            None => {
                let run = &scope.live.id;
                (run, keys::operation(run, scope.base, scope.op) + &scope.path)
            }
        };
        StepInfo { step: scope.step.to_owned(), idempotency_key: key, attempt: scope.attempt, run: run.to_string() }
    })
}

/// The W3C Trace Context header `traceparent` for requests of the current step to other services: their spans become
/// children of its attempt. `None` outside a step, and if the run belongs to no trace.
///
/// ```
/// # use workflow_runtime::{Result, step, traceparent};
/// #[step]
/// async fn fetch(url: String) -> Result<String> {
///     let header = traceparent(); // to be sent with the request
///     Ok(format!("{url} {header:?}"))
/// }
/// ```
pub fn traceparent() -> Option<String> {
    of_attempt(|scope| {
        let trace = scope.inherited.as_ref()?.trace.as_ref()?;
        let key = keys::execution(&scope.live.id, scope.live.generation, scope.op);
        let span = span_id(&["attempt", &key, &scope.attempt.to_string()]);
        let sampled = if trace.unsampled { "00" } else { "01" };
        Some(format!("00-{}-{span}-{sampled}", trace.trace_id))
    })
    .flatten()
}

/// Reports that the current attempt makes progress: an attempt whose step has a `heartbeat` fails when it has
/// not called this for that long. Outside a step it does nothing.
///
/// ```
/// # use workflow_runtime::{Result, heartbeat, step};
/// #[step(queue = "gpu", heartbeat = "30s")]
/// async fn train(epochs: u32) -> Result<f64> {
///     let mut loss = 1.0;
///     for _ in 0..epochs {
///         loss *= 0.9; // minutes of work
///         heartbeat();
///     }
///     Ok(loss)
/// }
/// ```
pub fn heartbeat() {
    let beat = |scope: &Scope| {
        if let Some(handle) = scope.engine.upgrade() {
            scope.life.beat.store(handle.inner.clock.monotonic(), Ordering::Relaxed);
        }
    };
    of_attempt(beat);
}

/// Makes a future part of the current step, if there is one.
pub(crate) fn in_this_step<F: Future>(future: F) -> impl Future<Output = F::Output> {
    match of_attempt(|scope| scope.inside(scope.step, scope.path_of(None))) {
        Some(scope) => Either::Left(SCOPE.scope(scope, future)),
        None => Either::Right(future),
    }
}

/// A token that is cancelled when the current attempt is given up: the run has failed or was cancelled,
/// the workflow dropped the step, the attempt timed out, or the engine stops. It is also cancelled when the attempt ends.
///
/// An attempt of a step with a rollback is not stopped, and the run waits for it: the token asks it to end soon. If it
/// returns an error, no effect of it is rolled back.
///
/// An async step is stopped at its next await in any case; its spawned tasks, and a blocking step, can watch this token.
/// Outside a step the token is never cancelled.
///
/// ```
/// # use workflow_runtime::{Error, Result, cancellation, step};
/// #[step]
/// fn grind(rounds: u32) -> Result<u32> {
///     let cancelled = cancellation();
///     for _ in 0..rounds {
///         if cancelled.is_cancelled() {
///             return Err(Error::fatal("given up")); // nobody sees it any more
///         }
///     }
///     Ok(rounds)
/// }
/// ```
pub fn cancellation() -> CancellationToken {
    of_attempt(|scope| scope.life.token()).unwrap_or_default()
}

/// The engine that executes the current step, if there is one.
pub(crate) fn current() -> Option<Result<Client, Error>> {
    let engine = of_attempt(|scope| scope.engine.upgrade());
    let engine = engine.or_else(|| Some(taken_from()?.engine.upgrade()))?;
    Some(engine.map(|handle| Client { handle }).ok_or_else(|| {
        Error::coded(Code::Closed, "the engine that executes this step has closed")
            .help("the next engine that executes the run attempts the step again")
    }))
}

/// The current attempt, as a writer of streams.
pub(crate) fn attempt_writer() -> Option<AttemptWriter> {
    of_attempt(|scope| AttemptWriter {
        engine: scope.engine.clone(),
        by: WritingAttempt {
            live: scope.live.clone(),
            life: scope.life.clone(),
            into: scope.origin.as_ref().map(|origin| origin.run.clone()),
            op: scope.op,
            attempt: scope.attempt,
            step: scope.outer,
            takes: false,
        },
    })
    .or_else(taken_from)
}

/// The data that the run of the current step shares with its children.
pub(crate) fn inherited() -> Option<Arc<Inherited>> {
    of_attempt(|scope| scope.inherited.clone()).flatten()
}

/// The outcome of a suspension inside an attempt of a step.
pub(crate) enum InStep {
    /// The value that it was resumed with.
    Resumed(Payload),
    /// The attempt has to end.
    Suspended,
}

/// Suspends the current attempt, if there is one, unless it was resumed. The label defaults to the step's
/// name.
pub(crate) fn suspend(label: Option<&str>, payload: Payload, type_name: &'static str) -> Option<InStep> {
    of_attempt(|scope| {
        let own = scope.outer.rsplit("::").next().unwrap_or(scope.outer);
        let label = label.unwrap_or(own);
        if let Some(value) = scope.resumed.as_ref().and_then(|resumed| resumed.get(label)) {
            return InStep::Resumed(value.clone());
        }
        let suspension = Suspension { label: label.into(), payload, type_name: type_name.into() };
        scope.life.end_early(EarlyEnd::Suspended(suspension));
        InStep::Suspended
    })
}

/// The payload of the last suspension of the current step, if it was resumed since.
pub(crate) fn last_payload() -> Option<Payload> {
    of_attempt(|scope| scope.last_payload.clone()).flatten()
}

/// Ends the run of the current step with a result. `None` outside a step, and an error in a step
/// that is executed for another run.
pub(crate) fn finish(value: Payload) -> Option<Result<(), Error>> {
    of_attempt(|scope| match &scope.origin {
        None => {
            scope.life.end_early(EarlyEnd::Finished(value));
            Ok(())
        }
        Some(_) => Err(Error::coded(Code::Unsupported, "a step of a queue cannot finish the run that has called it")
            .help("return the value, and let the workflow call `finish`")
            .into_fatal()),
    })
}

/// Whether the current code is part of a step of this run.
pub(super) fn is_of_run(run: &str) -> bool {
    of_attempt(|scope| *scope.live.id == *run || scope.origin.as_ref().is_some_and(|origin| *origin.run == *run))
        .unwrap_or(false)
}

/// Whether the current code is part of a step that an engine executes.
fn is_current() -> bool {
    of_attempt(|_| ()).is_some()
}

impl Inner {
    pub(super) fn check_open(&self) -> Result<()> {
        // A step that may still end during the shutdown may also start runs.
        let in_step = is_current();
        if self.stopped.is_cancelled() || (self.draining.is_cancelled() && !in_step) {
            return Err(self.closed("the engine is shut down", "open another one"));
        }
        Ok(())
    }
}

/// Counts the calls of steps inside a step, by step. Tasks that it spawns count under `None`.
#[derive(Default)]
pub(super) struct Calls(Mutex<Vec<(Option<&'static str>, u32)>>);

impl Calls {
    /// The number of the next call.
    fn next(&self, callee: Option<&'static str>) -> u32 {
        let mut calls = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match calls.iter_mut().find(|(of, _)| *of == callee) {
            Some((_, made)) => {
                *made += 1;
                *made
            }
            None => {
                calls.push((callee, 0));
                0
            }
        }
    }
}

/// The part of the key, after that of the operation, for a call of a step made here; `None` outside a step.
pub(crate) fn path_of_call(step: &'static str) -> Option<String> {
    of_attempt(|scope| scope.path_of(Some(step)))
}

impl Scope {
    /// Makes a future part of this attempt.
    pub fn enter<F: Future>(self, future: F) -> impl Future<Output = F::Output> {
        SCOPE.scope(self, future)
    }

    /// Calls a function as part of this attempt.
    pub fn enter_sync<T>(self, function: impl FnOnce() -> T) -> T {
        SCOPE.sync_scope(self, function)
    }

    /// Counts a call of a step, or a spawned task, and returns its path.
    fn path_of(&self, callee: Option<&'static str>) -> String {
        let number = self.inner.next(callee);
        self.path.clone() + &keys::nested(callee, number)
    }

    /// The scope of a step which is called in the current attempt, if there is one. A call that was created
    /// outside, and passed to the step, is counted where it is executed.
    pub fn of_inner(step: &'static str, path: Option<String>) -> Option<Scope> {
        of_attempt(|outer| outer.inside(step, path.unwrap_or_else(|| outer.path_of(Some(step)))))
    }

    /// The scope of a step which is called inside this one, or of a task.
    pub fn inside(&self, step: &'static str, path: String) -> Scope {
        Scope {
            engine: self.engine.clone(),
            origin: self.origin.clone(),
            op: self.op,
            base: self.base,
            attempt: self.attempt,
            step,
            outer: self.outer,
            live: self.live.clone(),
            inherited: self.inherited.clone(),
            path,
            inner: Calls::default(),
            life: self.life.clone(),
            resumed: self.resumed.clone(),
            last_payload: self.last_payload.clone(),
        }
    }
}
