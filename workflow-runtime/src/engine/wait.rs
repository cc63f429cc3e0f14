//! Waiting for changes of a run, in this process or in another.
//!
//! All waits for a run use one loop: register, look, and look again whenever the run may have changed.
//! Changes by this engine wake the waiters of the run. The store reports changes by other processes: it is notified of
//! them or polls for them, see [`Store::follow`](crate::store::Store::follow).

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{oneshot, watch};

use super::end::Finished;
use super::{Inner, permit};
use crate::error::Result;
use crate::limits::UNSTARTED_CHECK_INTERVAL;
#[cfg(feature = "cli")]
use crate::store::Following;
use crate::store::{Follow, RunKey};

/// The registered waiters, by run.
#[derive(Default)]
pub(super) struct Waiters {
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
struct Waiter<'a> {
    waiters: &'a Waiters,
    key: (Arc<str>, u64),
    what: Follow,
    woken: oneshot::Receiver<Option<Finished>>,
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
pub(super) enum Done {
    /// The engine has appended to the run's journal.
    Row,
    /// The engine has appended to a stream of the run, and perhaps to its journal.
    Chunk,
    /// The run has ended, is stuck or deleted, or is no longer in memory here; with its end if that is known.
    Left(Option<Known>),
}

/// The end of a run that this engine has recorded.
pub(super) struct Known {
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
    fn register(&self, run: &Arc<str>, what: Follow) -> Waiter<'_> {
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

/// A condition of a run that a caller waits for.
pub(super) trait Awaited: Send {
    /// The value that the wait returns.
    type Value;

    /// The kind of change that may fulfil the condition.
    const WHAT: Follow;

    /// The text and the help of the error if the engine is shut down before that.
    const CLOSED: (&'static str, &'static str);

    fn run(&self) -> &Arc<str>;

    /// Whether another process may fulfil it although this engine has the run in memory.
    fn comes_from_elsewhere(&self, engine: &Inner) -> bool {
        let _ = engine;
        false
    }

    /// Checks the condition.
    fn look(&mut self, engine: &Inner, seen: Seen) -> impl Future<Output = Result<Look<Self::Value>>> + Send;
}

/// What is known before a look.
pub(super) struct Seen {
    /// Whether the run is in memory here, so that this engine wakes the waiters for its end.
    pub is_here: bool,
    /// The end of the run, if it woke this wait.
    pub end: Option<Finished>,
}

/// The result of a look.
pub(super) enum Look<T> {
    Found(T),
    /// Not yet for the run with this key; no key if this engine wakes the waiter in all cases.
    Nothing {
        run: Option<RunKey>,
        /// The run has not begun: another process may delete it, without notice to an engine that executes alone.
        may_vanish: bool,
    },
}

impl Inner {
    /// Waits until a look returns a value.
    pub(super) async fn until<A: Awaited>(&self, mut awaited: A) -> Result<A::Value> {
        let run = awaited.run().clone();
        // A subscription is kept until the next one has replaced it.
        let (mut subscription, mut is_fresh, mut end) = (None, false, None);
        loop {
            let waiter = self.waiters.register(&run, A::WHAT);
            let is_here = self.live_ids().contains(&run);
            let (key, may_vanish) = match awaited.look(self, Seen { is_here, end: end.take() }).await? {
                Look::Found(value) => return Ok(value),
                Look::Nothing { run, may_vanish } => (run, may_vanish),
            };
            if self.stopped.is_cancelled() {
                let (what, help) = A::CLOSED;
                return Err(self.closed(what, help).run(&run));
            }
            if let Some(key) = key.filter(|_| !is_fresh && (!is_here || awaited.comes_from_elsewhere(self)))
                && let Some(new) = self.store.follow(key, &run, A::WHAT).await.map_err(|error| error.run(&run))?
            {
                // Another look sees the changes before the subscription.
                drop(subscription.replace(new));
                is_fresh = true;
                continue;
            }
            is_fresh = false;
            // A step lends its permit to other attempts meanwhile.
            end = permit::lending(self.woken(waiter, may_vanish && !is_here)).await;
        }
    }

    /// Reports each time that a run may have changed, beginning now. A store that notifies of single runs does not notify of
    /// changes that other engines make to the others, unless there is a subscription to [all](crate::store::Store::follow_all).
    #[cfg(any(feature = "cli", feature = "web"))]
    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.waiters.changed.subscribe()
    }

    /// Resolves when the engine begins to shut down.
    #[cfg(feature = "web")]
    pub(crate) async fn is_shutting_down(&self) {
        self.draining.cancelled().await;
    }

    /// Subscribes to changes that other engines make, until the result is dropped.
    #[cfg(feature = "cli")]
    pub(crate) fn follow_all(&self) -> Option<Box<dyn Following>> {
        self.store.follow_all()
    }

    /// Resolves when another look may return a value.
    async fn woken(&self, mut waiter: Waiter<'_>, may_vanish: bool) -> Option<Finished> {
        // A registration that was removed counts as a wake.
        if !may_vanish {
            return (&mut waiter.woken).await.ok().flatten();
        }
        tokio::select! {
            biased;
            woken = &mut waiter.woken => woken.ok().flatten(),
            () = self.environment.sleep(UNSTARTED_CHECK_INTERVAL) => None,
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
