//! Attempts of steps.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{Either, select};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::ReusableBoxFuture;
use tracing::Instrument;

use super::inner::Inner;
use super::parts::active_run::{ActiveRun, DriverState};
use super::parts::life::{Alive, Life};
use super::parts::mailbox::{Arrival, What};
use super::parts::queues::Slot;
use super::parts::telemetry::{Metrics, Scheduled};
use super::permit::Permit;
use super::scope::{Calls, Scope};
#[cfg(feature = "postgres")]
use super::transaction;
use crate::codec::Payload;
use crate::definition::{AttemptFailure, AttemptResult, Execution, StepDefinition, adopt};
use crate::error::{Code, Error};
use crate::panics::panic_text;
use crate::replay::{LocalFuture, NONDETERMINISTIC};

pub(super) fn timed_out(step: &str, timeout: Duration) -> Error {
    Error::coded(Code::Timeout, format!("an attempt of step `{step}` took longer than {timeout:?}"))
}

/// The code that an attempt executes.
enum Work {
    Step { definition: &'static StepDefinition, input: Payload, limits: Limits },
    Local(LocalFuture),
}

impl Work {
    /// The queue of the step, if it has one.
    fn queue(&self) -> Option<&'static str> {
        match self {
            Work::Step { definition, .. } => definition.queue,
            Work::Local(_) => None,
        }
    }
}

/// How long an attempt may take, and how long it may go without a heartbeat.
#[derive(Clone, Copy, Default)]
struct Limits {
    timeout: Option<Duration>,
    heartbeat: Option<Duration>,
}

/// Where an attempt is polled for the first time.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Begin {
    /// By the caller, which has no other action to perform. If the attempt ends in this poll, two task switches are saved.
    Here,
    /// In a task of its own, in parallel with others.
    Elsewhere,
    /// Like [`Elsewhere`](Begin::Elsewhere), after an attempt in another process that may have had the effect of the step.
    Again,
}

/// Starts the next attempt of an operation, unless it was dropped or the engine is ending. Returns the arrival of an attempt
/// that ends at once; otherwise the attempt delivers it.
pub(super) fn dispatch(
    engine: &Arc<Inner>,
    live: &Arc<ActiveRun>,
    driver: &mut DriverState,
    op: u64,
    begin: Begin,
) -> Option<Arrival> {
    if engine.begins_nothing() || !engine.holds(live) {
        return None;
    }
    let run = driver.core.shared();
    let step = run.with_open(op, |kind| {
        let step = kind.step()?;
        let (definition, input) = (step.definition, step.input.clone());
        let limits = Limits { timeout: step.policy.timeout, heartbeat: step.policy.heartbeat };
        let work = Work::Step { definition, input, limits };
        let suspensions = step.suspensions.as_ref();
        let resumed = suspensions.map(|suspensions| (suspensions.resumed.clone(), suspensions.last_payload.clone()));
        Some((work, definition.source.id, step.attempt, step.origin.clone(), resumed))
    })?;
    let (work, step, attempt, origin, resumed) = match step {
        Some(step) => step,
        None => (Work::Local(run.take_local(op)?), NONDETERMINISTIC, 1, None, None),
    };
    let (resumed, last_payload) = resumed.unzip();
    let span = tracing::info_span!(parent: &live.span, "step", step, op, attempt);
    let scope = Scope {
        engine: engine.users(),
        origin,
        op,
        base: run.key_base(op),
        attempt,
        step,
        outer: step,
        live: live.clone(),
        inherited: run.inherited(),
        path: String::new(),
        inner: Calls::default(),
        life: Arc::default(),
        resumed,
        last_payload: last_payload.flatten(),
    };
    let (life, begun) = (scope.life.clone(), scope.life.clone());
    if begin == Begin::Again {
        life.repeats();
    }
    // The user's conversions run inside it as well; if one panics, the step must still end.
    let scheduled = engine.metrics.scheduled(step, work.queue());
    let slot = driver.slot.clone();
    let attempt = AssertUnwindSafe(execute(engine.clone(), work, scope, scheduled, slot)).catch_unwind();
    let attempt = attempt.instrument(span).map(move |ended| {
        let result = ended.unwrap_or_else(|panic| {
            let text = format!("step `{step}` panicked outside its body: {}", panic_text(&*panic));
            Some(Err(adopt::<Error>(Error::coded(Code::Panic, text).into_fatal())))
        });
        match life.take_early_end() {
            Some(end) => Some(What::EndedEarly { op, end }),
            None => result.map(|result| What::Attempt { op, result }),
        }
    });
    let mut attempt = match driver.ended_attempt.take() {
        Some(mut ended) => {
            ended.set(attempt);
            ended
        }
        None => ReusableBoxFuture::new(attempt),
    };
    if begin == Begin::Here
        && let Poll::Ready(ended) = attempt.poll(&mut Context::from_waker(Waker::noop()))
    {
        driver.ended_attempt = Some(attempt);
        return ended.map(|what| Arrival { at: engine.clock.now(), what });
    }
    let (delivering, to) = (engine.clone(), live.clone());
    let task = async move {
        if let Some(what) = attempt.await {
            let at = delivering.clock.now();
            delivering.add_arrivals(&to, [Arrival { at, what }]);
        }
    };
    let handle = engine.attempts.spawn_on(task, &engine.runtime).abort_handle();
    live.attempt_started(op, handle, begun);
    // A stop, or a loss of the right to execute, may have happened before the attempt was registered.
    if engine.stopped.is_cancelled() || !engine.holds(live) {
        live.abort_attempt(op);
    }
    None
}

/// Acquires a permit to run an attempt. `None` if the engine ends before one is free.
async fn permit(permits: &Arc<Semaphore>, metrics: &Metrics, attempt: &Scheduled) -> Option<OwnedSemaphorePermit> {
    // A permit is usually free, and to queue for one costs more than to take it.
    match permits.clone().try_acquire_owned() {
        Ok(permit) => Some(permit),
        Err(_) => {
            let _waits = metrics.waits(attempt);
            permits.clone().acquire_owned().await.ok()
        }
    }
}

/// Resolves when an attempt has timed out, or has given no heartbeat for too long.
async fn late(engine: &Inner, life: &Life, step: &str, limits: Limits, begun: u64) -> Error {
    // Monotonic time: a change of the wall clock does not change the timeout.
    let milliseconds = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let end = limits.timeout.map_or(u64::MAX, |timeout| begun.saturating_add(milliseconds(timeout)));
    loop {
        let beat = life.beat.load(Ordering::Relaxed).max(begun);
        let silent = limits.heartbeat.map_or(u64::MAX, |heartbeat| beat.saturating_add(milliseconds(heartbeat)));
        let now = engine.clock.monotonic();
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

/// The outcome of a future that runs in the scope of an attempt, and holds a permit until its end.
fn alone<F: Future>(future: F, scope: Scope, permit: Permit) -> impl Future<Output = std::thread::Result<F::Output>> {
    let attempt = AssertUnwindSafe(scope.enter(future)).catch_unwind();
    attempt.inspect(move |_| drop(permit))
}

/// Executes one attempt. `None` if the engine ends before it began.
#[allow(
    clippy::manual_async_fn,
    reason = "an `async fn` keeps its arguments twice, and this is allocated for each attempt"
)]
fn execute(
    engine: Arc<Inner>,
    work: Work,
    scope: Scope,
    scheduled: Scheduled,
    slot: Option<Arc<Slot>>,
) -> impl Future<Output = Option<AttemptResult>> {
    async move {
        let _alive = Alive(scope.life.clone());
        let (step, life) = (scope.step, scope.life.clone());
        let (execution, adopt, limits): (_, fn(Error) -> AttemptFailure, _) = match work {
            Work::Local(future) => (Execution::Async(future), adopt::<Error>, Limits::default()),
            Work::Step { definition, input, limits } => {
                match engine.settings.bodies.attempt(definition, &input, &engine.resources) {
                    Ok(execution) => (execution, definition.adopt, limits),
                    Err(error) => return Some(Err((definition.adopt)(error))),
                }
            }
        };
        let permits = match &execution {
            Execution::Blocking(_) => &engine.blocking_permits,
            _ => &engine.async_permits,
        };
        let permit = permit(permits, &engine.metrics, &scheduled).await?;
        // The engine may have begun to yield its runs while the attempt waited.
        if engine.begins_nothing() || !life.begin() {
            return None;
        }
        let permit = Permit::hold(&life, permit);
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
                    // Held until the function ends, even if no task waits for it any more.
                    let _held = (permit, slot);
                    let function = || span.in_scope(|| scope.enter_sync(function));
                    std::panic::catch_unwind(AssertUnwindSafe(function))
                };
                let ended = engine.runtime.spawn_blocking(blocking);
                let ended =
                    ended.map(move |ended| ended.unwrap_or_else(|error| Ok(Err(adopt(error.into())))).map(Some));
                Either::Right(ended.boxed())
            }
        };
        let attempt = std::pin::pin!(attempt);
        let ended = match limits {
            Limits { timeout: None, heartbeat: None } => attempt.await,
            limits => {
                // Before its first poll, which may take long.
                let begun = engine.clock.monotonic();
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
        let failure = ended.as_ref().and_then(|result| result.as_ref().err()).filter(|_| !life.ends_early());
        active.ended(failure.map(|failure| &failure.error));
        ended
    }
}
