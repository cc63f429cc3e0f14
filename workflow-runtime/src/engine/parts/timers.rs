//! One set of timers for all deadlines of the runs in memory.
//!
//! It is rebuilt from the journals; only the earliest deadline of each run is stored, in its row.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::active_run::ActiveRun;
use super::clock::{Clock, Deadline};
use crate::store::RunKey;

/// Deadline, run, operation.
pub type Key = (u64, RunKey, u64);

/// The run, and the recorded time of the deadline.
pub type Of = (Arc<ActiveRun>, u64);

type Armed = BTreeMap<Key, Of>;

#[derive(Default)]
struct Wheels {
    store: Armed,
    elapsed: Armed,
    monotonic: Armed,
}

impl Wheels {
    fn of(&mut self, deadline: Deadline) -> (&mut Armed, u64) {
        match deadline {
            Deadline::Store(at) => (&mut self.store, at),
            Deadline::Elapsed(at) => (&mut self.elapsed, at),
            Deadline::Monotonic(at) => (&mut self.monotonic, at),
        }
    }
}

#[derive(Default)]
pub struct Timers {
    wheels: Mutex<Wheels>,
    earlier: Notify,
}

impl Timers {
    fn wheels(&self) -> MutexGuard<'_, Wheels> {
        self.wheels.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reports at `deadline` that an operation is due, with the recorded time `at`.
    pub fn arm(&self, live: &Arc<ActiveRun>, op: u64, deadline: Deadline, at: u64) {
        let mut wheels = self.wheels();
        let (armed, due) = wheels.of(deadline);
        let key = (due, live.key, op);
        let first = armed.first_key_value().is_none_or(|(first, _)| key < *first);
        armed.insert(key, (live.clone(), at));
        if first {
            self.earlier.notify_one();
        }
    }

    /// Forgets a deadline of a run, unless a later activation of the run has armed it again. Returns whether it had not come.
    pub fn disarm(&self, live: &ActiveRun, op: u64, deadline: Deadline) -> bool {
        let mut wheels = self.wheels();
        let (armed, due) = wheels.of(deadline);
        let key = (due, live.key, op);
        let is_own = armed.get(&key).is_some_and(|(of, _)| std::ptr::eq(&**of, live));
        let gone = is_own.then(|| armed.remove(&key));
        drop(wheels);
        drop(gone);
        is_own
    }

    /// Resolves when a deadline was armed that is earlier than all others.
    pub async fn earlier(&self) {
        self.earlier.notified().await;
    }

    pub fn clear(&self) {
        let wheels = std::mem::take(&mut *self.wheels());
        drop(wheels);
    }

    /// The timers that are due, and the monotonic time at which to look again.
    pub fn due(&self, clock: &Clock) -> (Vec<(Key, Of)>, u64) {
        let mut wheels = self.wheels();
        let Wheels { store, elapsed, monotonic } = &mut *wheels;
        // The wait is limited, so that a clock that was set, and a suspend of the system, are noticed.
        let check = u64::try_from(clock.check_interval().as_millis()).unwrap_or(u64::MAX);
        // Read first: time that passes after this makes the next look too early, never too late.
        let monotonic_now = clock.monotonic();
        let (mut due, mut wait) = (Vec::new(), check);
        let times = [clock.now(), clock.elapsed(), monotonic_now];
        for (armed, now) in [store, elapsed, monotonic].into_iter().zip(times) {
            let later = armed.split_off(&(now.saturating_add(1), RunKey::MIN, 0));
            due.extend(std::mem::replace(armed, later));
            let left = armed.first_key_value().map(|((at, ..), _)| at.saturating_sub(now));
            wait = left.unwrap_or(wait).min(wait);
        }
        // In the order of their recorded times, whichever clock they used.
        due.sort_by_key(|((_, run, op), (_, at))| (*at, *run, *op));
        (due, monotonic_now.saturating_add(wait))
    }
}
