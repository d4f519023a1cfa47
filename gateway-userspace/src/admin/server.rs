//! HTTP/1.1 for the admin API: one request a connection, each bounded in time and number.

mod socket;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, ALLOW, CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Serialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::{AbortHandle, JoinSet};

pub use socket::{AdminSocket, SocketError};

use super::query::Query;
use super::{AdminState, clusters, config_dump, explain, health, metrics, status};

/// Connections at a time. Beyond it the one that has been silent for longest makes room.
const CONNECTIONS_MAX: usize = 64;
/// From accept to the whole request head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// From accept to the end of the answer.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(30);
/// Request head, bytes.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// After an `accept` that failed, say for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Header of an answer that says that something is not as its user asked.
pub const FINDINGS_HEADER: &str = "weir-findings";

/// What a client of this listener may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Everything: the Unix socket.
    Full,
    /// Look, and change nothing: a TCP port.
    ReadOnly,
    /// Health and metrics, and nothing of what is configured: a TCP port that strangers reach.
    Health,
}

/// Somewhere connections come from.
pub trait Accept {
    /// A connection.
    type Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static;
    /// Waits for the next one.
    fn accept(&self) -> impl Future<Output = std::io::Result<Self::Stream>> + Send;
}

impl Accept for tokio::net::TcpListener {
    type Stream = tokio::net::TcpStream;

    async fn accept(&self) -> std::io::Result<Self::Stream> {
        Ok(tokio::net::TcpListener::accept(self).await?.0)
    }
}

impl<A: Accept + Sync> Accept for &A {
    type Stream = A::Stream;

    fn accept(&self) -> impl Future<Output = std::io::Result<Self::Stream>> + Send {
        A::accept(self)
    }
}

/// Those who answer.
pub trait Pages: Send + Sync + 'static {
    /// The answer to one request.
    fn page(&self, request: &Request<Incoming>, access: Access) -> Answer;
}

impl Pages for Arc<dyn AdminState> {
    fn page(&self, request: &Request<Incoming>, access: Access) -> Answer {
        answer(request, &**self, access)
    }
}

/// A page.
#[derive(Debug)]
pub struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) content_type: &'static str,
    pub(crate) body: String,
    /// Something is not as the user asked: said in a header, for exit codes.
    pub(crate) findings: bool,
}

impl Answer {
    pub(crate) fn text(status: StatusCode, body: String) -> Self {
        Self { status, content_type: "text/plain; charset=utf-8", body, findings: false }
    }

    pub(super) fn json(value: &impl Serialize) -> Self {
        Self::json_with(StatusCode::OK, value)
    }

    pub(crate) fn error(status: StatusCode, message: &str) -> Self {
        Self::json_with(status, &serde_json::json!({ "error": message }))
    }

    fn json_with(status: StatusCode, value: &impl Serialize) -> Self {
        match serde_json::to_string(value) {
            Ok(body) => Self { status, content_type: "application/json", body: body + "\n", findings: false },
            Err(error) => Self::text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
        }
    }
}

/// A connection that has not sent its request yet.
struct Silent {
    task: AbortHandle,
    asked: Arc<AtomicBool>,
}

/// Serves the gateway's pages until the future is dropped.
pub async fn serve(listener: impl Accept, state: Arc<dyn AdminState>, access: Access) {
    serve_pages(listener, Arc::new(state), access).await;
}

/// Serves until the future is dropped.
pub async fn serve_pages(listener: impl Accept, pages: Arc<impl Pages>, access: Access) {
    let mut connections = JoinSet::new();
    let mut silent: VecDeque<Silent> = VecDeque::new();
    loop {
        while connections.try_join_next().is_some() {}
        silent.retain(|c| !c.task.is_finished() && !c.asked.load(Ordering::Relaxed));
        if connections.len() >= CONNECTIONS_MAX {
            if let Some(oldest) = silent.pop_front() {
                oldest.task.abort();
            }
            connections.join_next().await;
            continue;
        }
        let stream = match listener.accept().await {
            Ok(stream) => stream,
            Err(error) => {
                tracing::warn!(%error, "admin: no connection can be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let asked = Arc::new(AtomicBool::new(false));
        let connection = connection(stream, Arc::clone(&pages), access, Arc::clone(&asked));
        let task = connections.spawn(tokio::time::timeout(CONNECTION_TIMEOUT, connection));
        silent.push_back(Silent { task, asked });
    }
}

async fn connection(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    pages: Arc<impl Pages>,
    access: Access,
    asked: Arc<AtomicBool>,
) {
    let service = service_fn(|request: Request<Incoming>| {
        asked.store(true, Ordering::Relaxed);
        let answer = pages.page(&request, access);
        async move { Ok::<_, Infallible>(response(answer)) }
    });
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_BYTES_MAX)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "admin: a connection broke off");
    }
}

fn answer(request: &Request<Incoming>, state: &dyn AdminState, access: Access) -> Answer {
    let query = Query::parse(request.uri().query().unwrap_or(""));
    let path = request.uri().path();
    let drain = path == "/drain";
    let allowed = if drain { [Method::POST].as_slice() } else { &[Method::GET, Method::HEAD] };
    if !allowed.contains(request.method()) && PATHS.contains(&path) {
        let how = if drain { "POST" } else { "GET" };
        return Answer::error(StatusCode::METHOD_NOT_ALLOWED, &format!("{path} wants {how}"));
    }
    if access == Access::Health && PATHS.contains(&path) && !OPEN_PATHS.contains(&path) {
        let name = path.trim_start_matches('/');
        return Answer::error(
            StatusCode::FORBIDDEN,
            &format!("/{name} is for the Unix socket only: run `weir` in the pod, as in `weir status`"),
        );
    }
    match path {
        "/livez" => health::livez(),
        "/readyz" => health::readyz(state),
        "/metrics" => metrics::metrics(state, request.headers().get(ACCEPT).and_then(|v| v.to_str().ok())),
        "/config_dump" => config_dump::config_dump(state),
        "/clusters" => clusters::clusters(state),
        "/status" => status::status(state, &query),
        "/explain" => explain::explain(state, &query),
        "/drain" if access != Access::Full => {
            Answer::error(StatusCode::FORBIDDEN, "draining is for the Unix socket only")
        }
        "/drain" => {
            state.drain();
            Answer::text(StatusCode::ACCEPTED, "draining\n".to_owned())
        }
        _ => Answer::error(StatusCode::NOT_FOUND, &format!("no such page; there are {}", PATHS.join(" "))),
    }
}

/// What nobody is told anything by.
const OPEN_PATHS: [&str; 3] = ["/livez", "/readyz", "/metrics"];
const PATHS: [&str; 8] =
    ["/livez", "/readyz", "/metrics", "/config_dump", "/clusters", "/status", "/explain", "/drain"];

fn response(answer: Answer) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(answer.body)));
    *response.status_mut() = answer.status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(answer.content_type));
    if answer.findings {
        response.headers_mut().insert(FINDINGS_HEADER, HeaderValue::from_static("1"));
    }
    if answer.status == StatusCode::METHOD_NOT_ALLOWED {
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD, POST"));
    }
    response
}

#[cfg(test)]
mod tests;
