//! The floor: a proxy on bare hyper that does nothing but forward, a current-thread runtime and a pool for each worker.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;

use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::LocalSet;

use crate::backend::listen;

/// Streams at once on a connection of the client.
const STREAMS_MAX: u32 = 1024;

/// What it speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Speaks {
    /// HTTP/1.1 on both sides.
    Http1,
    /// HTTP/2 with prior knowledge to the client, HTTP/1.1 to the backend.
    Http2,
    /// HTTP/2 on both sides.
    Grpc,
}

/// Runs tasks on this thread.
#[derive(Debug, Clone, Copy)]
pub struct LocalExecutor;

impl<F: Future + 'static> hyper::rt::Executor<F> for LocalExecutor {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(async move {
            future.await;
        });
    }
}

/// Serves for ever.
pub fn serve(
    address: SocketAddr,
    upstream: SocketAddr,
    speaks: Speaks,
    workers: usize,
) -> anyhow::Result<()> {
    let mut threads = Vec::new();
    for _ in 0..workers.max(1) {
        let listener = listen(address)?;
        threads.push(std::thread::spawn(move || -> anyhow::Result<()> {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            LocalSet::new().block_on(&runtime, accept(listener, upstream, speaks))
        }));
    }
    threads
        .into_iter()
        .try_for_each(|thread| thread.join().unwrap_or_else(|_| anyhow::bail!("a worker panicked")))
}

async fn accept(listener: std::net::TcpListener, upstream: SocketAddr, speaks: Speaks) -> anyhow::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    let pool = Rc::new(Pool { upstream, idle: RefCell::default(), shared: RefCell::default() });
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let pool = Rc::clone(&pool);
        tokio::task::spawn_local(async move {
            let service = service_fn(move |request| {
                let pool = Rc::clone(&pool);
                async move {
                    match speaks {
                        Speaks::Http1 | Speaks::Http2 => pool.forward(request).await,
                        Speaks::Grpc => pool.forward_http2(request).await,
                    }
                }
            });
            let io = TokioIo::new(stream);
            // How a connection ends is the client's business.
            let _ = match speaks {
                Speaks::Http1 => {
                    hyper::server::conn::http1::Builder::new().serve_connection(io, service).await
                }
                Speaks::Http2 | Speaks::Grpc => {
                    let mut server = hyper::server::conn::http2::Builder::new(LocalExecutor);
                    server.max_concurrent_streams(STREAMS_MAX);
                    server.serve_connection(io, service).await
                }
            };
        });
    }
}

struct Pool {
    upstream: SocketAddr,
    idle: RefCell<Vec<http1::SendRequest<Incoming>>>,
    shared: RefCell<Option<http2::SendRequest<Incoming>>>,
}

impl Pool {
    async fn forward(&self, mut request: Request<Incoming>) -> anyhow::Result<Response<Incoming>> {
        if request.version() == hyper::Version::HTTP_2 {
            downgrade(&mut request)?;
        }
        let idle = self.idle.borrow_mut().pop();
        let mut sender = match idle {
            Some(sender) if sender.is_ready() => sender,
            _ => self.connect().await?,
        };
        let response = sender.send_request(request).await?;
        self.idle.borrow_mut().push(sender);
        Ok(response)
    }

    async fn connect(&self) -> anyhow::Result<http1::SendRequest<Incoming>> {
        let stream = TcpStream::connect(self.upstream).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::task::spawn_local(connection);
        Ok(sender)
    }

    async fn forward_http2(&self, request: Request<Incoming>) -> anyhow::Result<Response<Incoming>> {
        let shared = self.shared.borrow().clone();
        let mut sender = match shared {
            Some(sender) if !sender.is_closed() => sender,
            _ => self.connect_http2().await?,
        };
        sender.ready().await?;
        Ok(sender.send_request(request).await?)
    }

    async fn connect_http2(&self) -> anyhow::Result<http2::SendRequest<Incoming>> {
        let stream = TcpStream::connect(self.upstream).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = http2::handshake(LocalExecutor, TokioIo::new(stream)).await?;
        tokio::task::spawn_local(connection);
        *self.shared.borrow_mut() = Some(sender.clone());
        Ok(sender)
    }
}

/// The same request for HTTP/1.1: authority into Host, the target in origin form.
fn downgrade(request: &mut Request<Incoming>) -> anyhow::Result<()> {
    let authority = request.uri().authority().map(|authority| authority.as_str().parse()).transpose()?;
    if let Some(authority) = authority {
        request.headers_mut().insert(http::header::HOST, authority);
    }
    let target = request.uri().path_and_query().cloned();
    *request.uri_mut() = target.map_or_else(|| "/".parse(), |target| Ok(target.into()))?;
    *request.version_mut() = hyper::Version::HTTP_11;
    Ok(())
}
