//! The sources of time and randomness of the engine: the system's, or a simulation's.

use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use chacha20::ChaCha12Rng;
use futures_util::future::BoxFuture;
use rand::{Rng, SeedableRng};

use crate::boottime;

/// The sources of time and randomness of the engine. [`System`] is the real one;
/// a test can supply its own to run engines with chosen clocks and a chosen seed.
///
/// The engine uses three clocks, all from this trait:
///
/// - **Monotonic time**, [`monotonic`](Environment::monotonic): the timeout and the heartbeat of an attempt, the backoff before
///   the next one while the run stays in this process, and all waits of the engine itself. Setting a clock or suspending
///   the machine does not affect them.
/// - **Elapsed time**, monotonic time plus [`suspended`](Environment::suspended): the end of a `sleep(d)` and of a
///   `timeout(d, ..)` that was called in this process.
/// - **Store time**: the time that is recorded, and that other and later processes use. `sleep_until`, deadlines after a
///   restart, a backoff after a restart, retention, and how long payloads are held. On PostgreSQL it is the
///   server's clock ([`Store::server_time`](crate::store::Store::server_time)), else
///   [`now`](Environment::now). It is read at least once a second; between two readings the engine adds
///   elapsed time. It never goes back while an engine is open: if its clock is set forward, store time
///   follows; if it is set back, store time continues from its last value, until the engine is opened again.
///
/// All times are in milliseconds. An implementation whose `now` never jumps only implements `now`, `sleep_until` and `fill`,
/// and has one clock: by default `monotonic` is `now`, and the machine is never suspended.
pub trait Environment: Send + Sync + 'static {
    /// The time of day, in milliseconds since 1970. It may jump in both directions, as a system's clock does when it is set.
    fn now(&self) -> u64;

    /// Milliseconds since any fixed moment, at the pace of real (or simulated) time: jumps of
    /// [`now`](Environment::now) and the time during which the machine is suspended do not affect it.
    fn monotonic(&self) -> u64 {
        self.now()
    }

    /// The time that the machine was suspended since any fixed moment, in milliseconds, which
    /// [`monotonic`](Environment::monotonic) does not count. It never decreases, and distinguishes suspends from set clocks.
    fn suspended(&self) -> u64 {
        0
    }

    /// Resolves once [`monotonic`](Environment::monotonic) is `time` or later, at once if it already
    /// is. A wait of more than thirty years may be cut short: the engine checks the clock again.
    fn sleep_until(&self, time: u64) -> BoxFuture<'static, ()>;

    /// Resolves once `duration` has passed on the [monotonic](Environment::monotonic) clock, rounded up to a millisecond.
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        let milliseconds = u64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX);
        self.sleep_until(self.monotonic().saturating_add(milliseconds))
    }

    /// Whether time passes only by jumps to the next [sleep](Environment::sleep_until) deadline, as on
    /// tokio's paused clock. The engine then does not wake up every second to check whether a clock was set: a year would
    /// otherwise pass in steps of seconds.
    fn is_paused(&self) -> bool {
        false
    }

    /// Fills the bytes with unpredictable randomness.
    fn fill(&self, bytes: &mut [u8]);
}

/// The system's clocks and the system's randomness.
///
/// Monotonic time is that of [`tokio::time::Instant`]. On a runtime whose clock is paused, as under
/// `#[tokio::test(start_paused = true)]`, all clocks stand still and jump with tokio's to the next deadline: a workflow on
/// the memory store that sleeps for a year ends at once.
///
/// ```
/// # use std::time::Duration;
/// # use workflow_runtime::{Engine, Result, sleep, workflow};
/// #[workflow]
/// async fn yearly() -> Result<()> {
///     sleep(Duration::from_secs(365 * 24 * 3600)).await;
///     Ok(())
/// }
///
/// #[tokio::test(start_paused = true)]
/// # async fn hidden() {}
/// async fn a_year_passes() -> Result<()> {
///     let engine = Engine::open("memory:").await?; // a database would not wait for a paused clock
///     engine.start(yearly, ()).await?.await
/// }
/// ```
///
/// The time during which the machine was suspended is known on Linux, Android (`CLOCK_BOOTTIME`) and
/// Apple's systems; elsewhere a suspend looks like a clock that was set forward: a sleep in memory
/// is then prolonged by the time of the suspend, if the system's monotonic clock does not count it.
#[derive(Clone, Copy, Debug, Default)]
pub struct System;

/// The origin of monotonic time, before any runtime's clock was paused.
static ORIGIN: LazyLock<Instant> = LazyLock::new(|| {
    let now = Instant::now();
    now.checked_sub(Duration::from_secs(3600)).unwrap_or(now)
});

/// The longest single sleep, from now on: about thirty years, which cannot overflow an [`Instant`]. A paused clock may
/// be later than that after the origin.
const SLEEP_MS_MAX: u64 = 1_000_000_000_000;

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

impl Environment for System {
    fn now(&self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        // A paused clock differs from the system's by the time that it has skipped or missed; a running one is the system's.
        let (tokio, real) = (tokio::time::Instant::now().into_std(), Instant::now());
        let skipped = tokio.saturating_duration_since(real);
        let missed = real.saturating_duration_since(tokio);
        milliseconds((since + skipped).saturating_sub(missed))
    }

    fn monotonic(&self) -> u64 {
        milliseconds(tokio::time::Instant::now().into_std().saturating_duration_since(*ORIGIN))
    }

    fn suspended(&self) -> u64 {
        milliseconds(boottime::suspended())
    }

    fn sleep_until(&self, time: u64) -> BoxFuture<'static, ()> {
        let latest = tokio::time::Instant::now() + Duration::from_millis(SLEEP_MS_MAX);
        let deadline = ORIGIN.checked_add(Duration::from_millis(time));
        Box::pin(tokio::time::sleep_until(deadline.map_or(latest, |deadline| latest.min(deadline.into()))))
    }

    fn is_paused(&self) -> bool {
        // Waits until the system's clock advances: a running tokio clock has then advanced too.
        let (before, real) = (tokio::time::Instant::now(), Instant::now());
        while Instant::now() == real {
            std::hint::spin_loop();
        }
        tokio::time::Instant::now() == before
    }

    fn fill(&self, bytes: &mut [u8]) {
        // The system's generator fails only before the machine has booted far enough to run this program.
        getrandom::fill(bytes).unwrap_or_else(|error| panic!("the system has no randomness: {error}"));
    }
}

/// Random numbers from one seed of the environment: requesting each number from the system would cost more than a turn.
pub(crate) struct Random(Mutex<ChaCha12Rng>);

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
