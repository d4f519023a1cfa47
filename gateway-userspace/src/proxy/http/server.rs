//! One downstream HTTP/1 connection, by hyper's codec.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::CONNECTION;
use http::{HeaderValue, Request, Response, StatusCode, Version};
use http_body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};

use super::body::ResponseBody;
use super::connection::{Busy, Connection};
use super::headers;
use super::request::handle;
use super::stream::ClientStream;
use crate::proxy::upstream::body::RequestBody;
use crate::reason::Reason;

/// Least buffer that hyper accepts.
const HYPER_BUFFER_MIN: usize = 8192;

/// Serves HTTP/1 until the connection ends. `read` was read from it already.
pub async fn serve_http1(connection: Rc<Connection>, tcp: TcpStream, read: Bytes) {
    let limits = Arc::clone(&connection.proxy.limits);
    let io = TokioIo::new(ClientStream::new(
        tcp,
        read,
        limits.response_stall_timeout,
        Arc::clone(&connection.stream),
    ));
    let service = service_fn(|request| answer(&connection, request));
    let serving = http1::Builder::new()
        // The stream itself sees to clients that close their sending side and wait.
        .half_close(false)
        .max_headers(limits.header_fields_max)
        .max_header_size(limits.header_bytes_max)
        .max_buf_size(limits.header_bytes_max.max(HYPER_BUFFER_MIN))
        // The watchdog tells the wait for a head from the head itself.
        .header_read_timeout(None)
        .serve_connection(io, service)
        .with_upgrades();
    drive(&connection, serving, |serving| serving.graceful_shutdown()).await;
}

/// One request, from the codec's types to Weir's and back.
fn answer(
    connection: &Rc<Connection>,
    request: Request<Incoming>,
) -> impl Future<Output = Result<Response<ResponseBody>, Infallible>> + use<> {
    // At once: the codec may look for more bytes before it polls the answer.
    let busy = Busy::new(connection, request.body().is_end_stream());
    let request = request.map(|incoming| RequestBody::new(incoming, &connection.proxy.limits));
    // What came behind it may be of the other protocol: when there is no switch it is not read.
    let is_last = request.version() == Version::HTTP_11 && headers::upgrade(request.headers()).is_some();
    let handled = handle(Rc::clone(connection), request);
    async move {
        let mut response = handled.await.map(|body| body.keeping(busy));
        if is_last && response.status() != StatusCode::SWITCHING_PROTOCOLS {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        Ok(response)
    }
}

/// Why a connection is served no longer.
enum Ended {
    /// It was closed, in order or not.
    Closed(hyper::Result<()>),
    /// There was no request for too long.
    Idle,
    /// A request head did not come to its end in time.
    UnfinishedHead,
    /// The client has closed its sending side, and no answer came in the time it is given then.
    HalfClosed,
    /// The process, or the pod, asks for the end.
    Asked,
}

/// Runs a connection to its end, in order when that is asked for.
async fn drive<C>(connection: &Connection, serving: C, end: fn(Pin<&mut C>))
where
    C: Future<Output = hyper::Result<()>>,
{
    let mut serving = pin!(serving);
    let mut watchdog = Watchdog::new(connection);
    let shutdown = &connection.shutdown;
    let mut ended = tokio::select! {
        biased;
        () = shutdown.started() => Ended::Asked,
        ended = poll_fn(|cx| watchdog.poll(cx, serving.as_mut())) => ended,
    };
    if matches!(ended, Ended::Asked) {
        // Closed between two requests, it may be closed under the next one, which is on its way. An
        // answer that says it is the last leaves no doubt; only who sends nothing is closed without.
        let farewell = connection.has_begun().then(|| connection.proxy.limits.drain_idle_timeout);
        ended = tokio::select! {
            () = shutdown.is_cut() => return,
            () = elapsed(farewell) => Ended::Asked,
            ended = poll_fn(|cx| match watchdog.poll(cx, serving.as_mut()) {
                Poll::Pending if connection.idle_since().is_none() => Poll::Ready(Ended::Asked),
                other => other,
            }) => ended,
        };
    }
    if matches!(ended, Ended::Asked | Ended::Idle) {
        end(serving.as_mut());
        watchdog.shorten();
        ended = tokio::select! {
            () = shutdown.is_cut() => Ended::Asked,
            ended = poll_fn(|cx| watchdog.poll(cx, serving.as_mut())) => ended,
        };
    }
    match ended {
        Ended::Closed(Err(error)) if error.is_parse() => connection.reject(Reason::ClientProtocol),
        Ended::UnfinishedHead => {
            connection.stream.late.store(true, Ordering::Relaxed);
            poll_fn(|cx| {
                let _ = serving.as_mut().poll(cx);
                Poll::Ready(())
            })
            .await;
            connection.reject(Reason::ClientTimeout);
        }
        Ended::Closed(_) | Ended::Idle | Ended::HalfClosed | Ended::Asked => {}
    }
}

/// Ends after this time; never, when there is none.
async fn elapsed(time: Option<Duration>) {
    match time {
        Some(time) => tokio::time::sleep(time).await,
        None => std::future::pending().await,
    }
}

/// One coarse timer for all that can take too long between requests.
struct Watchdog<'a> {
    connection: &'a Connection,
    idle_timeout: Duration,
    /// Idle times count from here at the earliest.
    begin: Instant,
    first_byte: Option<Instant>,
    half_closed: Option<Instant>,
    timer: Pin<Box<Sleep>>,
}

impl<'a> Watchdog<'a> {
    fn new(connection: &'a Connection) -> Self {
        let idle_timeout = connection.proxy.limits.idle_timeout;
        Self {
            connection,
            idle_timeout,
            begin: Instant::now(),
            first_byte: None,
            half_closed: None,
            timer: Box::pin(tokio::time::sleep(idle_timeout)),
        }
    }

    /// The connection was told to end: it is given a moment to do so when it is idle.
    fn shorten(&mut self) {
        self.idle_timeout = self.connection.proxy.limits.request_head_timeout;
        self.begin = Instant::now();
    }

    /// Polls the connection, then looks at the time.
    fn poll<C>(&mut self, context: &mut Context<'_>, serving: Pin<&mut C>) -> Poll<Ended>
    where
        C: Future<Output = hyper::Result<()>>,
    {
        if let Poll::Ready(result) = serving.poll(context) {
            return Poll::Ready(Ended::Closed(result));
        }
        loop {
            let wanted = self.deadline();
            let at = wanted.as_ref().map_or_else(|| Instant::now() + self.idle_timeout, |(at, _)| *at);
            if self.timer.deadline() > at {
                self.timer.as_mut().reset(at);
            }
            if self.timer.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
            match wanted {
                Some((at, ended)) if at <= self.timer.deadline() => return Poll::Ready(ended),
                Some(_) | None => self.timer.as_mut().reset(at),
            }
        }
    }

    /// When what is going on has taken too long; `None` while a request is served.
    fn deadline(&mut self) -> Option<(Instant, Ended)> {
        let (limits, stream) = (&self.connection.proxy.limits, &self.connection.stream);
        let Some(idle_since) = self.connection.idle_since() else {
            self.first_byte = None;
            let since = stream.half_closed.load(Ordering::Relaxed).then(Instant::now)?;
            let since = *self.half_closed.get_or_insert(since);
            return Some((since + limits.half_close_timeout, Ended::HalfClosed));
        };
        if stream.received.load(Ordering::Relaxed) {
            let since = *self.first_byte.get_or_insert_with(Instant::now);
            return Some((since + limits.request_head_timeout, Ended::UnfinishedHead));
        }
        Some((idle_since.max(self.begin) + self.idle_timeout, Ended::Idle))
    }
}
