//! A connection to an endpoint as the HTTP/1 codec reads it: strictly.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::proxy::http::strict::{Ambiguous, Strict};

/// The request on a connection. One thread uses it; the codec wants it `Send`.
#[derive(Debug, Default)]
pub struct Asked {
    /// It is HEAD: its answer has no body, whatever it says.
    pub is_head: AtomicBool,
}

/// A TCP connection whose answers are looked at before the codec does.
#[derive(Debug)]
pub struct EndpointStream {
    tcp: TcpStream,
    strict: Strict,
    asked: Arc<Asked>,
    /// No byte behind this can be read.
    broken: Option<Ambiguous>,
}

impl EndpointStream {
    /// A connection without a request on it. `asked` is to be set before each.
    pub fn new(tcp: TcpStream, asked: Arc<Asked>) -> Self {
        Self { tcp, strict: Strict::responses(), asked, broken: None }
    }

    /// The connection itself.
    pub fn into_inner(self) -> TcpStream {
        self.tcp
    }
}

impl AsyncRead for EndpointStream {
    /// In a head, the codec gets a NUL for what it would let pass, and refuses it. A body breaks off.
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(error) = self.broken {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, error)));
        }
        let begin = buffer.filled().len();
        let polled = Pin::new(&mut self.tcp).poll_read(context, buffer);
        if matches!(polled, Poll::Ready(Ok(()))) {
            let is_head = self.asked.is_head.load(Ordering::Relaxed);
            self.strict.announce(is_head);
            match self.strict.check(&buffer.filled()[begin..]) {
                Ok(()) => {}
                Err(Ambiguous::Head(at)) => buffer.filled_mut()[begin + at..].fill(0),
                Err(error @ Ambiguous::Body(at)) => {
                    self.broken = Some(error);
                    if at == 0 {
                        return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, error)));
                    }
                    buffer.set_filled(begin + at);
                }
            }
        }
        polled
    }
}

impl AsyncWrite for EndpointStream {
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
