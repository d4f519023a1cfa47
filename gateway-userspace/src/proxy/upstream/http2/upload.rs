//! A request's body on its way to an endpoint, on a stream of HTTP/2.

use std::error::Error;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::{Reason, SendStream};
use http_body::{Body, Frame};

use crate::limits::Limits;
use crate::proxy::silence::Silence;
use crate::proxy::upstream::body::{BodyError, RequestBody};

/// Why it got no further.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum UploadError {
    /// The endpoint takes no more.
    Stream,
    /// The client's body broke off; the stream was reset.
    Body,
}

/// Takes from the body no more than the endpoint has room for, a frame at a time. Ready when all was
/// taken, or nothing more can be. Dropped before, it resets the stream.
pub(super) struct Upload {
    body: RequestBody,
    stream: SendStream<Bytes>,
    /// Watches an endpoint that takes nothing.
    silence: Silence,
    frames: u64,
}

impl Upload {
    /// Of a body none of which was taken.
    pub(super) fn new(body: RequestBody, stream: SendStream<Bytes>, limits: &Limits) -> Self {
        Self { body, stream, silence: Silence::new(limits.stream_idle_timeout), frames: 0 }
    }

    /// What is sent.
    pub(super) fn body(&mut self) -> &mut RequestBody {
        &mut self.body
    }

    /// Frames that were sent.
    pub(super) fn frames(&self) -> u64 {
        self.frames
    }

    /// Room for at least one byte.
    fn poll_room(&mut self, context: &mut Context<'_>) -> Poll<Result<(), UploadError>> {
        if self.stream.capacity() > 0 {
            return Poll::Ready(Ok(()));
        }
        self.stream.reserve_capacity(1);
        while self.stream.capacity() == 0 {
            match self.stream.poll_capacity(context) {
                Poll::Ready(Some(Ok(_))) => {}
                Poll::Ready(None | Some(Err(_))) => return Poll::Ready(Err(UploadError::Stream)),
                Poll::Pending => {
                    ready!(self.silence.poll(context));
                    self.stream.send_reset(Reason::CANCEL);
                    return Poll::Ready(Err(UploadError::Stream));
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    /// True when it was the last one.
    fn send(&mut self, frame: Frame<Bytes>) -> Result<bool, UploadError> {
        self.frames += 1;
        self.silence.moved();
        let (sent, is_last) = match frame.into_data() {
            Ok(data) => {
                let is_last = self.body.is_end_stream();
                (self.stream.send_data(data, is_last), is_last)
            }
            Err(frame) => match frame.into_trailers() {
                Ok(trailers) => (self.stream.send_trailers(trailers), true),
                Err(_) => (Ok(()), false),
            },
        };
        sent.map(|()| is_last).map_err(|_| UploadError::Stream)
    }
}

impl Future for Upload {
    type Output = Result<(), UploadError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        loop {
            ready!(this.poll_room(context))?;
            match Pin::new(&mut this.body).poll_frame(context) {
                Poll::Ready(Some(Ok(frame))) => {
                    if this.send(frame)? {
                        return Poll::Ready(Ok(()));
                    }
                }
                Poll::Ready(None) => {
                    let sent = this.stream.send_data(Bytes::new(), true);
                    return Poll::Ready(sent.map_err(|_| UploadError::Stream));
                }
                Poll::Ready(Some(Err(error))) => {
                    this.stream.send_reset(code_of(&error));
                    return Poll::Ready(Err(UploadError::Body));
                }
                Poll::Pending => {
                    // An endpoint that needs no more says so by a reset (RFC 9113 8.1).
                    let _ = ready!(this.stream.poll_reset(context));
                    return Poll::Ready(Err(UploadError::Stream));
                }
            }
        }
    }
}

/// What the endpoint is told about a body that broke off: the client's own word, if that gave one.
fn code_of(error: &BodyError) -> Reason {
    let code = error.source().and_then(|source| source.downcast_ref::<h2::Error>()?.reason());
    code.filter(|_| !error.is_connection()).unwrap_or(Reason::CANCEL)
}
