//! The engine's three clocks: see [`Environment`].
//!
//! Store time is elapsed time plus an offset. The engine measures the offset against the clock of the store when a second
//! has passed since the last measurement, so that reading the time costs one reading of the monotonic clock.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, TryLockError};
use std::time::Duration;

use crate::environment::Environment;
use crate::limits::{CLOCK_CHECK_INTERVAL, CLOCK_SET_MIN, PAUSED_CHECK_INTERVAL};
use crate::store::Store;

/// The most time between the readings before and after that of another clock. If it took longer, it is read again.
const READING_MS: u64 = 2;
const READINGS: u32 = 4;
/// How many offsets are kept.
const OFFSETS_MAX: usize = 16;

/// The time at which a timer is due, in milliseconds of one of the engine's clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deadline {
    /// For a `sleep_until`, and for all deadlines that were recorded before the engine was opened.
    Store(u64),
    /// For a `sleep` or `timeout` that was called since: setting a clock neither ends nor delays it.
    Elapsed(u64),
    /// For the backoff after an attempt of this engine, and for the time until a run is evicted.
    Monotonic(u64),
}

pub struct Clock {
    environment: Arc<dyn Environment>,
    store: Arc<dyn Store>,
    /// The monotonic time of the last measurement, and its results.
    measured_at: AtomicU64,
    suspended: AtomicU64,
    offset: AtomicI64,
    /// The latest store time that was returned.
    latest: AtomicU64,
    /// Held while the offset is measured.
    measured: Mutex<Measured>,
}

struct Measured {
    /// Each offset since the engine was opened, with the elapsed time from which
    /// it is valid. A new offset is added each time the clock is set forward.
    offsets: Vec<(u64, i64)>,
    /// How much a clock lacked that was set back, when that was last reported.
    reported: i64,
}

impl Clock {
    pub fn new(environment: Arc<dyn Environment>, store: Arc<dyn Store>) -> Self {
        let clock = Clock {
            environment,
            store,
            measured_at: AtomicU64::new(0),
            suspended: AtomicU64::new(0),
            offset: AtomicI64::new(0),
            latest: AtomicU64::new(0),
            measured: Mutex::new(Measured { offsets: Vec::new(), reported: 0 }),
        };
        clock.measure();
        clock
    }

    /// Store time, in milliseconds since 1970. It never goes back.
    pub fn now(&self) -> u64 {
        let elapsed = self.elapsed();
        let now = elapsed.saturating_add_signed(self.offset.load(Ordering::Acquire));
        // Most readings are of the same millisecond: a write would take the cache line from the other threads.
        let latest = self.latest.load(Ordering::Acquire);
        if latest >= now { latest } else { self.latest.fetch_max(now, Ordering::AcqRel).max(now) }
    }

    /// Monotonic time in milliseconds.
    pub fn monotonic(&self) -> u64 {
        self.environment.monotonic()
    }

    /// Elapsed time: monotonic time plus the time of system suspends.
    pub fn elapsed(&self) -> u64 {
        let monotonic = self.environment.monotonic();
        let since = monotonic.checked_sub(self.measured_at.load(Ordering::Acquire));
        if since.is_none_or(|since| since >= milliseconds(CLOCK_CHECK_INTERVAL)) {
            self.measure();
        }
        monotonic.saturating_add(self.suspended.load(Ordering::Acquire))
    }

    /// The elapsed time at which store time was `time`, unless that was before the engine was opened.
    pub fn elapsed_at(&self, time: u64) -> Option<u64> {
        let measured = self.measured.lock().unwrap_or_else(PoisonError::into_inner);
        let mut at = None;
        for (begin, offset) in &measured.offsets {
            let elapsed = time.checked_add_signed(offset.checked_neg()?);
            match elapsed {
                Some(elapsed) if elapsed >= *begin => at = Some(elapsed),
                // The clock was set forward past this time.
                _ if at.is_some() => at = at.map(|at: u64| at.min(*begin)),
                _ => {}
            }
        }
        at
    }

    /// Whether a deadline has come.
    pub fn has_come(&self, deadline: Deadline) -> bool {
        match deadline {
            Deadline::Store(at) => at <= self.now(),
            Deadline::Elapsed(at) => at <= self.elapsed(),
            Deadline::Monotonic(at) => at <= self.monotonic(),
        }
    }

    /// Resolves once store time has reached `time`.
    pub async fn sleep_until(&self, time: u64) {
        loop {
            // Read first: time that passes after this makes the next look too early, never too late.
            let monotonic = self.environment.monotonic();
            let left = time.saturating_sub(self.now());
            if left == 0 {
                return;
            }
            let wait = left.min(milliseconds(self.check_interval()));
            self.environment.sleep_until(monotonic.saturating_add(wait)).await;
        }
    }

    /// The longest time between two checks whether a clock was set.
    pub fn check_interval(&self) -> Duration {
        if self.environment.is_paused() { PAUSED_CHECK_INTERVAL } else { CLOCK_CHECK_INTERVAL }
    }

    /// Lengthens an interval of the engine on a paused clock, which would pass it again and again.
    pub fn interval(&self, interval: Duration) -> Duration {
        if self.environment.is_paused() { interval.max(PAUSED_CHECK_INTERVAL) } else { interval }
    }

    /// Measures the offset, unless another thread is measuring it.
    fn measure(&self) {
        let mut measured = match self.measured.try_lock() {
            Ok(measured) => measured,
            Err(TryLockError::Poisoned(measured)) => measured.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        let (mut monotonic, mut reference) = (0, 0);
        for _ in 0..READINGS {
            monotonic = self.environment.monotonic();
            reference = self.store.server_time().unwrap_or_else(|| self.environment.now());
            if self.environment.monotonic().saturating_sub(monotonic) < READING_MS {
                break;
            }
        }
        let suspended = self.suspended.fetch_max(self.environment.suspended(), Ordering::AcqRel);
        let elapsed = monotonic.saturating_add(suspended.max(self.suspended.load(Ordering::Acquire)));
        let offset = i64::try_from(i128::from(reference) - i128::from(elapsed)).unwrap_or(0);
        measured.take(elapsed, offset);
        let offset = measured.offsets.last().map_or(offset, |(_, offset)| *offset);
        self.offset.store(offset, Ordering::Release);
        self.measured_at.store(monotonic, Ordering::Release);
    }
}

impl Measured {
    /// Follows a clock that was set forward, or that drifts a little. A clock that was set back is not followed: store
    /// time continues as if it had not been.
    fn take(&mut self, elapsed: u64, found: i64) {
        let set = i64::try_from(CLOCK_SET_MIN.as_millis()).unwrap_or(i64::MAX);
        let Some((_, offset)) = self.offsets.last_mut() else {
            self.offsets.push((elapsed, found));
            return;
        };
        let difference = found.saturating_sub(*offset);
        if difference > set {
            tracing::warn!(
                milliseconds = difference,
                "the clock was set forward; deadlines that were recorded are due accordingly, but no sleep in this process"
            );
            self.offsets.push((elapsed, found));
            if self.offsets.len() > OFFSETS_MAX {
                // The first offset stays: it holds the time at which the engine was opened.
                self.offsets.remove(1);
            }
            self.reported = 0;
        } else if difference >= -set {
            *offset = found;
            self.reported = 0;
        } else if (difference - self.reported).abs() > set {
            tracing::warn!(
                milliseconds = -difference,
                "the clock was set back; this engine counts on from the time that it had, until it is opened again"
            );
            self.reported = difference;
        }
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
