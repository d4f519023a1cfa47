//! The body of an endpoint's answer, by the protocol that it comes in.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::body::BodyError;
use super::http1::{Http1Body, Http1Connection};
use super::http2::Http2Body;

/// What an endpoint sends behind the head of its answer.
pub enum AnswerBody {
    /// On a connection that it has for itself.
    Http1(Http1Body),
    /// On a stream.
    Http2(Http2Body),
}

impl AnswerBody {
    /// The HTTP/1 connection, when it can serve another request.
    pub fn take_reusable(&mut self) -> Option<Box<Http1Connection>> {
        match self {
            Self::Http1(body) => body.take_reusable(),
            Self::Http2(_) => None,
        }
    }

    /// The HTTP/1 connection after a switch of protocols.
    pub fn take_switched(&mut self) -> Option<Box<Http1Connection>> {
        match self {
            Self::Http1(body) => body.take_connection(),
            Self::Http2(_) => None,
        }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut *self {
            Self::Http1(body) => body.poll_frame(context),
            Self::Http2(body) => body.poll_frame(context).map_err(BodyError::Broken),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Http1(body) => body.is_end_stream(),
            Self::Http2(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Http1(body) => body.size_hint(),
            Self::Http2(body) => body.size_hint(),
        }
    }
}
