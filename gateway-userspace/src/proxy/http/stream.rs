//! A client's connection as the HTTP codec reads it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use futures_util::task::AtomicWaker;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::respond::LATE_HEAD;
use super::strict::{Ambiguous, Strict};
use crate::proxy::silence::Silence;

/// What stream and server tell each other. One thread uses it; the codec wants it `Send`.
#[derive(Debug, Default)]
pub struct StreamState {
    /// Bytes came since this was last cleared.
    pub received: AtomicBool,
    /// A request was read to its end and is not answered yet.
    pub answering: AtomicBool,
    /// The client has closed its sending side while it waits for an answer.
    pub half_closed: AtomicBool,
    /// A request head did not come to its end in time: the client is told, and the codec sees the end.
    pub late: AtomicBool,
    /// The codec, which is to read that when it has answered.
    pub reader: AtomicWaker,
}

/// A TCP connection, of which some bytes were read already.
#[derive(Debug)]
pub struct ClientStream {
    tcp: TcpStream,
    prefix: Bytes,
    strict: Strict,
    /// No byte behind this can be read.
    broken: Option<Ambiguous>,
    /// Watches a client that takes nothing of what it is sent.
    stall: Silence,
    state: Arc<StreamState>,
}

impl ClientStream {
    /// `prefix` is read first. A client that takes no byte for `stall_max` is cut off.
    pub fn new(tcp: TcpStream, prefix: Bytes, stall_max: Duration, state: Arc<StreamState>) -> Self {
        state.received.store(!prefix.is_empty(), Ordering::Relaxed);
        Self { tcp, prefix, strict: Strict::requests(), broken: None, stall: Silence::new(stall_max), state }
    }

    /// The connection itself, and what of `prefix` was not read.
    pub fn into_parts(self) -> (TcpStream, Bytes) {
        (self.tcp, self.prefix)
    }
}

impl ClientStream {
    /// A write that waits for the client does not do so for ever.
    fn watch(
        &mut self,
        context: &mut Context<'_>,
        polled: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if polled.is_ready() {
            self.stall.moved();
            return polled;
        }
        ready!(self.stall.poll(context));
        // What is in the kernel's buffer would be kept for a client that does not want it.
        let _ = SockRef::from(&self.tcp).set_linger(Some(Duration::ZERO));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    /// Looks at what was read, from `begin` on. The codec is given a NUL for what it would let pass in a
    /// head: it answers 400. A body breaks off.
    fn guard(&mut self, buffer: &mut ReadBuf<'_>, begin: usize) -> io::Result<()> {
        match self.strict.check(&buffer.filled()[begin..]) {
            Ok(()) => {}
            Err(Ambiguous::Head(at)) => buffer.filled_mut()[begin + at..].fill(0),
            Err(error @ Ambiguous::Body(at)) => {
                self.broken = Some(error);
                if at == 0 {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, error));
                }
                buffer.set_filled(begin + at);
            }
        }
        Ok(())
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
        if self.state.late.load(Ordering::Relaxed) {
            // If it is not taken at once nobody waits for it.
            let _ = self.tcp.try_write(LATE_HEAD);
            return Poll::Ready(Ok(()));
        }
        if let Some(error) = self.broken {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, error)));
        }
        if !self.prefix.is_empty() {
            let length = self.prefix.len().min(buffer.remaining());
            let before = buffer.filled().len();
            buffer.put_slice(&self.prefix[..length]);
            self.prefix.advance(length);
            return Poll::Ready(self.guard(buffer, before));
        }
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.tcp).poll_read(context, buffer);
        if matches!(polled, Poll::Ready(Ok(()))) {
            if buffer.filled().len() > before {
                self.state.received.store(true, Ordering::Relaxed);
                return Poll::Ready(self.guard(buffer, before));
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
        let polled = Pin::new(&mut self.tcp).poll_write(context, bytes);
        self.watch(context, polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.tcp).poll_write_vectored(context, slices);
        self.watch(context, polled)
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
