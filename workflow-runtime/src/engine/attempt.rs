//! Attempts of steps.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{Either, select};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::client::Handle;
use super::live::{Arrival, Live, Parting, Seat, What};
use super::streams::AttemptWriter;
use super::telemetry::{Metrics, Scheduled};
#[cfg(feature = "postgres")]
use super::transaction;
use super::{Client, Inner};
use crate::codec::Payload;
use crate::error::{Code, Error};
use crate::registry::{AttemptFailure, AttemptResult, Execution, StepDefinition, adopt};
use crate::replay::{
    self, Inherited, Kind, LocalFuture, NONDETERMINISTIC, Origin, StepRequest, Suspension, panic_text,
};
use crate::resources::Resources;
use crate::trace::span_id;

/// What a step can know of the attempt that it is: see [`step_info`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StepInfo {
    /// The id of the step's definition.
    pub step: String,
    /// The same for every attempt of this call, and for no other call: what to give to a service that deduplicates.
    pub idempotency_key: String,
    /// Counts from 1.
    pub attempt: u32,
    /// The id of the run.
    pub run: String,
}

struct Scope {
    engine: Weak<Handle>,
    /// If it is executed for another run: the call.
    origin: Option<Origin>,
    op: u64,
    attempt: u32,
    step: &'static str,
    /// The step that is an operation of the run: `step`, or the one that it was called in.
    outer: &'static str,
    live: Arc<Live>,
    inherited: Option<Arc<Inherited>>,
    /// Of a step inside a step: its number among those, behind the outer one's.
    path: String,
    /// How many steps it has called so far.
    inner: AtomicU32,
    life: Arc<Life>,
    /// What earlier attempts were resumed with, by label.
    resumed: Option<Arc<BTreeMap<Box<str>, Payload>>>,
}

/// Whether an attempt is still wanted.
#[derive(Default)]
pub(super) struct Life {
    over: AtomicBool,
    /// When it last said that it goes on, in milliseconds since 1970.
    beat: AtomicU64,
    /// Held while it ends, and while something is done that must come before its end.
    ending: Mutex<()>,
    /// Made when somebody asks for it.
    token: OnceLock<CancellationToken>,
    /// The first that it has asked for.
    parting: OnceLock<Mutex<Option<Parting>>>,
}

impl Life {
    fn token(&self) -> CancellationToken {
        let token = self.token.get_or_init(CancellationToken::new).clone();
        if self.over.load(Ordering::SeqCst) {
            token.cancel();
        }
        token
    }

    fn part(&self, parting: Parting) {
        self.parting.get_or_init(|| Mutex::new(Some(parting)));
    }

    /// Whether it ends by what it has asked for.
    fn parts(&self) -> bool {
        self.parting.get().is_some()
    }

    fn take_parting(&self) -> Option<Parting> {
        self.parting.get()?.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Does something before the attempt ends, if it has not.
    pub fn before_its_end<T>(&self, act: impl FnOnce() -> T) -> Option<T> {
        let _ending = self.ending.lock().unwrap_or_else(PoisonError::into_inner);
        (!self.over.load(Ordering::SeqCst)).then(act)
    }
}

/// Ends the life of an attempt with its future, whether that has come to its end or was dropped.
struct Alive(Arc<Life>);

impl Drop for Alive {
    fn drop(&mut self) {
        {
            let _ending = self.0.ending.lock().unwrap_or_else(PoisonError::into_inner);
            self.0.over.store(true, Ordering::SeqCst);
        }
        if let Some(token) = self.0.token.get() {
            token.cancel();
        }
    }
}

tokio::task_local! {
    static SCOPE: Scope;
}

/// The attempt that this code is part of. Nothing outside a step, and in a step that was called outside any run.
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
    // A workflow whose first turn is taken inside a step that starts it is no part of that step.
    if replay::current().is_some() {
        return None;
    }
    SCOPE
        .try_with(|scope| {
            let (run, key) = match &scope.origin {
                Some(origin) => (&origin.run, format!("{}{}", origin.key, scope.path)),
                None => {
                    let (run, generation) = (&scope.live.id, scope.live.generation);
                    (run, format!("{run}/{generation}/{}{}", scope.op, scope.path))
                }
            };
            StepInfo { step: scope.step.to_owned(), idempotency_key: key, attempt: scope.attempt, run: run.to_string() }
        })
        .ok()
}

/// The header `traceparent` of W3C Trace Context for what the step that this code is part of asks of others: their spans are
/// then parts of its attempt. Nothing outside a step, and if the run belongs to no trace.
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
    SCOPE
        .try_with(|scope| {
            let trace = scope.inherited.as_ref()?.trace.as_ref()?;
            let key = format!("{}/{}/{}", scope.live.id, scope.live.generation, scope.op);
            let span = span_id(&["attempt", &key, &scope.attempt.to_string()]);
            let sampled = if trace.unsampled { "00" } else { "01" };
            Some(format!("00-{}-{span}-{sampled}", trace.trace_id))
        })
        .ok()
        .flatten()
}

/// Says that the attempt which this code is part of goes on: one whose step has a `heartbeat` counts as failed when it has
/// not done so for that long. Outside a step it does nothing.
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
            scope.life.beat.store(handle.inner.environment.now(), Ordering::Relaxed);
        }
    };
    let _ = SCOPE.try_with(beat);
}

/// Makes a future part of the step that this code is part of, if it is part of one.
pub(crate) fn in_this_step<F: Future>(future: F) -> impl Future<Output = F::Output> {
    match SCOPE.try_with(|scope| scope.inside(scope.step)) {
        Ok(scope) => Either::Left(SCOPE.scope(scope, future)),
        Err(_) => Either::Right(future),
    }
}

/// A token that is cancelled when the attempt that this code is part of is given up: the run was cancelled, the workflow
/// dropped the step, the attempt took too long, the engine stops. Also when it has ended.
///
/// An async step is stopped at its next await anyhow; what it has spawned, and a blocking step, can watch this. Outside a
/// step it is a token that nobody cancels.
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
    SCOPE.try_with(|scope| scope.life.token()).unwrap_or_default()
}

/// The engine that executes the step which this code is part of, if it is part of one.
pub(crate) fn current() -> Option<Result<Client, Error>> {
    let engine = SCOPE.try_with(|scope| scope.engine.upgrade()).ok()?;
    Some(engine.map(|handle| Client { handle }).ok_or_else(|| {
        Error::coded(Code::Closed, "the engine that executes this step is gone").help("the step is attempted again")
    }))
}

/// The attempt that this code is part of, as one that writes to streams.
pub(crate) fn attempt_writer() -> Option<AttemptWriter> {
    SCOPE
        .try_with(|scope| AttemptWriter {
            engine: scope.engine.clone(),
            live: scope.live.clone(),
            life: scope.life.clone(),
            into: scope.origin.as_ref().map(|origin| origin.run.clone()),
            op: scope.op,
            attempt: scope.attempt,
            step: scope.outer,
        })
        .ok()
}

/// What the run of the step which this code is part of has in common with its children.
pub(crate) fn inherited() -> Option<Arc<Inherited>> {
    SCOPE.try_with(|scope| scope.inherited.clone()).ok().flatten()
}

/// What an attempt of a step gets when it suspends itself.
pub(crate) enum InStep {
    /// What it was resumed with.
    Resumed(Payload),
    /// It is to end.
    Suspended,
}

/// Suspends the attempt that this code is part of, if it is part of one, unless it was resumed. The label is the step's
/// name if there is none.
pub(crate) fn suspend(label: Option<&str>, payload: Payload, type_name: &'static str) -> Option<InStep> {
    SCOPE
        .try_with(|scope| {
            let own = scope.outer.rsplit("::").next().unwrap_or(scope.outer);
            let label = label.unwrap_or(own);
            if let Some(value) = scope.resumed.as_ref().and_then(|resumed| resumed.get(label)) {
                return InStep::Resumed(value.clone());
            }
            let suspension = Suspension { label: label.into(), payload, type_name: type_name.into() };
            scope.life.part(Parting::Suspended(suspension));
            InStep::Suspended
        })
        .ok()
}

/// Lets the run of the step which this code is part of end with a result. Nothing outside a step, and an error in a step
/// that is executed for another run.
pub(crate) fn finish(value: Payload) -> Option<Result<(), Error>> {
    SCOPE
        .try_with(|scope| match &scope.origin {
            None => {
                scope.life.part(Parting::Finished(value));
                Ok(())
            }
            Some(_) => {
                Err(Error::coded(Code::Unsupported, "a step of a queue cannot finish the run that has called it")
                    .help("return the value, and let the workflow call `finish`")
                    .into_fatal())
            }
        })
        .ok()
}

/// Whether this code is part of a step that an engine executes.
pub(super) fn is_current() -> bool {
    SCOPE.try_with(|_| ()).is_ok()
}

impl Scope {
    /// That of a step which is called inside this one.
    fn inside(&self, step: &'static str) -> Scope {
        let number = self.inner.fetch_add(1, Ordering::Relaxed);
        Scope {
            engine: self.engine.clone(),
            origin: self.origin.clone(),
            op: self.op,
            attempt: self.attempt,
            step,
            outer: self.outer,
            live: self.live.clone(),
            inherited: self.inherited.clone(),
            path: format!("{}/{number}", self.path),
            inner: AtomicU32::new(0),
            life: self.life.clone(),
            resumed: self.resumed.clone(),
        }
    }
}

/// Executes a step outside any run, or inside another step: once, unrecorded.
pub(crate) async fn plain_attempt(request: StepRequest) -> AttemptResult {
    let scope = SCOPE.try_with(|outer| outer.inside(request.definition.source.id)).ok();
    let adopt = request.definition.adopt;
    let needs_none = (request.definition.requires)().is_empty();
    let engine = if needs_none { Ok(None) } else { super::ambient().await.map(Some) };
    let resources =
        engine.map(|engine| engine.map_or_else(Resources::default, |engine| engine.inner().resources.clone()));
    let execution = match resources
        .and_then(|resources| (request.definition.execute)(request.definition.source.id, &request.input, &resources))
    {
        Ok(execution) => execution,
        Err(error) => return Err(adopt(error)),
    };
    let attempt = match execution {
        Execution::Async(attempt) => match scope {
            Some(scope) => Box::pin(SCOPE.scope(scope, attempt)),
            None => attempt,
        },
        Execution::Blocking(attempt) => {
            let span = tracing::Span::current();
            let attempt = move || match scope {
                Some(scope) => SCOPE.sync_scope(scope, attempt),
                None => attempt(),
            };
            let attempt = tokio::task::spawn_blocking(move || span.in_scope(attempt));
            Box::pin(async move {
                attempt.await.unwrap_or_else(|error| match error.try_into_panic() {
                    Ok(panic) => std::panic::resume_unwind(panic),
                    Err(error) => Err(adopt(error.into())),
                })
            })
        }
        #[cfg(feature = "postgres")]
        Execution::Transaction(_) => {
            let error = Error::coded(Code::OutsideRun, "a step with `transaction` is executed outside a workflow")
                .operation(format!("step `{}`", request.definition.source.id))
                .help("call it in a `#[workflow]`: its transaction records it in the run")
                .into_fatal();
            return Err(adopt(error));
        }
    };
    match request.policy.timeout {
        None => attempt.await,
        Some(timeout) => {
            let late = |_| Err(adopt(timed_out(request.definition.source.id, timeout)));
            tokio::time::timeout(timeout, attempt).await.unwrap_or_else(late)
        }
    }
}

fn timed_out(step: &str, timeout: Duration) -> Error {
    Error::coded(Code::Timeout, format!("an attempt of step `{step}` took longer than {timeout:?}"))
}

/// What is to be executed.
enum Work {
    Step { definition: &'static StepDefinition, input: Payload, limits: Limits },
    Local(LocalFuture),
}

impl Work {
    /// The queue whose workers execute it.
    fn queue(&self) -> Option<&'static str> {
        match self {
            Work::Step { definition, .. } => definition.queue,
            Work::Local(_) => None,
        }
    }
}

/// How long an attempt may take, and how long it may be silent.
#[derive(Clone, Copy, Default)]
struct Limits {
    timeout: Option<Duration>,
    heartbeat: Option<Duration>,
}

/// Where an attempt is polled for the first time.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Begin {
    /// By the caller, who has nothing else to do. If it has ended then, two switches of tasks are saved.
    Here,
    /// In a task of its own, beside others.
    Elsewhere,
}

/// Starts the next attempt of an operation, unless it was dropped or the engine is ending. What an attempt gives that
/// ends at once; otherwise it is posted.
pub(super) fn dispatch(engine: &Arc<Inner>, live: &Arc<Live>, seat: &Seat, op: u64, begin: Begin) -> Option<Arrival> {
    if engine.draining.is_cancelled() || !engine.holds(live) {
        return None;
    }
    let run = seat.core.shared();
    let step = run.with_open(op, |kind| match kind {
        Kind::Step(step) => {
            let (definition, input) = (step.definition, step.input.clone());
            let limits = Limits { timeout: step.policy.timeout, heartbeat: step.policy.heartbeat };
            let work = Work::Step { definition, input, limits };
            let resumed = step.suspensions.as_ref().map(|suspensions| suspensions.resumed.clone());
            Some((work, definition.source.id, step.attempt, step.origin.clone(), resumed))
        }
        Kind::Local(_) | Kind::Timer { .. } | Kind::Hook(_) | Kind::Child(_) | Kind::Watch(_) => None,
    })?;
    let (work, step, attempt, origin, resumed) = match step {
        Some(step) => step,
        None => (Work::Local(run.take_local(op)?), NONDETERMINISTIC, 1, None, None),
    };
    let span = tracing::info_span!(parent: &live.span, "step", step, op, attempt);
    let scope = Scope {
        engine: engine.handle.get().cloned().unwrap_or_default(),
        origin,
        op,
        attempt,
        step,
        outer: step,
        live: live.clone(),
        inherited: run.inherited(),
        path: String::new(),
        inner: AtomicU32::new(0),
        life: Arc::default(),
        resumed,
    };
    let life = scope.life.clone();
    // The user's conversions run in it as well, and one that panics must not leave the step without an end.
    let scheduled = engine.metrics.scheduled(step, work.queue());
    let attempt = AssertUnwindSafe(execute(engine.clone(), work, scope, scheduled)).catch_unwind();
    let executing = engine.clone();
    let attempt = attempt.map(move |ended| {
        let result = ended.unwrap_or_else(|panic| {
            let text = format!("step `{step}` panicked outside its body: {}", panic_text(&*panic));
            Some(Err(adopt::<Error>(Error::coded(Code::Panic, text).into_fatal())))
        });
        let what = match life.take_parting() {
            Some(parting) => Some(What::Parted { op, parting }),
            None => result.map(|result| What::Attempt { op, result }),
        };
        what.map(|what| Arrival { at: executing.environment.now(), what })
    });
    let mut attempt = Box::pin(attempt.instrument(span));
    if begin == Begin::Here
        && let Poll::Ready(ended) = attempt.as_mut().poll(&mut Context::from_waker(Waker::noop()))
    {
        return ended;
    }
    let (posting, to) = (engine.clone(), live.clone());
    let task = async move {
        if let Some(arrival) = attempt.await {
            to.post(&posting, [arrival]);
        }
    };
    let handle = engine.attempts.spawn_on(task, &engine.runtime).abort_handle();
    live.attempt_started(op, handle);
    // A stop that came in between has not seen it, nor has a loss of the right.
    if engine.stopped.is_cancelled() || !engine.holds(live) {
        live.abort_attempt(op);
    }
    None
}

/// The right to run an attempt. Nothing if the engine ends before there is one.
async fn permit(permits: &Arc<Semaphore>, metrics: &Metrics, attempt: &Scheduled) -> Option<OwnedSemaphorePermit> {
    // Nearly always there is one, and to queue for it costs more than to take it.
    match permits.clone().try_acquire_owned() {
        Ok(permit) => Some(permit),
        Err(_) => {
            let _waits = metrics.waits(attempt);
            permits.clone().acquire_owned().await.ok()
        }
    }
}

/// Resolves when an attempt takes too long, or is silent for too long.
async fn late(engine: &Inner, life: &Life, step: &str, limits: Limits, begun: u64) -> Error {
    let milliseconds = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let end = limits.timeout.map_or(u64::MAX, |timeout| begun.saturating_add(milliseconds(timeout)));
    loop {
        let beat = life.beat.load(Ordering::Relaxed).max(begun);
        let silent = limits.heartbeat.map_or(u64::MAX, |heartbeat| beat.saturating_add(milliseconds(heartbeat)));
        let now = engine.environment.now();
        match limits {
            Limits { timeout: Some(timeout), .. } if now >= end => return timed_out(step, timeout),
            Limits { heartbeat: Some(heartbeat), .. } if now >= silent => {
                let text = format!("an attempt of step `{step}` gave no heartbeat for {heartbeat:?}");
                return Error::coded(Code::Timeout, text);
            }
            _ => engine.environment.sleep_until(end.min(silent)).await,
        }
    }
}

/// What a future comes to that has the scope of an attempt, and a permit until its end.
async fn alone<F: Future>(future: F, scope: Scope, permit: OwnedSemaphorePermit) -> std::thread::Result<F::Output> {
    let _permit = permit;
    AssertUnwindSafe(SCOPE.scope(scope, future)).catch_unwind().await
}

/// One attempt. Nothing if the engine ends before it began.
async fn execute(engine: Arc<Inner>, work: Work, scope: Scope, scheduled: Scheduled) -> Option<AttemptResult> {
    let _alive = Alive(scope.life.clone());
    let (step, life) = (scope.step, scope.life.clone());
    let (execution, adopt, limits): (_, fn(Error) -> AttemptFailure, _) = match work {
        Work::Local(future) => (Execution::Async(future), adopt::<Error>, Limits::default()),
        Work::Step { definition, input, limits } => match (definition.execute)(step, &input, &engine.resources) {
            Ok(execution) => (execution, definition.adopt, limits),
            Err(error) => return Some(Err((definition.adopt)(error))),
        },
    };
    let permits = match &execution {
        Execution::Blocking(_) => &engine.blocking_permits,
        _ => &engine.async_permits,
    };
    let permit = permit(permits, &engine.metrics, &scheduled).await?;
    let active = engine.metrics.begins(scheduled);
    let attempt = match execution {
        Execution::Async(future) => Either::Left(alone(future.map(Some), scope, permit)),
        #[cfg(feature = "postgres")]
        Execution::Transaction(attempt) => {
            let at = transaction::At { engine: engine.clone(), live: scope.live.clone(), op: scope.op };
            let attempt = alone(transaction::attempt(at, attempt, adopt), scope, permit);
            Either::Right(attempt.boxed())
        }
        Execution::Blocking(function) => {
            let span = tracing::Span::current();
            let blocking = move || {
                // Held to the function's end, also when nobody waits for it any more.
                let _permit = permit;
                let function = || span.in_scope(|| SCOPE.sync_scope(scope, function));
                std::panic::catch_unwind(AssertUnwindSafe(function))
            };
            let ended = engine.runtime.spawn_blocking(blocking);
            let ended = ended.map(move |ended| ended.unwrap_or_else(|error| Ok(Err(adopt(error.into())))).map(Some));
            Either::Right(ended.boxed())
        }
    };
    let attempt = std::pin::pin!(attempt);
    let ended = match limits {
        Limits { timeout: None, heartbeat: None } => attempt.await,
        limits => {
            // Before its first poll, which may take long.
            let begun = engine.environment.now();
            match select(attempt, std::pin::pin!(late(&engine, &life, step, limits, begun))).await {
                Either::Left((ended, _)) => ended,
                Either::Right((error, _)) => Ok(Some(Err(adopt(error)))),
            }
        }
    };
    let ended = ended.unwrap_or_else(|panic| {
        let text = format!("step `{step}` panicked: {}", panic_text(&*panic));
        Some(Err(adopt(Error::coded(Code::Panic, text))))
    });
    let failure = ended.as_ref().and_then(|result| result.as_ref().err()).filter(|_| !life.parts());
    active.ended(failure.map(|failure| &failure.error));
    ended
}
