//! What waits to be written to one HTTP/1 connection: small pieces in one buffer, at most one large one by reference.

use std::cell::Cell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http::HeaderMap;
use tokio::io::AsyncWrite;
use tokio::net::TcpStream;

use super::chunked;

/// Longer pieces are not copied.
const COPIED_BYTES_MAX: usize = 4096;
/// Above this nothing more is taken before something was written.
const BUFFER_BYTES_MAX: usize = 16 * 1024;
/// A head and a small body fit.
const BUFFER_BYTES: usize = 4096;

thread_local! {
    /// The buffer of the thread's connections that have nothing to write: that is most of them, most of the time.
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Bytes on their way to the socket.
#[derive(Debug, Default)]
pub struct Outgoing {
    buffer: Vec<u8>,
    /// Of `buffer`, what was written.
    written: usize,
    /// Follows `buffer`.
    large: Bytes,
    /// Follows `large`.
    tail: &'static [u8],
    /// Bytes ever written.
    total: u64,
}

impl Outgoing {
    /// Where heads and small pieces are put. Only before a large piece waits: see `is_full`.
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        if self.buffer.capacity() == 0 {
            self.buffer = SPARE.take();
            self.buffer.reserve(BUFFER_BYTES);
        }
        &mut self.buffer
    }

    /// True while nothing more may be added.
    pub fn is_full(&self) -> bool {
        !self.large.is_empty() || !self.tail.is_empty() || self.buffer.len() - self.written > BUFFER_BYTES_MAX
    }

    /// True when everything was written.
    pub fn is_empty(&self) -> bool {
        self.written == self.buffer.len() && self.large.is_empty() && self.tail.is_empty()
    }

    /// Bytes ever written to the socket.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Adds part of a body. Not while `is_full`.
    pub fn put_data(&mut self, data: Bytes, is_chunked: bool) {
        if data.is_empty() {
            // An empty chunk would end the body.
            return;
        }
        if is_chunked {
            chunked::put_size(self.buffer(), data.len());
        }
        let tail: &'static [u8] = if is_chunked { b"\r\n" } else { b"" };
        if data.len() <= COPIED_BYTES_MAX {
            let buffer = self.buffer();
            buffer.extend_from_slice(&data);
            buffer.extend_from_slice(tail);
        } else {
            self.large = data;
            self.tail = tail;
        }
    }

    /// Adds the end of a chunked body. Not while `is_full`.
    pub fn put_end(&mut self, trailers: Option<&HeaderMap>) {
        chunked::put_end(self.buffer(), trailers);
    }

    /// Writes until nothing is left. Keeps no buffer then.
    ///
    /// # Errors
    /// What the socket said.
    pub fn poll_write(&mut self, context: &mut Context<'_>, tcp: &mut TcpStream) -> Poll<io::Result<()>> {
        while !self.is_empty() {
            let small = &self.buffer[self.written..];
            let tcp = Pin::new(&mut *tcp);
            let length = if self.large.is_empty() && self.tail.is_empty() {
                ready!(tcp.poll_write(context, small))?
            } else {
                let slices = [IoSlice::new(small), IoSlice::new(&self.large), IoSlice::new(self.tail)];
                ready!(tcp.poll_write_vectored(context, &slices))?
            };
            if length == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.advance(length);
        }
        if (1..=BUFFER_BYTES_MAX).contains(&self.buffer.capacity()) {
            SPARE.set(std::mem::take(&mut self.buffer));
        } else {
            self.buffer = Vec::new();
        }
        Poll::Ready(Ok(()))
    }

    fn advance(&mut self, mut length: usize) {
        self.total += length as u64;
        let small = length.min(self.buffer.len() - self.written);
        self.written += small;
        length -= small;
        let large = length.min(self.large.len());
        self.large.advance(large);
        length -= large;
        self.tail = &self.tail[length.min(self.tail.len())..];
        if self.written == self.buffer.len() {
            self.buffer.clear();
            self.written = 0;
        }
    }
}
