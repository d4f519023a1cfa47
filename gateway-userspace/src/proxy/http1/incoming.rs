//! Reading from an HTTP/1 connection: into no buffer before there is something to read.

use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, ReadBuf};
use tokio::net::TcpStream;

use crate::limits::{BODY_READ_BYTES, BODY_READ_BYTES_MAX};

/// Read at once where a head is awaited, bytes.
pub const HEAD_READ_BYTES: usize = 8 * 1024;

/// How much of a body is read at once: more while much comes, as each read and write costs the same,
/// less where little does.
#[derive(Debug)]
pub struct Room(usize);

impl Room {
    /// For a body of which nothing is known.
    pub const UNKNOWN: Self = Self(HEAD_READ_BYTES);

    /// For a body of which so much is to come, bytes, if that is known.
    pub fn awaiting(remaining: Option<u64>) -> Self {
        Self(remaining.map_or(BODY_READ_BYTES, fitting).clamp(BODY_READ_BYTES, BODY_READ_BYTES_MAX))
    }

    /// Bytes to read now.
    pub fn bytes(&self, remaining: Option<u64>) -> usize {
        self.0.min(remaining.map_or(usize::MAX, fitting))
    }

    /// Of `room` bytes, `read` have come.
    pub fn filled(&mut self, room: usize, read: usize) {
        if read == room {
            self.0 = (room * 2).clamp(BODY_READ_BYTES, BODY_READ_BYTES_MAX);
        } else if read < self.0 / 4 {
            self.0 = (self.0 / 2).max(HEAD_READ_BYTES);
        }
    }
}

fn fitting(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

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

#[cfg(test)]
mod tests {
    use super::{BODY_READ_BYTES, BODY_READ_BYTES_MAX, HEAD_READ_BYTES, Room};

    #[test]
    fn what_is_known_to_be_large_is_read_in_large_pieces_from_the_start() {
        assert_eq!(Room::awaiting(Some(1 << 30)).bytes(Some(1 << 30)), BODY_READ_BYTES_MAX);
        assert_eq!(Room::awaiting(Some(100)).bytes(Some(100)), 100);
        assert_eq!(Room::awaiting(None).bytes(None), BODY_READ_BYTES);
    }

    #[test]
    fn pieces_grow_while_much_comes_and_shrink_where_little_does() {
        let mut room = Room::UNKNOWN;
        for _ in 0..10 {
            let bytes = room.bytes(None);
            room.filled(bytes, bytes);
        }
        assert_eq!(room.bytes(None), BODY_READ_BYTES_MAX);
        for _ in 0..10 {
            room.filled(room.bytes(None), 10);
        }
        assert_eq!(room.bytes(None), HEAD_READ_BYTES);
    }
}
