//! Pure: from desired state to a snapshot and a report. Never fails: what is broken is reported,
//! and the rest serves.
//!
//! Services come first, then Gateways, then routes from the oldest to the youngest, which attach to
//! both; at last listeners and frontends are closed and every object gets its conditions.

mod annotation;
mod attach;
mod backend;
mod conditions;
mod endpoint_index;
mod endpoint_slice;
mod endpoints;
mod filter;
mod frontend;
mod gateway;
mod grpc_route;
mod hostname;
mod http_route;
mod interned;
mod listener_claims;
mod pattern;
mod place;
mod precedence;
mod protocol;
mod reference_grant;
mod rule;
mod value_match;

use std::sync::Arc;

pub use endpoint_index::EndpointIndex;
pub use interned::Interned;
pub use place::Place;

use super::config::resources::ResourceSet;
use super::report::StatusReport;
use crate::snapshot::Snapshot;
use crate::snapshot::cluster::{Cluster, ClusterTable, EndpointSet};
use crate::snapshot::frontend::FrontendTable;

/// Endpoints that are to be published into the slot of a cluster.
#[derive(Debug)]
pub struct NewEndpoints {
    /// Whose they are.
    pub cluster: Arc<Cluster>,
    /// All of them.
    pub endpoints: EndpointSet,
}

/// What a compile makes.
#[derive(Debug)]
pub struct Compiled {
    /// To be published. Its clusters keep the endpoint slots that they had.
    pub snapshot: Snapshot,
    /// What became of each object. Findings on endpoints are in `endpoints`, since those change
    /// far more often.
    pub report: StatusReport,
    /// Clusters that were there before and have other endpoints now: publish these first.
    pub changed: Vec<NewEndpoints>,
    /// Which slices belong to which Service, and findings on them.
    pub endpoints: EndpointIndex,
}

/// Compiles everything. `interned` carries numbers, clusters and slots from one compile to the next;
/// the snapshot's generation is 0, for the publisher to set.
pub fn compile(set: &ResourceSet, interned: &mut Interned) -> Compiled {
    let mut report = StatusReport::default();
    let mut findings = Vec::new();
    let mut endpoints = EndpointIndex::new(set, interned.place());
    let spoken = backend::spoken_protocols(set);
    let services = backend::Services::build(set, &spoken, interned, &mut endpoints, &mut findings);
    let (classes, mut gateways) = gateway::read(set, &mut findings);
    report.gateway_classes = classes;
    let mut frontends =
        frontend::Frontends::build(set, &services, &interned.place().locality(set), &mut findings);
    let mut parents = attach::Parents {
        set,
        services: &services,
        gateways: &mut gateways,
        frontends: &mut frontends,
        interned,
        patterns: pattern::Patterns::default(),
    };
    for route in attach::in_precedence(set) {
        let attached = attach::attach(&route, &mut parents);
        findings.extend(attached.findings);
        report.routes.extend(attached.status);
    }
    report.routes.sort_by(|a, b| (a.kind, &a.namespace, &a.name).cmp(&(b.kind, &b.namespace, &b.name)));
    let listeners = gateway::listeners(&mut gateways);
    report.gateways = gateway::statuses(&gateways, interned, &mut findings);
    let frontends: FrontendTable = frontends.close(&mut findings).into_iter().collect();
    let (clusters, changed) = services.into_clusters(interned);
    let clusters: ClusterTable = clusters.into_iter().collect();
    report.diagnostics = findings;
    Compiled {
        snapshot: Snapshot { generation: 0, listeners, frontends, clusters },
        report,
        changed,
        endpoints,
    }
}

#[cfg(test)]
mod tests;
