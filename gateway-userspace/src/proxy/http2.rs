//! One downstream HTTP/2 connection, from its preface to its last frame. Nothing else knows h2's server.

mod connection;
mod exchange;
mod frame;
mod guard;
mod watched;

use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use h2::server::Builder;
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
    let limits = Arc::clone(&connection.proxy.limits);
    let shutdown = &connection.shutdown;
    let watch = Watch::new(&limits);
    let stream = Watched::new(tcp, read, Rc::clone(&watch));
    let handshake = tokio::select! {
        biased;
        handshake = tokio::time::timeout(limits.detect_timeout, builder(&limits).handshake(stream)) => handshake,
        () = shutdown.is_cut() => return,
    };
    let codec = match handshake {
        Ok(Ok(codec)) => codec,
        Ok(Err(_)) => return connection.reject(Reason::ClientProtocol),
        Err(_) => return connection.reject(Reason::ClientTimeout),
    };
    let mut session = Session::new(&connection, codec, watch);
    let mut ends = pin!(shutdown.started());
    let mut is_ending = false;
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut ends, if !is_ending => {
                is_ending = true;
                session.end();
                continue;
            }
            () = shutdown.is_cut() => return,
            accepted = poll_fn(|cx| session.poll(cx)) => accepted,
        };
        let Some((request, respond, open)) = accepted else {
            return;
        };
        tokio::task::spawn_local(exchange::serve(Rc::clone(&connection), request, respond, open));
    }
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
