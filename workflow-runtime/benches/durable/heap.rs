//! Counts the Rust heap while a [`Count`] exists. The program `heap` of the tests uses this file, too.
//!
//! A counter that all threads share costs more than the allocation itself, and would distort the times. So it is off
//! while times are measured.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, AtomicIsize, Ordering::Relaxed};

struct Counted;

#[global_allocator]
static HEAP: Counted = Counted;

static COUNTING: AtomicBool = AtomicBool::new(false);
static LIVE: AtomicIsize = AtomicIsize::new(0);
static PEAK: AtomicIsize = AtomicIsize::new(0);

fn add(bytes: usize) {
    if COUNTING.load(Relaxed) {
        let live = LIVE.fetch_add(bytes.cast_signed(), Relaxed) + bytes.cast_signed();
        PEAK.fetch_max(live, Relaxed);
    }
}

fn subtract(bytes: usize) {
    if COUNTING.load(Relaxed) {
        LIVE.fetch_sub(bytes.cast_signed(), Relaxed);
    }
}

#[allow(unsafe_code)]
// SAFETY: every call is delegated to the system's allocator; the counting does not touch the allocated memory.
unsafe impl GlobalAlloc for Counted {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        add(layout.size());
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        add(layout.size());
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        add(bytes);
        subtract(layout.size());
        unsafe { System.realloc(memory, layout, bytes) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        subtract(layout.size());
        unsafe { System.dealloc(memory, layout) }
    }
}

/// Counts from its creation until it is dropped. Only one may exist at a time.
pub struct Count(());

impl Count {
    pub fn begin() -> Self {
        LIVE.store(0, Relaxed);
        PEAK.store(0, Relaxed);
        COUNTING.store(true, Relaxed);
        Count(())
    }

    /// The bytes that were allocated since the beginning and are alive, minus those that were freed since and allocated
    /// before.
    pub fn live(&self) -> isize {
        LIVE.load(Relaxed)
    }

    /// The maximum of [`live`](Count::live).
    pub fn peak(&self) -> isize {
        PEAK.load(Relaxed)
    }
}

impl Drop for Count {
    fn drop(&mut self) {
        COUNTING.store(false, Relaxed);
    }
}
