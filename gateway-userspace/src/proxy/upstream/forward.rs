//! Sends one request on one connection and waits for the response head.

use http::{HeaderMap, Method, Request, Response, Uri, Version, request, response};

use super::answer::AnswerBody;
use super::body::RequestBody;
use super::pool::{Lease, Speak};
use super::retry::Reached;
use super::{http1, http2};
use crate::limits::Limits;
use crate::proxy::http::interim::Refused;
use crate::proxy::http1::framing::BodyLength;
use crate::reason::Reason;

/// What an error of the upstream connection, or of a stream on it, means.
#[derive(Debug, Clone, Copy)]
pub struct Broken {
    /// What happened.
    pub reason: Reason,
    /// How far the request came, if no response head has come.
    pub reached: Reached,
    /// The connection itself broke. A stream's reset is between the two applications.
    pub is_connection: bool,
}

/// A request between attempts.
pub struct Message {
    parts: Option<request::Parts>,
    /// At hand: nothing of it was sent, or what was sent was kept.
    body: Option<RequestBody>,
    length: BodyLength,
    /// A copy of the head, where HTTP/2 takes it away and the request may have to be made again.
    spare: Option<Head>,
}

#[derive(Clone)]
struct Head {
    method: Method,
    uri: Uri,
    version: Version,
    headers: HeaderMap,
}

impl Message {
    /// For HTTP/2 the head is copied when the request can be repeated: a stream may be refused unprocessed.
    pub fn new(request: Request<RequestBody>, speak: Speak) -> Self {
        let (parts, body) = request.into_parts();
        let length = http1::length_of(&parts, &body);
        let spare = (speak == Speak::Http2 && length == BodyLength::Empty).then(|| Head {
            method: parts.method.clone(),
            uri: parts.uri.clone(),
            version: parts.version,
            headers: parts.headers.clone(),
        });
        Self { parts: Some(parts), body: Some(body), length, spare }
    }

    /// True when it can be sent, again or for the first time.
    pub fn is_at_hand(&self) -> bool {
        (self.parts.is_some() || self.spare.is_some())
            && (self.body.is_some() || self.length == BodyLength::Empty)
    }

    fn take_body(&mut self, limits: &Limits) -> Option<RequestBody> {
        let empty = || (self.length == BodyLength::Empty).then(|| RequestBody::empty(limits));
        self.body.take().or_else(empty)
    }

    fn take_parts(&mut self) -> Option<request::Parts> {
        self.parts.take().or_else(|| {
            let head = self.spare.clone()?;
            let mut parts = Request::new(()).into_parts().0;
            parts.method = head.method;
            parts.uri = head.uri;
            parts.version = head.version;
            parts.headers = head.headers;
            Some(parts)
        })
    }
}

/// Sends the message and waits for the head of the answer; `interim` is given what comes before it. What can be sent again stays in `message`.
///
/// # Errors
/// When the connection ends, or the stream is reset, before a response head.
pub async fn forward(
    lease: &mut Lease,
    message: &mut Message,
    limits: &Limits,
    interim: &dyn Fn(response::Parts) -> Result<(), Refused>,
) -> Result<Response<AnswerBody>, Broken> {
    let gone = Broken { reason: Reason::UpstreamReset, reached: Reached::Head, is_connection: false };
    match lease {
        Lease::Http1(lease) => {
            let connection = lease.connection.take().ok_or(gone)?;
            let body = message.take_body(limits).ok_or(gone)?;
            let parts = message.parts.as_ref().ok_or(gone)?;
            match http1::exchange(connection, parts, body, message.length, limits, interim).await {
                Ok((parts, body)) => Ok(Response::from_parts(parts, AnswerBody::Http1(body))),
                Err(unanswered) => {
                    message.body = unanswered.body;
                    Err(unanswered.broken)
                }
            }
        }
        Lease::Http2(lease) => {
            lease.connection.ready().await?;
            let parts = message.take_parts().ok_or(gone)?;
            let body = message.take_body(limits).ok_or(gone)?;
            let is_empty = message.length == BodyLength::Empty;
            let exchange = lease.connection.send(parts, body, is_empty, limits)?;
            exchange.answer(interim).await.map(|response| response.map(AnswerBody::Http2))
        }
    }
}

impl From<&h2::Error> for Broken {
    /// REFUSED_STREAM, and a GOAWAY of the endpoint that excludes the stream, say that nothing was
    /// done (RFC 9113 8.7).
    fn from(error: &h2::Error) -> Self {
        let refused = error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM);
        let unprocessed = error.is_remote() && (refused || error.is_go_away());
        let reason = match error {
            error if http2::is_flood(error) => Reason::UpstreamFlood,
            error if error.is_library() => Reason::UpstreamProtocol,
            _ => Reason::UpstreamReset,
        };
        Self {
            reason,
            reached: if unprocessed { Reached::Unprocessed } else { Reached::Unknown },
            is_connection: error.is_io(),
        }
    }
}
