//! A run in memory.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::task::AbortHandle;
use tokio_util::sync::ReusableBoxFuture;

use super::activations;
use super::clock::Deadline;
use super::life::Life;
use super::mailbox::{Arrival, InboxRead, Mailbox, What};
use super::queues::Slot;
use super::telemetry::Spans;
use super::waiters::Known;
use crate::definition::WorkflowDefinition;
use crate::model::Status;
use crate::replay::Core;
use crate::store::{Fence, RowError, RunKey, Settle};

/// The operation number of the eviction timer: the time at which a waiting run leaves memory.
pub const IDLE: u64 = u64::MAX;

/// The state that a driver works on; only the driver accesses it.
pub struct DriverState {
    pub core: Core,
    pub next_index: u64,
    /// The run's row as it is stored.
    pub status: Status,
    pub wake_at: Option<u64>,
    pub error: Option<RowError>,
    /// Whether other builds have refused the run since its journal last grew.
    pub is_refused: bool,
    /// How the workflow ended; set once the end is committed.
    pub end: Option<Known>,
    /// The deadlines that the timers hold for the run, by operation.
    pub armed: BTreeMap<u64, Deadline>,
    /// The monotonic time of the next attempt of each step, until the timers hold it.
    pub backoffs: BTreeMap<u64, u64>,
    /// The slot of a step that is executed for a queue.
    pub slot: Option<Arc<Slot>>,
    /// Payloads for the next hook with the same token, which the run has not opened yet. They stay unread until then.
    pub surplus: Vec<Arrival>,
    /// The spans of the run, up to its latest turn.
    pub spans: Spans,
    /// The memory of the previous attempt, if it has ended in its first poll and the next attempt can follow at once.
    pub ended_attempt: Option<ReusableBoxFuture<'static, Option<What>>>,
}

impl DriverState {
    pub fn new(core: Core, next_index: u64, status: Status, wake_at: Option<u64>, spans: Spans) -> Self {
        DriverState {
            core,
            next_index,
            status,
            wake_at,
            error: None,
            is_refused: false,
            end: None,
            armed: BTreeMap::new(),
            backoffs: BTreeMap::new(),
            slot: None,
            surplus: Vec::new(),
            spans,
            ended_attempt: None,
        }
    }
}

/// The span of a run, while it is in memory.
pub fn run_span(id: &str, definition: &WorkflowDefinition) -> tracing::Span {
    tracing::info_span!(parent: None, "run", run = id, workflow = definition.source.id)
}

/// Whether there are arrivals and no driver runs: the caller has to start one.
#[must_use]
pub struct NeedsDriver(pub bool);

/// A run of the store that the engine has claimed.
pub struct Claimed {
    pub key: RunKey,
    pub generation: u64,
    pub fence: Fence,
}

/// See the module.
pub(crate) struct ActiveRun {
    pub key: RunKey,
    pub id: Arc<str>,
    pub definition: &'static WorkflowDefinition,
    pub generation: u64,
    pub fence: Fence,
    /// The parent of the spans of its turns and steps, while the run is in memory.
    pub span: tracing::Span,
    mailbox: Mutex<Mailbox<Box<DriverState>>>,
    attempts: Mutex<BTreeMap<u64, (AbortHandle, Arc<Life>)>>,
    /// The attempt of each operation that has written to streams and is not settled.
    writers: Mutex<BTreeMap<u64, u32>>,
    /// The activation guard, held from the release of the run until it has left memory.
    leaving: Mutex<Option<activations::Guard>>,
}

impl ActiveRun {
    /// A run that is in memory from now on. It accepts arrivals at once and delivers them after [`start`](ActiveRun::start).
    pub fn new(
        claim: Claimed,
        id: Arc<str>,
        definition: &'static WorkflowDefinition,
        span: tracing::Span,
        inbox: InboxRead,
    ) -> Arc<Self> {
        let Claimed { key, generation, fence } = claim;
        Arc::new(ActiveRun {
            key,
            id,
            definition,
            generation,
            fence,
            span,
            mailbox: Mutex::new(Mailbox::new(inbox)),
            attempts: Mutex::new(BTreeMap::new()),
            writers: Mutex::default(),
            leaving: Mutex::default(),
        })
    }

    /// Sets the state of the driver. It delivers first these arrivals, then those that were put before.
    pub fn start(&self, driver: Box<DriverState>, arrivals: Vec<Arrival>) -> NeedsDriver {
        NeedsDriver(self.mailbox().start(driver, arrivals))
    }

    fn mailbox(&self) -> MutexGuard<'_, Mailbox<Box<DriverState>>> {
        self.mailbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn attempts(&self) -> MutexGuard<'_, BTreeMap<u64, (AbortHandle, Arc<Life>)>> {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds arrivals to the mailbox.
    pub fn add(&self, arrivals: impl IntoIterator<Item = Arrival>) -> NeedsDriver {
        NeedsDriver(self.mailbox().add(arrivals))
    }

    /// Adds the messages to the mailbox that it has not received before.
    pub fn receive(&self, inbox_seq: u64, messages: Vec<Arrival>) -> NeedsDriver {
        NeedsDriver(self.mailbox().receive(inbox_seq, messages))
    }

    /// Takes the arrivals, with the state to deliver them to. `None` ends the driver; the next arrival starts another.
    pub fn take(&self, most: usize) -> Option<(Box<DriverState>, VecDeque<Arrival>)> {
        self.mailbox().take(most)
    }

    /// Returns the state after a turn.
    pub fn put(&self, driver: Box<DriverState>) {
        // Dropped without the lock.
        let _closed = self.mailbox().put(driver);
    }

    /// The `inbox_seq` up to which the inbox was read, if the mailbox is empty.
    pub fn inbox_if_idle(&self) -> Option<u64> {
        self.mailbox().inbox_if_idle()
    }

    /// The run was released and leaves memory: keeps the guard of its activation until then.
    pub fn evicted(&self, activation: activations::Guard) {
        *self.leaving.lock().unwrap_or_else(PoisonError::into_inner) = Some(activation);
    }

    /// The run was removed from memory.
    pub fn let_go(&self) {
        let leaving = self.leaving.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(activation) = leaving {
            activation.settle();
        }
    }

    /// Returns arrivals to the mailbox that were not delivered.
    pub fn put_back(&self, arrivals: VecDeque<Arrival>) {
        self.mailbox().put_back(arrivals);
    }

    /// Closes the mailbox and returns its arrivals.
    pub fn close_and_drain(&self) -> VecDeque<Arrival> {
        self.mailbox().close_and_drain()
    }

    /// Closes the mailbox. Returns the last `inbox_seq`, unless a driver has the state.
    pub fn close(&self) -> Option<u64> {
        let (driver, inbox_seq) = self.mailbox().close();
        driver.map(|_| inbox_seq)
    }

    /// Records that an attempt writes to a stream.
    pub fn attempt_writes(&self, op: u64, attempt: u32) {
        self.writers.lock().unwrap_or_else(PoisonError::into_inner).insert(op, attempt);
    }

    /// The settlement of the operation's attempt, if it has written to streams.
    pub fn settle(&self, op: u64, succeeded: bool) -> Option<Settle> {
        let attempt = self.writers.lock().unwrap_or_else(PoisonError::into_inner).remove(&op)?;
        Some(Settle { op, attempt, succeeded })
    }

    pub fn attempt_started(&self, op: u64, handle: AbortHandle, life: Arc<Life>) {
        self.attempts().insert(op, (handle, life));
    }

    /// Aborts an attempt that has not begun, and returns whether there was one. Asks an attempt that has begun to end.
    pub fn give_up_attempt(&self, op: u64) -> bool {
        let mut attempts = self.attempts();
        match attempts.get(&op) {
            Some((_, life)) if life.give_up() => {
                if let Some((attempt, _)) = attempts.remove(&op) {
                    attempt.abort();
                }
                true
            }
            _ => false,
        }
    }

    pub fn attempt_ended(&self, op: u64) {
        self.attempts().remove(&op);
    }

    pub fn abort_attempt(&self, op: u64) {
        if let Some((attempt, _)) = self.attempts().remove(&op) {
            attempt.abort();
        }
    }

    pub fn abort_attempts(&self) {
        for (attempt, _) in std::mem::take(&mut *self.attempts()).into_values() {
            attempt.abort();
        }
    }
}
