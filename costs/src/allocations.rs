//! An allocator that counts.

#![expect(unsafe_code, reason = "an allocator cannot be had without; this one only passes on")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicU64, Ordering},
};

/// The allocator is one of the two things that a process can have only one of.
#[global_allocator]
static ALLOCATOR: Counting = Counting::new();

/// Allocations by all threads since the process began; one that grows counts again.
pub(crate) fn count() -> u64 {
    ALLOCATOR.count.load(Ordering::Relaxed)
}

struct Counting {
    count: AtomicU64,
}

impl Counting {
    const fn new() -> Self {
        Self { count: AtomicU64::new(0) }
    }
}

// SAFETY: every call is the system allocator's, with the caller's own promises.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.count.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        self.count.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        self.count.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.realloc(at, layout, bytes) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(at, layout) }
    }
}
