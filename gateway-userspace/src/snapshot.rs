//! Pure: what the proxy serves from. Immutable, made by `control::compile`, read by `proxy`.
//!
//! One `Snapshot` is one generation of listeners, frontends and routes. Endpoints change far more
//! often than routes, so they hang in a slot of their `Cluster` and are swapped there: a change of
//! one Service's endpoints costs the size of that Service (see `store::EndpointSlot`).

pub mod circuit;
pub mod cluster;
pub mod filter;
pub mod frontend;
pub mod listener;
pub mod names;
pub mod router;
pub mod share;
pub mod store;
pub mod tier;

use std::sync::Arc;

use cluster::ClusterTable;
use frontend::FrontendTable;
use listener::Listener;

/// One generation of everything the data plane needs. Generations share what is the same in both.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// Counts up by one with each published snapshot; 0 is the empty one from before the first.
    pub generation: u64,
    /// Ports that Gateways open on this host.
    pub listeners: Vec<Arc<Listener>>,
    /// Service ports as pods dial them.
    pub frontends: FrontendTable,
    /// Every Service port that a route, frontend or kernel entry may send to.
    pub clusters: ClusterTable,
}

impl Snapshot {
    /// True when both share all that they serve from.
    pub fn is_same(&self, other: &Self) -> bool {
        let same_listeners = self.listeners.len() == other.listeners.len()
            && self.listeners.iter().zip(&other.listeners).all(|(a, b)| Arc::ptr_eq(a, b));
        same_listeners && self.frontends.is_same(&other.frontends) && self.clusters.is_same(&other.clusters)
    }
}
