//! What code in a step can know and ask for of the attempt that it is part of.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use futures_util::future::Either;
use tokio_util::sync::CancellationToken;

use super::active_run::{ActiveRun, Parting};
use super::client::Handle;
use super::permit::Held;
use super::streams::AttemptWriter;
use super::{Client, output};
use crate::codec::Payload;
use crate::error::{Code, Error};
use crate::keys::{self, KeyBase};
use crate::model::span_id;
use crate::replay::{self, Inherited, Origin, Suspension};

/// What a step can know of the attempt that it is: see [`step_info`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StepInfo {
    /// The id of the step's definition.
    pub step: String,
    /// The same for every attempt of this call, and for no other call: what to give to a service that deduplicates.
    ///
    /// A call keeps it for as long as it may have taken effect: over restarts, and over [`Run::retry`](crate::Run::retry),
    /// so that a charge which timed out and was made all the same is not made again. Once rollbacks have undone a part of
    /// the run, what was undone and all that followed has new keys when it is executed again, since a service would take the
    /// old ones for what was undone. A [fork](crate::Run::fork) has keys of its own, and so has each generation of a run that
    /// continues as new. A step of a queue has the key of its call.
    ///
    /// A step that is called inside a step has the key of that step, the id of its own definition, and the number of the call
    /// among those of this step in that attempt, counted as they are made: the calls of different steps may be made in any
    /// order, those of one step must be made in the same order in each attempt. A task that a step
    /// [spawns](crate::spawn()) counts for itself.
    ///
    /// The format does not change: `run/generation/unwindings/operation`, with `/step/number` for each step inside, where `%`
    /// and `/` in ids are `%25` and `%2F`.
    pub idempotency_key: String,
    /// Counts from 1.
    pub attempt: u32,
    /// The id of the run.
    pub run: String,
}

/// The attempt that code is part of.
pub(super) struct Scope {
    pub engine: Weak<Handle>,
    /// If it is executed for another run: the call.
    pub origin: Option<Origin>,
    pub op: u64,
    /// Of the operation's idempotency key.
    pub base: KeyBase,
    pub attempt: u32,
    pub step: &'static str,
    /// The step that is an operation of the run: `step`, or the one that it was called in.
    pub outer: &'static str,
    pub live: Arc<ActiveRun>,
    pub inherited: Option<Arc<Inherited>>,
    /// Of a step inside a step: what its key has behind that of the operation.
    pub path: String,
    /// How often it has called each step so far.
    pub inner: Calls,
    pub life: Arc<Life>,
    /// What earlier attempts were resumed with, by label.
    pub resumed: Option<Arc<BTreeMap<Box<str>, Payload>>>,
    /// The payload of the last suspension that was resumed.
    pub last_payload: Option<Payload>,
}

/// The stages of an attempt.
const WAITS: u8 = 0;
const BEGUN: u8 = 1;
const GIVEN_UP: u8 = 2;
/// It follows one that may have done what the step does, so only its result says whether that is to be undone.
const REPEATS: u8 = 3;

/// Whether an attempt is still wanted.
#[derive(Default)]
pub(super) struct Life {
    over: AtomicBool,
    /// Whether it has begun, or was given up before: the first of the two counts.
    stage: AtomicU8,
    /// Whether it is asked to end.
    unwanted: AtomicBool,
    /// When it last said that it goes on, in milliseconds of monotonic time.
    pub beat: AtomicU64,
    /// Held while it ends, and while something is done that must come before its end.
    ending: Mutex<()>,
    /// Made when somebody asks for it.
    token: OnceLock<CancellationToken>,
    /// Its permit.
    pub held: Held,
    /// The first that it has asked for.
    parting: OnceLock<Mutex<Option<Parting>>>,
}

impl Life {
    fn token(&self) -> CancellationToken {
        let token = self.token.get_or_init(CancellationToken::new).clone();
        if self.over.load(Ordering::SeqCst) || self.unwanted.load(Ordering::SeqCst) {
            token.cancel();
        }
        token
    }

    /// The attempt follows one that may have done what the step does.
    pub fn repeats(&self) {
        self.stage.store(REPEATS, Ordering::SeqCst);
    }

    /// Whether the attempt may begin.
    pub fn begin(&self) -> bool {
        match self.stage.compare_exchange(WAITS, BEGUN, Ordering::SeqCst, Ordering::SeqCst) {
            Ok(_) => true,
            Err(stage) => stage != GIVEN_UP,
        }
    }

    /// Whether the attempt will never begin. One that has begun is asked to end.
    pub fn give_up(&self) -> bool {
        match self.stage.compare_exchange(WAITS, GIVEN_UP, Ordering::SeqCst, Ordering::SeqCst) {
            Ok(_) => true,
            Err(BEGUN) => {
                self.unwanted.store(true, Ordering::SeqCst);
                if let Some(token) = self.token.get() {
                    token.cancel();
                }
                false
            }
            Err(_) => false,
        }
    }

    fn part(&self, parting: Parting) {
        self.parting.get_or_init(|| Mutex::new(Some(parting)));
    }

    /// Whether it ends by what it has asked for.
    pub fn parts(&self) -> bool {
        self.parting.get().is_some()
    }

    pub fn take_parting(&self) -> Option<Parting> {
        self.parting.get()?.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Does something before the attempt ends, if it has not.
    pub fn before_its_end<T>(&self, act: impl FnOnce() -> T) -> Option<T> {
        let _ending = self.ending.lock().unwrap_or_else(PoisonError::into_inner);
        (!self.over.load(Ordering::SeqCst)).then(act)
    }
}

/// Ends the life of an attempt with its future, whether that has come to its end or was dropped.
pub(super) struct Alive(pub Arc<Life>);

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

/// Lets a function look at the attempt that this code is part of. Nothing outside a step, and nothing in a workflow: a
/// step that starts a run polls its first turn, and that run is no part of the step; its replays are polled outside.
///
/// Everything that reads the scope does it here, so that no function sees in a first turn what a replay does not.
pub(super) fn of_attempt<T>(look: impl FnOnce(&Scope) -> T) -> Option<T> {
    if replay::current().is_some() {
        return None;
    }
    SCOPE.try_with(look).ok()
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
    of_attempt(|scope| {
        let trace = scope.inherited.as_ref()?.trace.as_ref()?;
        let key = keys::execution(&scope.live.id, scope.live.generation, scope.op);
        let span = span_id(&["attempt", &key, &scope.attempt.to_string()]);
        let sampled = if trace.unsampled { "00" } else { "01" };
        Some(format!("00-{}-{span}-{sampled}", trace.trace_id))
    })
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
            scope.life.beat.store(handle.inner.clock.monotonic(), Ordering::Relaxed);
        }
    };
    of_attempt(beat);
}

/// Makes a future part of the step that this code is part of, if it is part of one.
pub(crate) fn in_this_step<F: Future>(future: F) -> impl Future<Output = F::Output> {
    match of_attempt(|scope| scope.inside(scope.step, scope.path_of(None))) {
        Some(scope) => Either::Left(SCOPE.scope(scope, future)),
        None => Either::Right(future),
    }
}

/// A token that is cancelled when the attempt that this code is part of is given up: the run has failed or was cancelled,
/// the workflow dropped the step, the attempt took too long, the engine stops. Also when it has ended.
///
/// The run waits for an attempt of a step with a rollback, which is not stopped: the token asks it to end soon. If it
/// returns an error it has done nothing that were to be undone.
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
    of_attempt(|scope| scope.life.token()).unwrap_or_default()
}

/// The engine that executes the step which this code is part of, if it is part of one.
pub(crate) fn current() -> Option<Result<Client, Error>> {
    let engine = of_attempt(|scope| scope.engine.upgrade());
    let engine = engine.or_else(|| Some(output::taken_from()?.engine.upgrade()))?;
    Some(engine.map(|handle| Client { handle }).ok_or_else(|| {
        Error::coded(Code::Closed, "the engine that executes this step is gone").help("the step is attempted again")
    }))
}

/// The attempt that this code is part of, as one that writes to streams.
pub(crate) fn attempt_writer() -> Option<AttemptWriter> {
    of_attempt(|scope| AttemptWriter {
        engine: scope.engine.clone(),
        live: scope.live.clone(),
        life: scope.life.clone(),
        into: scope.origin.as_ref().map(|origin| origin.run.clone()),
        op: scope.op,
        attempt: scope.attempt,
        step: scope.outer,
        takes: false,
    })
    .or_else(output::taken_from)
}

/// What the run of the step which this code is part of has in common with its children.
pub(crate) fn inherited() -> Option<Arc<Inherited>> {
    of_attempt(|scope| scope.inherited.clone()).flatten()
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
    of_attempt(|scope| {
        let own = scope.outer.rsplit("::").next().unwrap_or(scope.outer);
        let label = label.unwrap_or(own);
        if let Some(value) = scope.resumed.as_ref().and_then(|resumed| resumed.get(label)) {
            return InStep::Resumed(value.clone());
        }
        let suspension = Suspension { label: label.into(), payload, type_name: type_name.into() };
        scope.life.part(Parting::Suspended(suspension));
        InStep::Suspended
    })
}

/// The payload of the last suspension of the step that this code is part of, if it was resumed since.
pub(crate) fn last_payload() -> Option<Payload> {
    // As for `step_info`.
    if replay::current().is_some() {
        return None;
    }
    SCOPE.try_with(|scope| scope.last_payload.clone()).ok().flatten()
}

/// Lets the run of the step which this code is part of end with a result. Nothing outside a step, and an error in a step
/// that is executed for another run.
pub(crate) fn finish(value: Payload) -> Option<Result<(), Error>> {
    of_attempt(|scope| match &scope.origin {
        None => {
            scope.life.part(Parting::Finished(value));
            Ok(())
        }
        Some(_) => Err(Error::coded(Code::Unsupported, "a step of a queue cannot finish the run that has called it")
            .help("return the value, and let the workflow call `finish`")
            .into_fatal()),
    })
}

/// Whether this code is part of a step of this run.
pub(super) fn is_of_run(run: &str) -> bool {
    of_attempt(|scope| *scope.live.id == *run || scope.origin.as_ref().is_some_and(|origin| *origin.run == *run))
        .unwrap_or(false)
}

/// Whether this code is part of a step that an engine executes.
pub(super) fn is_current() -> bool {
    of_attempt(|_| ()).is_some()
}

/// Counts the calls of steps inside a step, by step. The tasks that it spawns count as calls of nothing.
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

/// What the key of a call of a step that is made here has behind that of the operation, if this is part of a step.
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

    /// Counts a call of a step, or a task.
    fn path_of(&self, callee: Option<&'static str>) -> String {
        let number = self.inner.next(callee);
        self.path.clone() + &keys::nested(callee, number)
    }

    /// That of a step which is called in the attempt that this code is part of, if it is part of one. A call that was made
    /// outside, and handed to the step, is counted where it is executed.
    pub fn of_inner(step: &'static str, path: Option<String>) -> Option<Scope> {
        of_attempt(|outer| outer.inside(step, path.unwrap_or_else(|| outer.path_of(Some(step)))))
    }

    /// That of a step which is called inside this one, or of a task.
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
