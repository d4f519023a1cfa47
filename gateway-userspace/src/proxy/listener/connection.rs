//! One accepted connection: what its port speaks decides who serves it.

use std::rc::Rc;

use bytes::{Bytes, BytesMut};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use super::detect::{Detected, detect};
use crate::proxy::http::connection::Connection;
use crate::proxy::http::server::serve_http1;
use crate::proxy::http2;
use crate::proxy::shutdown::Shutdown;
use crate::proxy::tcp;
use crate::proxy::{Downstream, Ingress, Proxy};
use crate::reason::Reason;
use crate::snapshot::frontend::PortProtocol;
use crate::snapshot::listener::ListenerKind;
use crate::telemetry::record::Protocol;

/// First read of a connection: a request head fits, mostly.
const FIRST_READ_BYTES: usize = 4096;

/// Serves one connection to its end.
pub async fn serve(proxy: Rc<Proxy>, stream: TcpStream, downstream: Downstream, shutdown: Shutdown) {
    let view = proxy.views.get();
    match &downstream.ingress {
        Ingress::Pod(_) => {
            let Some(frontend) = view.snapshot.frontends.get(&downstream.destination).cloned() else {
                return proxy.observe.rejected(Reason::NoRoute);
            };
            drop(view);
            match frontend.protocol {
                PortProtocol::Http => http(proxy, stream, downstream, shutdown, true).await,
                PortProtocol::Http2 => http(proxy, stream, downstream, shutdown, false).await,
                PortProtocol::Opaque => {
                    let (id, cluster) = (frontend.cluster.id, frontend.cluster.clone());
                    drop(frontend);
                    tcp::serve(proxy, stream, downstream, shutdown, Some(id), Ok(cluster)).await;
                }
            }
        }
        Ingress::Gateway(address) => {
            let Some(listener) = view.listener(address).cloned() else {
                return proxy.observe.rejected(Reason::NoRoute);
            };
            drop(view);
            match &listener.kind {
                ListenerKind::Http(_) => http(proxy, stream, downstream, shutdown, true).await,
                ListenerKind::Tcp(backends) => {
                    let backend = backends.pick(fastrand::u64(..)).map(|backend| backend.cluster.clone());
                    let cluster = backend.unwrap_or(Err(Reason::InvalidBackend));
                    tcp::serve(proxy, stream, downstream, shutdown, None, cluster).await;
                }
            }
        }
    }
}

/// The client speaks first: by its first bytes it is told which HTTP it speaks.
async fn http(
    proxy: Rc<Proxy>,
    mut stream: TcpStream,
    downstream: Downstream,
    shutdown: Shutdown,
    allows_http1: bool,
) {
    let detected = tokio::select! {
        biased;
        detected = tokio::time::timeout(proxy.limits.detect_timeout, first_bytes(&mut stream)) => detected,
        () = shutdown.is_cut() => return,
    };
    let new = |protocol| Connection::new(Rc::clone(&proxy), downstream, protocol, shutdown);
    match detected {
        Ok(Some((Detected::Http1, read))) if allows_http1 => {
            serve_http1(new(Protocol::Http1), stream, read).await;
        }
        Ok(Some((Detected::Http2Preface, read))) => http2::serve(new(Protocol::Http2), stream, read).await,
        // The client has gone without a byte.
        Ok(None) => {}
        Ok(Some(_)) => proxy.observe.rejected(Reason::ClientProtocol),
        Err(_) => proxy.observe.rejected(Reason::ClientTimeout),
    }
}

/// Reads until it is clear what is spoken. `None`: the connection has ended before its first byte.
async fn first_bytes(stream: &mut TcpStream) -> Option<(Detected, Bytes)> {
    let mut read = BytesMut::new();
    loop {
        // No buffer is held before there is something to read.
        stream.readable().await.ok()?;
        read.reserve(FIRST_READ_BYTES);
        let length = stream.read_buf(&mut read).await.ok()?;
        match detect(&read) {
            Detected::NeedMore if length > 0 => {}
            Detected::NeedMore if read.is_empty() => return None,
            Detected::NeedMore => return Some((Detected::Invalid, read.freeze())),
            detected => return Some((detected, read.freeze())),
        }
    }
}
