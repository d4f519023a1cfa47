//! The body of a request as its connection brings it.

use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::Frame;

use super::wire::Wire;
use crate::proxy::http1::chunked::Decoded;
use crate::proxy::http1::incoming::Room;
use crate::proxy::upstream::body::BodyError;

const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// Reads the body of one request. It may outlive that: then it has nothing more to give.
#[derive(Debug)]
pub struct ClientBody {
    wire: Rc<Wire>,
    request: u64,
    room: Room,
}

impl ClientBody {
    /// Of the request that has just begun.
    pub(super) fn new(wire: &Rc<Wire>) -> Self {
        wire.is_body_held.set(true);
        Self { wire: Rc::clone(wire), request: wire.request.get(), room: Room::UNKNOWN }
    }

    fn is_current(&self) -> bool {
        self.wire.request.get() == self.request
    }

    /// The next piece, or the trailers.
    pub fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if !self.is_current() {
            return Poll::Ready(Some(Err(BodyError::Client(io::ErrorKind::ConnectionAborted.into()))));
        }
        loop {
            match self.wire.decode() {
                Ok(Decoded::Data(data)) => {
                    if self.wire.is_body_read() {
                        self.wire.wake();
                    }
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Ok(Decoded::End(trailers)) => {
                    self.wire.wake();
                    return Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))));
                }
                Ok(Decoded::NeedMore) => {}
                Err(error) => return Poll::Ready(Some(Err(BodyError::Chunks(error)))),
            }
            self.ask(context);
            let room = self.room.bytes(self.remaining());
            let read = ready!(self.wire.poll_read(context, room)).and_then(|read| match read {
                0 => Err(io::ErrorKind::UnexpectedEof.into()),
                read => Ok(read),
            });
            match read {
                Ok(read) => self.room.filled(room, read),
                Err(error) => return Poll::Ready(Some(Err(BodyError::Client(error)))),
            }
        }
    }

    /// Tells a client that waits for it to go on (RFC 9110 10.1.1).
    fn ask(&self, context: &mut Context<'_>) {
        if self.wire.awaits_continue.replace(false) {
            self.wire.outgoing.borrow_mut().buffer().extend_from_slice(CONTINUE);
            // What is not taken at once goes out with the answer, and an error is met again by who reads.
            let _ = self.wire.poll_write(context);
        }
    }

    /// Nothing more is to come.
    pub fn is_end_stream(&self) -> bool {
        self.is_current() && self.wire.is_body_read()
    }

    /// Bytes still to come, where that is known.
    pub fn remaining(&self) -> Option<u64> {
        if self.is_current() { self.wire.body.borrow().remaining() } else { None }
    }
}

impl Drop for ClientBody {
    fn drop(&mut self) {
        if self.is_current() {
            self.wire.is_body_held.set(false);
            self.wire.wake();
        }
    }
}
