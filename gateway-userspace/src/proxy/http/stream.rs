//! A client's connection as the HTTP codec reads it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use futures_util::task::AtomicWaker;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// What stream and server tell each other. One thread uses it; the codec wants it `Send`.
#[derive(Debug, Default)]
pub struct StreamState {
    /// Bytes came since this was last cleared.
    pub received: AtomicBool,
    /// A request was read to its end and is not answered yet.
    pub answering: AtomicBool,
    /// The client has closed its sending side while it waits for an answer.
    pub half_closed: AtomicBool,
    /// The codec, which is to read that when it has answered.
    pub reader: AtomicWaker,
}

/// A TCP connection, of which some bytes were read already.
#[derive(Debug)]
pub struct ClientStream {
    tcp: TcpStream,
    prefix: Bytes,
    state: Arc<StreamState>,
}

impl ClientStream {
    /// `prefix` is read first.
    pub fn new(tcp: TcpStream, prefix: Bytes, state: Arc<StreamState>) -> Self {
        state.received.store(!prefix.is_empty(), Ordering::Relaxed);
        Self { tcp, prefix, state }
    }

    /// The connection itself, and what of `prefix` was not read.
    pub fn into_parts(self) -> (TcpStream, Bytes) {
        (self.tcp, self.prefix)
    }
}

impl AsyncRead for ClientStream {
    /// A client may close its sending side and wait for the answer: the codec would take that for
    /// the end of the connection, so it does not see it before the answer is complete.
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.prefix.is_empty() {
            let length = self.prefix.len().min(buffer.remaining());
            buffer.put_slice(&self.prefix[..length]);
            self.prefix.advance(length);
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.tcp).poll_read(context, buffer);
        if matches!(polled, Poll::Ready(Ok(()))) {
            if buffer.filled().len() > before {
                self.state.received.store(true, Ordering::Relaxed);
            } else if self.state.answering.load(Ordering::Relaxed) && buffer.remaining() > 0 {
                self.state.half_closed.store(true, Ordering::Relaxed);
                self.state.reader.register(context.waker());
                return Poll::Pending;
            }
        }
        polled
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(context)
    }
}
