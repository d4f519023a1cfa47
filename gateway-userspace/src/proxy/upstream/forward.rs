//! Sends one request on one connection and waits for the response head.

use std::error::Error;

use http::{Request, Response};
use hyper::body::Incoming;

use super::pool::Lease;
use super::retry::Reached;
use crate::proxy::http::body::RequestBody;
use crate::reason::Reason;

/// Why no response head came.
pub struct NoAnswer {
    /// What happened.
    pub reason: Reason,
    /// How far the request came.
    pub reached: Reached,
    /// The request, when nothing of it was written.
    pub unsent: Option<Box<Request<RequestBody>>>,
}

/// Sends `request` and waits.
///
/// # Errors
/// When the connection ends, or the stream is reset, before a response head.
pub async fn forward(
    lease: &mut Lease,
    request: Request<RequestBody>,
) -> Result<Response<Incoming>, NoAnswer> {
    let answer = match lease {
        Lease::Http1(lease) => lease.sender.try_send_request(request).await,
        Lease::Http2(lease) => lease.sender.try_send_request(request).await,
    };
    answer.map_err(|mut failed| {
        let unsent = failed.take_message().map(Box::new);
        let (reason, reached) = classify(failed.error());
        let reached = if unsent.is_some() { Reached::Unprocessed } else { reached };
        NoAnswer { reason, reached, unsent }
    })
}

/// What an error of the upstream connection means for the request on it.
fn classify(error: &hyper::Error) -> (Reason, Reached) {
    if let Some(error) = error.source().and_then(|source| source.downcast_ref::<h2::Error>()) {
        return classify_http2(error);
    }
    let reason = if error.is_parse() { Reason::UpstreamProtocol } else { Reason::UpstreamReset };
    (reason, Reached::Unknown)
}

/// REFUSED_STREAM, and a GOAWAY of the endpoint that excludes the stream, say that nothing was done
/// (RFC 9113 8.7).
fn classify_http2(error: &h2::Error) -> (Reason, Reached) {
    let refused = error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM);
    if error.is_remote() && (refused || error.is_go_away()) {
        return (Reason::UpstreamReset, Reached::Unprocessed);
    }
    let broken = error.is_library() && !error.is_io();
    (if broken { Reason::UpstreamProtocol } else { Reason::UpstreamReset }, Reached::Unknown)
}

/// Why the body of a response ended before its time.
pub fn body_reason(error: &hyper::Error) -> Reason {
    classify(error).0
}
