//! The gateway's death, seen the moment it begins.

use gateway_common::state;

use crate::context::{self, Thread};
use crate::maps::{STATE, WEIR_INCARNATION, WEIR_PIDNS_DEV, WEIR_PIDNS_INO, WEIR_PROCESS};

/// SIGKILL, which every thread of a process gets too that dies of another signal.
const SIGKILL: i32 = 9;

/// Clears the alive word when the main thread of the process that loaded this program exits. Other threads
/// come and go.
#[inline(always)]
pub fn clear_when_the_gateway_exits() {
    if current_thread() == Some(Thread::Main) {
        clear();
    }
}

/// Clears the alive word when the first thread of the gateway learns that all of them are killed: until the last
/// one has closed the listeners, connects that were steered before have time to arrive.
#[inline(always)]
pub fn clear_when_the_gateway_is_killed(signal: i32) {
    if signal == SIGKILL && current_thread().is_some() {
        clear();
    }
}

#[inline(always)]
fn current_thread() -> Option<Thread> {
    context::thread_of(WEIR_PROCESS.load(), WEIR_PIDNS_DEV.load(), WEIR_PIDNS_INO.load())
}

/// Unless another process has set it since.
#[inline(always)]
fn clear() {
    if let Some(alive) = STATE.get_ptr_mut(state::ALIVE)
        && context::copy(alive) == WEIR_INCARNATION.load()
    {
        context::store(alive, 0);
    }
}
