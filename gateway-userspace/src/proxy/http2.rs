//! One downstream HTTP/2 connection, from its preface to its last frame.

mod body;
mod connection;
mod stream;

use std::convert::Infallible;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;

use crate::proxy::executor::LocalExecutor;
use crate::proxy::http::connection::Connection;
use crate::proxy::http::request::handle;
use crate::proxy::upstream::body::RequestBody;
use body::AnswerBody;
use connection::{Streams, drive};
use stream::Prefixed;

/// Serves HTTP/2 until the connection ends. `read` was read from it already.
pub async fn serve(connection: Rc<Connection>, tcp: TcpStream, read: Bytes) {
    let limits = Arc::clone(&connection.proxy.limits);
    let streams = Rc::new(Streams::new());
    let service = service_fn(|request| answer(&connection, &streams, request));
    let serving = http2::Builder::new(LocalExecutor)
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.http2_streams_max)
        .initial_stream_window_size(limits.http2_stream_window)
        .initial_connection_window_size(limits.http2_connection_window)
        .max_header_list_size(u32::try_from(limits.header_bytes_max).unwrap_or(u32::MAX))
        .serve_connection(TokioIo::new(Prefixed::new(tcp, read)), service);
    drive(&connection, &streams, serving, |serving| serving.graceful_shutdown()).await;
}

/// One request, from the codec's types to Weir's and back.
fn answer(
    connection: &Rc<Connection>,
    streams: &Rc<Streams>,
    request: Request<Incoming>,
) -> impl Future<Output = Result<Response<AnswerBody>, Infallible>> + use<> {
    let open = streams.open();
    let silence_max = connection.proxy.limits.stream_idle_timeout;
    let request = request.map(|incoming| RequestBody::new(incoming, silence_max));
    let handled = handle(Rc::clone(connection), request);
    async move { Ok(handled.await.map(|body| AnswerBody::new(body, open))) }
}
