//! Sends one request on one connection and waits for the response head.

use std::error::Error;
use std::sync::atomic::Ordering;

use http::{Method, Request, Response};
use hyper::body::Incoming;

use super::body::RequestBody;
use super::pool::Lease;
use super::retry::Reached;
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

/// Why no response head came.
pub struct NoAnswer {
    /// What happened.
    pub broken: Broken,
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
        Lease::Http1(lease) => {
            lease.asked.is_head.store(request.method() == Method::HEAD, Ordering::Relaxed);
            lease.sender.try_send_request(request).await
        }
        Lease::Http2(lease) => lease.sender.try_send_request(request).await,
    };
    answer.map_err(|mut failed| {
        let unsent = failed.take_message().map(Box::new);
        let mut broken = Broken::from(failed.error());
        if unsent.is_some() {
            broken.reached = Reached::Unprocessed;
        }
        NoAnswer { broken, unsent }
    })
}

impl From<&hyper::Error> for Broken {
    fn from(error: &hyper::Error) -> Self {
        if let Some(error) = error.source().and_then(|source| source.downcast_ref::<h2::Error>()) {
            return Self::from(error);
        }
        let reason = if error.is_parse() { Reason::UpstreamProtocol } else { Reason::UpstreamReset };
        Self { reason, reached: Reached::Unknown, is_connection: true }
    }
}

impl From<&h2::Error> for Broken {
    /// REFUSED_STREAM, and a GOAWAY of the endpoint that excludes the stream, say that nothing was
    /// done (RFC 9113 8.7).
    fn from(error: &h2::Error) -> Self {
        let refused = error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM);
        let unprocessed = error.is_remote() && (refused || error.is_go_away());
        Self {
            reason: if error.is_library() { Reason::UpstreamProtocol } else { Reason::UpstreamReset },
            reached: if unprocessed { Reached::Unprocessed } else { Reached::Unknown },
            is_connection: error.is_io(),
        }
    }
}
