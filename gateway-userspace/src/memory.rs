//! Memory that is free goes back to the system.
#![expect(unsafe_code, reason = "the allocator has no safe call for it")]

/// Gives back what the allocator holds and nobody uses. For the end of work that took much memory
/// once: the allocator itself looks only when there is more to do.
pub fn give_back() {
    // SAFETY: it may be called at any time, on any thread; it only returns free pages.
    unsafe { libmimalloc_sys::mi_collect(true) }
}
