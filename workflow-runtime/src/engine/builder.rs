//! The builder of an engine.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use super::inner::Settings;
use super::open::Place;
use super::parts::callbacks::Callbacks;
use super::parts::telemetry::Telemetry;
use super::{Client, Engine};
use crate::definition::{Bodies, Resources};
use crate::environment::{Environment, System};
use crate::error::Result;
use crate::limits;
use crate::model::{Retention, RunInfo, Status};
use crate::store::{Store, Synchronous};

/// Settings of an engine: see [`Engine::builder`].
///
/// ```standalone_crate
/// # use workflow_runtime::{Engine, Result, step, workflow};
/// struct Bank { url: String }
///
/// #[step]
/// async fn charge(#[resource] bank: &Bank, cents: u32) -> Result<String> {
///     Ok(format!("{} took {cents}", bank.url))
/// }
///
/// #[workflow]
/// async fn pay(cents: u32) -> Result<String> {
///     charge(cents).await
/// }
///
/// # #[tokio::main]
/// # async fn main() -> Result<()> {
/// let engine = Engine::builder()
///     .url("memory:")
///     .resource(Bank { url: "https://bank.example".into() })
///     .open()
///     .await?;
/// assert_eq!(engine.start(pay, 5).await?.await?, "https://bank.example took 5");
/// # Ok(())
/// # }
/// ```
#[must_use = "a builder does nothing until `.open()`"]
pub struct Builder {
    pub(super) place: Place,
    pub(super) synchronous: Synchronous,
    /// Whether the store is neither created nor migrated.
    pub(super) must_exist: bool,
    pub(super) resources: Resources,
    pub(super) settings: Settings,
    pub(super) steps: usize,
    pub(super) blocking_steps: usize,
    pub(super) queues: BTreeMap<String, usize>,
    pub(super) environment: Arc<dyn Environment>,
}

impl Default for Builder {
    fn default() -> Self {
        Builder {
            place: Place::Default,
            synchronous: Synchronous::default(),
            must_exist: false,
            resources: Resources::default(),
            settings: Settings {
                executes: true,
                recoveries_max: limits::RECOVERIES_MAX,
                evict_after: Some(limits::EVICT_AFTER.as_millis() as u64),
                long_after: limits::LONG_AFTER,
                replay_every_turn: false,
                callbacks: Callbacks::default(),
                reports: Vec::new(),
                telemetry: Telemetry::default(),
                retention: Retention::new(),
                keep_deliveries: limits::DELIVERIES_KEPT,
                deployment: "".into(),
                bodies: Bodies::default(),
            },
            steps: limits::STEPS_CONCURRENT,
            blocking_steps: limits::BLOCKING_STEPS_CONCURRENT,
            queues: BTreeMap::new(),
            environment: Arc::new(System),
        }
    }
}

impl Builder {
    /// The URL of the store: `sqlite:PATH`, `postgres://USER@HOST/DATABASE` or `memory:`. Defaults to the
    /// environment variable `WORKFLOW_URL`, and if that is not set, to `sqlite:.workflow/workflow.db`.
    pub fn url(mut self, url: impl Into<String>) -> Self {
        self.place = Place::Url(url.into());
        self
    }

    /// A store in place of a URL: one in memory that several engines share, or a custom one.
    pub fn store(mut self, store: Arc<dyn Store>) -> Self {
        self.place = Place::Store(store);
        self
    }

    /// How SQLite syncs commits to disk. The default loses no commit, even if the machine loses power.
    pub fn synchronous(mut self, synchronous: Synchronous) -> Self {
        self.synchronous = synchronous;
        self
    }

    /// Opens only a store that exists and has the tables of this version: nothing is created or migrated. For tools that look
    /// at a store which is not theirs, with [`connect`](Builder::connect). A store that was given by
    /// [`store`](Builder::store) is used as it is.
    ///
    /// Without such a store, opening fails with [`Code::Store`](crate::Code::Store); `memory:` fails with [`Code::InvalidUrl`](crate::Code::InvalidUrl).
    ///
    /// ```
    /// # use workflow_runtime::{Code, Engine, Result};
    /// # #[tokio::main]
    /// # async fn main() -> Result<()> {
    /// # let directory = tempfile::tempdir()?;
    /// let path = directory.path().join("workflow.db");
    /// let opened = Engine::builder().url(format!("sqlite:{}", path.display())).must_exist().connect().await;
    /// assert_eq!(opened.unwrap_err().code(), Code::Store);
    /// assert!(!path.exists());
    /// # Ok(())
    /// # }
    /// ```
    pub fn must_exist(mut self) -> Self {
        self.must_exist = true;
        self
    }

    /// Passes a value to the steps that declare it with `#[resource]`: one for each type. A second value of the same type
    /// replaces the first.
    pub fn resource<T: Send + Sync + 'static>(mut self, value: T) -> Self {
        self.resources.insert(value);
        self
    }

    /// How many attempts of async steps run at the same time: 1,024 unless set, at least 1. An
    /// attempt that waits for another run (for its end, its events or its streams) does not count
    /// while it waits, and resumes when a permit is free. Tasks that a step spawns are not counted.
    pub fn concurrency(mut self, steps: usize) -> Self {
        self.steps = steps.clamp(1, Semaphore::MAX_PERMITS);
        self
    }

    /// How many attempts of blocking steps run at the same time: 64 unless set, at
    /// least 1. An attempt that waits for another run does not count while it waits.
    pub fn blocking_concurrency(mut self, steps: usize) -> Self {
        self.blocking_steps = steps.clamp(1, Semaphore::MAX_PERMITS);
        self
    }

    /// Serves a queue: this engine executes its steps, `#[step(queue = "gpu")]`, even if another process has the calling
    /// run; at most `concurrency` at a time, at least 1. A step that is suspended, or waits for its next attempt, frees its
    /// slot. When it is resumed, or its next attempt is due, it queues again, behind steps that were due before. A blocking
    /// step that was given up keeps its slot until its function returns. A step that waits for another run keeps its slot, too.
    /// An engine without this call executes no step of a queue. Can be called more than once.
    pub fn queue(mut self, name: impl Into<String>, concurrency: usize) -> Self {
        self.queues.insert(name.into(), concurrency.clamp(1, Semaphore::MAX_PERMITS));
        self
    }

    /// How often a run may be recovered after its process died, without progress between the recoveries, before it is
    /// stuck: 5 times unless set. This stops a step that kills the process from doing so for ever. An engine that is opened
    /// with another number retries the stuck runs.
    pub fn recoveries(mut self, most: u32) -> Self {
        self.settings.recoveries_max = most;
        self
    }

    /// How long a run waits in memory, for a time or a hook, before it is evicted: 60 seconds
    /// unless set. An evicted run only costs its rows, and is replayed when a message arrives
    /// or a timer is due. A run that wakes soon stays. `Duration::MAX` disables eviction.
    pub fn evict_after(mut self, idle: Duration) -> Self {
        self.settings.evict_after = u64::try_from(idle.as_millis()).ok();
        self
    }

    /// After how many events of a run [`continue_as_new_suggested`](crate::continue_as_new_suggested)
    /// returns `true`, because the journal is long: 10,000 unless set.
    pub fn suggest_continuing_after(mut self, events: u64) -> Self {
        self.settings.long_after = events;
        self
    }

    /// Calls a function when a run has completed: at least once, even if the process
    /// dies, and exactly once if nothing fails. Can be called more than once.
    ///
    /// The function runs outside the run. One of the engines that execute and have a function for the status
    /// calls all of its functions. So all engines of a store should have the same functions; if several
    /// processes have to see the end, read [`Run::events`](crate::Run::events). If a process dies before the
    /// functions have returned, the next engine that has functions calls them, after 60 seconds at the latest.
    ///
    /// The functions for the end of one run have 45 seconds together. If one takes longer, fails or panics, the engine
    /// calls all of them again: after half a second at first, later after up to a minute, without a limit of attempts.
    /// [`Engine::shutdown`] waits for functions that are running. Work that must be done once belongs in a step.
    ///
    /// A run is kept until its functions were called, whatever [`retain`](Builder::retain) says. If for seven days no engine
    /// that executes has a function for its status, the run is no longer kept for them, and a warning is logged.
    ///
    /// ```
    /// # use workflow_runtime::{Engine, Result, workflow};
    /// # #[workflow] async fn hello() -> Result<()> { Ok(()) }
    /// # #[tokio::main]
    /// # async fn main() -> Result<()> {
    /// let engine = Engine::builder()
    ///     .url("memory:")
    ///     .on_completed(|run| async move {
    ///         println!("{} has completed", run.id);
    ///         Ok(())
    ///     })
    ///     .open()
    ///     .await?;
    /// # engine.start(hello, ()).await?.await
    /// # }
    /// ```
    pub fn on_completed<F, U>(self, callback: F) -> Self
    where
        F: Fn(RunInfo) -> U + Send + Sync + 'static,
        U: Future<Output = Result<()>> + Send + 'static,
    {
        self.on(Status::Completed, callback)
    }

    /// Like [`on_completed`](Builder::on_completed), when a run has failed.
    pub fn on_failed<F, U>(self, callback: F) -> Self
    where
        F: Fn(RunInfo) -> U + Send + Sync + 'static,
        U: Future<Output = Result<()>> + Send + 'static,
    {
        self.on(Status::Failed, callback)
    }

    /// Like [`on_completed`](Builder::on_completed), when a run was cancelled.
    pub fn on_cancelled<F, U>(self, callback: F) -> Self
    where
        F: Fn(RunInfo) -> U + Send + Sync + 'static,
        U: Future<Output = Result<()>> + Send + 'static,
    {
        self.on(Status::Cancelled, callback)
    }

    /// Like [`on_completed`](Builder::on_completed), when a run got stuck and needs a person or a deploy.
    pub fn on_stuck<F, U>(self, callback: F) -> Self
    where
        F: Fn(RunInfo) -> U + Send + Sync + 'static,
        U: Future<Output = Result<()>> + Send + 'static,
    {
        self.on(Status::Stuck, callback)
    }

    fn on<F, U>(mut self, status: Status, callback: F) -> Self
    where
        F: Fn(RunInfo) -> U + Send + Sync + 'static,
        U: Future<Output = Result<()>> + Send + 'static,
    {
        self.settings.callbacks.add(status, callback);
        self
    }

    /// Exports the spans of runs to OpenTelemetry. All spans of a run are in one trace, even if several processes
    /// execute it. Spans of steps, attempts, waits and children are exported as they end, the span of the run when it
    /// has ended: a trace grows while its run continues. See [the feature](crate#opentelemetry) for the attributes.
    ///
    /// `processor` is any processor that a tracer provider accepts, such as a `BatchSpanProcessor`
    /// with an exporter for OTLP; the caller sets its resource. [`Engine::shutdown`] flushes it. The
    /// engine calls it synchronously: a processor that exports each span at once delays the runs.
    ///
    /// The id of a span is derived from its subject. A process that dies may lose spans: the next engine
    /// exports the spans of the unfinished runs that the dead process had in memory again, with the same ids. An engine
    /// exports the spans of the runs whose ends it records, so all engines of a store should have a processor.
    #[cfg(feature = "otel")]
    #[cfg_attr(docsrs, doc(cfg(feature = "otel")))]
    pub fn span_processor(mut self, processor: impl opentelemetry_sdk::trace::SpanProcessor + 'static) -> Self {
        self.settings.telemetry = Telemetry::new(Box::new(processor));
        self
    }

    /// How long ended runs are kept, and how many generations of each run: for ever and all, unless set.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use workflow_runtime::{Engine, Result, Retention, Status};
    /// # #[tokio::main]
    /// # async fn main() -> Result<()> {
    /// const DAY: Duration = Duration::from_secs(24 * 3600);
    /// let keep = Retention::new().completed(7 * DAY).failed(90 * DAY).most(Status::Completed, 1_000_000);
    /// let engine = Engine::builder().url("memory:").retain(keep).open().await?;
    /// # engine.shutdown().await
    /// # }
    /// ```
    pub fn retain(mut self, retention: Retention) -> Self {
        self.settings.retention = retention;
        self
    }

    /// How long after a run's end the idempotency keys of its deliveries are kept, those of
    /// [`resume_hook`](crate::resume_hook) and [`Run::resume`](crate::Run::resume): 7 days unless set. A delivery that is
    /// repeated within that time is accepted and has no effect, even if the run was deleted meanwhile. The time applies to
    /// what this engine or client sends; use the same value for all engines and clients of a store.
    pub fn keep_deliveries(mut self, time: Duration) -> Self {
        self.settings.keep_deliveries = time;
        self
    }

    /// The id of the deployment, by which [`Client::workers`](super::Client::workers) and
    /// [`Client::deployments`](super::Client::deployments) name this build: a git commit or an image's tag. Unless set, it is
    /// the environment variable `WORKFLOW_DEPLOYMENT`, or else derived from the code of the workflows and steps of the build.
    /// The derived id does not change with helper functions and constants, and differs between two binaries.
    ///
    /// A longer id than 512 bytes, or one with control characters, is [`Code::InvalidName`](crate::Code::InvalidName) when the engine opens.
    pub fn deployment(mut self, id: impl Into<String>) -> Self {
        self.settings.deployment = id.into().into();
        self
    }

    /// Replays each run from its journal after every turn, so that code whose replay would differ gets stuck at once
    /// and not after the first crash. For tests: its cost is quadratic in the length of a run.
    pub fn replay_every_turn(mut self) -> Self {
        self.settings.replay_every_turn = true;
        self
    }

    /// The source of time and randomness: [`System`], unless set.
    pub fn environment(mut self, environment: Arc<dyn Environment>) -> Self {
        self.environment = environment;
        self
    }

    /// Executes other bodies than those of the definitions, and demands no resources for them.
    #[cfg(feature = "testing")]
    pub(crate) fn bodies(mut self, bodies: Bodies) -> Self {
        self.settings.bodies = bodies;
        self
    }

    /// Opens the engine on the current tokio runtime. It claims unfinished runs at once.
    ///
    /// # Errors
    ///
    /// [`Code::MissingResource`](crate::Code::MissingResource) with each resource that a step declares and the builder lacks (except for steps of queues
    /// that it does not serve); [`Code::InvalidName`](crate::Code::InvalidName) for a queue that no step has, and for a [retention](Builder::retain)
    /// of runs that have not ended; [`Code::DuplicateId`](crate::Code::DuplicateId) if the engine executes, and two workflows or steps outside tests
    /// share an id; [`Code::InvalidUrl`](crate::Code::InvalidUrl), [`Code::Store`](crate::Code::Store), [`Code::NewerStore`](crate::Code::NewerStore) or
    /// [`Code::StoreReplaced`](crate::Code::StoreReplaced) if the store cannot be used.
    pub async fn open(self) -> Result<Engine> {
        Ok(Engine { client: self.start().await? })
    }

    /// Opens a [`Client`], which executes nothing. Settings of the execution have no effect on it.
    ///
    /// # Errors
    ///
    /// [`Code::InvalidUrl`](crate::Code::InvalidUrl), [`Code::Store`](crate::Code::Store), [`Code::NewerStore`](crate::Code::NewerStore) or [`Code::StoreReplaced`](crate::Code::StoreReplaced) if the store cannot be used.
    pub async fn connect(mut self) -> Result<Client> {
        self.settings.executes = false;
        self.queues.clear();
        self.start().await
    }
}

impl Client {
    /// Connects to a store by its URL, as [`Engine::open`](super::Engine::open) does.
    ///
    /// # Errors
    ///
    /// [`Code::InvalidUrl`](crate::Code::InvalidUrl), [`Code::Store`](crate::Code::Store),
    /// [`Code::NewerStore`](crate::Code::NewerStore) or [`Code::StoreReplaced`](crate::Code::StoreReplaced) if the store cannot be used.
    pub async fn connect(url: &str) -> Result<Client> {
        Builder::default().url(url).connect().await
    }
}
