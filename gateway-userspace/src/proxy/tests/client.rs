//! Clients as applications bring them along.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty, Full, combinators::BoxBody};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::PATIENCE;

pub(super) type Body = BoxBody<Bytes, std::convert::Infallible>;

pub(super) fn no_body() -> Body {
    Empty::new().boxed()
}

pub(super) fn body(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).boxed()
}

/// A response, read to its end.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    pub(super) trailers: Option<HeaderMap>,
}

impl Answer {
    pub(super) async fn read(response: Response<Incoming>) -> Result<Self, hyper::Error> {
        let (head, body) = response.into_parts();
        let collected = body.collect().await?;
        let trailers = collected.trailers().cloned();
        Ok(Self { status: head.status, headers: head.headers, body: collected.to_bytes(), trailers })
    }

    pub(super) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(super) fn proxy_status(&self) -> &str {
        self.headers.get("proxy-status").map_or("", |value| value.to_str().unwrap())
    }
}

pub(super) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("it took too long")
}

/// One HTTP/1.1 connection.
pub(super) struct Http1(pub(super) http1::SendRequest<Body>);

impl Http1 {
    pub(super) async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection.with_upgrades());
        Self(sender)
    }

    pub(super) async fn send(&mut self, request: Request<Body>) -> Result<Answer, hyper::Error> {
        within(async {
            self.0.ready().await?;
            Answer::read(self.0.send_request(request).await?).await
        })
        .await
    }

    pub(super) async fn get(&mut self, path: &str) -> Answer {
        let request = Request::get(path).header("host", "cart.shop").body(no_body()).unwrap();
        self.send(request).await.unwrap()
    }
}

/// One HTTP/2 connection, with prior knowledge.
#[derive(Clone)]
pub(super) struct Http2(pub(super) http2::SendRequest<Body>);

impl Http2 {
    pub(super) async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .initial_connection_window_size(16 * 1024 * 1024)
            .handshake(TokioIo::new(stream))
            .await
            .unwrap();
        tokio::spawn(connection);
        Self(sender)
    }

    pub(super) async fn send(&mut self, request: Request<Body>) -> Result<Answer, hyper::Error> {
        within(async {
            self.0.ready().await?;
            Answer::read(self.0.send_request(request).await?).await
        })
        .await
    }

    pub(super) async fn get(&mut self, path: &str) -> Answer {
        let request = Request::get(format!("http://cart.shop{path}")).body(no_body()).unwrap();
        self.send(request).await.unwrap()
    }
}

/// One request on a connection of its own.
pub(super) async fn get(address: SocketAddr, path: &str) -> Answer {
    Http1::connect(address).await.get(path).await
}

/// Writes bytes and reads to the end of the connection.
pub(super) async fn raw(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    // A gateway that refuses it at once may be seen to do so already here.
    let Ok(mut stream) = TcpStream::connect(address).await else { return Vec::new() };
    // The gateway may have closed it by now.
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    // A reset after the answer is an end too.
    let _ = within(stream.read_to_end(&mut answer)).await;
    answer
}
