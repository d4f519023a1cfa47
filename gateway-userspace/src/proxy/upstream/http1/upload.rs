//! A request on its way to an endpoint: its head waits in the queue already, its body follows as the endpoint takes it.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http_body::Body;
use socket2::SockRef;
use tokio::net::TcpStream;

use crate::proxy::http1::framing::BodyLength;
use crate::proxy::http1::outgoing::Outgoing;
use crate::proxy::upstream::body::RequestBody;

/// Why it got no further.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum UploadError {
    /// The endpoint's connection takes no more.
    Connection,
    /// The client's body broke off.
    Body,
}

/// A request's body on its way.
pub(super) struct Upload {
    body: RequestBody,
    is_chunked: bool,
    /// All of the body is in the queue.
    is_read: bool,
    /// All of it was written, or nothing more can be.
    is_done: bool,
}

impl Upload {
    /// Of a body of this length, none of which was taken.
    pub(super) fn new(body: RequestBody, length: BodyLength) -> Self {
        let is_chunked = length == BodyLength::Chunked;
        Self { body, is_chunked, is_read: length == BodyLength::Empty, is_done: false }
    }

    /// True when there is nothing more to do.
    pub(super) fn is_done(&self) -> bool {
        self.is_done
    }

    /// What is sent.
    pub(super) fn body(&mut self) -> &mut RequestBody {
        &mut self.body
    }

    /// Gives the body back, if it can be sent again from its beginning.
    pub(super) fn into_body(mut self) -> Option<RequestBody> {
        self.body.rewind().then_some(self.body)
    }

    /// Moves what can be moved; ready when all was written.
    pub(super) fn poll(
        &mut self,
        context: &mut Context<'_>,
        tcp: &mut TcpStream,
        outgoing: &mut Outgoing,
    ) -> Poll<Result<(), UploadError>> {
        if self.is_done {
            return Poll::Ready(Ok(()));
        }
        let moved = ready!(self.poll_move(context, tcp, outgoing));
        self.is_done = true;
        Poll::Ready(moved)
    }

    fn poll_move(
        &mut self,
        context: &mut Context<'_>,
        tcp: &mut TcpStream,
        outgoing: &mut Outgoing,
    ) -> Poll<Result<(), UploadError>> {
        while !self.is_read {
            if outgoing.is_full() {
                ready!(outgoing.poll_write(context, tcp)).map_err(|_| UploadError::Connection)?;
            }
            match Pin::new(&mut self.body).poll_frame(context) {
                Poll::Ready(None) => {
                    if self.is_chunked {
                        outgoing.put_end(None);
                    }
                    self.is_read = true;
                }
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => outgoing.put_data(data, self.is_chunked),
                    Err(frame) => {
                        if self.is_chunked {
                            outgoing.put_end(frame.trailers_ref());
                        }
                        self.is_read = true;
                    }
                },
                Poll::Ready(Some(Err(_))) => return Poll::Ready(Err(UploadError::Body)),
                Poll::Pending => {
                    ready!(outgoing.poll_write(context, tcp)).map_err(|_| UploadError::Connection)?;
                    return Poll::Pending;
                }
            }
        }
        outgoing.poll_write(context, tcp).map_err(|_| UploadError::Connection)
    }
}

/// Has the connection end so that nobody can take what was sent for a whole request: by a reset.
pub(super) fn break_off(tcp: &TcpStream) {
    // If it cannot be set, the end comes in the middle of the body, which says the same.
    let _ = SockRef::from(tcp).set_linger(Some(Duration::ZERO));
}
