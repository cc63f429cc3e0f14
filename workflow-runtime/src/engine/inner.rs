//! The state that the parts of an engine and its tasks share.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::{Notify, Semaphore};
use tokio_util::task::TaskTracker;

use super::parts::activations::Activations;
use super::parts::active_run::{ActiveRun, DriverState};
use super::parts::batcher::Batcher;
use super::parts::callbacks::Callbacks;
use super::parts::clock::Clock;
use super::parts::entry::Entry;
use super::parts::home::Home;
use super::parts::news::News;
use super::parts::outputs::Outputs;
use super::parts::queues::Queues;
use super::parts::replay_queue::ReplayQueue;
use super::parts::resend::Sender;
use super::parts::right::Right;
use super::parts::roster::Places;
use super::parts::signal::Signal;
use super::parts::telemetry::{Metrics, Telemetry};
use super::parts::timers::Timers;
use super::parts::waiters::Waiters;
use crate::definition::{Bodies, Resources};
use crate::environment::{Environment, Random};
use crate::error::{Code, Error, Result};
use crate::limits::TURN_RETRY_INTERVAL;
use crate::model::{Retention, Stranded};
use crate::replay::Host;
use crate::store::{Ownership, RunKey, Store};

/// Stops the engine when it is dropped.
pub(super) struct StopOnDrop(pub(super) Arc<Inner>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.stop();
    }
}

/// A function that is called with what is stranded.
pub(super) type Report = Arc<dyn Fn(Stranded) -> BoxFuture<'static, Result<()>> + Send + Sync>;

/// The settings of the builder.
#[derive(Clone)]
pub(crate) struct Settings {
    /// Whether the engine executes runs; if not, it is only a client.
    pub(super) executes: bool,
    pub(super) recoveries_max: u32,
    /// In milliseconds; `None` disables eviction.
    pub(super) evict_after: Option<u64>,
    /// In events.
    pub(super) long_after: u64,
    pub(super) replay_every_turn: bool,
    pub(super) callbacks: Callbacks,
    pub(super) reports: Vec<Report>,
    pub(super) telemetry: Telemetry,
    pub(super) retention: Retention,
    pub(super) keep_deliveries: Duration,
    pub(super) deployment: Arc<str>,
    pub(super) bodies: Bodies,
}

/// The state that the engine's tasks share.
pub(crate) struct Inner {
    /// The random number under which this engine writes; replaced each time the engine loses the right to execute.
    pub(super) owner: AtomicU64,
    pub(super) random: Arc<Random>,
    /// The functions and settings that the replay core uses.
    pub(super) host: Host,
    pub(super) environment: Arc<dyn Environment>,
    pub(super) clock: Clock,
    pub(super) store: Arc<dyn Store>,
    pub(super) batcher: Batcher,
    /// Shared with the batcher, which gives it up after the last write.
    pub(super) right: Arc<Right>,
    /// The right to execute in a store that was replaced. Kept until the engine is gone, so that no other engine executes
    /// while parts of this one still run.
    pub(super) kept: Mutex<Option<Box<dyn Ownership>>>,
    pub(super) resources: Resources,
    pub(super) settings: Settings,
    pub(super) metrics: Metrics,
    pub(super) runtime: tokio::runtime::Handle,
    pub(super) home: Arc<Home>,
    /// The ids of the workflows in this build.
    pub(super) workflows: Arc<[&'static str]>,
    /// Whether the deployment takes no runs but those that require it.
    pub(super) is_drained: AtomicBool,
    /// The name under which this build refuses runs.
    pub(super) refuser: Arc<str>,
    /// This engine in the list of workers.
    pub(super) entry: Mutex<Entry>,
    /// Whether this engine has the right to execute.
    pub(super) executing: AtomicBool,
    pub(super) live: Mutex<BTreeMap<RunKey, Arc<ActiveRun>>>,
    /// The ids of the runs in `live`, for callers that wait for a run.
    pub(super) live_ids: Mutex<HashSet<Arc<str>>>,
    pub(super) activations: Activations,
    pub(super) news: News,
    /// Signalled when there may be a notice to claim.
    pub(super) notices: Notify,
    pub(super) cleaning: Notify,
    pub(super) queues: Queues,
    pub(super) places: Places,
    pub(super) replays: ReplayQueue,
    pub(super) timers: Timers,
    pub(super) waiters: Waiters,
    /// The output functions of runs that were started here.
    pub(super) outputs: Outputs,
    pub(super) async_permits: Arc<Semaphore>,
    pub(super) blocking_permits: Arc<Semaphore>,
    /// Attempts of steps that are running.
    pub(super) attempts: TaskTracker,
    /// Drivers that execute turns, and replays.
    pub(super) drivers: TaskTracker,
    /// The tasks that last until the engine drains.
    pub(super) tasks: TaskTracker,
    /// Cancelled when no further step may be dispatched.
    pub(super) draining: Signal,
    /// Cancelled when the engine has ended.
    pub(super) stopped: Signal,
    /// The handle that users have; needed by functions that are called inside steps.
    pub(super) handle: OnceLock<Weak<Handle>>,
}

/// Stops the engine when its last user has dropped it; the engine's own tasks hold only [`Inner`].
pub(super) struct Handle {
    pub(super) inner: Arc<Inner>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.inner.stop();
    }
}

impl Inner {
    /// Resolves after a time on the engine's clock.
    #[cfg(feature = "http")]
    pub(crate) fn pause(&self, time: std::time::Duration) -> futures_util::future::BoxFuture<'static, ()> {
        self.environment.sleep(time)
    }

    pub(super) fn is_executing(&self) -> bool {
        self.executing.load(Ordering::Acquire)
    }

    /// Whether no further attempt of a step may begin: the engine drains, or yields the right to execute.
    pub(super) fn begins_nothing(&self) -> bool {
        self.draining.is_cancelled() || !self.is_executing()
    }

    pub(super) fn owner(&self) -> u64 {
        self.owner.load(Ordering::Acquire)
    }

    /// Whether the right to execute under which the run was activated still holds.
    pub(super) fn holds(&self, live: &ActiveRun) -> bool {
        live.fence.owner == self.owner() && self.right.lasts()
    }

    /// The handle that users have, for functions that are called inside the steps of a run.
    pub(super) fn users(&self) -> Weak<Handle> {
        self.handle.get().cloned().unwrap_or_default()
    }

    /// The error of a call on an engine that is closed.
    pub(super) fn closed(&self, what: &str, help: &str) -> Error {
        self.home.closed(what, help)
    }

    /// Closes the engine for good if no write can succeed after this error. Returns whether it does.
    pub(super) fn fail(&self, error: &Error) -> bool {
        if !matches!(error.code(), Code::StoreReplaced | Code::NewerStore) {
            return false;
        }
        if self.home.fail(error) {
            tracing::error!(?error, "the engine closes; open another one");
            self.executing.store(false, Ordering::Release);
            let right = self.right.take();
            // Another engine must not execute on a file that was replaced, but a newer build is to execute.
            let right = right.filter(|_| error.code() == Code::StoreReplaced).inspect(|right| right.keep());
            *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = right;
            self.stop();
        }
        true
    }

    pub(super) fn live_runs(&self) -> std::sync::MutexGuard<'_, BTreeMap<RunKey, Arc<ActiveRun>>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn live_ids(&self) -> std::sync::MutexGuard<'_, HashSet<Arc<str>>> {
        self.live_ids.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Registers a run in memory.
    pub(super) fn remember(&self, live: &Arc<ActiveRun>) {
        self.live_runs().insert(live.key, live.clone());
        self.live_ids().insert(live.id.clone());
    }

    /// Removes a run from memory that ended, got stuck or belongs to another engine.
    pub(super) fn forget(&self, live: &Arc<ActiveRun>, driver: &DriverState) {
        live.abort_attempts();
        for (op, deadline) in &driver.armed {
            self.timers.disarm(live, *op, *deadline);
        }
        self.remove(live);
    }

    /// Removes a run from memory that its driver does not forget, because a later claim replaces it.
    pub(super) fn retire(&self, live: &Arc<ActiveRun>) {
        live.abort_attempts();
        live.close();
        self.remove(live);
    }

    pub(super) fn remove(&self, live: &Arc<ActiveRun>) {
        let mut runs = self.live_runs();
        // A later claim of the run may be in memory already.
        if runs.get(&live.key).is_some_and(|here| Arc::ptr_eq(here, live)) {
            runs.remove(&live.key);
            self.live_ids().remove(&live.id);
        }
    }

    /// The right to execute under this number is lost: the engine leaves its runs unchanged for the next owner, and does no
    /// more work on them.
    pub(super) fn lose(&self, owner: u64) {
        // First, so that an activation, or an attempt that starts now, sees the new owner number.
        let new = new_owner(&self.random);
        if self.owner.compare_exchange(owner, new, Ordering::AcqRel, Ordering::Acquire).is_err() {
            return;
        }
        let right = self.right.take();
        self.drop_runs();
        drop(right);
        // Last, since the claims acquire the right again from now on.
        self.executing.store(false, Ordering::Release);
        self.waiters.wake_all();
        self.activations.miss();
    }

    /// Removes all runs from memory.
    fn drop_runs(&self) {
        let runs = std::mem::take(&mut *self.live_runs()).into_values();
        self.live_ids().clear();
        for live in runs {
            live.abort_attempts();
            live.close();
        }
        self.timers.clear();
    }

    /// Ends the engine without waiting for any task.
    pub(super) fn stop(&self) {
        self.draining.cancel();
        self.stopped.cancel();
        self.drop_runs();
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

/// A random number, so that no other engine has it.
pub(super) fn new_owner(random: &Random) -> u64 {
    (random.number() as u64).clamp(1, u64::MAX - 1)
}
