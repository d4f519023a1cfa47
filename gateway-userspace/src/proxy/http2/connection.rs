//! How a connection ends: because it was idle, because it was asked to, or by itself.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

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
    pub(super) fn new() -> Self {
        Self { open: Cell::new(0), idle_since: Cell::new(Instant::now()) }
    }

    pub(super) fn open(self: &Rc<Self>) -> OpenStream {
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

/// Why a connection is served no longer.
enum Ended {
    /// It was closed, in order or not.
    Closed(hyper::Result<()>),
    /// There was no request for too long.
    Idle,
}

/// Runs a connection to its end, in order when that is asked for.
pub(super) async fn drive<C>(connection: &Connection, streams: &Streams, serving: C, end: fn(Pin<&mut C>))
where
    C: Future<Output = hyper::Result<()>>,
{
    let limits = &connection.proxy.limits;
    let shutdown = &connection.shutdown;
    let mut serving = pin!(serving);
    let mut watchdog = Watchdog::new(streams, limits.idle_timeout);
    let mut ended = tokio::select! {
        biased;
        () = shutdown.started() => Ended::Idle,
        ended = poll_fn(|cx| watchdog.poll(cx, serving.as_mut())) => ended,
    };
    if matches!(ended, Ended::Idle) {
        end(serving.as_mut());
        // The client is given a moment to close when it has nothing more to ask.
        watchdog = Watchdog::new(streams, limits.request_head_timeout);
        ended = tokio::select! {
            () = shutdown.is_cut() => return,
            ended = poll_fn(|cx| watchdog.poll(cx, serving.as_mut())) => ended,
        };
    }
    if let Ended::Closed(Err(error)) = ended
        && error.is_parse()
    {
        connection.reject(Reason::ClientProtocol);
    }
}

/// One coarse timer for a connection without requests.
struct Watchdog<'a> {
    streams: &'a Streams,
    idle_timeout: Duration,
    /// Idle times count from here at the earliest.
    begin: Instant,
    timer: Pin<Box<Sleep>>,
}

impl<'a> Watchdog<'a> {
    fn new(streams: &'a Streams, idle_timeout: Duration) -> Self {
        let timer = Box::pin(tokio::time::sleep(idle_timeout));
        Self { streams, idle_timeout, begin: Instant::now(), timer }
    }

    /// Polls the connection, then looks at the time.
    fn poll<C>(&mut self, context: &mut Context<'_>, serving: Pin<&mut C>) -> Poll<Ended>
    where
        C: Future<Output = hyper::Result<()>>,
    {
        if let Poll::Ready(result) = serving.poll(context) {
            return Poll::Ready(Ended::Closed(result));
        }
        while self.timer.as_mut().poll(context).is_ready() {
            let since = self.streams.idle_since().map(|since| since.max(self.begin));
            match since.map(|since| since + self.idle_timeout) {
                Some(at) if at <= Instant::now() => return Poll::Ready(Ended::Idle),
                Some(at) => self.timer.as_mut().reset(at),
                None => self.timer.as_mut().reset(Instant::now() + self.idle_timeout),
            }
        }
        Poll::Pending
    }
}
