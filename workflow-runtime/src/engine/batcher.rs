//! Group commit: all waiting writes are committed together, at once when the store is idle, never after a
//! fixed delay.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use tokio::runtime::RuntimeFlavor;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};

use super::home::Home;
use super::telemetry::Metrics;
use crate::environment::Environment;
use crate::error::{Code, Error};
use crate::limits::{
    GROUP_BESIDE_MIN, GROUP_BYTES_MAX, GROUPS_AT_ONCE, QUEUE_BYTES_MAX, REFUSALS_IN_A_ROW_MAX, RESEND_DELAYS,
    WRITES_PER_GROUP_MAX,
};
use crate::store::{Answer, Claim, DeleteAnswer, Failed, Ownership, Request, Store, Turn, TurnAnswer, Write};

/// The right to execute, held while a write may be made under it.
pub(super) type OwnershipSlot = Arc<Mutex<Option<Box<dyn Ownership>>>>;

struct Queued {
    write: Write,
    reply: oneshot::Sender<Result<Answer, Failed>>,
    ticket: Ticket,
}

/// A write that is queued or being committed.
struct Ticket {
    in_flight: Arc<AtomicUsize>,
    /// Held until the store has answered, also if the caller is gone.
    _room: Option<Room>,
}

/// Room for a write in the queue.
pub(super) type Room = OwnedSemaphorePermit;

impl Ticket {
    fn new(in_flight: &Arc<AtomicUsize>, room: Option<Room>) -> Self {
        in_flight.fetch_add(1, Ordering::AcqRel);
        Ticket { in_flight: in_flight.clone(), _room: room }
    }

    /// A ticket, if there is no other.
    fn only(in_flight: &Arc<AtomicUsize>) -> Option<Self> {
        let is_only = in_flight.compare_exchange(0, 1, Ordering::AcqRel, Ordering::Relaxed).is_ok();
        is_only.then(|| Ticket { in_flight: in_flight.clone(), _room: None })
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.in_flight.fetch_sub(1, Ordering::AcqRel);
    }
}

/// The help for a write whose engine stopped after it was queued, and before.
const AGAIN: &str = "open another engine and repeat the call there: the write may have been made";
const NOT_QUEUED: &str = "open another engine and repeat the call there";

/// The queue in front of the store.
pub(super) struct Batcher {
    queue: Mutex<Option<mpsc::UnboundedSender<Queued>>>,
    ended: watch::Receiver<()>,
    in_flight: Arc<AtomicUsize>,
    /// The bytes that may be queued by callers that wait for room.
    room: Arc<Semaphore>,
    /// The store, if a driver may commit directly.
    direct: Option<Arc<dyn Store>>,
    metrics: Metrics,
    home: Arc<Home>,
}

impl Batcher {
    /// Starts the batcher: on a thread of its own if the store blocks, else as a task.
    pub fn start(
        store: Arc<dyn Store>,
        environment: Arc<dyn Environment>,
        ownership: OwnershipSlot,
        metrics: Metrics,
        home: Arc<Home>,
    ) -> Result<Self, Error> {
        let (queue, receiver) = mpsc::unbounded_channel();
        let (alive, ended) = watch::channel(());
        let blocks = store.blocks();
        let threads = tokio::runtime::Handle::current().runtime_flavor() == RuntimeFlavor::MultiThread;
        let direct = threads.then(|| store.clone());
        let counted = metrics.clone();
        let batches = async move {
            commit_batches(store, environment, receiver, counted).await;
            // Only after the last write: otherwise the next owner could read a run that still changes.
            let right = ownership.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(right) = right {
                right.give_up().await;
            }
            drop(alive);
        };
        if blocks {
            let runtime = tokio::runtime::Handle::current();
            std::thread::Builder::new()
                .name("workflow-store".into())
                .spawn(move || runtime.block_on(batches))
                .map_err(|error| {
                    Error::coded(Code::Store, "the thread of the store could not be started").because(error)
                })?;
        } else {
            tokio::spawn(home.watch(batches));
        }
        let room = Arc::new(Semaphore::new(QUEUE_BYTES_MAX));
        Ok(Batcher { queue: Mutex::new(Some(queue)), ended, in_flight: Arc::default(), room, direct, metrics, home })
    }

    /// Waits until a write of this size has room in the queue. A closed batcher returns `None` at once.
    pub async fn room(&self, payload_bytes: usize) -> Option<Room> {
        let bytes = payload_bytes.min(QUEUE_BYTES_MAX);
        self.room.clone().acquire_many_owned(u32::try_from(bytes).unwrap_or(u32::MAX)).await.ok()
    }

    /// Queues a write of a user once the queue has room for it.
    pub async fn send_when_room<R: Request>(&self, request: R) -> Result<R::Answer, Failed> {
        let write = request.into();
        let room = self.room(write.payload_bytes()).await;
        let answer = self.send_in(room, write).await?;
        R::answer(answer).ok_or_else(misanswered)
    }

    /// Queues a write. The order of the calls is the order of the writes.
    pub fn send<R: Request>(&self, request: R) -> impl Future<Output = Result<R::Answer, Failed>> + use<R> {
        self.send_in(None, request)
    }

    /// Like [`send`](Batcher::send), in the [room](Batcher::room) of the write.
    pub fn send_in<R: Request>(
        &self,
        room: Option<Room>,
        request: R,
    ) -> impl Future<Output = Result<R::Answer, Failed>> + use<R> {
        let write = request.into();
        let (reply, answer) = oneshot::channel();
        let home = self.home.clone();
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        // A closed queue drops the sender of the reply, which ends the wait.
        let queued = queue.as_ref().is_some_and(|queue| {
            queue.send(Queued { write, reply, ticket: Ticket::new(&self.in_flight, room) }).is_ok()
        });
        async move {
            let answer = answer.await.unwrap_or_else(|_| {
                let error = home.closed(
                    "the engine stopped before the store had answered",
                    if queued { AGAIN } else { NOT_QUEUED },
                );
                Err(Failed { error, in_doubt: queued, refused: false })
            })?;
            R::answer(answer).ok_or_else(misanswered)
        }
    }

    /// Commits a run's turn; only its driver calls this. A turn that is alone is committed in this task: the detour over the
    /// batches would take a third of the time of a commit. As soon as there are others, the turns are queued, to be one
    /// commit.
    pub async fn turn(&self, turn: &Turn) -> Result<TurnAnswer, Failed> {
        if let Some(store) = &self.direct
            && let Some(_only) = Ticket::only(&self.in_flight)
        {
            let write = [Write::Turn(turn.clone())];
            let commit = store.commit(&write);
            let answers = match store.blocks() {
                true => tokio::task::block_in_place(|| commit.now_or_never()),
                false => Some(commit.await),
            };
            if let Some(Ok(mut answers)) = answers
                && let Some(answer) = answers.pop()
            {
                self.metrics.committed(1);
                return Turn::answer(answer).ok_or_else(misanswered);
            }
            // Sent again below, as after any doubt: the store recognises a turn that was committed after all.
            return self.send(turn.clone()).await.map(notified_after_all);
        }
        self.send(turn.clone()).await
    }

    /// Accepts no more writes; queued writes are committed.
    pub fn close(&self) {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.room.close();
    }

    /// Resolves when the last write is answered.
    pub async fn closed(&self) {
        let mut ended = self.ended.clone();
        while ended.changed().await.is_ok() {}
    }
}

/// Commits the queued writes, group by group. On a store that does not block, a second group of independent writes may
/// run beside the first, so that neither the store nor the callers wait for each other.
async fn commit_batches(
    store: Arc<dyn Store>,
    environment: Arc<dyn Environment>,
    mut queue: mpsc::UnboundedReceiver<Queued>,
    metrics: Metrics,
) {
    let most = if store.blocks() { 1 } else { GROUPS_AT_ONCE };
    let (mut under_way, mut alone, mut open) = (FuturesUnordered::new(), false, true);
    let (mut queued, mut bytes, mut independent) = (Vec::new(), 0, true);
    while open || !under_way.is_empty() {
        let mut received = None;
        tokio::select! {
            biased;
            Some(()) = under_way.next() => {}
            next = queue.recv(), if open && queued.len() < WRITES_PER_GROUP_MAX && bytes < GROUP_BYTES_MAX => {
                open = next.is_some();
                received = next;
            }
        }
        // Adds all writes that are queued by now.
        while queued.len() < WRITES_PER_GROUP_MAX
            && bytes < GROUP_BYTES_MAX
            && let Some(next) = received.take().or_else(|| queue.try_recv().ok())
        {
            independent &= is_independent(&next.write);
            bytes += next.write.payload_bytes();
            queued.push(next);
        }
        let beside = !alone && independent && under_way.len() < most && queued.len() >= GROUP_BESIDE_MIN;
        if !queued.is_empty() && (under_way.is_empty() || beside) {
            alone = !std::mem::replace(&mut independent, true);
            bytes = 0;
            under_way.push(send_group(&*store, &*environment, std::mem::take(&mut queued), &metrics));
        }
    }
}

/// Whether a write concerns one run only, and no later write depends on it: it may be committed in any order.
fn is_independent(write: &Write) -> bool {
    match write {
        Write::Turn(turn) => {
            turn.effects.is_none() && turn.returned.is_empty() && turn.chunks.is_empty() && turn.settles.is_empty()
        }
        Write::Create(new) => new.effects.is_none() && new.chunks.is_empty(),
        _ => false,
    }
}

/// Commits one group and answers its senders. A group that is refused for its content is sent again in halves, so that
/// a write which the store refuses does not fail the other writes of its group.
async fn send_group(store: &dyn Store, environment: &dyn Environment, group: Vec<Queued>, metrics: &Metrics) {
    let (mut parts, mut refusals) = (vec![group], 0);
    while let Some(part) = parts.pop() {
        let (mut writes, replies): (Vec<_>, Vec<_>) =
            part.into_iter().map(|queued| (queued.write, (queued.reply, queued.ticket))).unzip();
        match commit(store, environment, &mut writes).await {
            Ok(answers) => {
                refusals = 0;
                metrics.committed(writes.len());
                for ((reply, _), answer) in replies.into_iter().zip(answers) {
                    let _ = reply.send(Ok(answer));
                }
            }
            Err(failed)
                if failed.refused && !failed.in_doubt && writes.len() > 1 && refusals < REFUSALS_IN_A_ROW_MAX =>
            {
                tracing::debug!(writes = writes.len(), error = %failed.error, "a group of writes was refused; in halves");
                refusals += 1;
                let queued = writes.into_iter().zip(replies);
                let mut first: Vec<_> =
                    queued.map(|(write, (reply, ticket))| Queued { write, reply, ticket }).collect();
                let second = first.split_off(first.len() / 2);
                parts.extend([second, first]);
            }
            Err(failed) => {
                refusals += 1;
                for (reply, _) in replies {
                    let _ = reply.send(Err(failed.clone()));
                }
            }
        }
    }
}

/// Commits a group. A group in doubt is sent again; the store recognises the writes that were committed, and answers them as
/// committed. Only a claim has to ask again for the runs that it took before.
async fn commit(store: &dyn Store, environment: &dyn Environment, group: &mut [Write]) -> Result<Vec<Answer>, Failed> {
    let mut doubt = false;
    for delay in RESEND_DELAYS {
        match store.commit(group).await {
            Err(failed) if failed.in_doubt || doubt => {
                doubt = true;
                for write in group.iter_mut() {
                    if let Write::Claim(Claim { again, .. }) = write {
                        *again = true;
                    }
                }
                tracing::warn!(error = %failed.error, "a commit is in doubt; reading back");
                environment.sleep(delay).await;
            }
            decided if doubt => return decided.map(after_all),
            decided => return decided,
        }
    }
    let answers = store.commit(group).await.map_err(|failed| Failed { in_doubt: true, ..failed })?;
    Ok(after_all(answers))
}

/// The answers of a group that was sent again. The answer to a turn that was committed before does not say whether it
/// notified other runs, and a run that was deleted before is unknown.
fn after_all(answers: Vec<Answer>) -> Vec<Answer> {
    let after_all = |answer| match answer {
        Answer::Turn(answer) => Answer::Turn(notified_after_all(answer)),
        Answer::Delete(DeleteAnswer::Unknown) => Answer::Delete(DeleteAnswer::Committed),
        answer => answer,
    };
    answers.into_iter().map(after_all).collect()
}

/// The answer to a turn that was sent again: it may have notified other runs when it was committed.
fn notified_after_all(answer: TurnAnswer) -> TurnAnswer {
    match answer {
        TurnAnswer::Committed | TurnAnswer::CommittedAndNotified => TurnAnswer::CommittedAndNotified,
        TurnAnswer::Fenced => TurnAnswer::Fenced,
    }
}

/// The error if the store answers a write with the answer of another kind. Whether the write was committed is not known.
pub(super) fn misanswered() -> Failed {
    let error = Error::coded(Code::Store, "the store answered a write with the answer of another kind")
        .help("this is a fault of the store's implementation; report it");
    Failed { error, in_doubt: true, refused: false }
}
