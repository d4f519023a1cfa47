//! Whether the proxy can take a connection at this moment.

use gateway_common::addr::Socket;
use gateway_common::capture::{self, Proxy};
use gateway_common::state;

use crate::context::{self, SockAddr};
use crate::maps::{STATE, WEIR_FORGET_NS, WEIR_STALE_NS};

/// The alive word falls when the process dies, before its memory is torn down; the heartbeat goes stale
/// when it hangs; the listener and its tag say that the pod has one and that it is ours.
#[inline(always)]
pub fn state<const V4: bool>(ctx: &SockAddr<'_, V4>, listener: &Socket, now_ns: u64) -> Proxy {
    if word(state::ALIVE) == 0 {
        return Proxy::Dead;
    }
    if now_ns.saturating_sub(word(state::HEARTBEAT)) > WEIR_STALE_NS.load() {
        return Proxy::Hung;
    }
    if listener.port.is_none() || !ctx.has_tagged_listener(listener) {
        return Proxy::NoListener;
    }
    Proxy::Alive
}

/// Whether endpoints are those of a moment ago, or of a proxy that is long gone.
#[inline(always)]
pub fn knows_endpoints(now_ns: u64) -> bool {
    let age = now_ns.saturating_sub(word(state::HEARTBEAT));
    capture::knows_endpoints(age, WEIR_FORGET_NS.load())
}

#[inline(always)]
fn word(index: u32) -> u64 {
    match STATE.get_ptr(index) {
        Some(word) => context::copy(word),
        None => 0,
    }
}
