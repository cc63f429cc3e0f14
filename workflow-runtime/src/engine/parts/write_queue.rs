//! The writes that wait for the store, and the replies to their senders.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, OwnedSemaphorePermit, oneshot};

use crate::store::{Answer, Failed, Write};

/// The answer to a write.
pub type Answered = Result<Answer, Failed>;

/// Room for a write in the queue.
pub type Room = OwnedSemaphorePermit;

/// Where the answer to a write goes.
pub struct Reply {
    to: oneshot::Sender<Answered>,
    /// Held until the store has answered, also if the caller is gone.
    _room: Option<Room>,
}

/// Writes, each with its reply.
#[derive(Default)]
pub struct Queued {
    pub writes: Vec<Write>,
    pub replies: Vec<Reply>,
}

impl Queued {
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }

    pub fn len(&self) -> usize {
        self.writes.len()
    }

    /// Removes the first `most` writes and returns them.
    pub fn take(&mut self, most: usize) -> Queued {
        if most >= self.len() {
            // Usually the next group is about as large as this one.
            let next = Queued { writes: Vec::with_capacity(self.len()), replies: Vec::with_capacity(self.len()) };
            return std::mem::replace(self, next);
        }
        let rest = self.split_off(most);
        std::mem::replace(self, rest)
    }

    pub fn split_off(&mut self, at: usize) -> Queued {
        Queued { writes: self.writes.split_off(at), replies: self.replies.split_off(at) }
    }

    pub fn append(&mut self, mut others: Queued) {
        if self.is_empty() {
            *self = others;
        } else {
            self.writes.append(&mut others.writes);
            self.replies.append(&mut others.replies);
        }
    }
}

#[derive(Default)]
struct State {
    queued: Queued,
    /// The number of writes that are queued or being committed.
    in_flight: usize,
    is_closed: bool,
}

/// See the module.
#[derive(Default)]
pub struct Queue {
    state: Mutex<State>,
    added: Notify,
}

/// Held while the only write is committed: later writes are queued.
pub struct Alone(Arc<Queue>);

impl Drop for Alone {
    fn drop(&mut self) {
        self.0.answered(1);
    }
}

impl Queue {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets the caller commit a write itself, if there is no other and the queue is not closed.
    pub fn enter_alone(self: &Arc<Self>) -> Option<Alone> {
        let mut state = self.state();
        if state.is_closed || state.in_flight > 0 {
            return None;
        }
        state.in_flight = 1;
        Some(Alone(self.clone()))
    }

    /// Adds a write, and returns its reply; `None` if the queue is closed. The order of the calls is the order of the writes.
    pub fn enter(&self, write: Write, room: Option<Room>) -> Option<oneshot::Receiver<Answered>> {
        let (to, answer) = oneshot::channel();
        let mut state = self.state();
        if state.is_closed {
            return None;
        }
        state.in_flight += 1;
        state.queued.writes.push(write);
        state.queued.replies.push(Reply { to, _room: room });
        let is_first = state.queued.len() == 1;
        drop(state);
        if is_first {
            self.added.notify_one();
        }
        Some(answer)
    }

    /// Accepts no more writes.
    pub fn close(&self) {
        self.state().is_closed = true;
        self.added.notify_one();
    }

    /// Records that so many writes are no longer in flight.
    fn answered(&self, writes: usize) {
        self.state().in_flight -= writes;
    }
}

/// The end of the queue at the store: once it is dropped, the queue is closed and its writes are not answered.
pub struct Receiver(pub Arc<Queue>);

impl Drop for Receiver {
    fn drop(&mut self) {
        let unanswered = {
            let mut state = self.0.state();
            state.is_closed = true;
            std::mem::take(&mut state.queued)
        };
        drop(unanswered);
    }
}

impl Receiver {
    /// Takes the first writes of the queue, until `is_full` returns true for one.
    pub fn take(&self, is_full: impl FnMut(&Write) -> bool) -> Queued {
        let mut state = self.0.state();
        let before = state.queued.writes.iter().position(is_full);
        let most = before.map_or(usize::MAX, |before| before + 1);
        state.queued.take(most)
    }

    /// Whether no more writes will be added, and none is queued.
    pub fn is_over(&self) -> bool {
        let state = self.0.state();
        state.is_closed && state.queued.is_empty()
    }

    /// Resolves when writes were added, or the queue was closed, since it was last called.
    pub async fn added(&self) {
        self.0.added.notified().await;
    }

    /// Replies to the senders of a group.
    pub fn reply(&self, replies: Vec<Reply>, answers: impl IntoIterator<Item = Answered>) {
        // First: a run that is woken may commit its next turn directly.
        self.0.answered(replies.len());
        for (reply, answer) in replies.into_iter().zip(answers) {
            let _ = reply.to.send(answer);
        }
    }
}
