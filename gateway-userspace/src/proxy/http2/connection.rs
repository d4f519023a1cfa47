//! How a connection goes on and how it ends: by itself, for its silence, for a flood, or because it is asked to.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h2::server::Connection as Codec;
use h2::{Ping, PingPong};
use tokio::time::{Instant, Sleep};

use super::exchange;
use super::watched::{Watch, Watched};
use crate::limits::{HTTP2_FAREWELL, Limits};
use crate::proxy::http::connection::Connection;
use crate::reason::Reason;

/// The streams of one connection that are open.
pub(super) struct Streams {
    open: Cell<usize>,
    /// When the last of them ended.
    idle_since: Cell<Instant>,
}

/// A request, until its answer has ended.
pub(super) struct OpenStream(Rc<Streams>);

impl Streams {
    fn new() -> Rc<Self> {
        Rc::new(Self { open: Cell::new(0), idle_since: Cell::new(Instant::now()) })
    }

    fn open(self: &Rc<Self>) -> OpenStream {
        self.open.set(self.open.get() + 1);
        OpenStream(Rc::clone(self))
    }

    fn idle_since(&self) -> Option<Instant> {
        (self.open.get() == 0).then(|| self.idle_since.get())
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.0.open.set(self.0.open.get() - 1);
        self.0.idle_since.set(Instant::now());
    }
}

/// What has to happen when it has taken too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Due {
    /// The client is asked to go: there was no request for long.
    Idle,
    /// It is asked to go: the connection is old.
    Old,
    /// The client owes frames, and is told so.
    Frames,
    /// The client is dead, or acts as if it were.
    Silent,
    /// It is time to see whether it is alive.
    Ping,
}

/// One connection behind its codec.
pub(super) struct Session<'a> {
    connection: &'a Rc<Connection>,
    codec: Codec<Watched, Bytes>,
    watch: Rc<Watch>,
    streams: Rc<Streams>,
    pings: Option<PingPong>,
    /// When a PING was sent that is not answered yet.
    pinged: Option<Instant>,
    /// Idle times count from here at the earliest, and are this long.
    idle_from: Instant,
    idle_timeout: Duration,
    /// The client was asked to go.
    is_ending: bool,
    /// The connection is over; this is how long the client has to hear of it.
    farewell: Option<Instant>,
    timer: Pin<Box<Sleep>>,
}

impl<'a> Session<'a> {
    pub(super) fn new(
        connection: &'a Rc<Connection>,
        mut codec: Codec<Watched, Bytes>,
        watch: Rc<Watch>,
    ) -> Self {
        let limits = &connection.proxy.limits;
        Self {
            connection,
            pings: codec.ping_pong(),
            codec,
            watch,
            streams: Streams::new(),
            pinged: None,
            idle_from: Instant::now(),
            idle_timeout: limits.http2_idle_timeout,
            is_ending: false,
            farewell: None,
            timer: Box::pin(tokio::time::sleep(limits.detect_timeout)),
        }
    }

    /// No new requests; those in flight finish.
    pub(super) fn end(&mut self) {
        self.is_ending = true;
        self.codec.graceful_shutdown();
        self.idle_from = Instant::now();
        // The client is given a moment to close when it has nothing more to ask.
        self.idle_timeout = self.limits().request_head_timeout;
    }

    /// Has requests served, each by a task of its own. Ready when the connection is over.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        loop {
            match self.codec.poll_accept(context) {
                Poll::Ready(Some(Ok((request, respond)))) => {
                    if self.connection.count_request() && !self.is_ending {
                        self.end();
                    }
                    let open = self.streams.open();
                    let serving = exchange::serve(Rc::clone(self.connection), request, respond, open);
                    tokio::task::spawn_local(serving);
                    continue;
                }
                Poll::Ready(Some(Err(error))) => {
                    self.report(&error);
                    return Poll::Ready(());
                }
                Poll::Ready(None) => return Poll::Ready(()),
                Poll::Pending => {}
            }
            if self.farewell.is_none()
                && let Some(flood) = self.watch.flood()
            {
                let peer = self.connection.downstream.peer;
                tracing::info!(%peer, what = flood.as_str(), "an HTTP/2 client floods its connection, which is cut");
                self.cut(h2::Reason::ENHANCE_YOUR_CALM, Reason::ClientFlood);
                continue;
            }
            self.poll_pong(context);
            match self.poll_due(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Due::Ping) => self.ping(),
                Poll::Ready(Due::Frames) => self.cut(h2::Reason::PROTOCOL_ERROR, Reason::ClientTimeout),
                Poll::Ready(Due::Silent) => {
                    self.connection.reject(Reason::ClientTimeout);
                    return Poll::Ready(());
                }
                Poll::Ready(Due::Old) => self.end(),
                Poll::Ready(Due::Idle) if !self.is_ending => self.end(),
                Poll::Ready(Due::Idle) => return Poll::Ready(()),
            }
        }
    }

    fn limits(&self) -> &'a Limits {
        &self.connection.proxy.limits
    }

    /// What is over was somebody's fault, or not.
    fn report(&self, error: &h2::Error) {
        if self.farewell.is_some() || !error.is_library() {
            return;
        }
        let flooded = error.reason() == Some(h2::Reason::ENHANCE_YOUR_CALM);
        self.connection.reject(if flooded { Reason::ClientFlood } else { Reason::ClientProtocol });
    }

    /// Ends the connection with all that is on it.
    fn cut(&mut self, code: h2::Reason, reason: Reason) {
        self.codec.abrupt_shutdown(code);
        self.farewell = Some(Instant::now() + HTTP2_FAREWELL);
        self.connection.reject(reason);
    }

    fn ping(&mut self) {
        let sent = self.pings.as_mut().is_some_and(|pings| pings.send_ping(Ping::opaque()).is_ok());
        self.pinged = sent.then(Instant::now);
    }

    fn poll_pong(&mut self, context: &mut Context<'_>) {
        if self.pinged.is_some()
            && self.pings.as_mut().is_some_and(|pings| pings.poll_pong(context).is_ready())
        {
            self.pinged = None;
        }
    }

    /// One coarse timer for all that can take too long.
    fn poll_due(&mut self, context: &mut Context<'_>) -> Poll<Due> {
        loop {
            let (at, due) = self.next_due();
            if self.timer.deadline() > at {
                self.timer.as_mut().reset(at);
            }
            if self.timer.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
            if at <= Instant::now() {
                return Poll::Ready(due);
            }
            self.timer.as_mut().reset(at);
        }
    }

    fn next_due(&self) -> (Instant, Due) {
        let (limits, watch) = (self.limits(), &self.watch);
        if let Some(at) = self.farewell {
            return (at, Due::Silent);
        }
        let last_read = watch.last_read();
        let ping = match self.pinged {
            // Whatever comes shows that it is alive.
            Some(at) => (at.max(last_read) + limits.http2_ping_timeout, Due::Silent),
            None => (last_read + limits.http2_ping_interval, Due::Ping),
        };
        let idle = self.streams.idle_since().map(|since| since.max(self.idle_from));
        let others = [
            self.connection.goes_at.filter(|_| !self.is_ending).map(|at| (at, Due::Old)),
            watch.unbegun_since().map(|since| (since + limits.detect_timeout, Due::Frames)),
            watch.incomplete_since().map(|since| (since + limits.request_head_timeout, Due::Frames)),
            watch.unwritable_since().map(|since| (since + limits.response_stall_timeout, Due::Silent)),
            idle.map(|since| (since + self.idle_timeout, Due::Idle)),
        ];
        others.into_iter().flatten().fold(ping, |first, next| if next.0 < first.0 { next } else { first })
    }
}
