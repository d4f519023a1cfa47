//! The gateway's death, seen the moment it begins.

use gateway_common::state;

use crate::context;
use crate::maps::{STATE, WEIR_INCARNATION, WEIR_PIDNS_DEV, WEIR_PIDNS_INO, WEIR_PROCESS};

/// Clears the alive word when the main thread of the process that loaded this program exits, unless
/// another process has set it since. Other threads come and go.
#[inline(always)]
pub fn clear_when_the_gateway_exits() {
    if !context::is_main_thread_of(WEIR_PROCESS.load(), WEIR_PIDNS_DEV.load(), WEIR_PIDNS_INO.load()) {
        return;
    }
    if let Some(alive) = STATE.get_ptr_mut(state::ALIVE)
        && context::copy(alive) == WEIR_INCARNATION.load()
    {
        context::store(alive, 0);
    }
}
