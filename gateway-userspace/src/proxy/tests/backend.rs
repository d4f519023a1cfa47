//! Servers that say who they are.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full, combinators::BoxBody};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

pub(super) type Body = BoxBody<Bytes, Infallible>;

/// A backend. Dropped, it and all its connections are gone at once, as by SIGKILL.
pub(super) struct Backend {
    pub(super) address: SocketAddr,
    pub(super) requests: Arc<AtomicUsize>,
    pub(super) connections: Arc<AtomicUsize>,
    _task: JoinSet<()>,
}

impl Backend {
    pub(super) fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

#[derive(Clone, Copy)]
pub(super) enum Speaks {
    Http1,
    Http2,
}

pub(super) fn text(body: impl Into<Bytes>) -> Body {
    Full::new(body.into()).boxed()
}

/// Answers each request by `handler`.
pub(super) async fn serve<F, Fut>(speaks: Speaks, handler: F) -> Backend
where
    F: Fn(Request<Incoming>) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = Response<Body>> + Send + 'static,
{
    let requests = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&requests);
    let mut backend = accept(move |stream| {
        let (handler, counted) = (handler.clone(), Arc::clone(&counted));
        let service = service_fn(move |request| {
            counted.fetch_add(1, Ordering::SeqCst);
            let answer = handler(request);
            async move { Ok::<_, Infallible>(answer.await) }
        });
        async move {
            let io = TokioIo::new(stream);
            match speaks {
                Speaks::Http1 => {
                    let serving = hyper::server::conn::http1::Builder::new().serve_connection(io, service);
                    let _ = serving.with_upgrades().await;
                }
                Speaks::Http2 => {
                    let mut builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                    builder.initial_connection_window_size(16 * 1024 * 1024);
                    let _ = builder.serve_connection(io, service).await;
                }
            }
        }
    })
    .await;
    backend.requests = requests;
    backend
}

/// Gives each connection to `handler`.
pub(super) async fn accept<F, Fut>(handler: F) -> Backend
where
    F: Fn(TcpStream) -> Fut + Send + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&connections);
    let mut task = JoinSet::new();
    task.spawn(async move {
        let mut open = JoinSet::new();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            counted.fetch_add(1, Ordering::SeqCst);
            open.spawn(handler(stream));
        }
    });
    Backend { address, requests: Arc::default(), connections, _task: task }
}

/// Answers everything with its name.
pub(super) async fn named(speaks: Speaks, name: &'static str) -> Backend {
    serve(speaks, move |_| async move { Response::new(text(name)) }).await
}

/// Reads a request head, or what comes of it.
pub(super) async fn read_head(stream: &mut TcpStream) -> Vec<u8> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") && matches!(stream.read_buf(&mut head).await, Ok(1..)) {}
    head
}
