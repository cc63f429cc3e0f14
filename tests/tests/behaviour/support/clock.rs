//! Clocks of a machine, which only a test moves.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use futures::future::BoxFuture;
use tokio::sync::oneshot;
use workflow_runtime::engine::{Environment, System};

/// The clocks of a machine, independent of real time, and system randomness. By default the time of day and the
/// monotonic clock move together: [`set`](ManualClock::set) and [`pass`](ManualClock::pass) move both.
/// [`set_by`](ManualClock::set_by) moves only the time of day, as an administrator does.
#[derive(Clone, Default)]
pub struct ManualClock(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    monotonic: u64,
    /// How far the time of day is ahead of the monotonic clock.
    ahead: i64,
    suspended: u64,
    sleepers: BTreeMap<(u64, u64), oneshot::Sender<()>>,
    next: u64,
}

impl State {
    /// Sets the monotonic clock, and wakes the sleepers whose deadline has passed.
    fn set(&mut self, monotonic: u64) {
        self.monotonic = monotonic;
        let later = self.sleepers.split_off(&(monotonic + 1, 0));
        for (_, sleeper) in std::mem::replace(&mut self.sleepers, later) {
            let _ = sleeper.send(());
        }
    }
}

impl ManualClock {
    /// All clocks at `now` milliseconds.
    pub fn at(now: u64) -> Self {
        let clock = Self::default();
        clock.set(now);
        clock
    }

    /// The clocks of a machine that has been up for an hour. `now` is its time of day.
    pub fn up_for_an_hour_at(now: u64) -> Self {
        let clock = Self::at(3_600_000);
        clock.set_by(now.cast_signed() - 3_600_000);
        clock
    }

    /// The clocks of a machine whose time of day is correct.
    pub fn right() -> Self {
        Self::up_for_an_hour_at(System.now())
    }

    /// Sets the time of day, forward or back, and moves the monotonic clock with it.
    pub fn set(&self, now: u64) {
        let mut state = self.0.lock().unwrap();
        let monotonic = now.saturating_add_signed(-state.ahead);
        state.set(monotonic);
    }

    /// Advances all clocks.
    pub fn pass(&self, milliseconds: u64) {
        let mut state = self.0.lock().unwrap();
        let monotonic = state.monotonic + milliseconds;
        state.set(monotonic);
    }

    /// Moves only the time of day, forward or back.
    pub fn set_by(&self, milliseconds: i64) {
        self.0.lock().unwrap().ahead += milliseconds;
    }

    /// Suspends the machine. The time of day includes the suspend afterwards.
    pub fn suspend(&self, milliseconds: u64) {
        let mut state = self.0.lock().unwrap();
        state.suspended += milliseconds;
        state.ahead += milliseconds.cast_signed();
    }
}

impl Environment for ManualClock {
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
