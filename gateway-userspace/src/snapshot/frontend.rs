//! Pure: a Service port as pods dial it.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::cluster::{Cluster, ClusterKey};
use super::router::Router;
use crate::persistent::{HashedMap, OrderedMap};

/// What a Service port's clients speak (`appProtocol`, then the port's name).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PortProtocol {
    /// HTTP/1.1 or HTTP/2 with prior knowledge; told apart by the preface. The client speaks first.
    Http,
    /// HTTP/2 with prior knowledge only (gRPC).
    Http2,
    /// Bytes, unread: nothing waits for a client's first byte.
    Opaque,
}

impl PortProtocol {
    /// Lower-case word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Http2 => "http2",
            Self::Opaque => "opaque",
        }
    }
}

/// What the kernel does with a connect to this Service port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// To the proxy.
    L7,
    /// The kernel picks an endpoint; nothing of ours is on the path after that.
    L4,
    /// Untouched.
    Pass,
}

impl Mode {
    /// The word of the annotation `weir.dev/mode`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::L7 => "l7",
            Self::L4 => "l4",
            Self::Pass => "pass",
        }
    }
}

/// What the kernel does while the proxy is dead or hung.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FailPolicy {
    /// The `l4` way where endpoints are known, else untouched.
    #[default]
    Open,
    /// ECONNREFUSED at once.
    Closed,
}

impl FailPolicy {
    /// The word of the annotation `weir.dev/fail-policy`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Closed => "closed",
        }
    }
}

/// A Service port as pods dial it.
#[derive(Debug)]
pub struct Frontend {
    /// Which Service port this is.
    pub key: ClusterKey,
    /// Cluster IPs, both families.
    pub addresses: Vec<IpAddr>,
    /// What its clients speak.
    pub protocol: PortProtocol,
    /// What the kernel does with it (annotation `weir.dev/mode: l7|l4|pass` on the Service; `l7`
    /// where the port speaks HTTP or has routes).
    pub mode: Mode,
    /// What the kernel does without us (annotation `weir.dev/fail-policy: open|closed`).
    pub fail_policy: FailPolicy,
    /// Routes whose parent is this Service; without any, everything goes to `cluster`.
    pub routes: Option<Router>,
    /// The Service itself as a destination.
    pub cluster: Arc<Cluster>,
}

/// Frontends by the address that pods dial. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct FrontendTable {
    by_address: HashedMap<SocketAddr, Arc<Frontend>>,
    by_key: OrderedMap<ClusterKey, Arc<Frontend>>,
}

/// A Service port that has another frontend than before, or one in one of two tables alone.
#[derive(Debug, Clone, Copy)]
pub struct FrontendChange<'t> {
    /// What it was.
    pub old: Option<&'t Arc<Frontend>>,
    /// What it is.
    pub new: Option<&'t Arc<Frontend>>,
}

impl FrontendTable {
    /// The frontend behind an original destination.
    pub fn get(&self, address: &SocketAddr) -> Option<&Arc<Frontend>> {
        self.by_address.get(address)
    }

    /// Each frontend once, by its key.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Frontend>> {
        self.by_key.values()
    }

    /// True when this is the other one, or an unchanged copy.
    pub fn is_same(&self, other: &Self) -> bool {
        self.by_key.is_same(&other.by_key)
    }

    /// How many Service ports there are.
    pub fn len(&self) -> usize {
        self.by_key.len()
    }

    /// True when there is none.
    pub fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }

    /// Adds the frontend of a port that has none, at addresses that no other has.
    pub fn insert(&mut self, frontend: Arc<Frontend>) {
        for address in addresses(&frontend) {
            self.by_address.insert(address, Arc::clone(&frontend));
        }
        self.by_key.insert(frontend.key.clone(), frontend);
    }

    /// Takes the frontend of a port out.
    pub fn remove(&mut self, key: &ClusterKey) {
        let Some(frontend) = self.by_key.remove(key) else { return };
        for address in addresses(&frontend) {
            self.by_address.remove(&address);
        }
    }

    /// What differs from an older table. Costs what the two do not share.
    pub fn changes_since<'t>(&'t self, old: &'t Self) -> impl Iterator<Item = FrontendChange<'t>> {
        let changes = self.by_key.changes_since(&old.by_key, Arc::ptr_eq);
        changes.into_iter().map(|(_, old, new)| FrontendChange { old, new })
    }
}

fn addresses(frontend: &Frontend) -> impl Iterator<Item = SocketAddr> {
    frontend.addresses.iter().map(|ip| SocketAddr::new(*ip, frontend.key.port))
}

impl FromIterator<Arc<Frontend>> for FrontendTable {
    fn from_iter<T: IntoIterator<Item = Arc<Frontend>>>(frontends: T) -> Self {
        let mut table = Self::default();
        frontends.into_iter().for_each(|frontend| table.insert(frontend));
        table
    }
}
