//! Gates at which steps wait, a record of repeated steps, and a simulated clock.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};
use tokio::sync::{Notify, oneshot};
use workflow_runtime::StepInfo;
use workflow_runtime::engine::Environment;

/// The steps that wait at gates, and the steps and requests that were executed.
#[derive(Default)]
pub struct World {
    waiting: Mutex<Vec<oneshot::Sender<()>>>,
    arrived: Notify,
    /// The keys of the steps whose results are recorded.
    recorded: Mutex<HashSet<String>>,
    again: Mutex<Vec<String>>,
    /// The requests to a service: the number of the purchase and the key.
    requests: Mutex<Vec<(usize, String)>>,
}

impl World {
    fn waiting(&self) -> MutexGuard<'_, Vec<oneshot::Sender<()>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Marks the results of these steps as recorded: none of the steps may be executed again.
    pub fn record(&self, keys: impl IntoIterator<Item = String>) {
        self.recorded.lock().unwrap_or_else(PoisonError::into_inner).extend(keys);
    }

    /// Records that a step is executed.
    pub fn note(&self, info: Option<StepInfo>) {
        let key = info.map(|info| info.idempotency_key).unwrap_or_default();
        if self.recorded.lock().unwrap_or_else(PoisonError::into_inner).contains(&key) {
            self.again.lock().unwrap_or_else(PoisonError::into_inner).push(key);
        }
    }

    /// Records a request to the service: the number of earlier requests for the same purchase.
    pub fn request(&self, what: usize, key: String) -> usize {
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        let before = requests.iter().filter(|(of, _)| *of == what).count();
        requests.push((what, key));
        before
    }

    /// The requests in order.
    pub fn requests(&self) -> Vec<(usize, String)> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn assert_nothing_again(&self) {
        let again = self.again.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(again.is_empty(), "steps with recorded results were executed again: {again:?}");
    }

    /// Waits at a gate until the test opens it.
    pub async fn pass(&self) {
        let (sender, receiver) = oneshot::channel();
        self.waiting().push(sender);
        self.arrived.notify_one();
        // The sender is dropped only when the test ends.
        let _ = receiver.await;
    }
}

/// Opens the gates one after the other, in an order that the seed determines.
pub async fn open_gates(world: std::sync::Arc<World>, seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    loop {
        let next = {
            let mut waiting = world.waiting();
            match waiting.len() {
                0 => None,
                gates => Some(waiting.swap_remove(random.random_range(0..gates))),
            }
        };
        match next {
            Some(gate) => drop(gate.send(())),
            None => world.arrived.notified().await,
        }
        yields(random.random_range(0..20)).await;
    }
}

/// Yields to other tasks this many times.
pub async fn yields(times: u32) {
    for _ in 0..times {
        tokio::task::yield_now().await;
    }
}

/// An environment with tokio's clock, which a test can pause, and seeded randomness.
pub struct Clockwork {
    begin: tokio::time::Instant,
    random: Mutex<StdRng>,
}

impl Clockwork {
    pub fn new(seed: u64) -> Self {
        Clockwork { begin: tokio::time::Instant::now(), random: Mutex::new(StdRng::seed_from_u64(seed)) }
    }
}

/// The begin of the clock, in milliseconds since 1970.
const BEGIN: u64 = 1_700_000_000_000;

impl Environment for Clockwork {
    fn now(&self) -> u64 {
        BEGIN + u64::try_from(self.begin.elapsed().as_millis()).unwrap_or(u64::MAX / 2)
    }

    fn sleep_until(&self, time: u64) -> BoxFuture<'static, ()> {
        // Tokio can add at most about thirty years to an instant.
        const MOST_MS: u64 = 1_000_000_000_000;
        let since = Duration::from_millis(time.saturating_sub(BEGIN).min(MOST_MS));
        Box::pin(tokio::time::sleep_until(self.begin + since))
    }

    fn fill(&self, bytes: &mut [u8]) {
        self.random.lock().unwrap_or_else(PoisonError::into_inner).fill_bytes(bytes);
    }
}
