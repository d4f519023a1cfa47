//! Pure: what one compile hands to the next: numbers, clusters and what the machine refused.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustc_hash::FxBuildHasher;

use super::place::Place;
use crate::control::config::meta::ObjectKey;
use crate::control::config::resources::Kind;
use crate::limits::Limits;
use crate::snapshot::circuit::CircuitLimit;
use crate::snapshot::cluster::{
    BalancePolicy, Cluster, ClusterId, ClusterKey, ClusterTable, EndpointSet, UpstreamProtocol,
};
use crate::snapshot::names::Names;
use crate::snapshot::router::RuleId;
use crate::snapshot::store::EndpointSlot;

/// Kept whatever is compiled again.
#[derive(Debug)]
pub(super) struct Interned {
    names: Arc<Names>,
    cluster_ids: HashMap<ClusterKey, ClusterId, FxBuildHasher>,
    rule_ids: HashMap<RuleKey, (RuleId, Arc<str>), FxBuildHasher>,
    /// Those of the last compile, by key.
    clusters: ClusterTable,
    /// Addresses that could not be opened, and why: told by whoever tried.
    unusable: BTreeMap<SocketAddr, String>,
    place: Arc<Place>,
    pub(super) regex_bytes_max: usize,
    pub(super) route_regex_bytes_max: usize,
    pub(super) retry_attempts: u32,
    pub(super) retry_backoff: Duration,
    connect_timeout: Duration,
}

/// A rule by its route and its name or index.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct RuleKey {
    kind: Kind,
    route: ObjectKey,
    rule: Box<str>,
}

/// What of a cluster does not change with its endpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ClusterSettings {
    pub(super) protocol: UpstreamProtocol,
    pub(super) balance: BalancePolicy,
    pub(super) affinity: Option<Duration>,
    pub(super) requests_max: Option<u32>,
}

impl Interned {
    /// Nothing known yet. `names` gets the texts of all numbers given.
    pub(super) fn new(names: Arc<Names>, limits: &Limits) -> Self {
        Self {
            names,
            cluster_ids: HashMap::default(),
            rule_ids: HashMap::default(),
            clusters: ClusterTable::default(),
            unusable: BTreeMap::new(),
            place: Arc::default(),
            regex_bytes_max: limits.regex_bytes_max,
            route_regex_bytes_max: limits.route_regex_bytes_max,
            retry_attempts: limits.retry_attempts,
            retry_backoff: limits.retry_backoff,
            connect_timeout: limits.connect_timeout,
        }
    }

    /// The texts of the numbers given so far.
    pub(super) fn names(&self) -> &Arc<Names> {
        &self.names
    }

    /// Says where the gateway runs. Counts from the next compile on.
    pub(super) fn set_place(&mut self, place: Place) {
        self.place = Arc::new(place);
    }

    /// Where the gateway runs.
    pub(super) fn place(&self) -> &Arc<Place> {
        &self.place
    }

    /// Replaces the list of addresses that could not be opened. True when it differs.
    pub(super) fn set_unusable(&mut self, unusable: BTreeMap<SocketAddr, String>) -> bool {
        let differs = self.unusable != unusable;
        self.unusable = unusable;
        differs
    }

    /// Why an address could not be opened.
    pub(super) fn unusable(&self, address: &SocketAddr) -> Option<&str> {
        self.unusable.get(address).map(String::as_str)
    }

    /// The number and name of a rule.
    pub(super) fn rule(&mut self, kind: Kind, route: &ObjectKey, rule: &str) -> (RuleId, Arc<str>) {
        let key = RuleKey { kind, route: route.clone(), rule: rule.into() };
        let names = &self.names;
        let (id, name) = self.rule_ids.entry(key).or_insert_with(|| {
            let name: Arc<str> = format!("{route}/{rule}").into();
            (names.add_rule(Arc::clone(&name)), name)
        });
        (*id, Arc::clone(name))
    }

    /// The cluster of a Service port: the one of the last compile if nothing but endpoints changed,
    /// else a new one with the old number and slot. The set comes back when the slot holds another.
    pub(super) fn cluster(
        &mut self,
        key: ClusterKey,
        settings: ClusterSettings,
        set: EndpointSet,
    ) -> (Arc<Cluster>, Option<EndpointSet>) {
        let ClusterSettings { protocol, balance, affinity, requests_max } = settings;
        let new_circuit = || requests_max.map(|max| Arc::new(CircuitLimit::new(max)));
        let Some(old) = self.clusters.get(&key) else {
            let id = self.cluster_id(&key);
            let endpoints = Arc::new(EndpointSlot::new(set));
            let connect_timeout = self.connect_timeout;
            let circuit = new_circuit();
            let cluster =
                Cluster { key, id, protocol, balance, affinity, circuit, connect_timeout, endpoints };
            return (Arc::new(cluster), None);
        };
        let changed = (*old.endpoints.load() != set).then_some(set);
        let is_circuit_same = old.circuit.as_ref().map(|limit| limit.requests_max()) == requests_max;
        if (old.protocol, old.balance, old.affinity, is_circuit_same) == (protocol, balance, affinity, true) {
            return (Arc::clone(old), changed);
        }
        // What is in flight counts for the limit that it came under.
        let circuit = if is_circuit_same { old.circuit.clone() } else { new_circuit() };
        let cluster = Cluster {
            key,
            id: old.id,
            protocol,
            balance,
            affinity,
            circuit,
            connect_timeout: self.connect_timeout,
            endpoints: Arc::clone(&old.endpoints),
        };
        (Arc::new(cluster), changed)
    }

    fn cluster_id(&mut self, key: &ClusterKey) -> ClusterId {
        if let Some(id) = self.cluster_ids.get(key) {
            return *id;
        }
        let id = self.names.add_cluster(key.to_string().into());
        self.cluster_ids.insert(key.clone(), id);
        id
    }

    /// Remembers the clusters of this compile for the next one.
    pub(super) fn keep(&mut self, clusters: &ClusterTable) {
        self.clusters = clusters.clone();
    }
}
