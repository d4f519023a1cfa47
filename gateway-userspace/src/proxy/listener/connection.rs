//! One accepted connection: what its port speaks decides who serves it.

use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;

use bytes::BytesMut;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use super::detect::{Detected, detect};
use super::proxy_protocol::{self, HEADER_BYTES_MAX, Parsed};
use crate::proxy::http::connection::Connection;
use crate::proxy::http::respond::NOT_HTTP;
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

/// What serves a connection from then on.
type Service = Pin<Box<dyn Future<Output = ()>>>;

/// Serves one connection to its end.
pub async fn serve(proxy: Rc<Proxy>, stream: TcpStream, downstream: Downstream, shutdown: Shutdown) {
    // Both boxed, or every connection would have the size of its beginning, and of the largest there is.
    if let Some(service) = Box::pin(begin(proxy, stream, downstream, shutdown)).await {
        service.await;
    }
}

/// Finds out what is spoken. `None` when it comes to nothing.
async fn begin(
    proxy: Rc<Proxy>,
    stream: TcpStream,
    mut downstream: Downstream,
    shutdown: Shutdown,
) -> Option<Service> {
    let from_gateway = matches!(downstream.ingress, Ingress::Gateway(_));
    if from_gateway && proxy.shared.speaks_for_others(downstream.peer.ip()) {
        match client_behind(&proxy, &stream, &shutdown).await {
            Ok(client) => downstream.peer = client.unwrap_or(downstream.peer),
            Err(NoHeader::Gone) => return None,
            Err(NoHeader::Refused(reason)) => return rejected(&proxy, reason),
        }
    }
    let view = proxy.views.get();
    match &downstream.ingress {
        Ingress::Pod(_) => {
            let Some(frontend) = view.snapshot.frontends.get(&downstream.destination).cloned() else {
                return rejected(&proxy, Reason::NoRoute);
            };
            drop(view);
            match frontend.protocol {
                PortProtocol::Http => http(proxy, stream, downstream, shutdown, true).await,
                PortProtocol::Http2 => http(proxy, stream, downstream, shutdown, false).await,
                PortProtocol::Opaque => {
                    let (id, cluster) = (frontend.cluster.id, frontend.cluster.clone());
                    drop(frontend);
                    Some(Box::pin(tcp::serve(proxy, stream, downstream, shutdown, Some(id), Ok(cluster))))
                }
            }
        }
        Ingress::Gateway(address) => {
            let Some(listener) = view.listener(address).cloned() else {
                return rejected(&proxy, Reason::NoRoute);
            };
            drop(view);
            match &listener.kind {
                ListenerKind::Http(_) => http(proxy, stream, downstream, shutdown, true).await,
                ListenerKind::Tcp(backends) => {
                    let backend = backends.pick(fastrand::u64(..)).map(|backend| backend.cluster.clone());
                    let cluster = backend.unwrap_or(Err(Reason::InvalidBackend));
                    Some(Box::pin(tcp::serve(proxy, stream, downstream, shutdown, None, cluster)))
                }
            }
        }
    }
}

fn rejected(proxy: &Proxy, reason: Reason) -> Option<Service> {
    proxy.observe.rejected(reason);
    None
}

/// Why a connection that has to begin with a PROXY protocol header is not served.
enum NoHeader {
    /// It ended before its first byte, as those of health checks do, or it was cut.
    Gone,
    Refused(Reason),
}

/// Reads the PROXY protocol header, and no byte more; the client, when it names one.
async fn client_behind(
    proxy: &Proxy,
    stream: &TcpStream,
    shutdown: &Shutdown,
) -> Result<Option<SocketAddr>, NoHeader> {
    let header = tokio::time::timeout(proxy.limits.detect_timeout, proxy_header(stream));
    tokio::select! {
        biased;
        header = header => header.unwrap_or(Err(NoHeader::Refused(Reason::ClientTimeout))),
        () = shutdown.is_cut() => Err(NoHeader::Gone),
    }
}

async fn proxy_header(stream: &TcpStream) -> Result<Option<SocketAddr>, NoHeader> {
    let gone = |_| NoHeader::Gone;
    let mut read = [0; HEADER_BYTES_MAX];
    let mut taken = 0;
    loop {
        // What is looked at first can be left to whoever serves the connection.
        let seen = taken + stream.peek(&mut read[taken..]).await.map_err(gone)?;
        let parsed = proxy_protocol::parse(&read[..seen]);
        let end = match parsed {
            Ok(Parsed::Header { length, .. }) => length,
            Ok(Parsed::NeedMore) if seen == 0 => return Err(NoHeader::Gone),
            Ok(Parsed::NeedMore) if seen > taken => seen,
            _ => return Err(NoHeader::Refused(Reason::ClientProtocol)),
        };
        while taken < end {
            stream.readable().await.map_err(gone)?;
            match stream.try_read(&mut read[taken..end]) {
                Ok(0) => return Err(NoHeader::Gone),
                Ok(length) => taken += length,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_) => return Err(NoHeader::Gone),
            }
        }
        if let Ok(Parsed::Header { client, .. }) = parsed {
            return Ok(client);
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
) -> Option<Service> {
    let detected = tokio::select! {
        biased;
        detected = tokio::time::timeout(proxy.limits.detect_timeout, first_bytes(&mut stream)) => detected,
        () = shutdown.is_cut() => return None,
    };
    let new = |protocol| Connection::new(Rc::clone(&proxy), downstream, protocol, shutdown);
    match detected {
        Ok(Some((Detected::Http1, read))) if allows_http1 => {
            Some(Box::pin(serve_http1(new(Protocol::Http1), stream, read)))
        }
        Ok(Some((Detected::Http2Preface, read))) => {
            Some(Box::pin(http2::serve(new(Protocol::Http2), stream, read.freeze())))
        }
        // The client has gone without a byte.
        Ok(None) => None,
        Ok(Some((detected, _))) => {
            if allows_http1 && detected == Detected::Invalid {
                // If it is not taken at once nobody waits for it.
                let _ = stream.try_write(NOT_HTTP);
            }
            rejected(&proxy, Reason::ClientProtocol)
        }
        Err(_) => rejected(&proxy, Reason::ClientTimeout),
    }
}

/// Reads until it is clear what is spoken. `None`: the connection has ended before its first byte.
async fn first_bytes(stream: &mut TcpStream) -> Option<(Detected, BytesMut)> {
    let mut read = BytesMut::new();
    loop {
        // No buffer is held before there is something to read.
        stream.readable().await.ok()?;
        read.reserve(FIRST_READ_BYTES);
        let length = stream.read_buf(&mut read).await.ok()?;
        match detect(&read) {
            Detected::NeedMore if length > 0 => {}
            Detected::NeedMore if read.is_empty() => return None,
            Detected::NeedMore => return Some((Detected::Invalid, read)),
            detected => return Some((detected, read)),
        }
    }
}
