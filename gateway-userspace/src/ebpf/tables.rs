//! Pure: what the kernel shall know about Services, made from a snapshot.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use crate::snapshot::Snapshot;
use crate::snapshot::cluster::{Cluster, ClusterId, EndpointSet};
use crate::snapshot::frontend::{FailPolicy, Frontend, Mode};

/// Every Service address that the kernel shall know.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KernelTables {
    /// By Service address and port. IPv4 never in its mapped form.
    pub entries: BTreeMap<SocketAddr, KernelEntry>,
}

/// One Service address and port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelEntry {
    /// The Service port.
    pub id: ClusterId,
    /// What a connect does.
    pub mode: Mode,
    /// What it does while the proxy is gone.
    pub fail_policy: FailPolicy,
    /// Endpoints of the address's own family, sorted.
    pub endpoints: Vec<SocketAddr>,
}

/// The endpoints of one Service port at one moment, both families.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelService {
    /// The Service port.
    pub id: ClusterId,
    /// Endpoints that may take new traffic, sorted.
    pub endpoints: Vec<SocketAddr>,
}

impl KernelTables {
    /// What a snapshot asks of the kernel.
    pub fn from_snapshot(snapshot: &Snapshot) -> Self {
        Self { entries: snapshot.frontends.iter().flat_map(|frontend| entries(frontend)).collect() }
    }
}

impl KernelService {
    /// The endpoints of a cluster, as they are now.
    pub fn from_cluster(cluster: &Cluster) -> Self {
        Self { id: cluster.id, endpoints: usable(&cluster.endpoints.load()) }
    }
}

/// The endpoints that a Service address of `family`'s family may be sent to.
pub fn of_family(endpoints: &[SocketAddr], family: SocketAddr) -> Vec<SocketAddr> {
    endpoints.iter().copied().filter(|endpoint| endpoint.is_ipv4() == family.is_ipv4()).collect()
}

fn entries(frontend: &Frontend) -> impl Iterator<Item = (SocketAddr, KernelEntry)> + '_ {
    let endpoints = usable(&frontend.cluster.endpoints.load());
    frontend.addresses.iter().map(move |ip| {
        let address = SocketAddr::new(ip.to_canonical(), frontend.key.port);
        let entry = KernelEntry {
            id: frontend.cluster.id,
            mode: frontend.mode,
            fail_policy: frontend.fail_policy,
            endpoints: of_family(&endpoints, address),
        };
        (address, entry)
    })
}

/// Endpoints that may take new traffic; where there is none, those that still serve while they end
/// (KEP-1669). An endpoint of weight 0 takes none. The kernel picks evenly: weights are the proxy's.
fn usable(set: &EndpointSet) -> Vec<SocketAddr> {
    let pick = |wanted: fn(&crate::snapshot::cluster::Endpoint) -> bool| -> Vec<SocketAddr> {
        let weighted = set.endpoints.iter().filter(|endpoint| endpoint.weight > 0 && wanted(endpoint));
        let mut addresses: Vec<SocketAddr> = weighted.map(|endpoint| canonical(endpoint.address)).collect();
        addresses.sort_unstable();
        addresses.dedup();
        addresses
    };
    let active = pick(|endpoint| endpoint.is_active());
    if active.is_empty() { pick(|endpoint| endpoint.is_fallback()) } else { active }
}

fn canonical(address: SocketAddr) -> SocketAddr {
    let ip: IpAddr = address.ip().to_canonical();
    SocketAddr::new(ip, address.port())
}

#[cfg(test)]
mod tests;
