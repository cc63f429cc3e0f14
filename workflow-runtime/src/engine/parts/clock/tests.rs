use std::sync::atomic::AtomicU64;

use futures_util::future::BoxFuture;

use super::*;
use crate::store::MemoryStore;

const HOUR: u64 = 3_600_000;
const START: u64 = 1_700_000_000_000;

/// Clocks that a test sets one by one.
#[derive(Default)]
struct Hands {
    wall: AtomicU64,
    monotonic: AtomicU64,
    suspended: AtomicU64,
}

impl Hands {
    /// Advances both clocks, as real time does.
    fn pass(&self, milliseconds: u64) {
        self.wall.fetch_add(milliseconds, Ordering::SeqCst);
        self.monotonic.fetch_add(milliseconds, Ordering::SeqCst);
    }

    fn suspend(&self, milliseconds: u64) {
        self.wall.fetch_add(milliseconds, Ordering::SeqCst);
        self.suspended.fetch_add(milliseconds, Ordering::SeqCst);
    }
}

impl Environment for Hands {
    fn now(&self) -> u64 {
        self.wall.load(Ordering::SeqCst)
    }

    fn monotonic(&self) -> u64 {
        self.monotonic.load(Ordering::SeqCst)
    }

    fn suspended(&self) -> u64 {
        self.suspended.load(Ordering::SeqCst)
    }

    fn sleep_until(&self, _: u64) -> BoxFuture<'static, ()> {
        Box::pin(std::future::pending())
    }

    fn fill(&self, _: &mut [u8]) {}
}

fn clock() -> (Arc<Hands>, Clock) {
    let hands = Arc::new(Hands::default());
    hands.wall.store(START, Ordering::SeqCst);
    hands.monotonic.store(5_000, Ordering::SeqCst);
    let clock = Clock::new(hands.clone(), Arc::new(MemoryStore::new()));
    (hands, clock)
}

#[test]
fn store_time_follows_a_clock_that_is_set_forward_within_a_second() {
    let (hands, clock) = clock();
    hands.pass(400);
    assert_eq!(clock.now(), START + 400);
    hands.wall.fetch_add(2 * HOUR, Ordering::SeqCst);
    hands.pass(1_000);
    assert_eq!(clock.now(), START + 2 * HOUR + 1_400);
    assert_eq!(clock.elapsed(), 6_400);
}

#[test]
fn store_time_goes_on_when_the_clock_is_set_back() {
    let (hands, clock) = clock();
    hands.wall.fetch_sub(2 * HOUR, Ordering::SeqCst);
    for second in 1..5 {
        hands.pass(1_000);
        assert_eq!(clock.now(), START + second * 1_000);
    }
    // Nor does it jump when the clock is corrected.
    hands.wall.fetch_add(2 * HOUR, Ordering::SeqCst);
    hands.pass(1_000);
    assert_eq!(clock.now(), START + 5_000);
}

#[test]
fn a_small_correction_is_followed_without_going_back() {
    let (hands, clock) = clock();
    hands.wall.fetch_sub(300, Ordering::SeqCst);
    let before = clock.now();
    hands.pass(1_000);
    assert_eq!(clock.now(), START + 700);
    hands.wall.fetch_sub(900, Ordering::SeqCst);
    hands.pass(1_000);
    assert_eq!(clock.now(), START + 800);
    hands.wall.fetch_sub(900, Ordering::SeqCst);
    hands.pass(100);
    assert!(clock.now() >= START + 800 && before <= START + 800, "it stands until the clock has come to it");
}

#[test]
fn a_suspend_is_elapsed_time_and_no_monotonic_time() {
    let (hands, clock) = clock();
    hands.suspend(8 * HOUR);
    hands.pass(1_000);
    assert_eq!(clock.now(), START + 8 * HOUR + 1_000);
    assert_eq!(clock.elapsed(), 8 * HOUR + 6_000);
    assert_eq!(clock.monotonic(), 6_000);
}

#[test]
fn what_was_called_before_the_clock_was_set_is_found_again() {
    let (hands, clock) = clock();
    hands.pass(1_000);
    assert_eq!(clock.elapsed_at(START + 1_000), Some(6_000));
    assert_eq!(clock.elapsed_at(START - 1), None, "the engine was not open");
    hands.wall.fetch_add(2 * HOUR, Ordering::SeqCst);
    hands.pass(1_000);
    let now = clock.now();
    assert_eq!(now, START + 2 * HOUR + 2_000);
    assert_eq!(clock.elapsed_at(START + 1_000), Some(6_000));
    assert_eq!(clock.elapsed_at(now), Some(7_000));
    assert_eq!(clock.elapsed_at(START + HOUR), Some(7_000), "no time was so: the clock was set over it");
}
