//! Makes TCP connections to endpoints, in the network namespace of the pod that asked.

use std::io;
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use socket2::{Domain, TcpKeepalive};
use tokio::net::{TcpSocket, TcpStream};

use crate::proxy::SocketFactory;
use crate::reason::Reason;

/// Silence on a connection after which the kernel asks the peer's kernel whether it is still there.
pub const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);
/// Between two such questions.
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);

/// Connects. The connection has TCP_NODELAY and notices a peer whose machine is gone.
///
/// # Errors
/// Why there is no connection.
pub async fn connect(
    sockets: &dyn SocketFactory,
    netns: Option<BorrowedFd<'_>>,
    address: SocketAddr,
    timeout: Duration,
) -> Result<TcpStream, Reason> {
    let socket = open(sockets, netns, address).map_err(|e| reason(&e))?;
    match tokio::time::timeout(timeout, socket.connect(address)).await {
        Ok(connected) => connected.map_err(|e| reason(&e)),
        Err(_) => Err(Reason::ConnectTimeout),
    }
}

fn open(
    sockets: &dyn SocketFactory,
    netns: Option<BorrowedFd<'_>>,
    address: SocketAddr,
) -> io::Result<TcpSocket> {
    let socket = sockets.stream(netns, Domain::for_address(address))?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(&keepalive())?;
    Ok(TcpSocket::from_std_stream(socket.into()))
}

/// How the kernel watches silent connections.
pub fn keepalive() -> TcpKeepalive {
    TcpKeepalive::new().with_time(KEEPALIVE_IDLE).with_interval(KEEPALIVE_INTERVAL)
}

fn reason(error: &io::Error) -> Reason {
    match error.raw_os_error() {
        Some(libc::ECONNREFUSED) => Reason::ConnectRefused,
        Some(libc::ETIMEDOUT) => Reason::ConnectTimeout,
        Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM | libc::ENOBUFS) => Reason::Overload,
        _ => Reason::ConnectFailed,
    }
}
