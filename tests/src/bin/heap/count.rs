//! Counts the bytes of the Rust heap.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicIsize, Ordering::Relaxed};

struct Counted;

#[global_allocator]
static HEAP: Counted = Counted;

static BYTES: AtomicIsize = AtomicIsize::new(0);

fn add(bytes: usize) {
    BYTES.fetch_add(bytes.cast_signed(), Relaxed);
}

fn subtract(bytes: usize) {
    BYTES.fetch_sub(bytes.cast_signed(), Relaxed);
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

/// The bytes that are allocated now.
pub fn bytes() -> isize {
    BYTES.load(Relaxed)
}
