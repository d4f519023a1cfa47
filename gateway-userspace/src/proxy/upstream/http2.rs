//! One HTTP/2 connection to an endpoint, on `h2` itself, and a request with its answer on one of its streams.
//!
//! The connection has a task. A stream has none of its own, unless its request goes on after the head
//! of the answer has come: then an answer that nobody reads must not hold up the request.

mod guard;
mod upload;
mod watched;

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::client::{self, ResponseFuture, SendRequest};
use http::{HeaderMap, Method, Request, Response, header, request, response};
use http_body::{Frame, SizeHint};
use tokio::net::TcpStream;
use tokio::task::AbortHandle;

use self::upload::{Upload, UploadError};
use self::watched::Watched;
use super::body::RequestBody;
use super::forward::Broken;
use super::pool::Slot;
use super::retry::Reached;
use super::stream::StreamBody;
use crate::limits::{Limits, UPSTREAM_RESETS_REMEMBERED, UPSTREAM_STREAMS_AT_FIRST};
use crate::proxy::http::interim::Refused;
use crate::proxy::silence::Silence;
use crate::reason::Reason;

/// A connection, as many as want share it. It ends when the last one is dropped and its streams have ended.
#[derive(Clone)]
pub struct Http2Connection {
    sender: SendRequest<Bytes>,
    /// The endpoint takes no more streams on it.
    closed: Rc<Cell<bool>>,
}

impl Http2Connection {
    /// Speaks to an endpoint that is known to understand it (RFC 9113 3.3). `slot` is held for as long as the
    /// connection is open.
    ///
    /// # Errors
    /// The connection broke before anything was said.
    pub async fn open(tcp: TcpStream, slot: Slot, limits: &Limits) -> Result<Self, Reason> {
        let endpoint = tcp.peer_addr().ok();
        let (sender, connection) = client::Builder::new()
            .enable_push(false)
            .initial_window_size(limits.http2_stream_window)
            .initial_connection_window_size(limits.http2_upstream_window)
            .max_header_list_size(u32::try_from(limits.header_bytes_max).unwrap_or(u32::MAX))
            .max_send_buffer_size(limits.http2_send_buffer as usize)
            .max_concurrent_reset_streams(UPSTREAM_RESETS_REMEMBERED)
            .initial_max_send_streams(UPSTREAM_STREAMS_AT_FIRST)
            .handshake(Watched::new(tcp, limits))
            .await
            .map_err(|_| Reason::ConnectFailed)?;
        let closed = Rc::new(Cell::new(false));
        let ends = Rc::clone(&closed);
        tokio::task::spawn_local(async move {
            match connection.await {
                Err(error) if is_flood(&error) => {
                    tracing::info!(?endpoint, "an endpoint floods its HTTP/2 connection, which is cut");
                }
                Err(error) => tracing::debug!(%error, "an HTTP/2 connection to an endpoint ended"),
                Ok(()) => {}
            }
            ends.set(true);
            drop(slot);
        });
        Ok(Self { sender, closed })
    }

    /// True when it takes no more streams.
    pub fn is_closed(&self) -> bool {
        self.closed.get()
    }

    /// Streams that the endpoint allows at once; at least one.
    pub fn streams_max(&self) -> usize {
        self.sender.current_max_send_streams().max(1)
    }

    /// Waits until a stream may be opened. Nothing was sent when it may not.
    pub async fn ready(&mut self) -> Result<(), Broken> {
        let ready = poll_fn(|context| self.sender.poll_ready(context)).await;
        ready.map_err(|error| self.unsent(&error))
    }

    /// Opens a stream. What is returned wants to be polled by `exchange`.
    ///
    /// # Errors
    /// Nothing was sent: the connection takes no more streams, or the head is none for HTTP/2.
    pub fn send(
        &mut self,
        parts: request::Parts,
        body: RequestBody,
        is_empty: bool,
        limits: &Limits,
    ) -> Result<Exchange, Broken> {
        let is_head = parts.method == Method::HEAD;
        let (answer, stream) = self
            .sender
            .send_request(Request::from_parts(parts, ()), is_empty)
            .map_err(|error| self.unsent(&error))?;
        let upload = (!is_empty).then(|| Upload::new(body, stream, limits));
        Ok(Exchange { answer, upload, is_head, silence: Silence::new(limits.stream_idle_timeout) })
    }

    fn unsent(&self, error: &h2::Error) -> Broken {
        self.closed.set(true);
        Broken { reached: Reached::Unprocessed, ..Broken::from(error) }
    }
}

/// A request on its way, until the head of its answer.
pub struct Exchange {
    answer: ResponseFuture,
    upload: Option<Upload>,
    is_head: bool,
    silence: Silence,
}

impl Exchange {
    /// Waits for the head of the answer. `interim` is given what comes before it.
    ///
    /// # Errors
    /// When the stream ends before that, or nothing moves for too long.
    pub async fn answer(
        mut self,
        interim: &dyn Fn(response::Parts) -> Result<(), Refused>,
    ) -> Result<Response<Http2Body>, Broken> {
        let (parts, stream) = poll_fn(|context| self.poll_head(context, interim)).await?.into_parts();
        // To HEAD a length is given of a body that does not come.
        let length = if self.is_head { None } else { length_of(&parts.headers) };
        let rest = self.upload.map(|mut upload| {
            upload.body().forget();
            tokio::task::spawn_local(upload).abort_handle()
        });
        Ok(Response::from_parts(parts, Http2Body { stream: StreamBody::new(stream, length), rest }))
    }

    fn poll_head(
        &mut self,
        context: &mut Context<'_>,
        interim: &dyn Fn(response::Parts) -> Result<(), Refused>,
    ) -> Poll<Result<Response<h2::RecvStream>, Broken>> {
        if let Some(upload) = &mut self.upload {
            let frames = upload.frames();
            let polled = Pin::new(&mut *upload).poll(context);
            if upload.frames() != frames {
                self.silence.moved();
            }
            match polled {
                Poll::Pending => {}
                Poll::Ready(Err(UploadError::Body)) => return Poll::Ready(Err(gone(Reason::ClientClosed))),
                // An endpoint that takes no more may have answered.
                Poll::Ready(Ok(()) | Err(UploadError::Stream)) => self.upload = None,
            }
        }
        while let Poll::Ready(Some(Ok(hints))) = self.answer.poll_informational(context) {
            self.silence.moved();
            if interim(hints.into_parts().0).is_err() {
                return Poll::Ready(Err(gone(Reason::UpstreamProtocol)));
            }
        }
        match Pin::new(&mut self.answer).poll(context) {
            Poll::Ready(answer) => Poll::Ready(answer.map_err(|error| Broken::from(&error))),
            Poll::Pending => {
                ready!(self.silence.poll(context));
                Poll::Ready(Err(gone(Reason::UpstreamTimeout)))
            }
        }
    }
}

/// True when the connection was cut for what the endpoint has sent: by us, or by the codec.
pub(super) fn is_flood(error: &h2::Error) -> bool {
    let is_ours = error.get_io().is_some_and(|error| error.kind() == watched::FLOOD);
    let is_codecs = error.is_library() && error.reason() == Some(h2::Reason::ENHANCE_YOUR_CALM);
    is_ours || is_codecs
}

fn length_of(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// The stream is given up. That says nothing about its connection.
fn gone(reason: Reason) -> Broken {
    Broken { reason, reached: Reached::Unknown, is_connection: false }
}

/// The body of an answer.
pub struct Http2Body {
    stream: StreamBody,
    /// The part of the request that comes after the head of its answer.
    rest: Option<AbortHandle>,
}

impl Drop for Http2Body {
    fn drop(&mut self) {
        // An endpoint may have answered to the end and read on.
        if let Some(rest) = &self.rest
            && !self.stream.is_end_stream()
        {
            rest.abort();
        }
    }
}

impl Http2Body {
    /// The next part.
    pub fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        self.stream.poll_frame(context)
    }

    /// True when nothing more comes.
    pub fn is_end_stream(&self) -> bool {
        self.stream.is_end_stream()
    }

    /// Bytes to come, where that is known.
    pub fn size_hint(&self) -> SizeHint {
        self.stream.size_hint()
    }
}
