//! Pure: a Service port as a destination, and the endpoints behind it.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::circuit::CircuitLimit;
use super::store::EndpointSlot;
use super::tier::Family;
use crate::persistent::OrderedMap;
use crate::reason::Reason;

/// Names a Service port: `namespace/service:port`. Ordered, so that iteration is stable.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClusterKey {
    /// Namespace of the Service.
    pub namespace: Arc<str>,
    /// Name of the Service.
    pub service: Arc<str>,
    /// Service port number (not the target port).
    pub port: u16,
}

impl fmt::Display for ClusterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}:{}", self.namespace, self.service, self.port)
    }
}

/// A small number for a cluster, stable while the process lives: the same `ClusterKey` keeps it
/// over all snapshots, so workers index tables with it and records carry it instead of names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClusterId(pub u32);

/// What to speak to the endpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum UpstreamProtocol {
    /// HTTP/1.1, except that a client in a pod that itself spoke HTTP/2 with prior knowledge is
    /// answered by HTTP/2 to the endpoint, as it would have been without us.
    #[default]
    Http,
    /// HTTP/2 with prior knowledge (`kubernetes.io/h2c`, `grpc`, `http2`).
    Http2,
    /// Bytes.
    Tcp,
}

impl UpstreamProtocol {
    /// Lower-case word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Http2 => "http2",
            Self::Tcp => "tcp",
        }
    }
}

/// How an endpoint is chosen. Annotation `weir.dev/load-balancer` on the Service until
/// BackendTrafficPolicy exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BalancePolicy {
    /// The better of two random choices by requests in flight over weight.
    #[default]
    LeastRequest,
    /// One after the other, smoothly by weight.
    RoundRobin,
    /// Random by weight.
    Random,
}

impl BalancePolicy {
    /// Lower-case word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::LeastRequest => "least_request",
            Self::RoundRobin => "round_robin",
            Self::Random => "random",
        }
    }
}

/// A Service port as a destination. Carried over from snapshot to snapshot while its key exists, so
/// that its endpoint slot and the live state that workers keep for its id survive.
#[derive(Debug)]
pub struct Cluster {
    /// Which Service port this is.
    pub key: ClusterKey,
    /// The number of `key` in this process.
    pub id: ClusterId,
    /// What its endpoints speak.
    pub protocol: UpstreamProtocol,
    /// How one of them is chosen.
    pub balance: BalancePolicy,
    /// A client stays with its endpoint until it has not called for so long (`sessionAffinity: ClientIP`).
    pub affinity: Option<Duration>,
    /// A limit on what it has in flight. Annotation `weir.dev/max-requests` on the Service.
    pub circuit: Option<Arc<CircuitLimit>>,
    /// Longest wait for a TCP connection to an endpoint.
    pub connect_timeout: Duration,
    /// The endpoints of this moment. Shared with the previous snapshot's cluster of the same key.
    pub endpoints: Arc<EndpointSlot>,
}

/// All clusters of a snapshot. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct ClusterTable {
    by_key: OrderedMap<ClusterKey, Arc<Cluster>>,
}

impl ClusterTable {
    /// The cluster of a Service port.
    pub fn get(&self, key: &ClusterKey) -> Option<&Arc<Cluster>> {
        self.by_key.get(key)
    }

    /// Adds a cluster, or replaces that of the same port.
    pub fn insert(&mut self, cluster: Arc<Cluster>) {
        self.by_key.insert(cluster.key.clone(), cluster);
    }

    /// Takes the cluster of a port out.
    pub fn remove(&mut self, key: &ClusterKey) {
        self.by_key.remove(key);
    }

    /// All of them, by key.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Cluster>> {
        self.by_key.values()
    }

    /// True when this is the other one, or an unchanged copy.
    pub fn is_same(&self, other: &Self) -> bool {
        self.by_key.is_same(&other.by_key)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.by_key.len()
    }

    /// True when there is none.
    pub fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }
}

impl FromIterator<Arc<Cluster>> for ClusterTable {
    fn from_iter<T: IntoIterator<Item = Arc<Cluster>>>(clusters: T) -> Self {
        Self { by_key: clusters.into_iter().map(|c| (c.key.clone(), c)).collect() }
    }
}

/// The endpoints of one cluster at one moment, sorted by address, without duplicates.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct EndpointSet {
    /// Sorted by `address`.
    pub endpoints: Vec<Endpoint>,
    /// Calls from within the cluster stay on this node (`internalTrafficPolicy: Local`).
    pub local_only: bool,
    /// The Service's first family, where it says one: for callers that dialled none.
    pub family: Option<Family>,
    /// So many more were asked for, and are never dialled.
    pub refused: usize,
}

impl EndpointSet {
    /// Why there is no endpoint for a caller that has no tier.
    pub fn why_none(&self) -> Reason {
        if self.endpoints.is_empty() && self.refused > 0 {
            Reason::EndpointRefused
        } else {
            Reason::NoHealthyEndpoint
        }
    }
}

/// One address behind a Service port.
#[derive(Debug, Clone, PartialEq)]
pub struct Endpoint {
    /// Where to connect.
    pub address: SocketAddr,
    /// EndpointSlice condition `ready`; absent means true.
    pub ready: bool,
    /// Condition `serving`: ready but for being terminating. Absent means the same as `ready`.
    pub serving: bool,
    /// Condition `terminating`.
    pub terminating: bool,
    /// Relative share, 1 by default. Annotation `weir.dev/weight` on the EndpointSlice.
    pub weight: u32,
    /// `namespace/pod` from targetRef, else empty. For humans.
    pub target: Arc<str>,
    /// Node name, else empty.
    pub node: Arc<str>,
    /// Topology zone, else empty.
    pub zone: Arc<str>,
    /// It runs on this node.
    pub local: bool,
    /// As near as the Service's traffic distribution wants it; all are where it wants nothing, and
    /// where none is.
    pub preferred: bool,
}

impl Endpoint {
    /// A ready endpoint of weight 1 of which nothing else is known.
    pub fn at(address: SocketAddr) -> Self {
        let nothing: Arc<str> = Arc::default();
        Self {
            address,
            ready: true,
            serving: true,
            terminating: false,
            weight: 1,
            target: Arc::clone(&nothing),
            node: Arc::clone(&nothing),
            zone: nothing,
            local: false,
            preferred: true,
        }
    }

    /// May take new traffic: ready and not terminating.
    pub fn is_active(&self) -> bool {
        self.ready && !self.terminating
    }

    /// Last resort when no endpoint is active: terminating but still serving (KEP-1669).
    pub fn is_fallback(&self) -> bool {
        self.serving && self.terminating
    }
}
