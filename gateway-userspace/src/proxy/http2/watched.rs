//! A client's connection as the codec sees it, and what is noticed of the frames that pass.

use std::cell::{Cell, RefCell};
use std::io;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};

use super::frame::{self, Frame, Kind, PREFACE_BYTES, Scanner};
use super::guard::{Flood, Guard};
use crate::limits::{HTTP2_BATCH_FRAMES, HTTP2_CLOSE_BYTES_MAX, HTTP2_CLOSE_WAIT, Limits};
use crate::proxy::http::connection::Connection;

/// What is known of a connection. The stream fills it in, the connection's task acts upon it.
pub(super) struct Watch {
    begin: Instant,
    guard: RefCell<Guard>,
    flood: Cell<Option<Flood>>,
    /// When bytes last came.
    last_read: Cell<Instant>,
    /// A frame has come to its end.
    has_begun: Cell<bool>,
    /// Since when a frame, other than of a body, or a header block is not complete.
    incomplete: Cell<Option<Instant>>,
    /// Since when the client takes no byte.
    unwritable: Cell<Option<Instant>>,
}

impl Watch {
    pub(super) fn new(limits: &Limits) -> Rc<Self> {
        let now = Instant::now();
        Rc::new(Self {
            begin: now,
            guard: RefCell::new(Guard::new(limits)),
            flood: Cell::new(None),
            last_read: Cell::new(now),
            has_begun: Cell::new(false),
            incomplete: Cell::new(None),
            unwritable: Cell::new(None),
        })
    }

    /// Why the connection has to end at once.
    pub(super) fn flood(&self) -> Option<Flood> {
        self.flood.get()
    }

    /// Since when the client owes its first frame.
    pub(super) fn unbegun_since(&self) -> Option<Instant> {
        (!self.has_begun.get()).then_some(self.begin)
    }

    /// Since when a frame, other than of a body, or a header block is not complete.
    /// `None` also while the client does not read: nobody may have read what it has sent then.
    pub(super) fn incomplete_since(&self) -> Option<Instant> {
        self.incomplete.get().filter(|_| self.unwritable.get().is_none())
    }

    /// Since when the client takes no byte of what is to be written.
    pub(super) fn unwritable_since(&self) -> Option<Instant> {
        self.unwritable.get()
    }

    /// When bytes last came.
    pub(super) fn last_read(&self) -> Instant {
        self.last_read.get()
    }

    fn note(&self, result: Result<(), Flood>) -> ControlFlow<()> {
        match result {
            Ok(()) => ControlFlow::Continue(()),
            Err(flood) => {
                self.flood.set(self.flood.get().or(Some(flood)));
                ControlFlow::Break(())
            }
        }
    }
}

/// A TCP connection behind its first bytes, whose frames are watched.
pub(super) struct Watched {
    tcp: TcpStream,
    connection: Rc<Connection>,
    /// Read already, and not given to the codec yet.
    held: Bytes,
    watch: Rc<Watch>,
    incoming: Scanner,
    outgoing: Scanner,
    /// The frame that passes now, or passed last, is of a body.
    in_data: bool,
    /// Frames that may still be read before something is written.
    batch: u32,
    /// The codec, which waits for the client to take what is written.
    reader: Option<Waker>,
    farewell: Option<Farewell>,
}

impl Watched {
    /// `read` was read from `tcp` already.
    pub(super) fn new(connection: &Rc<Connection>, tcp: TcpStream, read: Bytes, watch: Rc<Watch>) -> Self {
        Self {
            tcp,
            connection: Rc::clone(connection),
            held: read,
            watch,
            incoming: Scanner::behind(PREFACE_BYTES),
            outgoing: Scanner::behind(0),
            in_data: false,
            batch: HTTP2_BATCH_FRAMES,
            reader: None,
            farewell: None,
        }
    }

    /// Ready when the codec may read.
    fn poll_turn(&mut self, context: &Context<'_>) -> Poll<()> {
        if self.watch.flood().is_some() {
            // The connection's task has been polled for this, and looks before it waits.
            return Poll::Pending;
        }
        if self.watch.guard.borrow().is_behind() {
            self.reader = Some(context.waker().clone());
            return Poll::Pending;
        }
        if self.batch == 0 {
            self.batch = HTTP2_BATCH_FRAMES;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(())
    }

    /// Looks at what was read, and says how much of it the codec may see now.
    fn received(&mut self, bytes: &[u8]) -> usize {
        let watch = Rc::clone(&self.watch);
        let now = Instant::now();
        watch.last_read.set(now);
        let mut guard = watch.guard.borrow_mut();
        guard.tick(now - watch.begin);
        let (batch, in_data) = (&mut self.batch, &mut self.in_data);
        let passed = self.incoming.scan(bytes, |frame: Frame| {
            *in_data = frame.kind == Kind::Data;
            watch.has_begun.set(true);
            if !*in_data {
                *batch -= 1;
            }
            match watch.note(guard.received(&frame)) {
                ControlFlow::Continue(()) if *batch > 0 => ControlFlow::Continue(()),
                _ => ControlFlow::Break(()),
            }
        });
        let is_incomplete = guard.is_in_headers()
            || self.incoming.is_in_head()
            || (self.incoming.is_in_payload() && !self.in_data);
        watch.incomplete.set(is_incomplete.then(|| watch.incomplete.get().unwrap_or(now)));
        self.charge(guard.take_unearned());
        passed
    }

    fn sent(&mut self, bytes: &[u8]) {
        let watch = Rc::clone(&self.watch);
        let mut guard = watch.guard.borrow_mut();
        self.outgoing.scan(bytes, |frame| {
            // All of it was written, whatever it means.
            let _ = watch.note(guard.sent(&frame));
            ControlFlow::Continue(())
        });
        self.charge(guard.take_unearned());
    }

    /// The client pays for resets, too, whatever other connections it has or had.
    fn charge(&self, resets: u32) {
        for _ in 0..resets {
            if !self.connection.downstream.admission.count_reset() {
                // It is looked at before the task waits.
                let _ = self.watch.note(Err(Flood::ClientResets));
            }
        }
    }

    fn written<T>(&mut self, polled: &Poll<io::Result<T>>) {
        if polled.is_pending() {
            let since = self.watch.unwritable.get().unwrap_or_else(Instant::now);
            self.watch.unwritable.set(Some(since));
            return;
        }
        self.watch.unwritable.set(None);
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }
}

/// The wait for the client's end of a connection after ours.
struct Farewell {
    over: Pin<Box<Sleep>>,
    /// What may still be read, and thrown away.
    bytes: usize,
}

impl Farewell {
    fn begin() -> Self {
        Self { over: Box::pin(tokio::time::sleep(HTTP2_CLOSE_WAIT)), bytes: HTTP2_CLOSE_BYTES_MAX }
    }

    fn poll(&mut self, tcp: &mut TcpStream, context: &mut Context<'_>) -> Poll<()> {
        if self.over.as_mut().poll(context).is_ready() {
            return Poll::Ready(());
        }
        let mut bytes = [0; 4096];
        while self.bytes > 0 {
            let mut buffer = ReadBuf::new(&mut bytes);
            if ready!(Pin::new(&mut *tcp).poll_read(context, &mut buffer)).is_err()
                || buffer.filled().is_empty()
            {
                break;
            }
            self.bytes = self.bytes.saturating_sub(buffer.filled().len());
        }
        Poll::Ready(())
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.poll_turn(context).is_pending() {
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        if self.held.is_empty() {
            match Pin::new(&mut self.tcp).poll_read(context, buffer) {
                Poll::Ready(Ok(())) => {}
                other => return other,
            }
            let passed = self.received(&buffer.filled()[before..]);
            self.held = Bytes::copy_from_slice(&buffer.filled()[before + passed..]);
            buffer.set_filled(before + passed);
        } else {
            let length = self.held.len().min(buffer.remaining());
            let held = self.held.clone();
            let passed = self.received(&held[..length]);
            buffer.put_slice(&held[..passed]);
            self.held.advance(passed);
        }
        if self.watch.flood().is_some() {
            buffer.set_filled(before);
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.tcp).poll_write(context, bytes);
        if let Poll::Ready(Ok(length)) = polled {
            self.sent(&bytes[..length]);
        }
        self.written(&polled);
        polled
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.tcp).poll_write_vectored(context, slices);
        if let Poll::Ready(Ok(length)) = polled {
            frame::written(slices, length).for_each(|part| self.sent(part));
        }
        self.written(&polled);
        polled
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(context)
    }

    /// Ready when the client has closed its side too, or had a moment to read our last words: a socket
    /// that is closed over what was not read resets the connection, and they are lost.
    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.tcp).poll_shutdown(context))?;
        let this = &mut *self;
        let farewell = this.farewell.get_or_insert_with(Farewell::begin);
        farewell.poll(&mut this.tcp, context).map(Ok)
    }
}
