//! Group commit: all waiting writes are committed together, at once when the store is idle, never after a
//! fixed delay.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use tokio::runtime::RuntimeFlavor;
use tokio::sync::{Semaphore, oneshot, watch};

use super::home::Home;
use super::right::Right;
use super::telemetry::Metrics;
use super::write_queue::{Alone, Answered, Queue, Queued, Receiver, Room};
use crate::environment::Environment;
use crate::error::{Code, Error};
use crate::limits::{
    GROUP_BESIDE_MIN, GROUP_BYTES_MAX, GROUPS_AT_ONCE, QUEUE_BYTES_MAX, REFUSALS_IN_A_ROW_MAX, RESEND_DELAYS,
    WRITES_PER_GROUP_MAX,
};
use crate::store::{Answer, Claim, DeleteAnswer, Failed, Request, Store, Turn, TurnAnswer, Write};

/// The help for a write whose engine stopped after it was queued, and before.
const AGAIN: &str = "open another engine and repeat the call there: the write may have been made";
const NOT_QUEUED: &str = "open another engine and repeat the call there";

/// The queue in front of the store.
pub struct Batcher {
    queue: Arc<Queue>,
    ended: watch::Receiver<()>,
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
        right: Arc<Right>,
        metrics: Metrics,
        home: Arc<Home>,
    ) -> Result<Self, Error> {
        let queue = Arc::new(Queue::default());
        let receiver = Receiver(queue.clone());
        let (alive, ended) = watch::channel(());
        let blocks = store.blocks();
        let threads = tokio::runtime::Handle::current().runtime_flavor() == RuntimeFlavor::MultiThread;
        let direct = threads.then(|| store.clone());
        let counted = metrics.clone();
        let batches = async move {
            commit_batches(store, environment, receiver, counted).await;
            // Only after the last write: otherwise the next owner could read a run that still changes.
            if let Some(right) = right.take() {
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
        Ok(Batcher { queue, ended, room, direct, metrics, home })
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
        let reply = self.queue.enter(request.into(), room);
        let home = self.home.clone();
        async move { answer::<R>(reply, &home).await }
    }

    /// Commits a run's turn; only its driver calls this. A turn that is alone is committed in this task: the detour over the
    /// batches would take a third of the time of a commit. As soon as there are others, the turns are queued, to be one
    /// commit.
    pub async fn turn(&self, turn: &Turn) -> Result<TurnAnswer, Failed> {
        if let Some(store) = &self.direct
            && let Some(alone) = self.queue.enter_alone()
        {
            return match self.commit_alone(&**store, alone, turn).await {
                Some(answer) => Turn::answer(answer).ok_or_else(misanswered),
                // As after any doubt: the store recognises a turn that was committed after all.
                None => self.send(turn.clone()).await.map(notified_after_all),
            };
        }
        answer::<Turn>(self.queue.enter(Write::Turn(turn.clone()), None), &self.home).await
    }

    /// The answer of the store, unless the commit has failed.
    async fn commit_alone(&self, store: &dyn Store, alone: Alone, turn: &Turn) -> Option<Answer> {
        let write = [Write::Turn(turn.clone())];
        let commit = store.commit(&write);
        let answers = match store.blocks() {
            true => tokio::task::block_in_place(|| commit.now_or_never())?,
            false => commit.await,
        };
        drop(alone);
        let answer = answers.ok()?.pop()?;
        self.metrics.committed(1);
        Some(answer)
    }

    /// Accepts no more writes; queued writes are committed.
    pub fn close(&self) {
        self.queue.close();
        self.room.close();
    }

    /// Resolves when the last write is answered.
    pub async fn closed(&self) {
        let mut ended = self.ended.clone();
        while ended.changed().await.is_ok() {}
    }
}

/// The answer to a write of type `R`, if the queue has accepted the write.
async fn answer<R: Request>(reply: Option<oneshot::Receiver<Answered>>, home: &Home) -> Result<R::Answer, Failed> {
    let queued = reply.is_some();
    let answer = match reply {
        Some(reply) => reply.await.ok(),
        None => None,
    };
    let answer = answer.unwrap_or_else(|| {
        let help = if queued { AGAIN } else { NOT_QUEUED };
        let error = home.closed("the engine stopped before the store had answered", help);
        Err(Failed::new(error, queued, false))
    })?;
    R::answer(answer).ok_or_else(misanswered)
}

/// Commits the queued writes, group by group. On a store that does not block, a second group of independent writes may
/// run beside the first, so that neither the store nor the callers wait for each other.
async fn commit_batches(store: Arc<dyn Store>, environment: Arc<dyn Environment>, queue: Receiver, metrics: Metrics) {
    let most = if store.blocks() { 1 } else { GROUPS_AT_ONCE };
    let (mut under_way, mut alone) = (FuturesUnordered::new(), false);
    let (mut group, mut bytes, mut independent) = (Queued::default(), 0, true);
    loop {
        // Adds all writes that are queued by now.
        let mut writes = group.len();
        if writes < WRITES_PER_GROUP_MAX && bytes < GROUP_BYTES_MAX {
            group.append(queue.take(|write| {
                independent &= is_independent(write);
                bytes += write.payload_bytes();
                writes += 1;
                writes >= WRITES_PER_GROUP_MAX || bytes >= GROUP_BYTES_MAX
            }));
        }
        let beside = !alone && independent && under_way.len() < most && group.len() >= GROUP_BESIDE_MIN;
        if !group.is_empty() && (under_way.is_empty() || beside) {
            alone = !std::mem::replace(&mut independent, true);
            bytes = 0;
            under_way.push(send_group(&*store, &*environment, &queue, std::mem::take(&mut group), &metrics));
        }
        if under_way.is_empty() && queue.is_over() {
            return;
        }
        tokio::select! {
            biased;
            Some(()) = under_way.next() => {}
            () = queue.added() => {}
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
/// a write which the store refuses does not fail the other writes of its group. If a part of a group was committed, the rest
/// is sent again by itself.
async fn send_group(
    store: &dyn Store,
    environment: &dyn Environment,
    queue: &Receiver,
    group: Queued,
    metrics: &Metrics,
) {
    let (mut parts, mut refusals) = (vec![group], 0);
    while let Some(mut part) = parts.pop() {
        match commit(store, environment, &mut part.writes).await {
            Ok(answers) => {
                refusals = 0;
                metrics.committed(part.len());
                queue.reply(part.replies, answers.into_iter().map(Ok));
            }
            Err(failed) if !failed.committed.is_empty() => {
                metrics.committed(failed.committed.len());
                let mut committed: BTreeMap<usize, Answer> = failed.committed.into_iter().collect();
                let (mut answered, mut rest) = ((Vec::new(), Vec::new()), Queued::default());
                for (place, (write, reply)) in part.writes.into_iter().zip(part.replies).enumerate() {
                    match committed.remove(&place) {
                        Some(answer) => {
                            answered.0.push(reply);
                            answered.1.push(Ok(answer));
                        }
                        None => {
                            rest.writes.push(write);
                            rest.replies.push(reply);
                        }
                    }
                }
                queue.reply(answered.0, answered.1);
                if !rest.is_empty() {
                    parts.push(rest);
                }
            }
            Err(failed) if failed.refused && !failed.in_doubt && part.len() > 1 && refusals < REFUSALS_IN_A_ROW_MAX => {
                tracing::debug!(writes = part.len(), error = %failed.error, "a group of writes was refused; in halves");
                refusals += 1;
                let second = part.split_off(part.len() / 2);
                parts.extend([second, part]);
            }
            Err(failed) => {
                refusals += 1;
                queue.reply(part.replies, std::iter::repeat_with(|| Err(failed.clone())));
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
    let answers = store.commit(group).await.map_err(|failed| Failed::new(failed.error, true, failed.refused))?;
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
pub fn misanswered() -> Failed {
    let error = Error::coded(Code::Store, "the store answered a write with the answer of another kind")
        .help("this is a fault of the store's implementation; report it");
    Failed::new(error, true, false)
}
