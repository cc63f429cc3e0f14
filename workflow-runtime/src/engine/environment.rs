//! Time and randomness as the engine is given them: the system's, or a simulation's.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chacha20::ChaCha12Rng;
use futures_util::future::BoxFuture;
use rand::{Rng, SeedableRng};

use crate::store::NEVER;

/// Where the engine takes time and randomness from. [`System`] is the real one; a test gives its own to run engines on a
/// clock and a seed of its choice.
pub trait Environment: Send + Sync + 'static {
    /// The time, in milliseconds since 1970. It may step; the engine never lets a run see it go back.
    fn now(&self) -> u64;

    /// Resolves once the time is `time`, at once if that has passed. It may come late if the clock is set meanwhile.
    fn sleep_until(&self, time: u64) -> BoxFuture<'static, ()>;

    /// Resolves once `duration` has passed, rounded up to a millisecond.
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        let milliseconds = u64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX);
        self.sleep_until(self.now().saturating_add(milliseconds))
    }

    /// Fills the bytes with randomness that nobody can guess.
    fn fill(&self, bytes: &mut [u8]);
}

/// The system's clock and the system's randomness.
#[derive(Clone, Copy, Debug, Default)]
pub struct System;

impl Environment for System {
    fn now(&self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }

    fn sleep_until(&self, time: u64) -> BoxFuture<'static, ()> {
        // From the exact time: counted from the millisecond that has begun, every timer would be late by half of one.
        let left = (UNIX_EPOCH + Duration::from_millis(time.min(NEVER))).duration_since(SystemTime::now());
        Box::pin(tokio::time::sleep(left.unwrap_or_default()))
    }

    fn fill(&self, bytes: &mut [u8]) {
        // The system's generator fails only before the machine has booted far enough to run this program.
        getrandom::fill(bytes).unwrap_or_else(|error| panic!("the system has no randomness: {error}"));
    }
}

/// Random numbers from one seed of the environment: asking the system for each would cost more than a turn does.
pub(super) struct Random(Mutex<ChaCha12Rng>);

impl Random {
    pub fn new(environment: &dyn Environment) -> Self {
        let mut seed = [0; 32];
        environment.fill(&mut seed);
        Random(Mutex::new(ChaCha12Rng::from_seed(seed)))
    }

    pub fn fill(&self, bytes: &mut [u8]) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).fill_bytes(bytes);
    }

    pub fn number(&self) -> u128 {
        let mut bytes = [0; 16];
        self.fill(&mut bytes);
        u128::from_le_bytes(bytes)
    }
}
