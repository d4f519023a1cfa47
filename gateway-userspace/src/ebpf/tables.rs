//! Pure: what the kernel shall know about Services, made from a snapshot.

use std::collections::{BTreeMap, BTreeSet};
use std::iter::repeat;
use std::net::{IpAddr, SocketAddr};

use crate::snapshot::Snapshot;
use crate::snapshot::cluster::{Cluster, ClusterId, EndpointSet};
use crate::snapshot::frontend::{FailPolicy, Frontend, FrontendChange, Mode};
use crate::snapshot::share::shares;
use crate::snapshot::tier::Family;

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
    /// Endpoints of the address's own family, sorted; one of more weight more than once.
    pub endpoints: Vec<SocketAddr>,
}

/// The endpoints of one Service port at one moment, both families.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelService {
    /// The Service port.
    pub id: ClusterId,
    /// Endpoints that may take new traffic, sorted; one of more weight more than once.
    pub endpoints: Vec<SocketAddr>,
}

impl KernelTables {
    /// What a snapshot asks of the kernel.
    pub fn from_snapshot(snapshot: &Snapshot) -> Self {
        Self { entries: snapshot.frontends.iter().flat_map(|frontend| entries(frontend)).collect() }
    }
}

/// What of the tables differs between two snapshots.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KernelTablesChange {
    /// Added, or perhaps changed.
    pub tables: KernelTables,
    /// No longer there.
    pub gone: BTreeSet<SocketAddr>,
}

impl KernelTablesChange {
    /// Costs the size of what differs.
    pub fn between(old: &Snapshot, new: &Snapshot) -> Self {
        let mut change = Self::default();
        for FrontendChange { old, new } in new.frontends.changes_since(&old.frontends) {
            let port =
                |frontend: &Frontend, ip: &IpAddr| SocketAddr::new(ip.to_canonical(), frontend.key.port);
            let before = old.into_iter().flat_map(|frontend| frontend.addresses.iter().zip(repeat(frontend)));
            change.gone.extend(before.map(|(ip, frontend)| port(frontend, ip)));
            change.tables.entries.extend(new.into_iter().flat_map(|frontend| entries(frontend)));
        }
        // An address may pass from one Service to another, or be written in two ways.
        change.gone.retain(|address| {
            let others = forms(*address).filter_map(|form| new.frontends.get(&form));
            let other = others.flat_map(|frontend| entries(frontend)).find(|(of, _)| of == address);
            let is_gone = !change.tables.entries.contains_key(address) && other.is_none();
            if let Some((address, entry)) = other {
                change.tables.entries.entry(address).or_insert(entry);
            }
            is_gone
        });
        change
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

/// Places of an endpoint list with unequal weights: shares are exact to one part in this many.
const PLACES_MAX: u64 = 128;

/// Endpoints for pods that dialled each family: the first tier of it. The kernel picks any place with
/// the same chance, so an endpoint has as many places as its weight says.
fn usable(set: &EndpointSet) -> Vec<SocketAddr> {
    let mut places = Vec::new();
    for family in Family::ALL {
        let tier = set.of_family(family);
        let weights: Vec<u32> = tier.iter().map(|index| set.endpoints[*index].weight).collect();
        for (index, share) in tier.into_iter().zip(shares(&weights, PLACES_MAX)) {
            let address = canonical(set.endpoints[index].address);
            places.extend((0..share).map(|_| address));
        }
    }
    places.sort_unstable();
    places
}

/// The ways to write an address.
fn forms(address: SocketAddr) -> impl Iterator<Item = SocketAddr> {
    let mapped = match address.ip() {
        IpAddr::V4(ip) => Some(SocketAddr::new(ip.to_ipv6_mapped().into(), address.port())),
        IpAddr::V6(_) => None,
    };
    std::iter::once(address).chain(mapped)
}

fn canonical(address: SocketAddr) -> SocketAddr {
    let ip: IpAddr = address.ip().to_canonical();
    SocketAddr::new(ip, address.port())
}

#[cfg(test)]
mod tests;
