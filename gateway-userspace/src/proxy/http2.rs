//! One downstream HTTP/2 connection, from its preface to its last frame. Nothing else knows h2's server.

mod connection;
mod exchange;
pub mod frame;
mod guard;
mod watched;

use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;

use bytes::Bytes;
use h2::server::{Builder, Connection as Codec};
use tokio::net::TcpStream;

use crate::limits::Limits;
use crate::proxy::http::connection::Connection;
use crate::reason::Reason;
use connection::Session;
use watched::{Watch, Watched};

/// What the codec counts for a small frame of a body that waits to be read.
const SMALL_FRAME_COST: usize = 256;

/// Serves HTTP/2 until the connection ends. `read` was read from it already, the preface first.
pub async fn serve(connection: Rc<Connection>, tcp: TcpStream, read: Bytes) {
    // Boxed, or the connection would have the size of its first moment for as long as it lives.
    let Some((codec, watch)) = Box::pin(begin(&connection, tcp, read)).await else {
        return;
    };
    let shutdown = &connection.shutdown;
    let mut session = Session::new(&connection, codec, watch);
    let mut ends = pin!(shutdown.started());
    let mut is_ending = false;
    loop {
        tokio::select! {
            biased;
            () = &mut ends, if !is_ending => {
                is_ending = true;
                session.end();
            }
            () = shutdown.is_cut() => return,
            () = poll_fn(|cx| session.poll(cx)) => return,
        }
    }
}

/// The preface, and our settings. `None` when it comes to nothing.
async fn begin(
    connection: &Rc<Connection>,
    tcp: TcpStream,
    read: Bytes,
) -> Option<(Codec<Watched, Bytes>, Rc<Watch>)> {
    let limits = &connection.proxy.limits;
    let watch = Watch::new(limits);
    let stream = Watched::new(connection, tcp, read, Rc::clone(&watch));
    let handshake = tokio::select! {
        biased;
        handshake = tokio::time::timeout(limits.detect_timeout, builder(limits).handshake(stream)) => handshake,
        () = connection.shutdown.is_cut() => return None,
    };
    match handshake {
        Ok(Ok(codec)) => return Some((codec, watch)),
        Ok(Err(_)) => connection.reject(Reason::ClientProtocol),
        Err(_) => connection.reject(Reason::ClientTimeout),
    }
    None
}

/// The codec within its limits. Those on resets are the guard's own, which come back with time.
fn builder(limits: &Limits) -> Builder {
    let mut builder = Builder::new();
    builder
        .max_concurrent_streams(limits.http2_streams_max)
        .initial_window_size(limits.http2_stream_window)
        .initial_connection_window_size(limits.http2_connection_window)
        .data_frame_budget(limits.http2_small_frames_max.saturating_mul(SMALL_FRAME_COST))
        .max_header_list_size(u32::try_from(limits.header_bytes_max).unwrap_or(u32::MAX))
        .max_send_buffer_size(limits.http2_send_buffer as usize)
        .max_pending_accept_reset_streams(limits.http2_streams_max as usize)
        .max_concurrent_reset_streams(2 * limits.http2_streams_max as usize)
        .max_local_error_reset_streams(None);
    builder
}
