//! Pure: from desired state to a snapshot and a report. Never fails: what is broken is reported,
//! and the rest serves.
//!
//! A `Compiler` keeps what it made and looks again only at what a change can touch. Each step reads what
//! the steps before it made: Gateways, what routes send to each Service, Services as destinations, routes,
//! Services as pods dial them, statuses. `Dirty` says what a unit reads. The first compile is a change of
//! everything.

mod address_claims;
mod annotation;
mod attach;
mod backend;
mod conditions;
mod difference;
mod endpoint_index;
mod endpoint_slice;
mod endpoints;
mod filter;
mod frontend;
mod gateway;
mod gateway_table;
mod grpc_route;
mod host_claims;
mod hostname;
mod http_route;
mod interned;
mod listener_claims;
mod pattern;
mod place;
mod precedence;
mod protocol;
mod reference_grant;
mod route_table;
mod rule;
mod service_routes;
mod spoken;
mod target_port;
mod value_match;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

pub use place::Place;

use self::address_claims::AddressClaims;
use self::backend::Services;
use self::difference::Differences;
use self::endpoint_index::EndpointIndex;
use self::frontend::Dialling;
use self::gateway_table::GatewayTable;
use self::interned::Interned;
use self::pattern::Patterns;
use self::route_table::{Batch, RouteTable, Surroundings, Target};
use self::service_routes::ServiceRoutes;
use self::spoken::SpokenTable;
use super::config::meta::ObjectKey;
use super::config::resources::{ObjectId, ResourceSet};
use super::finding::Finder;
use super::provider::Desired;
use super::report::StatusReport;
use crate::limits::Limits;
use crate::snapshot::Snapshot;
use crate::snapshot::cluster::{Cluster, EndpointSet};
use crate::snapshot::frontend::FrontendTable;
use crate::snapshot::names::Names;

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
    /// To be published. Its clusters keep the endpoint slots that they had. `None` where the last one
    /// serves on. The generation is 0, for the publisher to set.
    pub snapshot: Option<Snapshot>,
    /// What became of each object, and all that was found.
    pub report: StatusReport,
    /// Clusters that were there before and have other endpoints now: publish these first.
    pub changed: Vec<NewEndpoints>,
    /// What was looked at.
    pub work: Work,
}

/// How many objects a compile had to look at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Work {
    /// Services as destinations, with their endpoints.
    pub services: usize,
    /// Routes.
    pub routes: usize,
    /// Services as pods dial them.
    pub frontends: usize,
    /// True when something changed that everything reads.
    pub everything: bool,
}

/// Compiles one desired state after the other.
#[derive(Debug)]
pub struct Compiler {
    interned: Interned,
    patterns: Patterns,
    set: ResourceSet,
    endpoints: EndpointIndex,
    spoken: SpokenTable,
    services: Services,
    addresses: AddressClaims,
    gateways: GatewayTable,
    routes: RouteTable,
    service_routes: ServiceRoutes,
    frontends: FrontendTable,
    served: Snapshot,
    report: StatusReport,
}

/// What has to be looked at again; true where more may differ than where it is written.
///
/// - A Service as a destination reads its object, its EndpointSlices and what routes send to it.
/// - A route reads its object, the Namespace it is in, the Services that it names, their clusters, and
///   whether an older route of the other kind has its hostnames at a listener.
/// - A Service as pods dial it reads its object, its clusters, its routes, and who else has its addresses.
/// - All of them read Gateways, GatewayClasses, ReferenceGrants and Nodes, which seldom change: then
///   everything is looked at.
#[derive(Debug, Default)]
struct Dirty {
    services: BTreeMap<ObjectKey, bool>,
    routes: BTreeMap<ObjectId, bool>,
    frontends: BTreeMap<ObjectKey, bool>,
}

/// Adds one to what is to be looked at.
fn mark<K: Ord>(dirty: &mut BTreeMap<K, bool>, key: K, more: bool) {
    *dirty.entry(key).or_default() |= more;
}

impl Compiler {
    /// Knows nothing yet. `names` gets the texts of all numbers given.
    pub fn new(names: Arc<Names>, limits: &Limits) -> Self {
        Self {
            interned: Interned::new(names, limits),
            patterns: Patterns::default(),
            set: ResourceSet::default(),
            endpoints: EndpointIndex::default(),
            spoken: SpokenTable::default(),
            services: Services::default(),
            addresses: AddressClaims::default(),
            gateways: GatewayTable::default(),
            routes: RouteTable::default(),
            service_routes: ServiceRoutes::default(),
            frontends: FrontendTable::default(),
            served: Snapshot::default(),
            report: StatusReport::default(),
        }
    }

    /// Says where the gateway runs. Everything reads it, so the next compile looks at everything.
    pub fn set_place(&mut self, place: Place) {
        self.interned.set_place(place);
        self.forget();
    }

    /// The texts of the numbers given so far.
    pub fn names(&self) -> &Arc<Names> {
        self.interned.names()
    }

    /// Compiles what differs from the last state that was compiled.
    pub fn compile(&mut self, desired: &Desired) -> Compiled {
        let set = &desired.set;
        let mut differences = Differences::between(&self.set, set);
        let serves_other = differences.serve_other();
        let everything = differences.concern_everything();
        if everything {
            self.forget();
            differences = Differences::between(&self.set, set);
            let (classes, findings) = self.gateways.read(set, self.interned.place());
            self.report.gateway_classes = classes;
            self.report.diagnostics.set(Finder::Gateways, &findings);
        }
        let old = std::mem::replace(&mut self.set, set.clone());
        let mut dirty = self.dirty(&old, differences);
        let services = dirty.services.len();
        let changed = self.compile_services(&old, &mut dirty);
        self.find_conflicts(&mut dirty);
        let routes = dirty.routes.len();
        let batches = self.compile_routes(&dirty.routes);
        self.change_routers(batches, &mut dirty);
        self.addresses.follow(&old, &self.set, &mut dirty.frontends);
        let frontends = dirty.frontends.len();
        self.compile_frontends(&old, &dirty.frontends);
        self.tell_statuses();
        self.report.diagnostics.set(Finder::Provider, &desired.findings);
        Compiled {
            snapshot: self.snapshot().filter(|_| serves_other),
            report: self.report.clone(),
            changed,
            work: Work { services, routes, frontends, everything },
        }
    }

    /// Replaces the list of addresses that could not be opened, and why. The report, where it differs.
    pub fn set_unusable(&mut self, unusable: BTreeMap<SocketAddr, String>) -> Option<StatusReport> {
        self.interned.set_unusable(unusable).then(|| {
            self.gateways.touch();
            self.tell_statuses();
            self.report.clone()
        })
    }

    /// Forgets all that was compiled, but not numbers, clusters and their slots.
    fn forget(&mut self) {
        self.set = ResourceSet::default();
        self.endpoints = EndpointIndex::new(self.interned.place());
        self.spoken = SpokenTable::default();
        self.services = Services::default();
        self.addresses = AddressClaims::default();
        self.gateways = GatewayTable::default();
        self.routes = RouteTable::default();
        self.service_routes = ServiceRoutes::default();
        self.frontends = FrontendTable::default();
        self.report = StatusReport::default();
    }

    fn dirty(&mut self, old: &ResourceSet, differences: Differences) -> Dirty {
        let mut dirty = Dirty::default();
        for service in self.endpoints.follow(old, &self.set, &differences.slices) {
            mark(&mut dirty.services, service, false);
        }
        for service in self.spoken.follow(old, &self.set, &differences.routes) {
            mark(&mut dirty.services, service, false);
        }
        for (service, object) in differences.services {
            mark(&mut dirty.frontends, service.clone(), object);
            if object {
                self.routes.users(&service).for_each(|route| mark(&mut dirty.routes, route.clone(), true));
            }
            mark(&mut dirty.services, service, object);
        }
        for route in differences.namespaces.iter().flat_map(|namespace| self.routes.of_namespace(namespace)) {
            mark(&mut dirty.routes, route.clone(), true);
        }
        differences.routes.into_iter().for_each(|(route, object)| mark(&mut dirty.routes, route, object));
        dirty
    }

    fn compile_services(&mut self, old: &ResourceSet, dirty: &mut Dirty) -> Vec<NewEndpoints> {
        let mut changed = Vec::new();
        for key in dirty.services.keys() {
            let (sets, found) = self.endpoints.refresh(&self.set, key);
            self.report.diagnostics.set(Finder::Endpoints(key.clone()), &found);
            let spoken = |cluster: &_| self.spoken.get(cluster);
            let entry = self.set.services.get(key);
            let status = entry.and_then(|entry| endpoints::status(key, entry, &found));
            self.report.services.set(key, status);
            let compiled = backend::compile(key, entry, sets, spoken, &mut self.interned);
            self.report.diagnostics.set(Finder::Service(key.clone()), &compiled.findings);
            changed.extend(compiled.changed);
            if self.services.replace(key, old.services.get(key), compiled.clusters) {
                mark(&mut dirty.frontends, key.clone(), true);
                self.routes.users(key).for_each(|route| mark(&mut dirty.routes, route.clone(), true));
            }
        }
        self.interned.keep(self.services.clusters());
        changed
    }

    /// Brings the hostnames that routes want of listeners up to date: other routes may lose or get theirs.
    fn find_conflicts(&mut self, dirty: &mut Dirty) {
        let mut listeners = BTreeSet::new();
        for (id, _) in dirty.routes.iter().filter(|(_, more)| **more) {
            listeners.extend(self.routes.claim(id, &self.set, &mut self.gateways));
        }
        for route in listeners.into_iter().flat_map(|listener| self.gateways.settle(listener)) {
            mark(&mut dirty.routes, route, true);
        }
    }

    fn compile_routes(&mut self, dirty: &BTreeMap<ObjectId, bool>) -> BTreeMap<Target, Batch> {
        self.patterns.bound();
        let mut surroundings = Surroundings {
            set: &self.set,
            services: &self.services,
            gateways: &self.gateways,
            interned: &mut self.interned,
            patterns: &mut self.patterns,
        };
        let mut batches = BTreeMap::new();
        for (id, more) in dirty {
            let outcome = self.routes.compile(id, *more, &mut surroundings, &mut batches);
            self.report.routes.set(id, outcome.status);
            self.report.diagnostics.set(Finder::Route(id.clone()), &outcome.findings);
        }
        batches
    }

    fn change_routers(&mut self, batches: BTreeMap<Target, Batch>, dirty: &mut Dirty) {
        for (target, batch) in batches {
            match target {
                Target::Listener(listener) => self.gateways.change(listener, &batch),
                Target::Port(port) => {
                    let service = ObjectKey { namespace: port.namespace.clone(), name: port.service.clone() };
                    mark(&mut dirty.frontends, service, true);
                    self.service_routes.change(port, &batch);
                }
            }
        }
    }

    fn compile_frontends(&mut self, old: &ResourceSet, dirty: &BTreeMap<ObjectKey, bool>) {
        // All go before any comes: an address may pass from one Service to another.
        for (key, _) in dirty.iter().filter(|(_, more)| **more) {
            let ports = old.services.get(key).into_iter().flat_map(|entry| backend::keys(key, &entry.object));
            ports.for_each(|port| self.frontends.remove(&port));
        }
        let dialling = Dialling {
            services: &self.services,
            addresses: &self.addresses,
            routes: &self.service_routes,
            locality: &self.interned.place().locality(&self.set),
        };
        for (key, more) in dirty {
            let compiled =
                self.set.services.get(key).map(|entry| frontend::of_service(key, entry, &dialling));
            let (frontends, findings) = compiled.unwrap_or_default();
            self.report.diagnostics.set(Finder::Frontend(key.clone()), &findings);
            if *more {
                frontends.into_iter().for_each(|frontend| self.frontends.insert(Arc::new(frontend)));
            }
        }
    }

    fn tell_statuses(&mut self) {
        if let Some((statuses, findings)) = self.gateways.statuses(&self.interned) {
            self.report.gateways = statuses;
            self.report.diagnostics.set(Finder::Statuses, &findings);
        }
    }

    /// What is to be served now; `None` while that is what was served before.
    fn snapshot(&mut self) -> Option<Snapshot> {
        let snapshot = Snapshot {
            generation: 0,
            listeners: self.gateways.listeners(),
            frontends: self.frontends.clone(),
            clusters: self.services.clusters().clone(),
        };
        let is_same = self.served.is_same(&snapshot);
        self.served = snapshot.clone();
        (!is_same).then_some(snapshot)
    }
}

#[cfg(test)]
mod tests;
