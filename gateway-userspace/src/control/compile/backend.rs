//! Pure: Service ports as destinations, and the references of routes to them.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::annotation;
use super::conditions::{Problem, Subject};
use super::endpoint_index::EndpointIndex;
use super::endpoints::is_tcp;
use super::interned::{ClusterSettings, Interned};
use super::protocol::{self, Protocol, Speaks};
use super::reference_grant;
use crate::control::compile::NewEndpoints;
use crate::control::config::meta::ObjectKey;
use crate::control::config::resources::{Kind, ResourceSet};
use crate::control::config::route::BackendRef;
use crate::control::config::service::{Service, ServicePort};
use crate::control::diagnostic::Diagnostic;
use crate::snapshot::cluster::{Cluster, ClusterKey, UpstreamProtocol};

/// The TCP ports of a Service with their indices, each number once; no other protocol is Weir's.
pub(super) fn tcp_ports(service: &Service) -> impl Iterator<Item = (usize, &ServicePort)> {
    let ports = &service.spec.ports;
    ports.iter().enumerate().filter(move |(index, port)| {
        is_tcp(port.protocol.as_deref())
            && !ports[..*index].iter().any(|p| p.port == port.port && is_tcp(p.protocol.as_deref()))
    })
}

/// True for a Service that is a name elsewhere.
pub(super) fn is_external_name(service: &Service) -> bool {
    service.spec.kind.as_deref() == Some("ExternalName")
}

/// What routes send to a Service port.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Spoken {
    http: bool,
    grpc: bool,
}

/// What routes send to each Service port: it counts where the port itself says nothing.
pub(super) fn spoken_protocols(set: &ResourceSet) -> BTreeMap<ClusterKey, Spoken> {
    let mut spoken: BTreeMap<ClusterKey, Spoken> = BTreeMap::new();
    let key = |namespace: &str, backend: &BackendRef| {
        Some(ClusterKey {
            namespace: backend.namespace.as_deref().unwrap_or(namespace).into(),
            service: backend.name.as_str().into(),
            port: backend.port?,
        })
    };
    for (route, entry) in set.http_routes.iter() {
        let rules = entry.object.spec.rules.iter().flatten();
        for key in rules.flat_map(|r| &r.backend_refs).filter_map(|b| key(&route.namespace, b)) {
            spoken.entry(key).or_default().http = true;
        }
    }
    for (route, entry) in set.grpc_routes.iter() {
        let rules = entry.object.spec.rules.iter();
        for key in rules.flat_map(|r| &r.backend_refs).filter_map(|b| key(&route.namespace, b)) {
            spoken.entry(key).or_default().grpc = true;
        }
    }
    spoken
}

/// Services as destinations.
#[derive(Debug)]
pub(super) struct Services {
    clusters: BTreeMap<ClusterKey, Arc<Cluster>>,
    changed: Vec<NewEndpoints>,
}

impl Services {
    pub(super) fn build(
        set: &ResourceSet,
        spoken: &BTreeMap<ClusterKey, Spoken>,
        interned: &mut Interned,
        endpoints: &mut EndpointIndex,
        findings: &mut Vec<Diagnostic>,
    ) -> Self {
        let mut services = Self { clusters: BTreeMap::new(), changed: Vec::new() };
        for (key, entry) in set.services.iter() {
            let service = &entry.object;
            if is_external_name(service) {
                continue;
            }
            let subject = Subject::new(Kind::Service, key, entry, &service.metadata);
            let balance = annotation::balance(&service.metadata, &subject, findings);
            let affinity = service.spec.affinity();
            let requests_max = annotation::requests_max(&service.metadata, &subject, findings);
            let sets = endpoints.refresh(set, key);
            for ((_, port), (number, endpoints)) in tcp_ports(service).zip(sets) {
                let key = ClusterKey {
                    namespace: Arc::clone(&key.namespace),
                    service: Arc::clone(&key.name),
                    port: number,
                };
                let spoken = spoken.get(&key).copied().unwrap_or_default();
                let protocol = upstream_protocol(protocol::of_port(port), spoken);
                let settings = ClusterSettings { protocol, balance, affinity, requests_max };
                let (cluster, changed) = interned.cluster(key.clone(), settings, endpoints);
                let new = |endpoints| NewEndpoints { cluster: Arc::clone(&cluster), endpoints };
                services.changed.extend(changed.map(new));
                services.clusters.insert(key, cluster);
            }
        }
        services
    }

    /// The cluster of a Service port.
    pub(super) fn cluster(&self, service: &ObjectKey, port: u16) -> Option<&Arc<Cluster>> {
        self.clusters.get(&ClusterKey {
            namespace: Arc::clone(&service.namespace),
            service: Arc::clone(&service.name),
            port,
        })
    }

    /// Where a backendRef at `field` of a route leads.
    pub(super) fn resolve(
        &self,
        set: &ResourceSet,
        route: (Kind, &ObjectKey),
        backend: &BackendRef,
        field: &str,
    ) -> Result<Arc<Cluster>, Problem> {
        let group = backend.group.as_deref().unwrap_or_default();
        let kind = backend.kind.as_deref().unwrap_or("Service");
        if !group.is_empty() || kind != "Service" {
            let message = format!("Weir cannot send to a {kind} of group `{group}`");
            return Err(Problem::new("InvalidKind", field, message, "refer to a Service"));
        }
        let (route_kind, route) = route;
        let namespace = backend.namespace.as_deref().filter(|n| !n.is_empty()).unwrap_or(&route.namespace);
        let name = &backend.name;
        if !reference_grant::permits(set, route_kind, &route.namespace, namespace, name) {
            let message = format!("no ReferenceGrant in {namespace} lets this route refer to Service {name}");
            let fix = format!(
                "add a ReferenceGrant in {namespace} from {route_kind} of {} to Service {name}",
                route.namespace
            );
            return Err(Problem::new("RefNotPermitted", field, message, fix));
        }
        let key = ObjectKey::new(namespace, name);
        let Some(entry) = set.services.get(&key) else {
            let message = format!("Service {key} does not exist");
            return Err(Problem::new(
                "BackendNotFound",
                field,
                message,
                "add that Service, or correct the name",
            ));
        };
        self.port(&key, &entry.object, backend.port, field)
    }

    fn port(
        &self,
        key: &ObjectKey,
        service: &Service,
        port: Option<u16>,
        field: &str,
    ) -> Result<Arc<Cluster>, Problem> {
        if is_external_name(service) {
            let message = format!("Service {key} is an ExternalName, which is no safe backend");
            let fix = "use a Service with EndpointSlices that hold the addresses";
            return Err(Problem::new("InvalidKind", field, message, fix));
        }
        let field = format!("{field}.port");
        let Some(number) = port else {
            let message = "a Service needs a port here";
            return Err(Problem::new(
                "BackendNotFound",
                field,
                message,
                format!("add one of {}", ports(service)),
            ));
        };
        let found = tcp_ports(service).find(|(_, p)| p.port == number);
        let (Some((_, port)), Some(cluster)) = (found, self.cluster(key, number)) else {
            let message = format!("Service {key} has no TCP port {number}");
            return Err(Problem::new(
                "BackendNotFound",
                field,
                message,
                format!("use one of {}", ports(service)),
            ));
        };
        match protocol::of_port(port) {
            Protocol::Declared(speaks @ (Speaks::Tls | Speaks::Opaque)) => {
                let declared = port.app_protocol.as_deref().unwrap_or_default();
                let what = if speaks == Speaks::Tls { "TLS to a backend" } else { "anything but HTTP" };
                let message = format!(
                    "port {number} of {key} has appProtocol `{declared}`, and Weir does not speak {what} for a route"
                );
                Err(Problem::new(
                    "UnsupportedProtocol",
                    field,
                    message,
                    "use a port that speaks HTTP or gRPC",
                ))
            }
            _ => Ok(Arc::clone(cluster)),
        }
    }

    /// All clusters, and those with other endpoints than before. The next compile starts from them.
    pub(super) fn into_clusters(self, interned: &mut Interned) -> (Vec<Arc<Cluster>>, Vec<NewEndpoints>) {
        let clusters: Vec<Arc<Cluster>> = self.clusters.into_values().collect();
        interned.keep(&clusters);
        (clusters, self.changed)
    }
}

fn ports(service: &Service) -> String {
    let ports: Vec<String> = tcp_ports(service).map(|(_, p)| p.port.to_string()).collect();
    if ports.is_empty() { "its TCP ports, of which there are none".to_owned() } else { ports.join(", ") }
}

fn upstream_protocol(protocol: Protocol, spoken: Spoken) -> UpstreamProtocol {
    match protocol {
        Protocol::Declared(Speaks::Http) | Protocol::Named(Speaks::Http) => UpstreamProtocol::Http,
        Protocol::Declared(Speaks::Http2) | Protocol::Named(Speaks::Http2) => UpstreamProtocol::Http2,
        Protocol::Declared(Speaks::Tls | Speaks::Opaque) => UpstreamProtocol::Tcp,
        Protocol::Named(Speaks::Tls | Speaks::Opaque) | Protocol::Unknown => match spoken {
            Spoken { http: true, .. } => UpstreamProtocol::Http,
            Spoken { grpc: true, .. } => UpstreamProtocol::Http2,
            Spoken { .. } => UpstreamProtocol::Tcp,
        },
    }
}
