//! The body that comes on a stream of HTTP/2: a client's request, or an endpoint's answer.

use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::RecvStream;
use http_body::{Frame, SizeHint};

/// Whoever sends it may send as much again as was taken out.
pub struct StreamBody {
    stream: RecvStream,
    /// What is still to come, when the sender has said so.
    left: Option<u64>,
    /// Only trailers can follow.
    is_read: bool,
}

impl StreamBody {
    /// Of this length, bytes, if the sender has said so.
    pub fn new(stream: RecvStream, length: Option<u64>) -> Self {
        Self { stream, left: length, is_read: false }
    }

    /// The next part.
    pub fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        if !self.is_read {
            match ready!(self.stream.poll_data(context)) {
                Some(Ok(data)) => {
                    self.left = self.left.map(|left| left.saturating_sub(data.len() as u64));
                    self.stream.flow_control().release_capacity(data.len())?;
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => self.is_read = true,
            }
        }
        let trailers = ready!(self.stream.poll_trailers(context))?;
        Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))))
    }

    /// True when nothing more comes.
    pub fn is_end_stream(&self) -> bool {
        self.stream.is_end_stream()
    }

    /// Bytes to come, where that is known.
    pub fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
