//! A clock that stands still until it is set: the only one, for the time of day and for how long things take.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use futures::future::BoxFuture;
use tokio::sync::oneshot;
use workflow_runtime::engine::{Environment, System};

/// Time as the test says, of which real time is no part; randomness from the system. For clocks that a test sets against one
/// another see [`Clocks`](super::Clocks).
#[derive(Clone, Default)]
pub struct ManualClock(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    now: u64,
    sleepers: BTreeMap<(u64, u64), oneshot::Sender<()>>,
    next: u64,
}

impl ManualClock {
    /// A clock at `now` milliseconds.
    pub fn at(now: u64) -> Self {
        let clock = Self::default();
        clock.set(now);
        clock
    }

    /// Sets the clock, forward or back, and wakes those whose time has come.
    pub fn set(&self, now: u64) {
        let mut state = self.0.lock().unwrap();
        state.now = now;
        let later = state.sleepers.split_off(&(now + 1, 0));
        for (_, sleeper) in std::mem::replace(&mut state.sleepers, later) {
            let _ = sleeper.send(());
        }
    }
}

impl Environment for ManualClock {
    fn now(&self) -> u64 {
        self.0.lock().unwrap().now
    }

    fn sleep_until(&self, time: u64) -> BoxFuture<'static, ()> {
        let mut state = self.0.lock().unwrap();
        if time <= state.now {
            return Box::pin(std::future::ready(()));
        }
        let (sender, receiver) = oneshot::channel();
        state.next += 1;
        let key = (time, state.next);
        state.sleepers.insert(key, sender);
        Box::pin(async move {
            let _ = receiver.await;
        })
    }

    fn fill(&self, bytes: &mut [u8]) {
        System.fill(bytes);
    }
}
