//! The body of a request on its way to an endpoint: counted, watched for silence, never collected.

mod kept;

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::RecvStream;
use http_body::{Body, Frame, SizeHint};

use self::kept::Kept;
use super::forward::Broken;
use super::stream::StreamBody;
use crate::limits::Limits;
use crate::proxy::http::headers;
use crate::proxy::http::server::body::ClientBody;
use crate::proxy::http1::chunked::ChunkError;
use crate::proxy::pace::Pace;
use crate::proxy::recorder::Upload;
use crate::proxy::silence::Silence;
use crate::reason::Reason;

/// Why a body broke off. The source of the transport's error is kept: HTTP/2 resets carry a code.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The endpoint's HTTP/2 stream ended.
    #[error("the answer ended before its time")]
    Broken(#[source] h2::Error),
    /// The endpoint's HTTP/1 connection ended.
    #[error("the connection to the endpoint ended before its answer")]
    Closed(#[source] io::Error),
    /// The endpoint's answer is not in chunks as it says.
    #[error("the answer is malformed: {0}")]
    Malformed(#[source] ChunkError),
    /// The client's HTTP/1 connection ended.
    #[error("the client's connection ended before its request")]
    Client(#[source] io::Error),
    /// The request is not in chunks as it says.
    #[error("the request is malformed: {0}")]
    Chunks(#[source] ChunkError),
    /// The client's HTTP/2 stream ended.
    #[error("the client's stream ended before its time")]
    Stream(#[source] h2::Error),
    /// A limit on time has passed.
    #[error("the body was given up: {0}")]
    GivenUp(Reason),
}

impl BodyError {
    /// What it means for a response.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Broken(error) => Broken::from(error).reason,
            Self::Closed(_) => Reason::UpstreamReset,
            Self::Malformed(_) => Reason::UpstreamProtocol,
            Self::Chunks(_) => Reason::ClientProtocol,
            Self::Stream(error) if error.is_library() => Reason::ClientProtocol,
            Self::Client(_) | Self::Stream(_) => Reason::ClientClosed,
            Self::GivenUp(reason) => *reason,
        }
    }

    /// The connection to the endpoint broke.
    pub fn is_connection(&self) -> bool {
        match self {
            Self::Broken(error) => Broken::from(error).is_connection,
            Self::Closed(_) | Self::Malformed(_) => true,
            Self::Client(_) | Self::Chunks(_) | Self::Stream(_) | Self::GivenUp(_) => false,
        }
    }
}

/// What a body comes on.
enum Source {
    Http1(ClientBody),
    Http2(StreamBody),
}

impl Source {
    fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self {
            Self::Http1(body) => body.poll_frame(context),
            Self::Http2(body) => body.poll_frame(context).map_err(BodyError::Stream),
        }
    }
}

/// The body of a request on its way to an endpoint.
pub struct RequestBody {
    /// `None` when there is none, or none any more.
    source: Option<Source>,
    /// `None` when there never was one.
    upload: Option<Rc<Upload>>,
    silence: Silence,
    /// HTTP/1 only: streams of HTTP/2 are often long and mostly silent.
    pace: Option<Pace>,
    /// What was taken so far, for a repeat.
    kept: Kept,
}

impl RequestBody {
    /// What the client sends.
    pub fn http1(body: ClientBody, limits: &Limits) -> Self {
        Self::of(Some(Source::Http1(body)), Some(Pace::new(limits)), limits)
    }

    fn of(source: Option<Source>, pace: Option<Pace>, limits: &Limits) -> Self {
        let silence = Silence::new(limits.stream_idle_timeout);
        let upload = source.is_some().then(Rc::default);
        Self { source, upload, silence, pace, kept: Kept::new(limits.replay_bytes_max) }
    }

    /// What the client sends on an HTTP/2 stream, of this length if it has said so.
    pub fn http2(stream: RecvStream, length: Option<u64>, limits: &Limits) -> Self {
        let source = (!stream.is_end_stream()).then(|| Source::Http2(StreamBody::new(stream, length)));
        Self::of(source, None, limits)
    }

    /// No body.
    pub fn empty(limits: &Limits) -> Self {
        Self::of(None, None, limits)
    }

    /// Starts again from the beginning. False when that was not kept, or the rest will not come.
    pub fn rewind(&mut self) -> bool {
        self.upload.as_ref().is_none_or(|upload| upload.failure.get().is_none()) && self.kept.rewind()
    }

    /// No rewind is wanted any more.
    pub fn forget(&mut self) {
        self.kept.forget();
    }

    /// What became of it, also when the body itself has been given away. `None` when there never was one.
    pub fn upload(&self) -> Option<Rc<Upload>> {
        self.upload.clone()
    }

    fn give_up(&mut self, reason: Reason) {
        if let Some(upload) = &self.upload {
            upload.failure.set(Some(reason));
        }
        self.source = None;
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        if let Some(data) = this.kept.next() {
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        let Some(source) = &mut this.source else {
            return Poll::Ready(None);
        };
        let Poll::Ready(polled) = source.poll_frame(context) else {
            let is_slow = this.pace.as_mut().is_some_and(|pace| pace.poll(context).is_ready());
            if !is_slow {
                ready!(this.silence.poll(context));
            }
            this.give_up(Reason::ClientTimeout);
            return Poll::Ready(Some(Err(BodyError::GivenUp(Reason::ClientTimeout))));
        };
        this.silence.moved();
        Poll::Ready(match polled {
            None => {
                this.source = None;
                None
            }
            Some(Ok(mut frame)) => {
                if let Some(data) = frame.data_ref() {
                    if let Some(pace) = &mut this.pace {
                        pace.received(data.len());
                    }
                    this.kept.keep(data);
                    if let Some(upload) = &this.upload {
                        upload.received.set(upload.received.get() + data.len() as u64);
                    }
                }
                if let Some(trailers) = frame.trailers_mut() {
                    this.kept.forget();
                    headers::strip_request_trailers(trailers);
                }
                Some(Ok(frame))
            }
            Some(Err(error)) => {
                let malformed = match &error {
                    BodyError::Chunks(_) => true,
                    BodyError::Stream(error) => error.is_library(),
                    _ => false,
                };
                this.give_up(if malformed { Reason::ClientProtocol } else { Reason::ClientClosed });
                Some(Err(error))
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.kept.left() == 0
            && match &self.source {
                None => true,
                Some(Source::Http1(body)) => body.is_end_stream(),
                Some(Source::Http2(body)) => body.is_end_stream(),
            }
    }

    fn size_hint(&self) -> SizeHint {
        let rest = match &self.source {
            None => Some(0),
            Some(Source::Http1(body)) => body.remaining(),
            Some(Source::Http2(body)) => body.size_hint().exact(),
        };
        rest.map_or_else(SizeHint::default, |rest| SizeHint::with_exact(rest + self.kept.left()))
    }
}
