//! getpeername: the Service that the application dialled.

use crate::context::SockAddr;
use crate::error::Error;

/// Answers with the Service address when the socket is still connected to where we sent it.
#[inline(always)]
pub fn try_name<const V4: bool>(ctx: &SockAddr<'_, V4>) -> Result<(), Error> {
    let peer = ctx.socket();
    let mark = ctx.mark().ok_or(Error::NoMark)?;
    if mark.actual != peer {
        return Err(Error::OtherPeer);
    }
    ctx.set_socket(&mark.original);
    Ok(())
}
