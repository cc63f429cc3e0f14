//! Those who wait for changes of runs in this process.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{oneshot, watch};

use super::finished::Finished;
use crate::store::Follow;

/// The registered waiters, by run.
#[derive(Default)]
pub struct Waiters {
    waiting: Mutex<Waiting>,
    /// The number of waiters for rows of journals: usually zero, so that a turn need not look for them.
    tailing: AtomicUsize,
    /// Reports each change of any run; usually nobody receives it.
    changed: watch::Sender<()>,
}

#[derive(Default)]
struct Waiting {
    /// By the run's id and a number.
    waiters: BTreeMap<(Arc<str>, u64), Registered>,
    next: u64,
}

struct Registered {
    what: Follow,
    wake: oneshot::Sender<Option<Finished>>,
}

/// A registration; dropping it ends it.
pub struct Waiter<'a> {
    waiters: &'a Waiters,
    key: (Arc<str>, u64),
    what: Follow,
    woken: oneshot::Receiver<Option<Finished>>,
}

impl Waiter<'_> {
    /// Resolves when the run has changed, with its end if that is known. A registration that was removed counts as a change.
    pub async fn woken(&mut self) -> Option<Finished> {
        (&mut self.woken).await.ok().flatten()
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.waiters.lock().waiters.remove(&self.key);
        if self.what == Follow::Journal {
            self.waiters.tailing.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

/// A change that this engine has made to a run.
pub enum Done {
    /// The engine has appended to the run's journal.
    Row,
    /// The engine has appended to a stream of the run, and perhaps to its journal.
    Chunk,
    /// The run has ended, is stuck or deleted, or is no longer in memory here; with its end if that is known.
    Left(Option<Known>),
}

/// The end of a run that this engine has recorded.
pub struct Known {
    pub end: Finished,
    /// The last waiter that was registered before the end was sent to the store. For a later one the end may be out of date:
    /// the run may have been retried before the waiter was registered. Such a waiter looks at the store.
    pub last: u64,
}

impl Done {
    fn concerns(&self, what: Follow) -> bool {
        match self {
            Done::Row => what == Follow::Journal,
            Done::Chunk => what != Follow::End,
            Done::Left(_) => true,
        }
    }
}

impl Waiters {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Registers a waiter at once, so that no change between the registration and a look is missed.
    pub fn register(&self, run: &Arc<str>, what: Follow) -> Waiter<'_> {
        let (wake, woken) = oneshot::channel();
        if what == Follow::Journal {
            self.tailing.fetch_add(1, Ordering::SeqCst);
        }
        let mut waiting = self.lock();
        waiting.next += 1;
        let key = (run.clone(), waiting.next);
        waiting.waiters.insert(key.clone(), Registered { what, wake });
        Waiter { waiters: self, key, what, woken }
    }

    /// The number of the latest waiter.
    pub fn latest(&self) -> u64 {
        self.lock().next
    }

    /// Whether anybody waits for rows of journals.
    pub fn any_tails(&self) -> bool {
        self.tailing.load(Ordering::SeqCst) > 0 || self.changed.receiver_count() > 0
    }

    /// Wakes the waiters that the change concerns. They are woken outside the lock, since they may look at once.
    pub fn wake(&self, run: &Arc<str>, done: Done) {
        self.touch();
        let woken: Vec<_> = {
            let mut waiting = self.lock();
            let of_run = waiting.waiters.range((run.clone(), 0)..=(run.clone(), u64::MAX));
            let keys: Vec<_> =
                of_run.filter(|(_, waiter)| done.concerns(waiter.what)).map(|(key, _)| key.clone()).collect();
            keys.into_iter().filter_map(|key| Some((key.1, waiting.waiters.remove(&key)?))).collect()
        };
        let known = if let Done::Left(known) = done { known } else { None };
        for (number, waiter) in woken {
            let end = known.as_ref().filter(|known| number <= known.last).map(|known| known.end.clone());
            let _ = waiter.wake.send(end);
        }
    }

    /// Reports each change of any run, beginning now.
    #[cfg(any(feature = "cli", feature = "web"))]
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Wakes those who wait for a change of any run.
    pub fn touch(&self) {
        if self.changed.receiver_count() > 0 {
            self.changed.send_replace(());
        }
    }

    /// Wakes all waiters, since any run may have changed.
    pub fn wake_all(&self) {
        self.touch();
        let woken = std::mem::take(&mut self.lock().waiters);
        for waiter in woken.into_values() {
            let _ = waiter.wake.send(None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_does_not_wait_any_more_is_forgotten() {
        let waiters = Waiters::default();
        let run: Arc<str> = "r".into();
        let kinds = [Follow::End, Follow::Chunks, Follow::Journal];
        let waiting: Vec<_> = (0..300).map(|n| waiters.register(&run, kinds[n % 3])).collect();
        assert_eq!(waiters.lock().waiters.len(), 300);
        waiters.wake(&run, Done::Row);
        assert_eq!(waiters.lock().waiters.len(), 200);
        waiters.wake(&run, Done::Chunk);
        assert_eq!(waiters.lock().waiters.len(), 100);
        assert!(waiters.any_tails());
        drop(waiting);
        assert!(waiters.lock().waiters.is_empty());
        assert!(!waiters.any_tails());
    }
}
