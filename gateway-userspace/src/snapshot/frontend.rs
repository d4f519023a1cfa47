//! Pure: a Service port as pods dial it.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use rustc_hash::FxBuildHasher;

use super::cluster::{Cluster, ClusterKey};
use super::router::Router;

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

/// Frontends by the address that pods dial.
#[derive(Debug, Default)]
pub struct FrontendTable {
    by_address: HashMap<SocketAddr, Arc<Frontend>, FxBuildHasher>,
    all: Vec<Arc<Frontend>>,
}

impl FrontendTable {
    /// The frontend behind an original destination.
    pub fn get(&self, address: &SocketAddr) -> Option<&Arc<Frontend>> {
        self.by_address.get(address)
    }

    /// Each frontend once.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Frontend>> {
        self.all.iter()
    }

    /// How many Service ports there are.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// True when there is none.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }
}

impl FromIterator<Arc<Frontend>> for FrontendTable {
    fn from_iter<T: IntoIterator<Item = Arc<Frontend>>>(frontends: T) -> Self {
        let all: Vec<Arc<Frontend>> = frontends.into_iter().collect();
        let by_address = all
            .iter()
            .flat_map(|f| f.addresses.iter().map(|ip| (SocketAddr::new(*ip, f.key.port), Arc::clone(f))))
            .collect();
        Self { by_address, all }
    }
}
