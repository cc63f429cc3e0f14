//! A run in memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::task::AbortHandle;

use super::clock::Deadline;
use super::queues::Slot;
use super::scope::Life;
use super::telemetry::Spans;
use super::wait::Known;
use super::{Inner, activations, turn};
use crate::codec::Payload;
use crate::definition::{AttemptResult, WorkflowDefinition};
use crate::error::Error;
use crate::model::Status;
use crate::replay::{Core, Event, Suspension};
use crate::store::{Fence, RowError, RunKey, Settle};

/// An event of the run that is not delivered yet.
pub(super) struct Arrival {
    /// When it happened; of a timer, its deadline. In milliseconds since 1970.
    pub at: u64,
    pub what: What,
}

pub(super) enum What {
    /// An attempt of a step ended.
    Attempt { op: u64, result: AttemptResult },
    /// An attempt of a step ended by a request (see [`Parting`]), whatever its result.
    Parted { op: u64, parting: Parting },
    /// A timer is due, or the next attempt of a step is due.
    Due { op: u64 },
    /// A message of the inbox wakes a sleep.
    Woken { op: u64, letter: u64 },
    /// The run has waited for as long as a run may wait in memory.
    Idle,
    /// A message of the inbox.
    Letter { sequence: u64, event: Event },
    /// The waker of the workflow was called from outside the run.
    Alarm,
    /// A message of the inbox cannot be read.
    Fault(Error),
}

/// What an attempt of a step requests besides its result.
pub(super) enum Parting {
    /// To be attempted again after it was resumed.
    Suspended(Suspension),
    /// To end the run with this result.
    Finished(Payload),
}

impl Arrival {
    /// By time; on a tie, a result precedes the timeout of its operation. The start of a run is first,
    /// whatever the clocks of the other senders say.
    pub fn order(&self) -> (u64, bool) {
        match self.what {
            // It also precedes a cancel, since it decides what is rolled back.
            What::Letter { event: Event::Reopened { .. }, .. } => (0, false),
            What::Letter { event: Event::Started { .. }, .. } => (1, false),
            _ => (self.at, matches!(self.what, What::Due { .. })),
        }
    }
}

/// The operation number of the eviction timer: the time at which a waiting run leaves memory.
pub(super) const IDLE: u64 = u64::MAX;

/// The state that a driver works on; only the driver accesses it.
pub(super) struct DriverState {
    pub core: Core,
    pub next_index: u64,
    /// The run's row as it is stored.
    pub status: Status,
    pub wake_at: Option<u64>,
    pub error: Option<RowError>,
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
}

impl DriverState {
    pub fn new(core: Core, next_index: u64, status: Status, wake_at: Option<u64>, spans: Spans) -> Self {
        DriverState {
            core,
            next_index,
            status,
            wake_at,
            error: None,
            end: None,
            armed: BTreeMap::new(),
            backoffs: BTreeMap::new(),
            slot: None,
            surplus: Vec::new(),
            spans,
        }
    }
}

struct Mailbox {
    arrivals: Vec<Arrival>,
    /// Whether a driver is running, or will start.
    driven: bool,
    driver: Option<Box<DriverState>>,
    closed: bool,
    inbox: InboxRead,
}

/// How far the inbox was read.
#[derive(Clone, Copy, Default)]
pub(super) struct InboxRead {
    /// [`RunRow::inbox_seq`](crate::store::RunRow::inbox_seq) when the inbox was read.
    pub inbox_seq: u64,
    /// The sequence of the last message.
    pub sequence: u64,
    /// The latest arrival time of the messages so far.
    pub at: u64,
}

impl InboxRead {
    /// Reads messages in the order of the inbox. They keep this order, whatever the clocks of their senders say.
    pub fn read(&mut self, letters: &mut [Arrival]) {
        for letter in letters {
            if let What::Letter { sequence, .. } = letter.what {
                self.sequence = sequence;
            }
            self.at = self.at.max(letter.at);
            letter.at = self.at;
        }
    }
}

/// The span of a run, while it is in memory.
pub(super) fn run_span(id: &str, definition: &WorkflowDefinition) -> tracing::Span {
    tracing::info_span!(parent: None, "run", run = id, workflow = definition.source.id)
}

/// See the module.
pub(crate) struct ActiveRun {
    pub(super) key: RunKey,
    pub(super) id: Arc<str>,
    pub(super) definition: &'static WorkflowDefinition,
    pub(super) generation: u64,
    pub(super) fence: Fence,
    /// The parent of the spans of its turns and steps, while the run is in memory.
    pub(super) span: tracing::Span,
    mailbox: Mutex<Mailbox>,
    attempts: Mutex<BTreeMap<u64, (AbortHandle, Arc<Life>)>>,
    /// The attempt of each operation that has written to streams and is not settled.
    writers: Mutex<BTreeMap<u64, u32>>,
    /// The activation guard, held from the release of the run until it has left memory.
    leaving: Mutex<Option<activations::Guard>>,
}

impl ActiveRun {
    /// A run that is in memory from now on. It accepts arrivals at once and delivers them after [`start`](ActiveRun::start).
    pub fn new(
        key: RunKey,
        id: Arc<str>,
        definition: &'static WorkflowDefinition,
        generation: u64,
        fence: Fence,
        span: tracing::Span,
        inbox: InboxRead,
    ) -> Arc<Self> {
        let mailbox = Mailbox { arrivals: Vec::new(), driven: true, driver: None, closed: false, inbox };
        Arc::new(ActiveRun {
            key,
            id,
            definition,
            generation,
            fence,
            span,
            mailbox: Mutex::new(mailbox),
            attempts: Mutex::new(BTreeMap::new()),
            writers: Mutex::default(),
            leaving: Mutex::default(),
        })
    }

    /// Sets the state of the driver, and starts to deliver.
    pub fn start(self: &Arc<Self>, engine: &Arc<Inner>, driver: Box<DriverState>, arrivals: Vec<Arrival>) {
        {
            let mut mailbox = self.mailbox();
            mailbox.driver = Some(driver);
            mailbox.driven = false;
        }
        self.post(engine, arrivals);
    }

    fn mailbox(&self) -> MutexGuard<'_, Mailbox> {
        self.mailbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn attempts(&self) -> MutexGuard<'_, BTreeMap<u64, (AbortHandle, Arc<Life>)>> {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds arrivals to the mailbox and starts a driver if none is running.
    pub fn post(self: &Arc<Self>, engine: &Arc<Inner>, arrivals: impl IntoIterator<Item = Arrival>) {
        {
            let mut mailbox = self.mailbox();
            if mailbox.closed {
                return;
            }
            mailbox.arrivals.extend(arrivals);
            // An empty list matters too: arrivals may have been added before the start.
            if mailbox.driven || mailbox.arrivals.is_empty() {
                return;
            }
            mailbox.driven = true;
        }
        let driver = turn::drive(engine.clone(), self.clone());
        engine.drivers.spawn_on(driver, &engine.runtime);
    }

    /// Adds the messages to the mailbox that it has not received before.
    pub fn receive(self: &Arc<Self>, engine: &Arc<Inner>, inbox_seq: u64, letters: Vec<Arrival>) {
        {
            // Under one lock: a run that is to be evicted has either the messages or an older `inbox_seq`.
            let mut mailbox = self.mailbox();
            if mailbox.closed {
                return;
            }
            let read = mailbox.inbox.sequence;
            let is_new = |letter: &Arrival| match letter.what {
                What::Letter { sequence, .. } => sequence > read,
                _ => true,
            };
            let mut new: Vec<Arrival> = letters.into_iter().filter(is_new).collect();
            mailbox.inbox.inbox_seq = inbox_seq;
            mailbox.inbox.read(&mut new);
            mailbox.arrivals.extend(new);
        }
        self.post(engine, []);
    }

    /// Takes the arrivals, with the state to deliver them to. `None` ends the driver; the next arrival starts another.
    pub fn take(&self, most: usize) -> Option<(Box<DriverState>, Vec<Arrival>)> {
        let mut mailbox = self.mailbox();
        if mailbox.closed || mailbox.arrivals.is_empty() {
            mailbox.driven = false;
            return None;
        }
        mailbox.arrivals.sort_by_key(Arrival::order);
        let rest = if mailbox.arrivals.len() > most { mailbox.arrivals.split_off(most) } else { Vec::new() };
        let arrivals = std::mem::replace(&mut mailbox.arrivals, rest);
        Some((mailbox.driver.take()?, arrivals))
    }

    /// Returns the state after a turn.
    pub fn put(&self, driver: Box<DriverState>) {
        let mut mailbox = self.mailbox();
        if !mailbox.closed {
            mailbox.driver = Some(driver);
        }
    }

    /// The `inbox_seq` up to which the inbox was read, if the mailbox is empty.
    pub fn inbox_if_idle(&self) -> Option<u64> {
        let mailbox = self.mailbox();
        (!mailbox.closed && mailbox.arrivals.is_empty()).then_some(mailbox.inbox.inbox_seq)
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
    pub fn put_back(&self, arrivals: Vec<Arrival>) {
        self.mailbox().arrivals.extend(arrivals);
    }

    /// Closes the mailbox and returns its arrivals.
    pub fn close_and_drain(&self) -> Vec<Arrival> {
        let mut mailbox = self.mailbox();
        mailbox.closed = true;
        std::mem::take(&mut mailbox.arrivals)
    }

    /// Closes the mailbox. Returns the last `inbox_seq`, unless a driver has the state.
    pub fn close(&self) -> Option<u64> {
        let (driver, inbox_seq) = {
            let mut mailbox = self.mailbox();
            mailbox.closed = true;
            mailbox.arrivals.clear();
            (mailbox.driver.take(), mailbox.inbox.inbox_seq)
        };
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
