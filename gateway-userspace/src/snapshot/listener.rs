//! Pure: a port that Gateways open on this host.

use std::net::SocketAddr;
use std::sync::Arc;

use super::cluster::Cluster;
use super::router::{Router, WeightedBackends};

/// Everything that shares one address and port. Several Gateway API listeners with different
/// hostnames make one of these; the router inside isolates them (GEP-1713, HTTP listener isolation).
#[derive(Debug)]
pub struct Listener {
    /// Where to listen. Unspecified address unless the Gateway names one.
    pub address: SocketAddr,
    /// The port of the Gateway: that of `address`, unless a Service in front of it has another.
    pub port: u16,
    /// `namespace/gateway/listener` of the first one, for humans.
    pub name: Arc<str>,
    /// What is served there.
    pub kind: ListenerKind,
}

/// What a listener does with a connection.
#[derive(Debug)]
pub enum ListenerKind {
    /// HTTP/1.1 and HTTP/2 with prior knowledge.
    Http(Router),
    /// Bytes to one of these.
    Tcp(WeightedBackends),
}

/// The listener's default for tests and for `explain`: the one cluster, if it has just one.
impl Listener {
    /// Clusters a TCP listener sends to.
    pub fn tcp_clusters(&self) -> impl Iterator<Item = &Arc<Cluster>> {
        let backends = match &self.kind {
            ListenerKind::Tcp(backends) => backends.iter(),
            ListenerKind::Http(_) => [].iter(),
        };
        backends.filter_map(|b| b.cluster.as_ref().ok())
    }
}
