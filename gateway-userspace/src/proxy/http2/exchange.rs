//! One stream: its request goes to `handle`, and the answer back, piece by piece as the client takes it.

use std::error::Error;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{RecvStream, SendStream};
use http::header::{CONTENT_LENGTH, DATE, EXPECT};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body::Body;

use super::connection::OpenStream;
use crate::proxy::http::body::ResponseBody;
use crate::proxy::http::connection::Connection;
use crate::proxy::http::date;
use crate::proxy::http::interim::Interim;
use crate::proxy::http::request::handle;
use crate::proxy::silence::Silence;
use crate::proxy::upstream::body::{BodyError, RequestBody};
use crate::reason::Reason;

/// Most that the codec is given at once: a frame of the size that every peer takes.
const PIECE_BYTES: usize = 16 * 1024;

/// A client that takes less than this in all the time that it may stall takes nothing.
const PROGRESS_BYTES: usize = 1024;

/// Serves one request. Dropped, or when the client resets the stream, what is done for it is given up.
pub(super) async fn serve(
    connection: Rc<Connection>,
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    open: OpenStream,
) {
    let limits = Rc::clone(&connection.proxy);
    let limits = &limits.limits;
    let (parts, body) = request.into_parts();
    let is_head = parts.method == Method::HEAD;
    let length = parts.headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    let body = RequestBody::http2(body, length, limits);
    let mut waits = parts.headers.contains_key(EXPECT) && !body.is_end_stream();
    let response = {
        let interim = Interim::default();
        let mut handled = pin!(handle(connection, Request::from_parts(parts, body), &interim));
        let answered = poll_fn(|cx| {
            let polled = handled.as_mut().poll(cx);
            while let Some(parts) = interim.take() {
                // A stream that has ended is noticed elsewhere.
                let _ = respond.send_informational(Response::from_parts(parts, ()));
            }
            if let Poll::Ready(response) = polled {
                return Poll::Ready(Some(response));
            }
            // What is refused is refused by now: the request is on its way.
            if std::mem::take(&mut waits) {
                ask_for_body(&mut respond);
            }
            respond.poll_reset(cx).map(|_| None)
        });
        answered.await
    };
    if let Some(response) = response {
        let Some((stream, body)) = send_head(&mut respond, response, is_head) else {
            return;
        };
        Pump::new(stream, body, limits.response_stall_timeout).await;
    }
    drop(open);
}

/// Tells a client that waits to be asked for the body of its request to go on (RFC 9110 10.1.1).
fn ask_for_body(respond: &mut SendResponse<Bytes>) {
    let mut head = Response::new(());
    *head.status_mut() = StatusCode::CONTINUE;
    // A stream that has ended is noticed elsewhere.
    let _ = respond.send_informational(head);
}

/// Sends the head of the answer. Gives the way for its body, when there is one: there is none for HEAD and
/// for some statuses, whatever the endpoint sends (RFC 9110 6.4.1).
fn send_head(
    respond: &mut SendResponse<Bytes>,
    response: Response<ResponseBody>,
    is_head: bool,
) -> Option<(SendStream<Bytes>, ResponseBody)> {
    let (mut parts, body) = response.into_parts();
    parts.headers.entry(DATE).or_insert_with(date::now);
    let is_bodiless = matches!(parts.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    let is_empty = is_head || is_bodiless || body.is_end_stream();
    if !is_empty && let Some(length) = body.size_hint().exact() {
        parts.headers.entry(CONTENT_LENGTH).or_insert_with(|| HeaderValue::from(length));
    }
    match respond.send_response(Response::from_parts(parts, ()), is_empty) {
        Ok(stream) => (!is_empty).then_some((stream, body)),
        Err(_) => {
            respond.send_reset(h2::Reason::INTERNAL_ERROR);
            None
        }
    }
}

/// Moves a body to its stream, never more than the client has made room for.
struct Pump {
    stream: SendStream<Bytes>,
    /// `None` when it was given up.
    body: Option<ResponseBody>,
    /// Of the body, and not sent yet.
    piece: Bytes,
    /// Nothing comes after `piece`.
    is_last: bool,
    stall: Silence,
    /// Sent since the client was last seen to make progress.
    sent: usize,
}

impl Pump {
    fn new(stream: SendStream<Bytes>, body: ResponseBody, stall_max: Duration) -> Self {
        let stall = Silence::new(stall_max);
        Self { stream, body: Some(body), piece: Bytes::new(), is_last: false, stall, sent: 0 }
    }

    /// An error means that the stream is gone.
    fn poll_pump(&mut self, context: &mut Context<'_>) -> Poll<Result<(), h2::Error>> {
        loop {
            if self.stream.poll_reset(context)?.is_ready() {
                return Poll::Ready(Ok(()));
            }
            if !self.piece.is_empty() {
                ready!(self.poll_send(context))?;
                if self.is_last && self.piece.is_empty() {
                    return Poll::Ready(Ok(()));
                }
                continue;
            }
            let Some(body) = &mut self.body else {
                return Poll::Ready(Ok(()));
            };
            let frame = match ready!(Pin::new(&mut *body).poll_frame(context)) {
                None => return Poll::Ready(self.stream.send_data(Bytes::new(), true)),
                Some(Err(error)) => {
                    self.stream.send_reset(reset_code(&error));
                    return Poll::Ready(Ok(()));
                }
                Some(Ok(frame)) => frame,
            };
            match frame.into_data() {
                Ok(data) => {
                    self.is_last = body.is_end_stream();
                    if data.is_empty() && self.is_last {
                        return Poll::Ready(self.stream.send_data(data, true));
                    }
                    self.piece = data;
                }
                Err(frame) => {
                    if let Ok(trailers) = frame.into_trailers() {
                        return Poll::Ready(self.stream.send_trailers(trailers));
                    }
                }
            }
        }
    }

    /// Sends some of the piece, when there is room for it.
    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<Result<(), h2::Error>> {
        let wanted = self.piece.len().min(PIECE_BYTES);
        self.stream.reserve_capacity(wanted);
        while self.stream.capacity() == 0 {
            match self.stream.poll_capacity(context) {
                Poll::Ready(Some(Ok(_))) => {}
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(error)),
                // The stream is gone; what waits for it is not wanted any more.
                Poll::Ready(None) => {
                    self.body = None;
                    self.piece.clear();
                    return Poll::Ready(Ok(()));
                }
                Poll::Pending => {
                    ready!(self.stall.poll(context));
                    if let Some(body) = self.body.take() {
                        body.give_up(Reason::ClientTimeout);
                    }
                    self.piece.clear();
                    self.stream.send_reset(h2::Reason::CANCEL);
                    return Poll::Ready(Ok(()));
                }
            }
        }
        let room = self.stream.capacity().min(wanted);
        let data = self.piece.split_to(room);
        self.sent += room;
        if self.sent >= PROGRESS_BYTES || self.piece.is_empty() {
            self.sent = 0;
            self.stall.moved();
        }
        let ends = self.is_last && self.piece.is_empty();
        Poll::Ready(self.stream.send_data(data, ends))
    }
}

impl Future for Pump {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        // However the stream ended: the body, when it goes, reports what became of the request.
        self.poll_pump(context).map(|_| ())
    }
}

/// How the client is told that the answer broke off: as the endpoint said it, when it may have been meant
/// for the client.
fn reset_code(error: &BodyError) -> h2::Reason {
    let mut source = Error::source(error);
    while let Some(error) = source {
        if let Some(code) = error.downcast_ref::<h2::Error>().and_then(h2::Error::reason) {
            let is_meant = [h2::Reason::CANCEL, h2::Reason::REFUSED_STREAM, h2::Reason::NO_ERROR];
            return if is_meant.contains(&code) { code } else { h2::Reason::INTERNAL_ERROR };
        }
        source = error.source();
    }
    h2::Reason::INTERNAL_ERROR
}
