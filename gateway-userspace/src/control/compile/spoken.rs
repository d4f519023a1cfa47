//! Pure: what routes send to each Service port: it counts where the port itself says nothing.

use std::collections::{BTreeMap, BTreeSet};

use crate::control::config::meta::ObjectKey;
use crate::control::config::resources::{Kind, ObjectId, ResourceSet};
use crate::control::config::route::BackendRef;
use crate::snapshot::cluster::ClusterKey;

/// What is sent to one port.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Spoken {
    pub(super) http: bool,
    pub(super) grpc: bool,
}

/// How many backendRefs of each kind of route lead to each port.
#[derive(Debug, Default)]
pub(super) struct SpokenTable(BTreeMap<ClusterKey, Uses>);

#[derive(Debug, Clone, Copy, Default)]
struct Uses {
    http: usize,
    grpc: usize,
}

impl Uses {
    fn of(&mut self, kind: Kind) -> &mut usize {
        if kind == Kind::GrpcRoute { &mut self.grpc } else { &mut self.http }
    }

    fn spoken(self) -> Spoken {
        Spoken { http: self.http > 0, grpc: self.grpc > 0 }
    }
}

impl SpokenTable {
    pub(super) fn get(&self, port: &ClusterKey) -> Spoken {
        self.0.get(port).copied().unwrap_or_default().spoken()
    }

    /// Follows a change of routes; gives the Services to which something else is sent now.
    pub(super) fn follow(
        &mut self,
        old: &ResourceSet,
        new: &ResourceSet,
        routes: &BTreeMap<ObjectId, bool>,
    ) -> BTreeSet<ObjectKey> {
        let mut before: BTreeMap<ClusterKey, Spoken> = BTreeMap::new();
        for (route, _) in routes.iter().filter(|(_, object)| **object) {
            for (port, is_new) in
                ports(old, route).map(|p| (p, false)).chain(ports(new, route).map(|p| (p, true)))
            {
                let uses = self.0.entry(port.clone()).or_default();
                before.entry(port).or_insert(uses.spoken());
                let count = uses.of(route.kind);
                *count = if is_new { *count + 1 } else { count.saturating_sub(1) };
            }
        }
        let mut services = BTreeSet::new();
        for (port, before) in before {
            let now = self.get(&port);
            if now == Spoken::default() {
                self.0.remove(&port);
            }
            if now != before {
                services.insert(ObjectKey { namespace: port.namespace, name: port.service });
            }
        }
        services
    }
}

/// The namespace of a reference.
pub(super) fn namespace_of<'n>(written: Option<&'n str>, own: &'n str) -> &'n str {
    written.filter(|namespace| !namespace.is_empty()).unwrap_or(own)
}

/// All backendRefs of a route.
pub(super) fn backend_refs<'s>(set: &'s ResourceSet, route: &ObjectId) -> Vec<&'s BackendRef> {
    let http = set.http_routes.get(&route.key).filter(|_| route.kind == Kind::HttpRoute);
    let grpc = set.grpc_routes.get(&route.key).filter(|_| route.kind == Kind::GrpcRoute);
    let of_http = http.into_iter().flat_map(|e| e.object.spec.rules.iter().flatten());
    let of_grpc = grpc.into_iter().flat_map(|e| &e.object.spec.rules);
    let of_http = of_http.flat_map(|rule| &rule.backend_refs);
    of_http.chain(of_grpc.flat_map(|rule| &rule.backend_refs)).collect()
}

/// The ports that a route's backendRefs lead to.
fn ports(set: &ResourceSet, route: &ObjectId) -> impl Iterator<Item = ClusterKey> {
    backend_refs(set, route).into_iter().filter_map(|backend| {
        Some(ClusterKey {
            namespace: namespace_of(backend.namespace.as_deref(), &route.key.namespace).into(),
            service: backend.name.as_str().into(),
            port: backend.port?,
        })
    })
}
