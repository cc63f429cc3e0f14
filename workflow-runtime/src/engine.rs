//! The engine: it owns runs, executes their turns, and executes their steps.
//!
//! A run in memory is an `active_run::ActiveRun`: a mailbox, and the state of its driver. What happens to the run (an
//! attempt ended, a timer is due) becomes an arrival in the mailbox. The first arrival starts a driver (`turn`), which
//! delivers arrivals, polls the workflow, commits the turn through the `batcher`, and then performs its actions (`attempt`,
//! whose code runs in a `scope`; `timers`). `claims` claims the runs that are due in the store; `load` replays them. Input
//! from outside (`messages`: payloads, cancels, wake-ups) and effects of runs on other runs (`effects`) pass through the
//! store. `lifecycle` calls the completion callbacks. A step of a queue is a run of its own, which an engine that serves
//! the queue claims (`queues`). `streams` stores the chunks that a run writes. `removal` deletes runs whose retention has
//! passed. `eviction` removes a run that waits for long from memory. `telemetry` exports metrics and the spans of runs.

mod activations;
mod active_run;
mod ambient;
mod attempt;
mod batcher;
mod builder;
pub(crate) mod check;
mod claims;
mod client;
mod clock;
mod create;
mod cycle;
mod deployments;
mod effects;
mod end;
mod entry;
mod events;
mod eviction;
mod health;
pub(crate) mod history;
mod home;
mod lifecycle;
mod load;
mod mailbox;
mod messages;
mod missing;
mod other_builds;
mod output;
mod pages;
mod permit;
mod queries;
mod queue;
mod queues;
mod refusals;
mod registration;
mod removal;
mod repair;
mod replays;
mod resend;
mod right;
mod roster;
mod row_error;
mod scope;
mod shutdown;
mod signal;
mod stranded;
mod streams;
mod suspended;
mod telemetry;
mod timers;
#[cfg(feature = "postgres")]
mod transaction;
mod turn;
mod wait;
mod waiting;
mod yield_execution;

use std::collections::{BTreeMap, HashSet};
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

pub(crate) use self::ambient::ambient;
pub(crate) use self::attempt::plain_attempt;
pub use self::builder::Builder;
pub use self::client::Client;
pub(crate) use self::create::Asked;
pub(crate) use self::end::{Finished, awaits_itself};
pub(crate) use self::history::Next;
pub(crate) use self::messages::HookPayload;
pub(crate) use self::repair::At;
pub(crate) use self::scope::{
    InStep, attempt_writer, current, finish, in_this_step, inherited, last_payload, path_of_call, suspend,
};
pub use self::scope::{StepInfo, cancellation, heartbeat, step_info, traceparent};
pub(crate) use self::streams::AttemptWriter;
pub(crate) use self::suspended::Which;
pub use crate::environment::{Environment, System};

use self::activations::Activations;
use self::active_run::{ActiveRun, DriverState};
use self::batcher::Batcher;
use self::client::Handle;
use self::clock::Clock;
use self::entry::Entry;
use self::home::Home;
use self::lifecycle::{Callbacks, Notices};
use self::messages::News;
use self::output::Outputs;
use self::queues::Queues;
use self::removal::Cleaning;
use self::replays::Replays;
use self::resend::Sender;
use self::right::Right;
use self::signal::Signal;
use self::telemetry::{Metrics, Telemetry};
use self::timers::Timers;
use self::wait::Waiters;
use crate::definition::{Bodies, Resources};
use crate::environment::Random;
use crate::error::{Code, Error, Result};
use crate::limits::TURN_RETRY_INTERVAL;
use crate::model::{Retention, Stranded};
use crate::replay::Host;
use crate::store::{Ownership, RunKey, Store};

/// A [`Client`] that also executes workflows. Cheap to clone; all clones share one engine.
///
/// When the last clone (and the last [`Run`](crate::Run) handle) is dropped, it stops at once, like a killed process:
/// no data is lost, and the next engine repeats the attempts that were running. [`Engine::shutdown`] first waits for running
/// steps to end.
///
/// Several engines may be open on one SQLite file, in one process or in several: one of them executes, the others start
/// runs and wait for results. When the executing engine is gone, another takes over. On one PostgreSQL database any number
/// of engines execute: each has a lease, and if an engine cannot renew its lease, other engines continue its runs.
///
/// ```
/// # use workflow_runtime::{Engine, Result, workflow};
/// # #[workflow] async fn hello(name: String) -> Result<String> { Ok(format!("hello {name}")) }
/// # #[tokio::main]
/// # async fn main() -> Result<()> {
/// let engine = Engine::open("memory:").await?;
/// let run = engine.start(hello, "world".to_owned()).await?;
/// assert_eq!(run.await?, "hello world");
/// engine.shutdown().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Engine {
    client: Client,
}

/// Stops the engine when it is dropped.
struct StopOnDrop(Arc<Inner>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.stop();
    }
}

/// A function that is called with what is stranded.
type Report = Arc<dyn Fn(Stranded) -> BoxFuture<'static, Result<()>> + Send + Sync>;

/// The settings of the builder.
#[derive(Clone)]
pub(crate) struct Settings {
    /// Whether the engine executes runs; if not, it is only a client.
    executes: bool,
    recoveries_max: u32,
    /// In milliseconds; `None` disables eviction.
    evict_after: Option<u64>,
    /// In events.
    long_after: u64,
    replay_every_turn: bool,
    callbacks: Callbacks,
    reports: Vec<Report>,
    telemetry: Telemetry,
    retention: Retention,
    keep_deliveries: Duration,
    deployment: Arc<str>,
    bodies: Bodies,
}

/// The state that the engine's tasks share.
pub(crate) struct Inner {
    /// The random number under which this engine writes; replaced each time the engine loses the right to execute.
    owner: AtomicU64,
    random: Arc<Random>,
    /// The functions and settings that the replay core uses.
    host: Host,
    environment: Arc<dyn Environment>,
    clock: Clock,
    store: Arc<dyn Store>,
    batcher: Batcher,
    /// Shared with the batcher, which gives it up after the last write.
    right: Arc<Right>,
    /// The right to execute in a store that was replaced. Kept until the engine is gone, so that no other engine executes
    /// while parts of this one still run.
    kept: Mutex<Option<Box<dyn Ownership>>>,
    resources: Resources,
    settings: Settings,
    metrics: Metrics,
    runtime: tokio::runtime::Handle,
    home: Arc<Home>,
    /// The ids of the workflows in this build.
    workflows: Arc<[&'static str]>,
    /// Whether the deployment takes no runs but those that require it.
    is_drained: AtomicBool,
    /// The name under which this build refuses runs.
    refuser: Arc<str>,
    /// This engine in the list of workers.
    entry: Mutex<Entry>,
    /// Whether this engine has the right to execute.
    executing: AtomicBool,
    live: Mutex<BTreeMap<RunKey, Arc<ActiveRun>>>,
    /// The ids of the runs in `live`, for callers that wait for a run.
    live_ids: Mutex<HashSet<Arc<str>>>,
    activations: Activations,
    news: News,
    notices: Notices,
    cleaning: Cleaning,
    queues: Queues,
    replays: Replays,
    timers: Timers,
    waiters: Waiters,
    /// The output functions of runs that were started here.
    outputs: Outputs,
    async_permits: Arc<Semaphore>,
    blocking_permits: Arc<Semaphore>,
    /// Attempts of steps that are running.
    attempts: TaskTracker,
    /// Drivers that execute turns, and replays.
    drivers: TaskTracker,
    /// The tasks that last until the engine drains.
    tasks: TaskTracker,
    /// Cancelled when no further step may be dispatched.
    draining: Signal,
    /// Cancelled when the engine has ended.
    stopped: Signal,
    /// The handle that users have; needed by functions that are called inside steps.
    handle: OnceLock<Weak<Handle>>,
}

impl Engine {
    /// Opens an engine on `sqlite:PATH`, on `postgres://USER@HOST/DATABASE` (with the feature `postgres`), or on `memory:`,
    /// for tests. The engine claims unfinished runs at once.
    ///
    /// # Errors
    ///
    /// [`Code::InvalidUrl`], [`Code::Store`], [`Code::NewerStore`] or [`Code::StoreReplaced`] if the store cannot be used, and
    /// [`Code::MissingResource`] if a step of this build declares a resource: pass it to [`Engine::builder`].
    pub async fn open(url: &str) -> Result<Engine> {
        Engine::builder().url(url).open().await
    }

    /// Returns a builder, to set options and resources.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Makes this the engine behind the free functions, such as [`start`](crate::start). Servers call this once, when they
    /// start, so that unfinished runs resume at the restart and not at the first call.
    ///
    /// A process has one such engine. Without an installed one, the first free function opens an engine from
    /// `WORKFLOW_URL`, in the tokio runtime of its caller, and all others use it, whatever runtime they run in. When that
    /// runtime ends, the engine ends with it: callers that still wait for it get [`Code::Closed`], and the next call of
    /// a free function opens another engine in its own runtime. An *installed* engine that has ended is not replaced in
    /// this way, since the new one could be on another store: the free functions return [`Code::Closed`] until another is
    /// installed. Each test has a runtime of its own, so tests should call the methods of an engine of their own:
    ///
    /// ```
    /// # use workflow_runtime::{Engine, Result, workflow};
    /// # #[workflow] async fn hello(name: String) -> Result<String> { Ok(format!("hello {name}")) }
    /// #[tokio::test]
    /// # async fn hidden() {}
    /// async fn greets() -> Result<()> {
    ///     let engine = Engine::open("memory:").await?;
    ///     assert_eq!(engine.start(hello, "world".to_owned()).await?.await?, "hello world");
    ///     Ok(())
    /// }
    /// # #[tokio::main]
    /// # async fn main() -> Result<()> { greets().await }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Code::Closed`] if another engine or client is installed and still open; the error names the thread that
    /// opened it.
    pub fn install(self) -> Result<Engine> {
        ambient::install(self.client.clone())?;
        Ok(self)
    }

    /// Stops the engine: it claims no more runs, waits for running attempts of steps (for up to ten seconds, then
    /// it aborts them), records their results, and releases its runs to the store. The next engine continues unfinished
    /// runs. Calling it again, or after the engine was dropped, does nothing.
    ///
    /// A store in SQLite is then one file: the log beside it is written into it and removed, unless another process or
    /// another engine has the file open.
    ///
    /// # Errors
    ///
    /// If the store does not accept the remaining writes. Nothing that was recorded is lost.
    pub async fn shutdown(&self) -> Result<()> {
        self.inner().shutdown().await
    }
}

impl Deref for Engine {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("owner", &self.inner().owner()).finish_non_exhaustive()
    }
}

impl Inner {
    /// Resolves after a time on the engine's clock.
    #[cfg(feature = "http")]
    pub(crate) fn pause(&self, time: std::time::Duration) -> futures_util::future::BoxFuture<'static, ()> {
        self.environment.sleep(time)
    }

    fn is_executing(&self) -> bool {
        self.executing.load(Ordering::Acquire)
    }

    /// Whether no further attempt of a step may begin: the engine drains, or yields the right to execute.
    fn begins_nothing(&self) -> bool {
        self.draining.is_cancelled() || !self.is_executing()
    }

    fn owner(&self) -> u64 {
        self.owner.load(Ordering::Acquire)
    }

    /// Whether the right to execute under which the run was activated still holds.
    fn holds(&self, live: &ActiveRun) -> bool {
        live.fence.owner == self.owner() && self.right.lasts()
    }

    /// The error of a call on an engine that is closed.
    fn closed(&self, what: &str, help: &str) -> Error {
        self.home.closed(what, help)
    }

    /// Closes the engine for good if no write can succeed after this error. Returns whether it does.
    fn fail(&self, error: &Error) -> bool {
        if !matches!(error.code(), Code::StoreReplaced | Code::NewerStore) {
            return false;
        }
        if self.home.fail(error) {
            tracing::error!(?error, "the engine closes; open another one");
            self.executing.store(false, Ordering::Release);
            let right = self.right.take();
            // Another engine must not execute on a file that was replaced, but a newer build is to execute.
            let right = right.filter(|_| error.code() == Code::StoreReplaced);
            *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = right;
            self.stop();
        }
        true
    }

    fn check_open(&self) -> Result<()> {
        // A step that may still end during the shutdown may also start runs.
        let in_step = scope::is_current();
        if self.stopped.is_cancelled() || (self.draining.is_cancelled() && !in_step) {
            return Err(self.closed("the engine is shut down", "open another one"));
        }
        Ok(())
    }

    fn live_runs(&self) -> std::sync::MutexGuard<'_, BTreeMap<RunKey, Arc<ActiveRun>>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn live_ids(&self) -> std::sync::MutexGuard<'_, HashSet<Arc<str>>> {
        self.live_ids.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Registers a run in memory.
    fn remember(&self, live: &Arc<ActiveRun>) {
        self.live_runs().insert(live.key, live.clone());
        self.live_ids().insert(live.id.clone());
    }

    /// Removes a run from memory that ended, got stuck or belongs to another engine.
    fn forget(&self, live: &Arc<ActiveRun>, driver: &DriverState) {
        live.abort_attempts();
        for (op, deadline) in &driver.armed {
            self.timers.disarm(live.key, *op, *deadline);
        }
        self.remove(live);
    }

    /// Removes a run from memory that its driver does not forget, because a later claim replaces it.
    fn retire(&self, live: &Arc<ActiveRun>) {
        live.abort_attempts();
        live.close();
        self.remove(live);
    }

    fn remove(&self, live: &Arc<ActiveRun>) {
        let mut runs = self.live_runs();
        // A later claim of the run may be in memory already.
        if runs.get(&live.key).is_some_and(|here| Arc::ptr_eq(here, live)) {
            runs.remove(&live.key);
            self.live_ids().remove(&live.id);
        }
    }

    /// The right to execute is lost: the engine leaves its runs unchanged for the next owner, and does no more
    /// work on them.
    fn lose(&self) {
        self.executing.store(false, Ordering::Release);
        // First, so that an activation, or an attempt that starts now, sees the new owner number.
        self.owner.store(builder::new_owner(&self.random), Ordering::Release);
        let runs = std::mem::take(&mut *self.live_runs()).into_values();
        self.live_ids().clear();
        for live in runs {
            live.abort_attempts();
            live.close();
        }
        self.timers.clear();
        drop(self.right.take());
        self.waiters.wake_all();
        self.activations.miss();
    }

    /// Ends the engine without waiting for any task.
    fn stop(&self) {
        self.draining.cancel();
        self.stopped.cancel();
        let runs = std::mem::take(&mut *self.live_runs()).into_values();
        self.live_ids().clear();
        for live in runs {
            live.abort_attempts();
            live.close();
        }
        self.timers.clear();
        self.batcher.close();
        self.waiters.wake_all();
        self.drop_entry();
    }
}

impl Sender for Inner {
    /// During a shutdown no write is sent again: the next engine makes it.
    fn gives_up_after(&self, error: &Error) -> bool {
        self.fail(error) || self.draining.is_cancelled() || error.code() == Code::Closed
    }

    fn is_owner(&self, owner: u64) -> bool {
        self.owner() == owner
    }

    async fn before_next_attempt(&self) -> bool {
        tokio::select! {
            biased;
            () = self.stopped.cancelled() => false,
            () = self.environment.sleep(TURN_RETRY_INTERVAL) => true,
        }
    }
}
