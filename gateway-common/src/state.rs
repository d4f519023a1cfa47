//! Pure: the words by which the kernel knows that the proxy lives.
//!
//! They lie in one array of `u64`, each written on its own, so that the dying process's program can
//! clear one while a heartbeat writes another.

/// Index of the alive word: the incarnation of the process that owns the datapath, or 0.
///
/// Set by the owner when it takes the datapath over; cleared in the kernel when its main thread exits.
pub const ALIVE: u32 = 0;
/// Index of the heartbeat: `CLOCK_MONOTONIC` nanoseconds of the owner's last sign of life.
pub const HEARTBEAT: u32 = 1;
/// Words in the map.
pub const WORDS: u32 = 2;

/// A heartbeat older than this, in nanoseconds, means that the process hangs, unless told otherwise.
pub const HEARTBEAT_STALE_NS: u64 = 3_000_000_000;
