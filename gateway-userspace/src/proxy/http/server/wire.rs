//! What a connection's loop and the body of its request share: the socket, and what was read from it and not used yet.

use std::cell::{Cell, RefCell};
use std::io;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use socket2::SockRef;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::limits::{LINGER, UNREAD_BYTES_MAX};
use crate::proxy::http1::chunked::{ChunkError, Decoded};
use crate::proxy::http1::decode::BodyDecoder;
use crate::proxy::http1::framing::BodyLength;
use crate::proxy::http1::head::{HeadLimits, HeadReader, Malformed, RequestHead};
use crate::proxy::http1::incoming::{HEAD_READ_BYTES, poll_read};
use crate::proxy::http1::outgoing::Outgoing;

thread_local! {
    /// The buffer of the thread's connections that have nothing in theirs.
    static SPARE: Cell<BytesMut> = Cell::new(BytesMut::new());
}

/// One client's connection. Borrowed for no longer than one call.
#[derive(Debug)]
pub(super) struct Wire {
    /// `None` when it was closed or given away.
    tcp: RefCell<Option<TcpStream>>,
    read: RefCell<BytesMut>,
    /// Of the request that is served.
    pub(super) body: RefCell<BodyDecoder>,
    pub(super) outgoing: RefCell<Outgoing>,
    /// Counts requests: who reads the body of an earlier one gets nothing.
    pub(super) request: Cell<u64>,
    /// Somebody has the body, and may read it.
    pub(super) is_body_held: Cell<bool>,
    /// The client waits to be asked for the body.
    pub(super) awaits_continue: Cell<bool>,
    /// The client has closed its sending side.
    is_ended: Cell<bool>,
    /// The loop, which watches the client once the body was read.
    waker: RefCell<Option<Waker>>,
}

/// What watching a client has shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Watched {
    /// It waits.
    Waiting,
    /// It has closed its sending side.
    HalfClosed,
    /// The connection is lost.
    Gone,
}

fn closed() -> io::Error {
    io::ErrorKind::NotConnected.into()
}

impl Wire {
    /// `read` was read already.
    pub(super) fn new(tcp: TcpStream, read: BytesMut) -> Self {
        Self {
            tcp: RefCell::new(Some(tcp)),
            read: RefCell::new(read),
            body: RefCell::new(BodyDecoder::Ended),
            outgoing: RefCell::default(),
            request: Cell::new(0),
            is_body_held: Cell::new(false),
            awaits_continue: Cell::new(false),
            is_ended: Cell::new(false),
            waker: RefCell::new(None),
        }
    }

    /// A request has begun, and this follows it.
    pub(super) fn begin(&self, body: BodyLength, awaits_continue: bool) {
        self.request.set(self.request.get().wrapping_add(1));
        *self.body.borrow_mut() = BodyDecoder::new(body);
        self.awaits_continue.set(awaits_continue);
        self.is_body_held.set(false);
    }

    /// Nobody reads the body any more.
    pub(super) fn end(&self) {
        self.request.set(self.request.get().wrapping_add(1));
        self.is_body_held.set(false);
    }

    /// True when the body was read to its end.
    pub(super) fn is_body_read(&self) -> bool {
        self.body.borrow().is_ended()
    }

    /// The client has closed its sending side.
    pub(super) fn is_half_closed(&self) -> bool {
        self.is_ended.get()
    }

    /// True when nothing of a next request has come.
    pub(super) fn is_empty(&self) -> bool {
        self.read.borrow().is_empty()
    }

    /// Looks for a request head. `None` is the end of the connection.
    pub(super) fn poll_head(
        &self,
        context: &mut Context<'_>,
        reader: &mut HeadReader,
        limits: &HeadLimits,
    ) -> Poll<Result<Option<RequestHead>, Malformed>> {
        loop {
            if let Some(head) = reader.request(&mut self.read.borrow_mut(), limits)? {
                return Poll::Ready(Ok(Some(head)));
            }
            if self.is_ended.get() || !matches!(ready!(self.poll_read(context, HEAD_READ_BYTES)), Ok(1..)) {
                return Poll::Ready(Ok(None));
            }
        }
    }

    /// Reads once. Holds no buffer while there is nothing to read.
    pub(super) fn poll_read(&self, context: &mut Context<'_>, room: usize) -> Poll<io::Result<usize>> {
        let mut read = self.read.borrow_mut();
        if read.capacity() == 0 {
            // What other connections have done with is written over where nobody has a part of it any more.
            *read = SPARE.take();
        }
        let mut tcp = self.tcp.borrow_mut();
        let polled = poll_read(context, tcp.as_mut().ok_or_else(closed)?, &mut read, room);
        if matches!(polled, Poll::Ready(Ok(0))) {
            self.is_ended.set(true);
        }
        if read.is_empty() {
            SPARE.set(std::mem::take(&mut read));
        }
        polled
    }

    /// Takes from the body what has come of it.
    pub(super) fn decode(&self) -> Result<Decoded, ChunkError> {
        self.body.borrow_mut().decode(&mut self.read.borrow_mut())
    }

    /// Watches a client that waits for its answer, unless somebody still reads what it sends.
    pub(super) fn poll_watch(&self, context: &mut Context<'_>, bytes_max: usize) -> Watched {
        if !self.is_body_read() {
            *self.waker.borrow_mut() = Some(context.waker().clone());
            return Watched::Waiting;
        }
        while !self.is_ended.get() && self.read.borrow().len() < bytes_max {
            match self.poll_read(context, HEAD_READ_BYTES) {
                Poll::Pending => return Watched::Waiting,
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(_)) => return Watched::Gone,
            }
        }
        if self.is_ended.get() { Watched::HalfClosed } else { Watched::Waiting }
    }

    /// The body has ended, or nobody wants it: the loop takes over.
    pub(super) fn wake(&self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Writes what waits.
    pub(super) fn poll_write(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut tcp = self.tcp.borrow_mut();
        self.outgoing.borrow_mut().poll_write(context, tcp.as_mut().ok_or_else(closed)?)
    }

    /// Reads over what is there of a body that nobody wants. True when that was all of it.
    pub(super) fn poll_drain(&self, context: &mut Context<'_>) -> bool {
        let mut length = 0;
        while length <= UNREAD_BYTES_MAX {
            match self.decode() {
                Ok(Decoded::Data(data)) => length += data.len(),
                Ok(Decoded::End(_)) => return true,
                Ok(Decoded::NeedMore) => {
                    if !matches!(self.poll_read(context, HEAD_READ_BYTES), Poll::Ready(Ok(1..))) {
                        return false;
                    }
                }
                Err(_) => return false,
            }
        }
        false
    }

    /// The connection with what was read of it, for what is no HTTP any more.
    pub(super) fn take(&self) -> Option<(TcpStream, Bytes)> {
        let tcp = self.tcp.take()?;
        Some((tcp, self.read.take().freeze()))
    }

    /// Closes the connection; by a reset where its end could be taken for that of an answer.
    pub(super) fn close(&self, is_reset: bool) {
        if let Some(tcp) = self.tcp.take()
            && is_reset
        {
            // If it cannot be set, the end comes in the middle of the answer, which says the same.
            let _ = SockRef::from(&tcp).set_linger(Some(Duration::ZERO));
        }
    }

    /// Closes a connection on which the client is still sending: it would lose the answer by the reset that
    /// follows on bytes that nobody reads.
    pub(super) async fn linger(&self) {
        let Some((mut tcp, mut read)) = self.take().map(|(tcp, _)| (tcp, BytesMut::new())) else {
            return;
        };
        let reading = async {
            tcp.shutdown().await?;
            let mut length = 0;
            while length <= UNREAD_BYTES_MAX {
                let more =
                    std::future::poll_fn(|cx| poll_read(cx, &mut tcp, &mut read, HEAD_READ_BYTES)).await?;
                if more == 0 {
                    break;
                }
                length += more;
                read.clear();
            }
            io::Result::Ok(())
        };
        // However it ends, the connection is closed.
        let _ = tokio::time::timeout(LINGER, reading).await;
    }
}
