//! Pure: Gateways of ours with what is attached to their listeners, and the ports that they open.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use super::gateway::{self, GatewayState, ListenerState};
use super::interned::Interned;
use super::place::Place;
use super::route_table::Batch;
use crate::control::config::meta::ObjectKey;
use crate::control::config::resources::{Kind, ObjectId, ResourceSet};
use crate::control::diagnostic::Diagnostic;
use crate::control::report::{ClassStatus, GatewayStatus};
use crate::snapshot::listener::{Listener, ListenerKind};
use crate::snapshot::router::RouteAge;

/// One listener of a Gateway, until Gateways are read again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ListenerId {
    gateway: usize,
    listener: usize,
}

/// From the oldest Gateway to the youngest.
#[derive(Debug, Default)]
pub(super) struct GatewayTable {
    states: Vec<GatewayState>,
    by_key: BTreeMap<ObjectKey, usize>,
    open: BTreeMap<SocketAddr, Arc<Listener>>,
    /// True when statuses may differ from those told last.
    touched: bool,
}

impl GatewayTable {
    /// Reads all Gateways, without routes; gives the statuses of classes, and findings.
    pub(super) fn read(&mut self, set: &ResourceSet, place: &Place) -> (Vec<ClassStatus>, Vec<Diagnostic>) {
        let mut findings = Vec::new();
        let (classes, states) = gateway::read(set, place, &mut findings);
        self.by_key = states.iter().enumerate().map(|(index, g)| (g.key.clone(), index)).collect();
        self.open = gateway::open(&states);
        self.states = states;
        self.touched = true;
        (classes, findings)
    }

    /// A Gateway of ours, and its listeners.
    pub(super) fn get(
        &self,
        key: &ObjectKey,
    ) -> Option<(&GatewayState, impl Iterator<Item = (ListenerId, &ListenerState)>)> {
        let gateway = *self.by_key.get(key)?;
        let state = self.states.get(gateway)?;
        let id = move |listener| ListenerId { gateway, listener };
        Some((state, state.listeners.iter().enumerate().map(move |(n, listener)| (id(n), listener))))
    }

    /// Replaces the hostnames that a route wants of a listener. True when they differ.
    pub(super) fn claim(
        &mut self,
        id: ListenerId,
        route: &Arc<RouteAge>,
        hosts: Vec<Option<String>>,
    ) -> bool {
        self.listener(id).is_some_and(|listener| listener.claims.set(route, hosts))
    }

    /// Decides anew who has which hostnames of a listener; gives the routes that it is another way for.
    pub(super) fn settle(&mut self, id: ListenerId) -> Vec<ObjectId> {
        let changed = self.listener(id).map(|listener| listener.claims.settle()).unwrap_or_default();
        let id = |age: Arc<RouteAge>| ObjectId {
            kind: if age.grpc { Kind::GrpcRoute } else { Kind::HttpRoute },
            key: ObjectKey { namespace: Arc::clone(&age.namespace), name: Arc::clone(&age.name) },
        };
        changed.into_iter().map(id).collect()
    }

    /// Routes come to a listener and go.
    pub(super) fn change(&mut self, id: ListenerId, batch: &Batch) {
        let Some(gateway) = self.states.get_mut(id.gateway) else { return };
        let addresses = gateway.addresses.clone();
        let Some(listener) = gateway.listeners.get_mut(id.listener) else { return };
        let attached = (listener.attached + batch.accepted).saturating_sub(batch.accepted_before);
        self.touched |= attached != listener.attached;
        listener.attached = attached;
        if gateway.refusal.is_some() || listener.refusal.is_some() {
            return;
        }
        let hostname = listener.hostname.as_deref();
        for address in addresses.into_iter().map(|ip| SocketAddr::new(ip, listener.bound_port)) {
            let Some(open) = self.open.get_mut(&address) else { continue };
            let ListenerKind::Http(router) = &open.kind else { continue };
            let mut router = router.clone();
            router.change(hostname, &batch.removed, &batch.added);
            let (name, port) = (Arc::clone(&open.name), open.port);
            *open = Arc::new(Listener { address, port, name, kind: ListenerKind::Http(router) });
        }
    }

    /// Statuses are to be told again.
    pub(super) fn touch(&mut self) {
        self.touched = true;
    }

    /// Statuses by namespace and name, and findings; `None` where they are those told last.
    pub(super) fn statuses(&mut self, interned: &Interned) -> Option<(Vec<GatewayStatus>, Vec<Diagnostic>)> {
        std::mem::take(&mut self.touched).then(|| {
            let mut findings = Vec::new();
            (gateway::statuses(&self.states, interned, &mut findings), findings)
        })
    }

    /// The ports that are open, by address.
    pub(super) fn listeners(&self) -> Vec<Arc<Listener>> {
        self.open.values().cloned().collect()
    }

    fn listener(&mut self, id: ListenerId) -> Option<&mut ListenerState> {
        self.states.get_mut(id.gateway)?.listeners.get_mut(id.listener)
    }
}
