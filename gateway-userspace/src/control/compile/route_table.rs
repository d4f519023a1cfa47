//! Pure: routes as they were compiled: where each is attached, and what it reads.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::attach::{self, Attached, Route};
use super::backend::Services;
use super::gateway_table::{GatewayTable, ListenerId};
use super::interned::Interned;
use super::pattern::Patterns;
use super::spoken::{backend_refs, namespace_of};
use crate::control::config::meta::ObjectKey;
use crate::control::config::resources::{ObjectId, ResourceSet};
use crate::control::diagnostic::Diagnostic;
use crate::control::report::RouteStatus;
use crate::snapshot::cluster::ClusterKey;
use crate::snapshot::router::{RankedEntry, RouteAge};

/// All routes, and who names which Service.
#[derive(Debug, Default)]
pub(super) struct RouteTable {
    routes: BTreeMap<ObjectId, RouteUnit>,
    users: BTreeMap<ObjectKey, BTreeSet<ObjectId>>,
}

/// One route.
#[derive(Debug, Default)]
struct RouteUnit {
    /// None before it was compiled, and when it is gone.
    age: Option<Arc<RouteAge>>,
    attachments: Vec<Attachment>,
    /// Services that it names.
    services: Vec<ObjectKey>,
    /// Listeners of which it wants hostnames.
    listeners: Vec<ListenerId>,
}

/// A route at one of its parents.
#[derive(Debug)]
pub(super) struct Attachment {
    pub(super) to: Target,
    /// Its matches, by each of its hostnames there.
    pub(super) entries: Vec<Arc<RankedEntry>>,
    /// True when it counts among the attached routes.
    pub(super) accepted: bool,
}

/// What a route attaches to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Target {
    Listener(ListenerId),
    Port(ClusterKey),
}

/// What comes to a target and what goes.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) removed: Vec<Arc<RankedEntry>>,
    pub(super) added: Vec<Arc<RankedEntry>>,
    pub(super) attached: usize,
    pub(super) detached: usize,
    /// Of those attached, accepted ones.
    pub(super) accepted: u32,
    /// Of those detached.
    pub(super) accepted_before: u32,
}

/// What compiling a route reads.
pub(super) struct Surroundings<'a> {
    pub(super) set: &'a ResourceSet,
    pub(super) services: &'a Services,
    pub(super) gateways: &'a GatewayTable,
    pub(super) interned: &'a mut Interned,
    pub(super) patterns: &'a mut Patterns,
}

/// What is said of a route.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) status: Option<RouteStatus>,
    pub(super) findings: Vec<Diagnostic>,
}

impl RouteTable {
    /// Routes that name a Service.
    pub(super) fn users(&self, service: &ObjectKey) -> impl Iterator<Item = &ObjectId> {
        self.users.get(service).into_iter().flatten()
    }

    /// Routes of a namespace.
    pub(super) fn of_namespace(&self, namespace: &ObjectKey) -> impl Iterator<Item = &ObjectId> {
        self.routes.keys().filter(move |route| route.key.namespace == namespace.name)
    }

    /// Brings what a route wants of listeners up to date; gives the listeners of which it wants something
    /// else than before.
    pub(super) fn claim(
        &mut self,
        id: &ObjectId,
        set: &ResourceSet,
        gateways: &mut GatewayTable,
    ) -> BTreeSet<ListenerId> {
        let unit = self.routes.entry(id.clone()).or_default();
        let route = attach::route(set, id);
        let age = route.as_ref().map(Route::age);
        let mut wanted: BTreeMap<ListenerId, Vec<Option<String>>> = BTreeMap::new();
        for (listener, hosts) in route.iter().flat_map(|route| attach::wanted(route, set, gateways)) {
            wanted.entry(listener).or_default().extend(hosts);
        }
        let mut touched = BTreeSet::new();
        if let Some(old) = &unit.age {
            let is_gone = |l: &&ListenerId| unit.age != age || !wanted.contains_key(l);
            for listener in unit.listeners.iter().filter(is_gone) {
                gateways.claim(*listener, old, Vec::new());
                touched.insert(*listener);
            }
        }
        unit.listeners = wanted.keys().copied().collect();
        if let Some(age) = &age {
            let claims = wanted.into_iter();
            touched.extend(claims.filter_map(|(l, hosts)| gateways.claim(l, age, hosts).then_some(l)));
        }
        unit.age = age;
        touched
    }

    /// Compiles a route. Where nothing but its place differs, what is attached stays.
    pub(super) fn compile(
        &mut self,
        id: &ObjectId,
        more: bool,
        surroundings: &mut Surroundings<'_>,
        batches: &mut BTreeMap<Target, Batch>,
    ) -> Outcome {
        let attached = attach::route(surroundings.set, id).map(|route| attach::attach(&route, surroundings));
        let Attached { status, findings, attachments } = attached.unwrap_or_default();
        if more {
            let services = services_named(surroundings.set, id);
            self.replace(id, attachments, services, batches);
        }
        Outcome { status, findings }
    }

    fn replace(
        &mut self,
        id: &ObjectId,
        attachments: Vec<Attachment>,
        services: Vec<ObjectKey>,
        batches: &mut BTreeMap<Target, Batch>,
    ) {
        let unit = self.routes.entry(id.clone()).or_default();
        for gone in unit.attachments.drain(..) {
            let batch = batches.entry(gone.to).or_default();
            batch.detached += 1;
            batch.accepted_before += u32::from(gone.accepted);
            batch.removed.extend(gone.entries);
        }
        for new in &attachments {
            let batch = batches.entry(new.to.clone()).or_default();
            batch.attached += 1;
            batch.accepted += u32::from(new.accepted);
            batch.added.extend(new.entries.iter().cloned());
        }
        unit.attachments = attachments;
        for service in std::mem::take(&mut unit.services) {
            if let Some(users) = self.users.get_mut(&service) {
                users.remove(id);
                if users.is_empty() {
                    self.users.remove(&service);
                }
            }
        }
        for service in &services {
            self.users.entry(service.clone()).or_default().insert(id.clone());
        }
        unit.services = services;
        if unit.age.is_none() {
            self.routes.remove(id);
        }
    }
}

/// Services that a route names, as backends and as parents.
fn services_named(set: &ResourceSet, id: &ObjectId) -> Vec<ObjectKey> {
    let own = &id.key.namespace;
    let key = |namespace: Option<&str>, name: &str| ObjectKey::new(namespace_of(namespace, own), name);
    let backends = backend_refs(set, id).into_iter().map(|b| key(b.namespace.as_deref(), &b.name));
    let parents = attach::route(set, id).map(|route| route.parent_refs()).unwrap_or_default();
    let mut services: Vec<ObjectKey> =
        backends.chain(parents.iter().map(|p| key(p.namespace.as_deref(), &p.name))).collect();
    services.sort();
    services.dedup();
    services
}
