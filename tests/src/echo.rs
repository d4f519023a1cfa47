//! A backend that says who it is: HTTP/1.1, HTTP/2 with prior knowledge, gRPC, upgrades and raw TCP.

mod grpc;
mod raw;

use std::convert::Infallible;
use std::net::{Ipv6Addr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::TcpListener;

pub use raw::serve_tcp;

/// Body of an answer.
pub type EchoBody = UnsyncBoxBody<Bytes, hyper::Error>;

/// How a replica behaves.
#[derive(Debug, Clone)]
pub struct Echo {
    /// What it calls itself in its answers.
    pub name: String,
    /// How long it thinks before each answer.
    pub delay: Duration,
    /// So many requests are answered 503 before it behaves.
    pub fail_first: u64,
}

/// Listens on every address of the namespace, both families, so that a pod needs no configuration.
pub fn listen(port: u16) -> std::io::Result<TcpListener> {
    let socket = socket2::Socket::new(socket2::Domain::IPV6, socket2::Type::STREAM, None)?;
    socket.set_only_v6(false)?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)).into())?;
    socket.listen(1024)?;
    TcpListener::from_std(socket.into())
}

/// Serves until `stop` resolves; then stops accepting, ends idle connections and finishes what is in flight.
pub async fn serve(listener: TcpListener, echo: Echo, stop: impl Future<Output = ()>) {
    let echo = Arc::new(Replica { echo, requests: AtomicU64::new(0) });
    let graceful = GracefulShutdown::new();
    let mut stop = pin!(stop);
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(_) => continue,
            },
            () = &mut stop => break,
        };
        // Without it a small answer may wait for an acknowledgement of the one before.
        let _ = stream.set_nodelay(true);
        let replica = Arc::clone(&echo);
        let service = service_fn(move |request| {
            let replica = Arc::clone(&replica);
            async move { Ok::<_, Infallible>(replica.answer(request).await) }
        });
        let server = auto::Builder::new(TokioExecutor::new());
        let connection = server.serve_connection_with_upgrades(TokioIo::new(stream), service).into_owned();
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            // A peer that goes away is its own business.
            let _ = connection.await;
        });
    }
    drop(listener);
    graceful.shutdown().await;
}

#[derive(Debug)]
struct Replica {
    echo: Echo,
    requests: AtomicU64,
}

impl Replica {
    async fn answer(&self, request: Request<Incoming>) -> Response<EchoBody> {
        let number = self.requests.fetch_add(1, Ordering::Relaxed);
        if !self.echo.delay.is_zero() {
            tokio::time::sleep(self.echo.delay).await;
        }
        if grpc::is_grpc(&request) {
            return grpc::answer(&self.echo.name, request);
        }
        if number < self.echo.fail_first {
            return self.text(StatusCode::SERVICE_UNAVAILABLE, "not yet\n");
        }
        if request.headers().contains_key(header::UPGRADE) {
            return raw::upgrade(request);
        }
        let path = request.uri().path();
        if let Some(code) = path.strip_prefix("/status/") {
            let status = code.parse().ok().and_then(|code| StatusCode::from_u16(code).ok());
            return self.text(status.unwrap_or(StatusCode::BAD_REQUEST), "as you wish\n");
        }
        if let Some(millis) = path.strip_prefix("/wait/") {
            tokio::time::sleep(Duration::from_millis(millis.parse().unwrap_or(0))).await;
            return self.text(StatusCode::OK, "it took its time\n");
        }
        if path == "/echo" {
            let body = request.into_body();
            return self.with(StatusCode::OK, "application/octet-stream", body.boxed_unsync());
        }
        let facts = self.describe(&request);
        self.with(StatusCode::OK, "application/json", full(format!("{facts}\n")))
    }

    fn describe(&self, request: &Request<Incoming>) -> serde_json::Value {
        let headers: serde_json::Map<String, serde_json::Value> = request
            .headers()
            .iter()
            .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into()))
            .collect();
        let authority = request.uri().authority().map(ToString::to_string);
        serde_json::json!({
            "replica": self.echo.name,
            "method": request.method().as_str(),
            "path": request.uri().path_and_query().map(ToString::to_string),
            "host": authority.or_else(|| headers.get("host").and_then(|h| h.as_str()).map(str::to_owned)),
            "protocol": format!("{:?}", request.version()),
            "headers": headers,
        })
    }

    fn text(&self, status: StatusCode, text: &'static str) -> Response<EchoBody> {
        self.with(status, "text/plain", full(text))
    }

    fn with(&self, status: StatusCode, kind: &'static str, body: EchoBody) -> Response<EchoBody> {
        let mut response = Response::new(body);
        *response.status_mut() = status;
        response.headers_mut().insert(header::CONTENT_TYPE, http::HeaderValue::from_static(kind));
        if let Ok(name) = http::HeaderValue::from_str(&self.echo.name) {
            response.headers_mut().insert("x-replica", name);
        }
        response
    }
}

/// A body in one piece.
pub fn full(bytes: impl Into<Bytes>) -> EchoBody {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}
