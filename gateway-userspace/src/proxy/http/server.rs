//! One downstream HTTP/1 connection: one task, request after request, and no buffer between them.

mod alarm;
pub mod body;
mod exchange;
mod wire;

use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::BytesMut;
use tokio::net::TcpStream;
use tokio::time::Instant;

use self::alarm::Alarm;
use self::exchange::After;
use self::wire::Wire;
use super::connection::Connection;
use super::respond::Refusal;
use crate::proxy::http1::head::{HeadLimits, HeadReader, RequestHead};
use crate::reason::Reason;

/// Serves HTTP/1 until the connection ends. `read` was read from it already.
pub async fn serve_http1(connection: Rc<Connection>, tcp: TcpStream, read: BytesMut) {
    let shutdown = connection.shutdown.clone();
    let session = Session::new(connection, tcp, read);
    tokio::select! {
        biased;
        () = session.run() => {}
        () = shutdown.is_cut() => {}
    }
}

/// What comes instead of a request.
enum NoRequest {
    /// Nothing, for too long or for ever.
    End,
    /// Bytes that are none, or not in time.
    Refused(Refusal),
}

/// One connection. Dropped, it is closed, whoever else still has a part of it.
struct Session {
    connection: Rc<Connection>,
    wire: Rc<Wire>,
    alarm: Alarm,
    /// There was a request.
    has_begun: bool,
    /// The end of the answer that is being written could not be told from the end of the connection.
    resets: bool,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.wire.close(self.resets);
    }
}

impl Session {
    fn new(connection: Rc<Connection>, tcp: TcpStream, read: BytesMut) -> Self {
        let alarm = Alarm::new(connection.proxy.limits.idle_timeout);
        Self { connection, wire: Rc::new(Wire::new(tcp, read)), alarm, has_begun: false, resets: false }
    }

    async fn run(mut self) {
        loop {
            // Boxed, or an idle connection would have the size of a busy one.
            let after = match self.request().await {
                Ok(head) => Box::pin(self.exchange(head)).await,
                Err(NoRequest::End) => return,
                Err(NoRequest::Refused(refusal)) => Box::pin(self.refuse(refusal)).await,
            };
            self.has_begun = true;
            self.wire.end();
            match after {
                After::Next => {}
                After::Close => return,
                After::Linger => return Box::pin(self.wire.linger()).await,
            }
        }
    }

    /// The next request.
    async fn request(&mut self) -> Result<RequestHead, NoRequest> {
        let shutdown = self.connection.shutdown.clone();
        let mut started = pin!(shutdown.started());
        let mut arriving = Arriving::default();
        poll_fn(|context| {
            let arrived = self.poll_request(context, &mut arriving);
            if arrived.is_ready() || arriving.asked.is_some() || started.as_mut().poll(context).is_pending() {
                return arrived;
            }
            arriving.asked = Some(Instant::now());
            self.poll_request(context, &mut arriving)
        })
        .await
    }

    fn poll_request(
        &mut self,
        context: &mut Context<'_>,
        arriving: &mut Arriving,
    ) -> Poll<Result<RequestHead, NoRequest>> {
        let limits = &self.connection.proxy.limits;
        let head_limits = HeadLimits {
            bytes_max: limits.header_bytes_max,
            target_bytes_max: limits.target_bytes_max,
            fields_max: limits.header_fields_max,
        };
        let had_bytes = !self.wire.is_empty();
        if let Poll::Ready(arrived) = self.wire.poll_head(context, &mut arriving.reader, &head_limits) {
            return Poll::Ready(match arrived {
                Ok(Some(head)) => Ok(head),
                Ok(None) => Err(NoRequest::End),
                Err(malformed) => Err(NoRequest::Refused(Refusal::Malformed(malformed))),
            });
        }
        let now = Instant::now();
        let since = *arriving.since.get_or_insert(now);
        if had_bytes || !self.wire.is_empty() {
            let begun = *arriving.first_byte.get_or_insert(now);
            let late = || Err(NoRequest::Refused(Reason::ClientTimeout.into()));
            return self.alarm.poll(context, begun + limits.request_head_timeout).map(|()| late());
        }
        // Closed between two requests, it may be closed under the next one, which is on its way. An
        // answer that says it is the last leaves no doubt; only who sends nothing is closed without.
        let at = match arriving.asked {
            Some(asked) if self.has_begun => asked + limits.drain_idle_timeout,
            _ => since + limits.idle_timeout,
        };
        self.alarm.poll(context, at).map(|()| Err(NoRequest::End))
    }
}

/// A request head on its way.
#[derive(Default)]
struct Arriving {
    reader: HeadReader,
    since: Option<Instant>,
    first_byte: Option<Instant>,
    /// When the connection was asked to end.
    asked: Option<Instant>,
}
