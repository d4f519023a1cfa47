//! The data plane: bytes in, bytes out. Knows snapshots, not where they come from.

pub mod admission;
pub mod bucket;
pub mod clock;
pub mod filter;
pub mod holders;
pub mod http;
pub mod http1;
pub mod http2;
pub mod listener;
pub mod overload;
pub mod pace;
pub mod recorder;
pub mod resets;
pub mod shedding;
pub mod shutdown;
pub mod silence;
pub mod tcp;
pub mod upstream;
pub mod view;

use std::cell::Cell;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ipnet::IpNet;
use tokio::sync::Notify;

use crate::limits::Limits;
use crate::snapshot::store::SnapshotStore;
use crate::snapshot::tier::Caller;
use crate::telemetry::record::{Observe, PodId};
use admission::Admission;
use holders::Holders;
use http::headers::forwarded::TrustedProxies;
use resets::Resets;
use shedding::{MemoryUse, Shedding};
use shutdown::Shutdown;
use upstream::affinity::{Client, Sessions};
use upstream::health::HealthTable;
use upstream::registry::{Asking, Registry};
use view::Views;

/// Makes the sockets of upstream connections.
pub trait SocketFactory: Send + Sync {
    /// A non-blocking TCP socket of `netns`, or of this process's own namespace.
    ///
    /// # Errors
    /// What the kernel said.
    fn stream(&self, netns: Option<BorrowedFd<'_>>, domain: socket2::Domain) -> io::Result<socket2::Socket>;
}

/// Knows where captured connections wanted to go.
pub trait OriginalDestinations: Send + Sync {
    /// What the client in the namespace dialled, once: `peer` and `local` are those of the accepted
    /// socket. `None` when no capture led it here.
    fn take(&self, netns_cookie: u64, peer: SocketAddr, local: SocketAddr) -> Option<SocketAddr>;
}

/// What the workers of a process share. Written per connection or failure, never per request.
#[derive(Debug, Default)]
pub struct Shared {
    /// Downstream connections of the process.
    pub(crate) connections: AtomicUsize,
    pub(crate) workers: AtomicUsize,
    pub(crate) memory: Arc<MemoryUse>,
    pub(crate) health: Arc<HealthTable>,
    pub(crate) sessions: Arc<Sessions>,
    /// Peers of gateway listeners that have to say in a PROXY protocol header for whom they speak.
    pub(crate) proxy_protocol_from: Vec<IpNet>,
}

impl Shared {
    /// With the peers that send PROXY protocol headers.
    pub(crate) fn new(proxy_protocol_from: Vec<IpNet>) -> Self {
        Self { proxy_protocol_from, ..Self::default() }
    }

    /// True for a peer that has to say for whom it speaks. Of any other, a header is not believed.
    pub(crate) fn speaks_for_others(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        self.proxy_protocol_from.iter().any(|network| network.contains(&peer))
    }
}

/// The data plane of one worker: what every connection of it refers to.
pub struct Proxy {
    pub(crate) limits: Arc<Limits>,
    pub(crate) views: Views,
    pub sockets: Arc<dyn SocketFactory>,
    pub(crate) destinations: Arc<dyn OriginalDestinations>,
    pub(crate) observe: Rc<dyn Observe>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) trusted: Arc<TrustedProxies>,
    pub(crate) upstream: Registry,
    pub(crate) holders: Holders,
    pub(crate) resets: Resets,
    pub(crate) shedding: Shedding,
    /// Downstream connections of this worker.
    open: Cell<usize>,
    /// Accept loops of this worker.
    accepting: Cell<usize>,
    none_open: Notify,
}

/// An accept loop. Drop it when its queue is empty and its socket closed.
pub(crate) struct Accepting(Rc<Proxy>);

impl Drop for Accepting {
    fn drop(&mut self) {
        self.0.accepting.set(self.0.accepting.get() - 1);
        self.0.none_open.notify_waiters();
    }
}

impl Proxy {
    /// With no connections.
    pub fn new(
        store: Arc<SnapshotStore>,
        limits: Arc<Limits>,
        sockets: Arc<dyn SocketFactory>,
        destinations: Arc<dyn OriginalDestinations>,
        observe: Rc<dyn Observe>,
        shared: Arc<Shared>,
        trusted: Arc<TrustedProxies>,
    ) -> Self {
        shared.workers.fetch_add(1, Ordering::Relaxed);
        let upstream =
            Registry::new(Arc::clone(&limits), Arc::clone(&shared.health), Arc::clone(&shared.sessions));
        Self {
            upstream,
            limits,
            views: Views::new(store),
            sockets,
            destinations,
            observe,
            shared,
            trusted,
            holders: Holders::default(),
            resets: Resets::default(),
            shedding: Shedding::default(),
            open: Cell::new(0),
            accepting: Cell::new(0),
            none_open: Notify::new(),
        }
    }

    pub(crate) fn opened(&self) {
        self.open.set(self.open.get() + 1);
        self.observe.downstream_connections(1);
    }

    /// Downstream connections of this worker.
    pub(crate) fn open_connections(&self) -> usize {
        self.open.get()
    }

    pub(crate) fn closed(&self) {
        self.open.set(self.open.get().saturating_sub(1));
        self.observe.downstream_connections(-1);
        if self.open.get() == 0 {
            self.none_open.notify_waiters();
        }
    }

    pub(crate) fn accepting(self: &Rc<Self>) -> Accepting {
        self.accepting.set(self.accepting.get() + 1);
        Accepting(Rc::clone(self))
    }

    /// Waits until there is no downstream connection, and none can come.
    pub(crate) async fn all_closed(&self) {
        while self.open.get() > 0 || self.accepting.get() > 0 {
            self.none_open.notified().await;
        }
    }
}

/// A captured pod, as its home worker knows it.
#[derive(Debug)]
pub struct Pod {
    /// Who it is.
    pub id: PodId,
    /// The number by which the kernel knows its namespace.
    pub netns_cookie: u64,
    /// Its namespace: upstream connections are made there.
    pub netns: Arc<OwnedFd>,
    /// It is served no longer: its last requests finish.
    pub shutdown: Shutdown,
}

/// Where a downstream connection came in.
#[derive(Debug, Clone)]
pub enum Ingress {
    /// An in-pod listener: the pod dialled the Service address `Downstream::destination`.
    Pod(Rc<Pod>),
    /// A gateway listener, known by its configured address.
    Gateway(SocketAddr),
}

impl Ingress {
    /// The client's identity; `PodId(0)` for a gateway listener.
    pub fn pod_id(&self) -> PodId {
        match self {
            Self::Pod(pod) => pod.id,
            Self::Gateway(_) => PodId(0),
        }
    }

    /// True for a pod that is served no longer.
    pub fn is_leaving(&self) -> bool {
        match self {
            Self::Pod(pod) => pod.shutdown.is_started(),
            Self::Gateway(_) => false,
        }
    }

    /// Where upstream connections are made; `None` is this process's own namespace.
    pub fn netns(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Pod(pod) => Some(pod.netns.as_fd()),
            Self::Gateway(_) => None,
        }
    }
}

/// One accepted connection.
pub struct Downstream {
    /// The client, IPv4 as IPv4: the peer of the socket, or for whom that peer says it speaks.
    pub peer: SocketAddr,
    /// The Service address that was dialled, or the gateway listener's own.
    pub destination: SocketAddr,
    /// Where it came in.
    pub ingress: Ingress,
    /// Keeps it on the count.
    pub admission: Admission,
}

impl Downstream {
    /// Which endpoints are for it, or for the client for whom it says that it speaks.
    pub fn asking(&self, client: Option<IpAddr>) -> Asking {
        match &self.ingress {
            Ingress::Pod(pod) => {
                Asking { caller: Caller::pod(self.destination.ip()), client: Client::Pod(pod.netns_cookie) }
            }
            Ingress::Gateway(_) => {
                Asking { caller: Caller::GATEWAY, client: Client::Address(client.unwrap_or(self.peer.ip())) }
            }
        }
    }
}

#[cfg(test)]
mod tests;
