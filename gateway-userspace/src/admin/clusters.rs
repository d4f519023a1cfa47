//! Every Service port with its endpoints and their live state.

use serde::Serialize;

use super::AdminState;
use super::server::Answer;
use crate::explain::endpoint::EndpointView;
use crate::snapshot::tier::Caller;

/// One Service port.
#[derive(Debug, Serialize)]
pub(super) struct ClusterView {
    /// `namespace/service:port`.
    cluster: String,
    protocol: &'static str,
    balance: &'static str,
    endpoints: Vec<EndpointView>,
}

pub(super) fn clusters(state: &dyn AdminState) -> Answer {
    Answer::json(&views(state))
}

/// By name.
pub(super) fn views(state: &dyn AdminState) -> Vec<ClusterView> {
    let snapshot = state.snapshot();
    let view = |cluster: &crate::snapshot::cluster::Cluster| ClusterView {
        cluster: cluster.key.to_string(),
        protocol: cluster.protocol.as_str(),
        balance: cluster.balance.as_str(),
        endpoints: EndpointView::all(cluster, Caller::ANY_POD, state.endpoint_states()),
    };
    snapshot.clusters.iter().map(|cluster| view(cluster)).collect()
}
