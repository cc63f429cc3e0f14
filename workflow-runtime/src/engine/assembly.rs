//! The assembly of an engine from the settings of its builder.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Instant;

use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::builder::Builder;
use super::inner::{Handle, Inner, StopOnDrop, new_owner};
use super::lifecycle;
use super::messages;
use super::open::{check_resources, check_transactions, open_store};
use super::parts::activations::Activations;
use super::parts::batcher::Batcher;
use super::parts::clock::Clock;
use super::parts::home::Home;
use super::parts::news::News;
use super::parts::outputs::Outputs;
use super::parts::queues::Queues;
use super::parts::replay_queue::ReplayQueue;
use super::parts::right::Right;
use super::parts::roster::Places;
use super::parts::signal::Signal;
use super::parts::telemetry::Metrics;
use super::parts::timers::Timers;
use super::parts::waiters::Waiters;
use super::removal;
use super::timers;
use super::{Client, claims, refusals};
use crate::definition::Bodies;
use crate::environment::Random;
use crate::error::{Code, Error, Result};
use crate::names;
use crate::registry::{self, registry};
use crate::replay::{Draw, Host};

const DEPLOYMENT_VARIABLE: &str = "WORKFLOW_DEPLOYMENT";

impl Builder {
    pub(super) async fn start(mut self) -> Result<Client> {
        let runtime = tokio::runtime::Handle::try_current().map_err(|error| {
            Error::coded(Code::Closed, "an engine can be opened only inside a tokio runtime")
                .because(error)
                .help("call it from an async function under #[tokio::main] or #[tokio::test]")
        })?;
        if std::panic::catch_unwind(|| drop(tokio::time::sleep(std::time::Duration::ZERO))).is_err() {
            return Err(Error::coded(Code::Closed, "an engine needs a tokio runtime with time")
                .help("build the runtime with `enable_time()` or `enable_all()`"));
        }
        let (steps, blocking_steps) = (self.steps, self.blocking_steps);
        let places = Places { steps, blocking_steps, queues: self.queues.clone() };
        let queues = Queues::new(self.queues)?;
        if self.settings.executes {
            self.settings.deployment = deployment(&self.settings.deployment)?;
            registry().check_ids()?;
            if !self.settings.bodies.are_replaced() {
                check_resources(&self.resources, &queues)?;
            }
            self.settings.retention.check()?;
        }
        let begun = Instant::now();
        let store = open_store(self.place, self.synchronous, self.must_exist).await?;
        if self.settings.executes && !self.settings.bodies.are_replaced() {
            check_transactions(&*store, &queues)?;
        }
        let right = Arc::new(Right::default());
        let metrics = Metrics::new();
        let stopped = CancellationToken::new();
        let home = Home::here(stopped.clone());
        let environment = self.environment.clone();
        let batcher = Batcher::start(store.clone(), environment, right.clone(), metrics.clone(), home.clone())?;
        let random = Arc::new(Random::new(&*self.environment));
        let drawn = random.clone();
        let inner = Arc::new(Inner {
            owner: AtomicU64::new(new_owner(&random)),
            random,
            host: host(Arc::new(move || drawn.number()), self.settings.bodies.clone(), self.settings.long_after),
            clock: Clock::new(self.environment.clone(), store.clone()),
            environment: self.environment,
            store,
            batcher,
            right,
            kept: Mutex::new(None),
            resources: self.resources,
            is_drained: AtomicBool::new(false),
            refuser: refusals::refuser(&self.settings.deployment, self.settings.recoveries_max),
            settings: self.settings,
            metrics,
            runtime: runtime.clone(),
            home: home.clone(),
            workflows: registry().workflow_ids().collect(),
            entry: Mutex::default(),
            executing: AtomicBool::new(false),
            live: Mutex::new(BTreeMap::new()),
            live_ids: Mutex::default(),
            activations: Activations::default(),
            news: News::default(),
            notices: Notify::new(),
            cleaning: Notify::new(),
            queues,
            places,
            replays: ReplayQueue::default(),
            timers: Timers::default(),
            waiters: Waiters::default(),
            outputs: Outputs::default(),
            async_permits: Arc::new(Semaphore::new(self.steps)),
            blocking_permits: Arc::new(Semaphore::new(self.blocking_steps)),
            attempts: TaskTracker::new(),
            drivers: TaskTracker::new(),
            tasks: TaskTracker::new(),
            draining: Signal::new(CancellationToken::new()),
            stopped: Signal::new(stopped),
            handle: OnceLock::new(),
        });
        let handle = Arc::new(Handle { inner: inner.clone() });
        let _ = inner.handle.set(Arc::downgrade(&handle));
        claims::begin_to_execute(&inner, begun).await?;
        inner.warn_of_foreign_runs().await;
        inner.warn_of_bound_runs().await;
        runtime.spawn(timers::run(inner.clone()));
        inner.tasks.spawn_on(claims::run(inner.clone()), &runtime);
        inner.tasks.spawn_on(messages::run(inner.clone()), &runtime);
        inner.tasks.spawn_on(lifecycle::run(inner.clone()), &runtime);
        runtime.spawn(removal::run(inner.clone()));
        inner.watch_queues();
        inner.watch_stranded();
        // A runtime that is dropped drops this with its tasks, whether they were polled or not.
        let stop = StopOnDrop(inner);
        runtime.spawn(home.watch(async move { stop.0.stopped.cancelled().await }));
        Ok(Client { handle })
    }
}

/// What a run needs of this build.
pub(super) fn host(draw: Draw, bodies: Bodies, long_after: u64) -> Host {
    Host {
        draw,
        queued: |step| registry().queued(step),
        queue_call: registry::queue::request,
        known: registry::known,
        bodies,
        long_after,
    }
}

/// The id of the deployment: the one that the builder was given, else that of the environment, else one of the definitions.
pub(super) fn deployment(given: &str) -> Result<Arc<str>> {
    let named = match given {
        "" => std::env::var(DEPLOYMENT_VARIABLE).unwrap_or_default(),
        given => given.to_owned(),
    };
    if named.is_empty() {
        return Ok(registry::catalogue::derived_deployment().clone());
    }
    names::check("the id of a deployment", &named)?;
    Ok(named.into())
}
