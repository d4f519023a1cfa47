//! Accepts connections, finds out where they wanted to go, and counts them.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};

use super::connection;
use crate::proxy::admission::Admission;
use crate::proxy::shutdown::Shutdown;
use crate::proxy::tcp::relay::reset;
use crate::proxy::upstream::connect::keepalive;
use crate::proxy::{Downstream, Ingress, Proxy};
use crate::reason::Reason;

/// First pause after `accept` failed, mostly for want of descriptors or memory: it would fail again at
/// once. The pause doubles while it does.
const PAUSE_MIN: Duration = Duration::from_millis(10);

/// Longest such pause: what waits in the queue is answered soon after there is room again.
const PAUSE_MAX: Duration = Duration::from_millis(500);

/// One listening socket.
pub struct Listening {
    socket: TcpListener,
    local: SocketAddr,
    ingress: Ingress,
    shutdown: Shutdown,
}

impl Listening {
    /// Takes over a bound, listening socket.
    ///
    /// # Errors
    /// When the runtime cannot wait for it.
    pub fn new(socket: std::net::TcpListener, ingress: Ingress, shutdown: Shutdown) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        // Accepted sockets inherit both.
        let options = SockRef::from(&socket);
        options.set_tcp_nodelay(true)?;
        options.set_tcp_keepalive(&keepalive())?;
        let local = socket.local_addr()?;
        Ok(Self { socket: TcpListener::from_std(socket)?, local, ingress, shutdown })
    }

    /// Accepts until the shutdown. What waits in the queue by then, or is on its way, is still served.
    pub fn run(self, proxy: Rc<Proxy>) -> impl Future<Output = ()> {
        // From now on, not from the first poll: a drain waits for the queue to be empty.
        let accepting = proxy.accepting();
        async move {
            self.accept_all(&proxy).await;
            drop(accepting);
        }
    }

    async fn accept_all(&self, proxy: &Rc<Proxy>) {
        let mut ended = pin!(self.shutdown.started());
        let mut pause = PAUSE_MIN;
        loop {
            tokio::select! {
                biased;
                () = &mut ended => break,
                accepted = self.socket.accept() => match accepted {
                    Ok((stream, peer)) => {
                        pause = PAUSE_MIN;
                        self.admit(proxy, stream, peer);
                        if proxy.holders.take_gave_up() {
                            tokio::task::yield_now().await;
                        }
                    }
                    // The client has gone while it waited in the queue.
                    Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                    Err(error) => {
                        self.pause(proxy, &error, pause).await;
                        pause = (pause * 2).min(PAUSE_MAX);
                    }
                },
            }
        }
        self.accept_late(proxy).await;
    }

    /// Accepts what waits in the queue and, in a pod, what is on its way: a connect that was steered here
    /// a moment before the kernel was told otherwise would be refused if nobody listened any more.
    async fn accept_late(&self, proxy: &Rc<Proxy>) {
        let grace = match &self.ingress {
            Ingress::Pod(_) => proxy.limits.late_accept_timeout,
            Ingress::Gateway(_) => Duration::ZERO,
        };
        let mut over = pin!(tokio::time::sleep(grace));
        loop {
            tokio::select! {
                biased;
                accepted = self.socket.accept() => match accepted {
                    Ok((stream, peer)) => self.admit(proxy, stream, peer),
                    Err(_) => break,
                },
                () = &mut over => break,
            }
        }
    }

    async fn pause(&self, proxy: &Proxy, error: &io::Error, pause: Duration) {
        proxy.observe.rejected(Reason::Overload);
        if pause == PAUSE_MIN {
            tracing::warn!(%error, local = %self.local, "cannot accept connections: it is tried again");
        }
        tokio::time::sleep(pause).await;
    }

    fn admit(&self, proxy: &Rc<Proxy>, stream: TcpStream, peer: SocketAddr) {
        let destination = match self.destination(proxy, peer) {
            Ok(destination) => destination,
            Err(reason) => return proxy.observe.rejected(reason),
        };
        let admission = match Admission::new(proxy, &self.ingress, peer, stream.as_raw_fd()) {
            Ok(admission) => admission,
            Err(reason) => {
                reset(stream);
                return proxy.observe.rejected(reason);
            }
        };
        let held = admission.held();
        let ingress = self.ingress.clone();
        // An IPv4 client of a dual-stack socket is an IPv4 client.
        let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        let downstream = Downstream { peer, destination, ingress, admission };
        let serving = connection::serve(Rc::clone(proxy), stream, downstream, self.shutdown.clone());
        held.served_by(tokio::task::spawn_local(serving).abort_handle());
    }

    fn destination(&self, proxy: &Proxy, peer: SocketAddr) -> Result<SocketAddr, Reason> {
        match &self.ingress {
            Ingress::Gateway(address) => {
                // As its clients know it, whatever port a Service in front of it has made of that.
                let view = proxy.views.get();
                let port = view.listener(address).map_or(address.port(), |listener| listener.port);
                Ok(SocketAddr::new(address.ip(), port))
            }
            Ingress::Pod(pod) => {
                let dialled = proxy.destinations.take(pod.netns_cookie, peer, self.local);
                let dialled = dialled.ok_or(Reason::SelfCall)?;
                Ok(SocketAddr::new(dialled.ip().to_canonical(), dialled.port()))
            }
        }
    }
}
