//! What a store has been notified of, and who watches it.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::store::{self as runs, Following, RunKey};

/// Notifications that were received, and that no caller has read yet.
#[derive(Default)]
pub(super) struct Signals {
    pub changed: AtomicBool,
    pub waking: Notify,
    pub listening: AtomicBool,
    followed: Arc<Mutex<Followed>>,
    /// When to poll next while notifications cannot be received. It is stored here because callers wait for a change for
    /// short times, again and again: each wait would restart the interval.
    pub next_look: Mutex<Option<Instant>>,
}

#[derive(Default)]
struct Followed {
    /// The followed runs, each with its id and its number of subscriptions.
    pub runs: HashMap<RunKey, (Arc<str>, usize)>,
    /// The followed runs for which a notification was received.
    pub heard: BTreeSet<Arc<str>>,
    /// Whether any of the followed runs may have changed.
    pub all: bool,
}

/// A subscription to the notifications of a run.
pub(super) struct Subscription {
    followed: Arc<Mutex<Followed>>,
    pub run: RunKey,
}

impl Following for Subscription {}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut followed = self.followed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Entry::Occupied(mut run) = followed.runs.entry(self.run) {
            run.get_mut().1 -= 1;
            if run.get().1 == 0 {
                run.remove();
            }
        }
    }
}

impl Signals {
    fn followed(&self) -> MutexGuard<'_, Followed> {
        self.followed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records that something may have changed.
    pub fn changed(&self) {
        self.changed.store(true, Ordering::Release);
        self.waking.notify_one();
    }

    /// Records that any run may have changed.
    pub fn anything(&self) {
        self.followed().all = true;
        self.changed();
    }

    /// Subscribes to a run, until the subscription is dropped.
    pub fn follow(&self, run: RunKey, id: &Arc<str>) -> Subscription {
        self.followed().runs.entry(run).or_insert_with(|| (id.clone(), 0)).1 += 1;
        Subscription { followed: self.followed.clone(), run }
    }

    /// When to poll next; `None` while notifications can be received.
    fn next_look(&self, poll: Duration) -> Option<Instant> {
        if self.listening.load(Ordering::Acquire) {
            return None;
        }
        let mut next = self.next_look.lock().unwrap_or_else(PoisonError::into_inner);
        Some(*next.get_or_insert_with(|| Instant::now() + poll))
    }

    /// Polls if it is time: reports that anything may have changed.
    fn look_in_time(&self, poll: Duration) {
        if self.next_look(poll).is_some_and(|next| next <= Instant::now()) {
            *self.next_look.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now() + poll);
            self.anything();
        }
    }

    /// Returns the followed runs that may have changed since the last call.
    pub fn take_followed(&self, poll: Duration) -> runs::Followed {
        // Polls here too: a caller that always has other work never waits in `changing`.
        self.look_in_time(poll);
        let mut followed = self.followed();
        let heard = std::mem::take(&mut followed.heard);
        match std::mem::take(&mut followed.all) {
            true => runs::Followed::Any,
            false => runs::Followed::Runs(heard.into_iter().collect()),
        }
    }

    /// Resolves when something has changed, or may have.
    pub async fn changing(&self, poll: Duration) {
        loop {
            self.look_in_time(poll);
            if self.changed.swap(false, Ordering::AcqRel) {
                return;
            }
            match self.next_look(poll) {
                None => self.waking.notified().await,
                Some(next) => tokio::select! {
                    biased;
                    () = self.waking.notified() => {}
                    () = tokio::time::sleep_until(next) => {}
                },
            }
        }
    }

    /// Handles a notification of another store.
    pub fn hear(&self, words: &str, ours: impl Fn(i64) -> bool) {
        let mut concerns = false;
        for word in words.split(' ') {
            let number = || word.get(1..).and_then(|number| number.parse::<i64>().ok());
            match word.as_bytes().first() {
                Some(b'd') => concerns = true,
                Some(b'h') => concerns |= number().is_some_and(&ours),
                Some(b'a') => {
                    let mut followed = self.followed();
                    if let Some(id) = number().and_then(|run| followed.runs.get(&run).map(|(id, _)| id.clone())) {
                        followed.heard.insert(id);
                        concerns = true;
                    }
                }
                // The echo test of another store, or a word that is not for followers.
                Some(b't' | b'?') => {}
                _ => self.anything(),
            }
        }
        if concerns {
            self.changed();
        }
    }
}

/// The processes that watch all runs.
#[derive(Default)]
pub(super) struct Watching {
    /// How often this process watches.
    pub watches: AtomicUsize,
    /// Until when another process watches.
    pub watched: Mutex<Option<Instant>>,
    /// Whether a run has changed since the last notification, and whether a task sends the next one.
    pub has_changed: AtomicBool,
    pub is_notifying: AtomicBool,
}

impl Watching {
    pub fn is_watched(&self) -> bool {
        let watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        watched.is_some_and(|until| Instant::now() < until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_forgotten_with_its_last_subscription() {
        let signals = Signals::default();
        let mut subscriptions: Vec<Subscription> =
            (0..1_000).flat_map(|run| [signals.follow(run, &"r".into()), signals.follow(run, &"r".into())]).collect();
        assert_eq!(signals.followed().runs.len(), 1_000);
        subscriptions.truncate(1_001);
        assert_eq!(signals.followed().runs.len(), 501);
        subscriptions.clear();
        assert!(signals.followed().runs.is_empty());
    }

    #[test]
    fn unread_signals_do_not_accumulate() {
        let signals = Signals::default();
        let _subscription = signals.follow(7, &"r".into());
        for _ in 0..1_000 {
            signals.hear("a7 a8", |_| false);
        }
        assert_eq!(signals.followed().heard.len(), 1);
    }

    #[tokio::test]
    async fn short_waits_do_not_delay_the_next_poll() {
        let (signals, poll) = (Signals::default(), Duration::from_millis(200));
        let soon = || tokio::time::timeout(Duration::from_millis(5), signals.changing(poll));
        let looks = async { while soon().await.is_err() {} };
        tokio::time::timeout(Duration::from_secs(30), looks).await.expect("it is looked for changes");
        assert_eq!(signals.take_followed(poll), runs::Followed::Any);
        // Polling does not require that a caller waits for changes.
        let looks = async {
            while signals.take_followed(poll) != runs::Followed::Any {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), looks).await.expect("it is looked for changes");
    }
}
