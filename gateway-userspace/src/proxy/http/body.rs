//! The body of a response on its way to the client: counted, watched for silence, never collected.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use tokio::time::Sleep;

use super::upgrade::Switched;
use super::{grpc, headers};
use crate::limits::Limits;
use crate::proxy::recorder::Recorder;
use crate::proxy::silence::Silence;
use crate::proxy::upstream::answer::AnswerBody;
use crate::proxy::upstream::body::BodyError;
use crate::proxy::upstream::pool::Lease;
use crate::proxy::upstream::registry::InFlight;
use crate::reason::Reason;

/// A response that comes from an endpoint, with all that is held until it has ended.
pub struct Relayed {
    incoming: AnswerBody,
    /// Given back when the body has ended.
    lease: Option<Lease>,
    in_flight: InFlight,
    silence: Silence,
    /// The time the route gives to the whole response.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl Relayed {
    /// The body of a response that `lease` brought.
    pub fn new(
        incoming: AnswerBody,
        lease: Lease,
        in_flight: InFlight,
        deadline: Option<tokio::time::Instant>,
        limits: &Limits,
    ) -> Box<Self> {
        Box::new(Self {
            incoming,
            lease: Some(lease),
            in_flight,
            silence: Silence::new(limits.stream_idle_timeout),
            deadline: deadline.map(|at| Box::pin(tokio::time::sleep_until(at))),
        })
    }

    fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Poll::Ready(polled) = Pin::new(&mut self.incoming).poll_frame(context) else {
            let late = self.deadline.as_mut().is_some_and(|d| d.as_mut().poll(context).is_ready());
            let reason = if late {
                Reason::UpstreamTimeout
            } else {
                ready!(self.silence.poll(context));
                Reason::IdleTimeout
            };
            return Poll::Ready(Some(Err(BodyError::GivenUp(reason))));
        };
        self.silence.moved();
        Poll::Ready(polled)
    }

    fn ended(&mut self) {
        if let Some(lease) = self.lease.take() {
            lease.release(self.incoming.take_reusable());
        }
    }
}

enum Source {
    Empty,
    Text(Bytes),
    Upstream(Box<Relayed>),
}

/// The body of a response on its way to the client. When it goes, the request has ended.
pub struct ResponseBody {
    source: Source,
    /// Taken when the body has ended.
    recorder: Option<Box<Recorder>>,
    /// The client gets no body, whatever there is: HEAD, 204, 304.
    is_skipped: bool,
    /// Both sides leave HTTP after the head.
    switched: Option<Box<Switched>>,
}

impl ResponseBody {
    /// An answer of Weir's own.
    pub fn text(text: Bytes, recorder: Box<Recorder>) -> Self {
        let source = if text.is_empty() { Source::Empty } else { Source::Text(text) };
        Self { source, recorder: Some(recorder), is_skipped: false, switched: None }.ended_if_empty()
    }

    /// An endpoint's answer. `is_skipped`: the client gets its head only (HEAD, 204, 304).
    pub fn upstream(relayed: Box<Relayed>, recorder: Box<Recorder>, is_skipped: bool) -> Self {
        Self { source: Source::Upstream(relayed), recorder: Some(recorder), is_skipped, switched: None }
            .ended_if_empty()
    }

    /// Of an answer after which both sides leave HTTP.
    pub fn switched(switched: Box<Switched>) -> Self {
        Self { source: Source::Empty, recorder: None, is_skipped: true, switched: Some(switched) }
    }

    /// What is to be done after the head, when both sides leave HTTP.
    pub fn take_switched(&mut self) -> Option<Box<Switched>> {
        self.switched.take()
    }

    /// The client does not take it: what is left is not wanted any more.
    pub fn give_up(mut self, reason: Reason) {
        self.finish(Some(reason));
    }

    /// A body without bytes may never be polled.
    fn ended_if_empty(mut self) -> Self {
        if self.is_end_stream() {
            self.finish(None);
        }
        self
    }

    /// The end, good or bad: gives back the connection and reports the request.
    fn finish(&mut self, reason: Option<Reason>) {
        let source = std::mem::replace(&mut self.source, Source::Empty);
        if let Source::Upstream(mut relayed) = source
            && reason.is_none()
        {
            relayed.ended();
        }
        if let (Some(mut recorder), Some(reason)) = (self.recorder.take(), reason) {
            recorder.fail(reason);
        }
    }

    fn sent(&mut self, frame: &mut Frame<Bytes>) {
        let Some(recorder) = &mut self.recorder else {
            return;
        };
        if let Some(data) = frame.data_ref() {
            recorder.record.bytes_sent += data.len() as u64;
        }
        if let Some(trailers) = frame.trailers_mut() {
            clean_trailers(trailers, recorder);
        }
    }

    fn fail(&mut self, error: &BodyError) {
        let reason = error.reason();
        if let (Source::Upstream(relayed), Some(recorder)) = (&self.source, &self.recorder)
            && error.is_connection()
        {
            recorder.endpoint_failed(relayed.in_flight.endpoint(), reason);
        }
        self.finish(Some(reason));
    }
}

fn clean_trailers(trailers: &mut HeaderMap, recorder: &mut Recorder) {
    headers::strip_trailers(trailers);
    if let Some(status) = grpc::status_of(trailers) {
        recorder.record.grpc_status = Some(status);
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        let polled = match &mut this.source {
            Source::Empty => return Poll::Ready(None),
            Source::Text(text) => Some(Ok(Frame::data(std::mem::take(text)))),
            Source::Upstream(relayed) => ready!(relayed.poll_frame(context)),
        };
        Poll::Ready(match polled {
            None => {
                this.finish(None);
                None
            }
            Some(Ok(mut frame)) => {
                this.sent(&mut frame);
                if this.is_end_stream() {
                    this.finish(None);
                }
                Some(Ok(frame))
            }
            Some(Err(error)) => {
                this.fail(&error);
                Some(Err(error))
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Empty => true,
            Source::Text(text) => text.is_empty(),
            Source::Upstream(relayed) => relayed.incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Empty => SizeHint::with_exact(0),
            Source::Text(text) => SizeHint::with_exact(text.len() as u64),
            Source::Upstream(relayed) => relayed.incoming.size_hint(),
        }
    }
}

impl Drop for ResponseBody {
    fn drop(&mut self) {
        if self.recorder.is_some() {
            // Bodies of a known length, and those the client gets no byte of, are not read to the end.
            let is_complete = self.is_skipped || self.size_hint().exact() == Some(0);
            self.finish((!is_complete).then_some(Reason::ClientClosed));
        }
    }
}
