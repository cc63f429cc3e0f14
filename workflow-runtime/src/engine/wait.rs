//! Waiting for changes of a run, in this process or in another.
//!
//! All waits for a run use one loop: register, look, and look again whenever the run may have changed.
//! Changes by this engine wake the waiters of the run. The store reports changes by other processes: it is notified of
//! them or polls for them, see [`Store::follow`](crate::store::Store::follow).

use std::sync::Arc;

use super::inner::Inner;
use super::parts::finished::Finished;
use super::parts::waiters::Waiter;
use super::permit;
use crate::error::Result;
use crate::limits::UNSTARTED_CHECK_INTERVAL;
#[cfg(feature = "cli")]
use crate::store::Following;
use crate::store::{Follow, RunKey};

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
    fn is_written_elsewhere(&self, engine: &Inner) -> bool {
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
            if let Some(key) = key.filter(|_| !is_fresh && (!is_here || awaited.is_written_elsewhere(self)))
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
    pub(crate) fn changes(&self) -> tokio::sync::watch::Receiver<()> {
        self.waiters.changes()
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
        if !may_vanish {
            return waiter.woken().await;
        }
        tokio::select! {
            biased;
            woken = waiter.woken() => woken,
            () = self.environment.sleep(UNSTARTED_CHECK_INTERVAL) => None,
        }
    }
}
