//! One HTTP/1.1 connection to an endpoint: a request and its answer at a time, by whoever asks, with no task of its own.

mod upload;

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http::{Method, header, request, response};
use http_body::{Body, Frame, SizeHint};
use tokio::net::TcpStream;

use self::upload::{Upload, UploadError};
use super::acknowledged::acknowledged;
use super::body::{BodyError, RequestBody};
use super::forward::Broken;
use super::retry::Reached;
use crate::limits::Limits;
use crate::proxy::http::interim::Refused;
use crate::proxy::http1::chunked::Decoded;
use crate::proxy::http1::decode::BodyDecoder;
use crate::proxy::http1::encode;
use crate::proxy::http1::framing::BodyLength;
use crate::proxy::http1::head::{HeadLimits, HeadReader, ResponseHead};
use crate::proxy::http1::incoming::{self, HEAD_READ_BYTES, Room};
use crate::proxy::http1::outgoing::Outgoing;
use crate::proxy::silence::Silence;
use crate::proxy::tcp::relay::Side;
use crate::reason::Reason;

/// A connection. It belongs to the request on it, or to its pool.
pub struct Http1Connection {
    tcp: TcpStream,
    read: BytesMut,
    outgoing: Outgoing,
    /// Watches the wait for a head; kept over requests, as a timer costs.
    silence: Silence,
}

impl Http1Connection {
    /// A connection that was just made.
    pub fn new(tcp: TcpStream, limits: &Limits) -> Self {
        let silence = Silence::new(limits.stream_idle_timeout);
        Self { tcp, read: BytesMut::new(), outgoing: Outgoing::default(), silence }
    }

    /// True when another request may be sent: the endpoint has neither closed it nor sent anything unasked.
    pub fn is_quiet(&mut self) -> bool {
        self.read.is_empty() && incoming::is_quiet(&mut self.tcp)
    }

    /// After the endpoint has agreed to switch: the connection itself, and what it sent behind its head.
    pub fn into_side(self) -> Side {
        Side { stream: self.tcp, read: self.read.freeze() }
    }

    /// Nothing of what was sent after the first `before` bytes has arrived, by the word of the kernel.
    fn has_lost_all_since(&self, before: u64) -> bool {
        acknowledged(&self.tcp).is_some_and(|acknowledged| acknowledged <= before)
    }
}

/// What follows a request head, by its fields.
pub fn length_of(parts: &request::Parts, body: &RequestBody) -> BodyLength {
    if body.is_end_stream() {
        return BodyLength::Empty;
    }
    let declared = parts.headers.get(header::CONTENT_LENGTH);
    match declared.and_then(|length| length.to_str().ok()?.parse().ok()) {
        Some(length) => BodyLength::Known(length),
        None => BodyLength::Chunked,
    }
}

/// Why there is no answer.
pub struct Unanswered {
    /// What happened.
    pub broken: Broken,
    /// The request's body, which may be of use for a repeat.
    pub body: Option<RequestBody>,
}

/// Sends a request and waits for the head of its answer. `interim` is given what comes before that.
///
/// # Errors
/// When the connection ends before that, what comes is no HTTP, or nothing comes for too long.
pub async fn exchange(
    mut connection: Box<Http1Connection>,
    parts: &request::Parts,
    body: RequestBody,
    length: BodyLength,
    limits: &Limits,
    interim: &dyn Fn(response::Parts) -> Result<(), Refused>,
) -> Result<(response::Parts, Http1Body), Unanswered> {
    let before = connection.outgoing.total();
    let buffer = connection.outgoing.buffer();
    encode::put_request(buffer, &parts.method, &parts.uri, &parts.headers, length);
    connection.silence.moved();
    let mut exchange = Exchange {
        upload: Upload::new(body, length),
        reader: HeadReader::default(),
        limits: HeadLimits {
            bytes_max: limits.response_head_bytes_max,
            target_bytes_max: 0,
            fields_max: limits.header_fields_max,
        },
        method: &parts.method,
        interim,
    };
    match poll_fn(|cx| exchange.poll_head(&mut connection, cx)).await {
        Ok(head) => {
            let decoder = BodyDecoder::new(head.body);
            let mut upload = (!exchange.upload.is_done()).then(|| Box::new(exchange.upload));
            if let Some(upload) = &mut upload {
                upload.body().forget();
            }
            let is_persistent = head.is_persistent;
            let room = Room::awaiting(decoder.remaining());
            let body = Http1Body { connection: Some(connection), upload, decoder, room, is_persistent };
            Ok((head.parts, body))
        }
        Err(failure) => {
            // Whoever closed it said so behind all that he had acknowledged; a path that is lost says nothing.
            let is_proven = matches!(failure, Failure::Closed) && connection.has_lost_all_since(before);
            let reached = if is_proven { Reached::Unprocessed } else { Reached::Unknown };
            if matches!(failure, Failure::Upload) {
                upload::break_off(&connection.tcp);
            }
            let broken = Broken { reason: failure.reason(), reached, is_connection: true };
            Err(Unanswered { broken, body: exchange.upload.into_body() })
        }
    }
}

/// Why no head came.
enum Failure {
    /// By the endpoint, with its last word or by a reset.
    Closed,
    /// The way to the endpoint is gone.
    Lost,
    Malformed,
    Silent,
    /// The client's side of the request broke off; its body says why.
    Upload,
}

impl Failure {
    fn reason(&self) -> Reason {
        match self {
            Self::Closed | Self::Lost => Reason::UpstreamReset,
            Self::Malformed => Reason::UpstreamProtocol,
            Self::Silent => Reason::UpstreamTimeout,
            Self::Upload => Reason::ClientClosed,
        }
    }
}

/// A request on its way, until the head of its answer.
struct Exchange<'a> {
    upload: Upload,
    reader: HeadReader,
    limits: HeadLimits,
    method: &'a Method,
    interim: &'a dyn Fn(response::Parts) -> Result<(), Refused>,
}

impl Exchange<'_> {
    fn poll_head(
        &mut self,
        connection: &mut Http1Connection,
        context: &mut Context<'_>,
    ) -> Poll<Result<ResponseHead, Failure>> {
        let written = connection.outgoing.total();
        let uploaded = self.upload.poll(context, &mut connection.tcp, &mut connection.outgoing);
        if connection.outgoing.total() != written {
            connection.silence.moved();
        }
        match uploaded {
            // An endpoint that takes no more may have answered.
            Poll::Pending | Poll::Ready(Ok(()) | Err(UploadError::Connection)) => {}
            Poll::Ready(Err(UploadError::Body)) => return Poll::Ready(Err(Failure::Upload)),
        }
        loop {
            match self.reader.response(&mut connection.read, &self.limits, self.method) {
                Ok(Some(head)) if is_interim(&head) => {
                    if (self.interim)(head.parts).is_err() {
                        return Poll::Ready(Err(Failure::Malformed));
                    }
                    continue;
                }
                Ok(Some(head)) => return Poll::Ready(Ok(head)),
                Err(_) => return Poll::Ready(Err(Failure::Malformed)),
                Ok(None) => {}
            }
            let Http1Connection { tcp, read, silence, .. } = connection;
            let Poll::Ready(length) = incoming::poll_read(context, tcp, read, HEAD_READ_BYTES) else {
                return silence.poll(context).map(|()| Err(Failure::Silent));
            };
            silence.moved();
            let failure = match length {
                Ok(1..) => continue,
                _ if !read.is_empty() => Failure::Malformed,
                Ok(0) => Failure::Closed,
                Err(error) if is_reset(&error) => Failure::Closed,
                Err(_) => Failure::Lost,
            };
            return Poll::Ready(Err(failure));
        }
    }
}

fn is_reset(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe)
}

fn is_interim(head: &ResponseHead) -> bool {
    head.parts.status.is_informational() && head.parts.status != http::StatusCode::SWITCHING_PROTOCOLS
}

/// The body of an answer, and of its request what is still on its way.
pub struct Http1Body {
    /// Taken when the body has ended.
    connection: Option<Box<Http1Connection>>,
    upload: Option<Box<Upload>>,
    decoder: BodyDecoder,
    room: Room,
    is_persistent: bool,
}

impl Http1Body {
    /// The connection, when this body has ended in a way that lets another request follow.
    pub fn take_reusable(&mut self) -> Option<Box<Http1Connection>> {
        let is_done = self.decoder.is_ended() && self.upload.is_none() && self.is_persistent;
        self.take_connection()
            .filter(|connection| is_done && connection.read.is_empty() && connection.outgoing.is_empty())
    }

    /// The connection as it is: after a switch of protocols.
    pub fn take_connection(&mut self) -> Option<Box<Http1Connection>> {
        self.connection.take()
    }

    /// True when nothing more comes.
    pub fn is_end_stream(&self) -> bool {
        self.decoder.is_ended()
    }

    /// Bytes to come, where that is known.
    pub fn size_hint(&self) -> SizeHint {
        self.decoder.remaining().map_or_else(SizeHint::default, SizeHint::with_exact)
    }

    /// The next part. The rest of the request goes on beside it.
    pub fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Some(connection) = self.connection.as_deref_mut() else {
            return Poll::Ready(None);
        };
        let Http1Connection { tcp, read, outgoing, .. } = connection;
        if let Some(upload) = &mut self.upload {
            match upload.poll(context, tcp, outgoing) {
                Poll::Pending => {}
                Poll::Ready(Ok(())) => self.upload = None,
                Poll::Ready(Err(_)) => {
                    self.upload = None;
                    self.is_persistent = false;
                }
            }
        }
        loop {
            if self.decoder.is_ended() {
                return Poll::Ready(None);
            }
            match self.decoder.decode(read) {
                Ok(Decoded::Data(data)) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                Ok(Decoded::End(None)) => return Poll::Ready(None),
                Ok(Decoded::End(Some(trailers))) => {
                    return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
                }
                Ok(Decoded::NeedMore) => {}
                Err(error) => return Poll::Ready(Some(Err(BodyError::Malformed(error)))),
            }
            let room = self.room.bytes(self.decoder.remaining()).max(HEAD_READ_BYTES);
            match ready!(incoming::poll_read(context, tcp, read, room)) {
                Ok(length @ 1..) => self.room.filled(room, length),
                Ok(0) if self.decoder.closed() => self.is_persistent = false,
                Ok(0) => {
                    return Poll::Ready(Some(Err(BodyError::Closed(io::ErrorKind::UnexpectedEof.into()))));
                }
                Err(error) => return Poll::Ready(Some(Err(BodyError::Closed(error)))),
            }
        }
    }
}

#[cfg(test)]
mod tests;
