//! Counts what one thread asks of the allocator.
#![expect(unsafe_code, reason = "an allocator is unsafe to be one")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};

/// The thread that is counted.
static COUNTED_THREAD: AtomicI32 = AtomicI32::new(0);
static COUNT: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static OWN_THREAD: Cell<i32> = const { Cell::new(0) };
}

/// Counts for this thread from now on.
pub(crate) fn count_of(thread: i32) {
    COUNTED_THREAD.store(thread, Ordering::Relaxed);
    COUNT.store(0, Ordering::Relaxed);
}

/// How often it has asked for memory, or for more of it.
pub(crate) fn counted() -> u64 {
    COUNT.load(Ordering::Relaxed)
}

fn note() {
    let own = OWN_THREAD.try_with(|own| {
        if own.get() == 0 {
            own.set(nix::unistd::gettid().as_raw());
        }
        own.get()
    });
    if own == Ok(COUNTED_THREAD.load(Ordering::Relaxed)) {
        COUNT.fetch_add(1, Ordering::Relaxed);
    }
}

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: every call is the system allocator's with the same arguments; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note();
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note();
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, old: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note();
        // SAFETY: the caller's promise is passed on.
        unsafe { System.realloc(old, layout, size) }
    }

    unsafe fn dealloc(&self, old: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(old, layout) }
    }
}
