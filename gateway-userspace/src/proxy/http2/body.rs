//! The body of an answer, which keeps its stream open.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::connection::OpenStream;
use crate::proxy::http::body::ResponseBody;
use crate::proxy::upstream::body::BodyError;

/// While it lives, the connection is not idle.
pub(super) struct AnswerBody {
    body: ResponseBody,
    _open: OpenStream,
}

impl AnswerBody {
    pub(super) fn new(body: ResponseBody, open: OpenStream) -> Self {
        Self { body, _open: open }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
