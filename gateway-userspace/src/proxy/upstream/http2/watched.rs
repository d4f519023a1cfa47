//! An endpoint's connection as the codec sees it: it is cut when the frames that pass are a flood.

use std::io;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::guard::{Flood, Guard};
use crate::limits::{Limits, UPSTREAM_BATCH_FRAMES};
use crate::proxy::http2::frame::{self, Kind, PREFACE_BYTES, Scanner};

/// What a connection that is cut for a flood ends with. No socket fails in this way.
pub(super) const FLOOD: io::ErrorKind = io::ErrorKind::QuotaExceeded;

/// A TCP connection whose frames are counted.
pub(super) struct Watched {
    tcp: TcpStream,
    begin: Instant,
    incoming: Scanner,
    outgoing: Scanner,
    guard: Guard,
    flood: Option<Flood>,
    /// Frames since others had their turn.
    batch: usize,
}

impl Watched {
    /// A connection that was just made.
    pub(super) fn new(tcp: TcpStream, limits: &Limits) -> Self {
        Self {
            tcp,
            begin: Instant::now(),
            incoming: Scanner::behind(0),
            outgoing: Scanner::behind(PREFACE_BYTES),
            guard: Guard::new(limits),
            flood: None,
            batch: 0,
        }
    }

    fn received(&mut self, bytes: &[u8]) {
        self.guard.tick(self.begin.elapsed());
        let Self { incoming, guard, flood, batch, .. } = self;
        incoming.scan(bytes, |frame| {
            *batch += usize::from(frame.kind != Kind::Data);
            if let Err(found) = guard.received(&frame) {
                *flood = Some(found);
            }
            ControlFlow::Continue(())
        });
    }

    fn sent(&mut self, bytes: &[u8]) {
        let Self { outgoing, guard, .. } = self;
        outgoing.scan(bytes, |frame| {
            guard.sent(&frame);
            ControlFlow::Continue(())
        });
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.batch >= UPSTREAM_BATCH_FRAMES {
            self.batch = 0;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.tcp).poll_read(context, buffer))?;
        self.received(&buffer.filled()[before..]);
        match self.flood {
            Some(_) => Poll::Ready(Err(FLOOD.into())),
            None => Poll::Ready(Ok(())),
        }
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let length = ready!(Pin::new(&mut self.tcp).poll_write(context, bytes))?;
        self.sent(&bytes[..length]);
        Poll::Ready(Ok(length))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let length = ready!(Pin::new(&mut self.tcp).poll_write_vectored(context, slices))?;
        frame::written(slices, length).for_each(|part| self.sent(part));
        Poll::Ready(Ok(length))
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
