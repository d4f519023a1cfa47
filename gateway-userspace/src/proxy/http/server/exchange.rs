//! One request and its answer on an HTTP/1 connection.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};

use http::header::{CONNECTION, EXPECT, TE};
use http::{HeaderMap, Method, Request, Response, StatusCode, Version};
use http_body::Body;
use tokio::time::Instant;

use super::Session;
use super::body::ClientBody;
use super::wire::Watched;
use crate::proxy::http::body::ResponseBody;
use crate::proxy::http::interim::Interim;
use crate::proxy::http::request::handle;
use crate::proxy::http::respond::{self, Manner, Refusal};
use crate::proxy::http::{date, headers};
use crate::proxy::http1::encode::{ResponseManner, put_interim, put_response};
use crate::proxy::http1::framing::BodyLength;
use crate::proxy::http1::head::RequestHead;
use crate::proxy::recorder::Recorder;
use crate::proxy::tcp::relay::Side;
use crate::proxy::upstream::body::RequestBody;
use crate::reason::Reason;

/// What becomes of the connection after an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum After {
    /// The next request is served.
    Next,
    /// It is closed.
    Close,
    /// It is closed when the client can have read the answer.
    Linger,
}

/// What an answer depends on besides itself.
struct Asked {
    version: Version,
    is_head: bool,
    takes_trailers: bool,
    is_persistent: bool,
    /// What came behind the request may be of the other protocol: without a switch it is not read.
    switches: bool,
}

/// An answer on its way.
struct Answering {
    /// `None` when all of it waits to be written.
    body: Option<ResponseBody>,
    length: BodyLength,
    /// Of a known length, what is still to come.
    left: u64,
    takes_trailers: bool,
    /// When the client was last seen to take something, and how much it had taken then.
    stalled: Option<(Instant, u64)>,
}

/// The answer cannot be completed.
struct Broken;

impl Session {
    /// Serves one request.
    pub(super) async fn exchange(&mut self, head: RequestHead) -> After {
        let connection = Rc::clone(&self.connection);
        // Also while the end of the answer is written.
        let _in_use = connection.downstream.admission.in_use();
        let RequestHead { parts, body, is_persistent } = head;
        let asked = Asked {
            version: parts.version,
            is_head: parts.method == Method::HEAD,
            takes_trailers: parts.version == Version::HTTP_11 && takes_trailers(&parts.headers),
            is_persistent: is_persistent && !self.connection.count_request(),
            switches: parts.version == Version::HTTP_11 && headers::upgrade(&parts.headers).is_some(),
        };
        let has_body = body != BodyLength::Empty;
        let awaits_continue =
            has_body && parts.version == Version::HTTP_11 && parts.headers.contains_key(EXPECT);
        self.wire.begin(body, awaits_continue);
        let limits = &connection.proxy.limits;
        let body = if has_body {
            RequestBody::http1(ClientBody::new(&self.wire), limits)
        } else {
            RequestBody::empty(limits)
        };
        let mut half_closed = None;
        let answered = {
            let interim = Interim::default();
            let request = Request::from_parts(parts, body);
            let mut handled = pin!(handle(Rc::clone(&connection), request, &interim));
            poll_fn(|context| {
                let polled = handled.as_mut().poll(context);
                self.pass_on(context, &interim, asked.version);
                match polled {
                    Poll::Ready(response) => Poll::Ready(Some(response)),
                    Poll::Pending => self.poll_client(context, &mut half_closed).map(|()| None),
                }
            })
            .await
        };
        match answered {
            Some(response) => self.answer(response, &asked, half_closed).await,
            None => After::Close,
        }
    }

    /// Writes what has come before the answer, for clients that know of such (RFC 9110 15.2).
    fn pass_on(&self, context: &mut Context<'_>, interim: &Interim, version: Version) {
        while let Some(parts) = interim.take() {
            let mut outgoing = self.wire.outgoing.borrow_mut();
            if version == Version::HTTP_11 && !outgoing.is_full() {
                put_interim(outgoing.buffer(), parts.status, &parts.headers);
                drop(outgoing);
                // What is not taken at once goes out with the answer, and so does an error.
                let _ = self.wire.poll_write(context);
            }
        }
    }

    /// Answers bytes that are no request.
    pub(super) async fn refuse(&mut self, refusal: Refusal) -> After {
        let connection = &self.connection;
        let recorder = Recorder::new(&connection.proxy, &connection.downstream, connection.protocol);
        let manner = Manner { grpc: false, without_body: false, http1: true };
        let response = respond::refuse(refusal, manner, recorder);
        let asked = Asked {
            version: Version::HTTP_11,
            is_head: false,
            takes_trailers: false,
            is_persistent: false,
            switches: false,
        };
        match self.answer(response, &asked, None).await {
            After::Close => After::Linger,
            after => after,
        }
    }

    /// Watches the client. Ready when it has gone, or waited long enough with its sending side closed.
    fn poll_client(&mut self, context: &mut Context<'_>, half_closed: &mut Option<Instant>) -> Poll<()> {
        let limits = &self.connection.proxy.limits;
        match self.wire.poll_watch(context, limits.header_bytes_max) {
            Watched::Waiting => Poll::Pending,
            Watched::Gone => Poll::Ready(()),
            Watched::HalfClosed => {
                let since = *half_closed.get_or_insert_with(Instant::now);
                self.alarm.poll(context, since + limits.half_close_timeout)
            }
        }
    }

    /// Writes an answer, and does what comes after it.
    async fn answer(
        &mut self,
        response: Response<ResponseBody>,
        asked: &Asked,
        mut half_closed: Option<Instant>,
    ) -> After {
        let (parts, mut body) = response.into_parts();
        let switched = body.take_switched();
        let is_bodiless = asked.is_head
            || parts.status.is_informational()
            || matches!(parts.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        let length = match body.size_hint().exact() {
            _ if is_bodiless || body.is_end_stream() => BodyLength::Empty,
            Some(0) => BodyLength::Empty,
            Some(length) => BodyLength::Known(length),
            None if asked.version == Version::HTTP_11 => BodyLength::Chunked,
            None => BodyLength::UntilClose,
        };
        let is_persistent = asked.is_persistent
            && !asked.switches
            && length != BodyLength::UntilClose
            && !says_close(&parts.headers)
            && !self.connection.shutdown.is_started()
            && !self.connection.is_old()
            && !self.wire.is_half_closed()
            && poll_fn(|context| Poll::Ready(self.is_body_out_of_the_way(context))).await;
        let manner = ResponseManner {
            version: asked.version,
            body: length,
            keeps_length: asked.is_head || parts.status == StatusCode::NOT_MODIFIED,
            is_persistent,
        };
        put_response(
            self.wire.outgoing.borrow_mut().buffer(),
            parts.status,
            &parts.headers,
            &manner,
            put_date,
        );
        drop(parts);
        self.resets = matches!(length, BodyLength::Known(_) | BodyLength::UntilClose);
        let mut answering = Answering::new(body, length, asked.takes_trailers);
        let written = poll_fn(|context| self.poll_answer(context, &mut answering, &mut half_closed)).await;
        drop(answering);
        let Ok(()) = written else {
            if let Some(switched) = switched {
                switched.give_up();
            }
            return After::Close;
        };
        self.resets = false;
        if let Some(switched) = switched {
            if let Some((stream, read)) = self.wire.take() {
                // Boxed, or every request would have the size of one that ends HTTP.
                Box::pin(switched.relay(Side { stream, read })).await;
            }
            return After::Close;
        }
        let is_read = self.wire.is_body_read() || {
            self.wire.end();
            poll_fn(|context| Poll::Ready(self.wire.poll_drain(context))).await
        };
        match (is_read, is_persistent) {
            (true, true) => After::Next,
            (true, false) if self.wire.is_empty() => After::Close,
            _ => After::Linger,
        }
    }

    /// True when the next request can be read some time: what is left of this one's body is read, or is
    /// short and there.
    fn is_body_out_of_the_way(&self, context: &mut Context<'_>) -> bool {
        if self.wire.is_body_read() {
            return true;
        }
        // It may come, or not, when it was not asked for.
        !self.wire.awaits_continue.get() && (self.wire.is_body_held.get() || self.wire.poll_drain(context))
    }

    /// Moves an answer to the client.
    fn poll_answer(
        &mut self,
        context: &mut Context<'_>,
        answering: &mut Answering,
        half_closed: &mut Option<Instant>,
    ) -> Poll<Result<(), Broken>> {
        loop {
            let mut waits = false;
            while answering.body.is_some() && !waits && !self.wire.outgoing.borrow().is_full() {
                match answering.poll_body(context, &self.wire) {
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(broken)) => {
                        // What was sent before reaches the client if it is taken at once.
                        let _ = self.wire.poll_write(context);
                        return Poll::Ready(Err(broken));
                    }
                    Poll::Pending => waits = true,
                }
            }
            match self.wire.poll_write(context) {
                Poll::Ready(Err(_)) => return Poll::Ready(Err(Broken)),
                Poll::Ready(Ok(())) => {
                    answering.stalled = None;
                    if answering.body.is_none() {
                        return Poll::Ready(Ok(()));
                    }
                    if waits {
                        return self.poll_client(context, half_closed).map(|()| Err(Broken));
                    }
                }
                Poll::Pending => return self.poll_stall(context, answering).map(|()| Err(Broken)),
            }
        }
    }

    /// The client does not take what it is sent. Not for ever.
    fn poll_stall(&mut self, context: &mut Context<'_>, answering: &mut Answering) -> Poll<()> {
        let total = self.wire.outgoing.borrow().total();
        let since = match answering.stalled {
            Some((since, taken)) if taken == total => since,
            _ => Instant::now(),
        };
        answering.stalled = Some((since, total));
        let stall_max = self.connection.proxy.limits.response_stall_timeout;
        if self.alarm.poll(context, since + stall_max).is_pending() {
            return Poll::Pending;
        }
        if let Some(body) = answering.body.take() {
            body.give_up(Reason::ClientTimeout);
        }
        // What is in the kernel's buffer would be kept for a client that does not want it.
        self.resets = true;
        Poll::Ready(())
    }
}

impl Answering {
    fn new(body: ResponseBody, length: BodyLength, takes_trailers: bool) -> Self {
        let left = if let BodyLength::Known(left) = length { left } else { 0 };
        let body = (length != BodyLength::Empty).then_some(body);
        Self { body, length, left, takes_trailers, stalled: None }
    }

    /// Takes the next piece of the body.
    fn poll_body(&mut self, context: &mut Context<'_>, wire: &super::Wire) -> Poll<Result<(), Broken>> {
        let Some(body) = &mut self.body else {
            return Poll::Ready(Ok(()));
        };
        let frame = match std::task::ready!(Pin::new(&mut *body).poll_frame(context)) {
            Some(Ok(frame)) => frame,
            Some(Err(_)) => return Poll::Ready(Err(Broken)),
            None => return Poll::Ready(self.end(wire, None)),
        };
        let is_last = body.is_end_stream();
        match frame.into_data() {
            Ok(data) => {
                if let BodyLength::Known(_) = self.length {
                    self.left = match self.left.checked_sub(data.len() as u64) {
                        Some(left) => left,
                        None => return Poll::Ready(Err(Broken)),
                    };
                }
                let mut outgoing = wire.outgoing.borrow_mut();
                outgoing.put_data(data, self.length == BodyLength::Chunked);
                // A large piece has to go out first.
                let ends = is_last && (self.length != BodyLength::Chunked || !outgoing.is_full());
                drop(outgoing);
                Poll::Ready(if ends { self.end(wire, None) } else { Ok(()) })
            }
            Err(frame) => Poll::Ready(self.end(wire, frame.trailers_ref())),
        }
    }

    fn end(&mut self, wire: &super::Wire, trailers: Option<&HeaderMap>) -> Result<(), Broken> {
        self.body = None;
        if self.length == BodyLength::Chunked {
            wire.outgoing.borrow_mut().put_end(trailers.filter(|_| self.takes_trailers));
        }
        if self.left == 0 { Ok(()) } else { Err(Broken) }
    }
}

/// RFC 9110 6.5.1.
fn takes_trailers(headers: &HeaderMap) -> bool {
    let is_trailers = |coding: &[u8]| coding.trim_ascii().eq_ignore_ascii_case(b"trailers");
    headers.get_all(TE).iter().any(|value| value.as_bytes().split(|byte| *byte == b',').any(is_trailers))
}

fn says_close(headers: &HeaderMap) -> bool {
    headers.get(CONNECTION).is_some_and(|value| value == "close")
}

fn put_date(out: &mut Vec<u8>) {
    out.extend_from_slice(b"date: ");
    out.extend_from_slice(date::now().as_bytes());
    out.extend_from_slice(b"\r\n");
}
