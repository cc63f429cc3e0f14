//! The clock and the randomness of an exploration.

use std::sync::{Mutex, PoisonError};

use chacha20::ChaCha12Rng;
use futures_util::future::BoxFuture;
use rand::{Rng, SeedableRng};
use tokio::time::Instant;

use crate::environment::Environment;

/// 2026-01-01T00:00:00Z, in milliseconds since 1970: when an exploration begins.
pub(super) const BEGIN: u64 = 1_767_225_600_000;

/// Time that begins at a fixed moment and follows tokio's clock; randomness from a seed.
pub(super) struct Simulated {
    begun: Instant,
    at: u64,
    random: Mutex<ChaCha12Rng>,
}

impl Simulated {
    /// A clock that reads `at` now.
    pub fn new(at: u64, seed: u64) -> Self {
        Simulated { begun: Instant::now(), at, random: Mutex::new(ChaCha12Rng::seed_from_u64(seed)) }
    }
}

impl Environment for Simulated {
    fn now(&self) -> u64 {
        let since = Instant::now().saturating_duration_since(self.begun);
        self.at.saturating_add(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    fn sleep_until(&self, time: u64) -> BoxFuture<'static, ()> {
        let left = std::time::Duration::from_millis(time.saturating_sub(self.at));
        // A wait beyond what the clock can express may be cut short.
        let longest = std::time::Duration::from_secs(30 * 365 * 24 * 3600);
        Box::pin(tokio::time::sleep_until(self.begun + left.min(longest)))
    }

    fn is_paused(&self) -> bool {
        true
    }

    fn fill(&self, bytes: &mut [u8]) {
        self.random.lock().unwrap_or_else(PoisonError::into_inner).fill_bytes(bytes);
    }
}
