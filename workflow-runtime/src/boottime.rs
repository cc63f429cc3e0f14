//! A clock that advances while the machine is suspended.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The time since a fixed moment, including suspends. On systems without such a clock:
/// `None`.
#[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
fn counting_suspend() -> Option<Duration> {
    use rustix::time::{ClockId, clock_gettime};

    #[cfg(not(target_vendor = "apple"))]
    const CLOCK: ClockId = ClockId::Boottime;
    // Apple's clock advances while the machine sleeps; the clock that `Instant` reads there does not.
    #[cfg(target_vendor = "apple")]
    const CLOCK: ClockId = ClockId::Monotonic;

    let time = clock_gettime(CLOCK);
    Some(Duration::new(u64::try_from(time.tv_sec).ok()?, u32::try_from(time.tv_nsec).ok()?))
}

#[cfg(not(any(target_os = "linux", target_os = "android", target_vendor = "apple")))]
fn counting_suspend() -> Option<Duration> {
    None
}

/// The first readings of both clocks: the change of their difference since then is the time of suspends.
struct Origin {
    counting: Option<Duration>,
    monotonic: Instant,
}

static ORIGIN: std::sync::LazyLock<Origin> =
    std::sync::LazyLock::new(|| Origin { counting: counting_suspend(), monotonic: Instant::now() });

/// The largest value so far, in nanoseconds: the two clocks cannot be read at the same moment.
static SUSPENDED: AtomicU64 = AtomicU64::new(0);

/// How long the machine was suspended since the first call. It never decreases.
pub(crate) fn suspended() -> Duration {
    let origin = &*ORIGIN;
    let counting = counting_suspend().zip(origin.counting).map(|(now, then)| now.saturating_sub(then));
    let suspended = counting.unwrap_or_default().saturating_sub(origin.monotonic.elapsed());
    let nanoseconds = u64::try_from(suspended.as_nanos()).unwrap_or(u64::MAX);
    Duration::from_nanos(SUSPENDED.fetch_max(nanoseconds, Ordering::Relaxed).max(nanoseconds))
}

/// The time since a fixed moment, including suspends.
#[cfg(feature = "postgres")]
pub(crate) fn elapsed() -> Duration {
    let origin = &*ORIGIN;
    match counting_suspend().zip(origin.counting) {
        Some((now, then)) => now.saturating_sub(then),
        None => origin.monotonic.elapsed(),
    }
}
