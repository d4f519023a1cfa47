//! Carries the original destination from the socket to where the proxy finds it at accept.

use gateway_common::flow::{FlowKey, FlowValue, SocketMark};

use crate::context::Segment;
use crate::error::Error;
use crate::maps::FLOWS;

/// `BPF_SOCK_OPS_TCP_CONNECT_CB`: the source port is chosen and the SYN not sent, so the entry is there
/// before any accept.
const TCP_CONNECT: u32 = 3;

/// Records the flow of a socket that was steered to the proxy.
#[inline(always)]
pub fn try_record(ctx: &Segment<'_>) -> Result<(), Error> {
    if ctx.operation() != TCP_CONNECT {
        return Err(Error::OtherOperation);
    }
    let ends = ctx.ends();
    let mark = ctx.mark().ok_or(Error::NoMark)?;
    if mark.kind != SocketMark::STEERED {
        return Err(Error::NoMark);
    }
    let v4 = mark.actual.address.is_v4();
    if ends.remote(v4) != mark.actual {
        return Err(Error::OtherPeer);
    }
    let key = FlowKey::new(mark.netns_cookie, ends.local(v4), mark.actual.port);
    let value = FlowValue { destination: mark.original, service: mark.service };
    FLOWS.insert(key, value, 0).map_err(|_| Error::FlowLost)
}
