//! The clocks of a machine, which a test moves one against the other.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use futures::future::BoxFuture;
use tokio::sync::oneshot;
use workflow_runtime::engine::{Environment, System};

/// Time passes as the test says, for all clocks at once; the time of day can be set beside that.
#[derive(Clone)]
pub struct Clocks(Arc<Mutex<State>>);

struct State {
    /// What the time of day is ahead of the monotonic clock.
    ahead: i64,
    monotonic: u64,
    suspended: u64,
    sleepers: BTreeMap<(u64, u64), oneshot::Sender<()>>,
    next: u64,
}

impl Clocks {
    /// The machine has been up for an hour, and its clock shows `now`.
    pub fn at(now: u64) -> Self {
        let monotonic = 3_600_000;
        let ahead = now.cast_signed() - 3_600_000;
        Clocks(Arc::new(Mutex::new(State { ahead, monotonic, suspended: 0, sleepers: BTreeMap::new(), next: 0 })))
    }

    /// The machine of somebody whose clock shows the right time.
    pub fn right() -> Self {
        Self::at(System.now())
    }

    /// Time passes.
    pub fn pass(&self, milliseconds: u64) {
        let mut state = self.0.lock().unwrap();
        state.monotonic += milliseconds;
        let now = state.monotonic;
        let later = state.sleepers.split_off(&(now + 1, 0));
        for (_, sleeper) in std::mem::replace(&mut state.sleepers, later) {
            let _ = sleeper.send(());
        }
    }

    /// Somebody sets the clock, forward or back.
    pub fn set_by(&self, milliseconds: i64) {
        self.0.lock().unwrap().ahead += milliseconds;
    }

    /// The machine sleeps. Its clock shows the right time when it wakes up.
    pub fn suspend(&self, milliseconds: u64) {
        let mut state = self.0.lock().unwrap();
        state.suspended += milliseconds;
        state.ahead += milliseconds.cast_signed();
    }
}

impl Environment for Clocks {
    fn now(&self) -> u64 {
        let state = self.0.lock().unwrap();
        state.monotonic.saturating_add_signed(state.ahead)
    }

    fn monotonic(&self) -> u64 {
        self.0.lock().unwrap().monotonic
    }

    fn suspended(&self) -> u64 {
        self.0.lock().unwrap().suspended
    }

    fn sleep_until(&self, time: u64) -> BoxFuture<'static, ()> {
        let mut state = self.0.lock().unwrap();
        if time <= state.monotonic {
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
