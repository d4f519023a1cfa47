//! Reading from an HTTP/1 connection: into no buffer before there is something to read.

use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, ReadBuf};
use tokio::net::TcpStream;

/// Read at once where a head is awaited, bytes.
pub const HEAD_READ_BYTES: usize = 8 * 1024;
/// Read at once where a large body is awaited, bytes.
pub const BODY_READ_BYTES: usize = 64 * 1024;

/// Reads once, up to `room` bytes, and appends. Zero is the end of the stream. Allocates when there
/// is something to read, not before.
///
/// # Errors
/// What the socket said.
pub fn poll_read(
    context: &mut Context<'_>,
    tcp: &mut TcpStream,
    bytes: &mut BytesMut,
    room: usize,
) -> Poll<io::Result<usize>> {
    if tcp.poll_read_ready(context)?.is_pending() {
        return Poll::Pending;
    }
    bytes.reserve(room);
    pin!(tcp.read_buf(bytes)).poll(context)
}

/// True when the peer of an idle connection has sent nothing and not closed it: no system call,
/// unless the socket says that there is something.
pub fn is_quiet(tcp: &mut TcpStream) -> bool {
    let mut context = Context::from_waker(std::task::Waker::noop());
    if tcp.poll_read_ready(&mut context).is_pending() {
        return true;
    }
    let mut byte = [0; 1];
    Pin::new(tcp).poll_peek(&mut context, &mut ReadBuf::new(&mut byte)).is_pending()
}
