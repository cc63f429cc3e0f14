//! Gates at which steps wait, a record of repeated steps, and a simulated clock.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
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
    /// Whether no step fails any more.
    repaired: AtomicBool,
}

impl World {
    fn waiting(&self) -> MutexGuard<'_, Vec<oneshot::Sender<()>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Marks the results of these steps as recorded: none of the steps may be executed again.
    pub fn record(&self, keys: impl IntoIterator<Item = String>) {
        self.recorded.lock().unwrap_or_else(PoisonError::into_inner).extend(keys);
    }

    /// From now on no step fails.
    pub fn mend(&self) {
        self.repaired.store(true, Ordering::Relaxed);
    }

    pub fn is_repaired(&self) -> bool {
        self.repaired.load(Ordering::Relaxed)
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

/// An environment with tokio's clock, which a test can pause, a time of day that jumps, and seeded randomness.
pub struct Clockwork {
    begin: tokio::time::Instant,
    /// How far the time of day is ahead of tokio's clock, in milliseconds.
    ahead: AtomicI64,
    /// The time of day that the engine knows: by how much it is ahead, each with the monotonic time from which on.
    known: Mutex<Vec<(u64, i64)>>,
    random: Mutex<StdRng>,
}

impl Clockwork {
    pub fn new(seed: u64) -> Self {
        let random = Mutex::new(StdRng::seed_from_u64(seed));
        Clockwork { begin: tokio::time::Instant::now(), ahead: AtomicI64::new(0), known: Mutex::default(), random }
    }

    /// Another engine is opened, which knows nothing yet.
    pub fn reopen(&self) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// The monotonic time at which the engine recorded `time`, at the latest now.
    pub fn recorded_at(&self, time: u64) -> Option<u64> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let recorded = known.iter().fold(None, |at: Option<u64>, (since, ahead)| {
            let then = time.saturating_add_signed(-ahead);
            // The engine may never have known a time that the time of day has skipped.
            if then >= *since { Some(then) } else { at.map(|at| at.min(*since)) }
        });
        recorded.map(|at| at.min(self.monotonic()))
    }

    /// Sets the time of day, as an administrator does.
    fn jump(&self, milliseconds: i64) {
        self.ahead.fetch_add(milliseconds, Ordering::Relaxed);
    }
}

/// How often the time of day jumps at most while an engine is open.
const JUMPS: u32 = 8;
/// By how many milliseconds. What differs by at most a second is no jump for the engine, but a clock that drifts: no sum of
/// these does.
// After a restart a timer lasts longer by what the clock was set back: not by hours, for which no case would wait.
const JUMP_BY: [i64; 3] = [-2_000, 2_000, 3_600_000];

/// Lets the time of day jump a few times, at moments that the seed determines.
pub async fn jump(clockwork: Option<std::sync::Arc<Clockwork>>, seed: u64) {
    let Some(clockwork) = clockwork else { return };
    let mut random = StdRng::seed_from_u64(seed);
    for _ in 0..random.random_range(0..JUMPS) {
        let next = if random.random_bool(0.5) { 15 } else { 2_000 };
        tokio::time::sleep(Duration::from_millis(random.random_range(0..next))).await;
        clockwork.jump(JUMP_BY[random.random_range(0..JUMP_BY.len())]);
    }
}

/// The begin of the clock, in milliseconds since 1970.
const BEGIN: u64 = 1_700_000_000_000;

impl Environment for Clockwork {
    fn now(&self) -> u64 {
        let (monotonic, ahead) = (self.monotonic(), self.ahead.load(Ordering::Relaxed));
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        // The time of an engine never goes back.
        if known.last().is_none_or(|(_, known)| ahead > *known) {
            known.push((monotonic, ahead));
        }
        monotonic.saturating_add_signed(ahead)
    }

    fn monotonic(&self) -> u64 {
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
