//! One clockwork for all deadlines of the runs in memory.
//!
//! It is rebuilt from the journals; nothing of it is stored but the earliest deadline of each run, in its row.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::Inner;
use super::live::{Arrival, IDLE, Live, What};
use crate::limits::CLOCK_CHECK_INTERVAL;
use crate::store::RunKey;

/// Deadline, run, operation.
type Key = (u64, RunKey, u64);

#[derive(Default)]
pub(super) struct Timers {
    armed: Mutex<BTreeMap<Key, Arc<Live>>>,
    earlier: Notify,
}

impl Timers {
    fn armed(&self) -> MutexGuard<'_, BTreeMap<Key, Arc<Live>>> {
        self.armed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn arm(&self, live: &Arc<Live>, op: u64, at: u64) {
        let key = (at, live.key, op);
        let mut armed = self.armed();
        let first = armed.first_key_value().is_none_or(|(first, _)| key < *first);
        armed.insert(key, live.clone());
        if first {
            self.earlier.notify_one();
        }
    }

    pub fn disarm(&self, run: RunKey, op: u64, at: u64) {
        self.armed().remove(&(at, run, op));
    }

    pub fn clear(&self) {
        let armed = std::mem::take(&mut *self.armed());
        drop(armed);
    }

    /// What is due, and the next deadline.
    fn due(&self, now: u64) -> (Vec<(Key, Arc<Live>)>, Option<u64>) {
        let mut armed = self.armed();
        let later = armed.split_off(&(now.saturating_add(1), RunKey::MIN, 0));
        let due = std::mem::replace(&mut *armed, later);
        (due.into_iter().collect(), armed.first_key_value().map(|((at, ..), _)| *at))
    }
}

/// Posts to each run what is due for it, until the engine stops.
pub(super) async fn run(engine: Arc<Inner>) {
    loop {
        let (due, next) = engine.timers.due(engine.environment.now());
        for ((at, _, op), live) in due {
            let what = if op == IDLE { What::Idle } else { What::Due { op } };
            live.post(&engine, [Arrival { at, what }]);
        }
        // Not longer at once, so that a clock that was set is noticed.
        let check = engine.environment.now().saturating_add(CLOCK_CHECK_INTERVAL.as_millis() as u64);
        let until = next.map_or(check, |at| at.min(check));
        tokio::select! {
            biased;
            () = engine.stopped.cancelled() => return,
            () = engine.environment.sleep_until(until) => {}
            () = engine.timers.earlier.notified() => {}
        }
    }
}
