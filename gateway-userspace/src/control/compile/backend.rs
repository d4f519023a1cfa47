//! Pure: Service ports as destinations, and the references of routes to them.

use std::sync::Arc;

use super::annotation;
use super::conditions::{Problem, Subject};
use super::endpoints::is_tcp;
use super::interned::{ClusterSettings, Interned};
use super::protocol::{self, Protocol, Speaks};
use super::reference_grant;
use super::spoken::{Spoken, namespace_of};
use crate::control::compile::NewEndpoints;
use crate::control::config::meta::ObjectKey;
use crate::control::config::resources::{Entry, Kind, ResourceSet};
use crate::control::config::route::BackendRef;
use crate::control::config::service::{Service, ServicePort};
use crate::control::diagnostic::Diagnostic;
use crate::snapshot::cluster::{Cluster, ClusterKey, ClusterTable, EndpointSet, UpstreamProtocol};

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

/// The ports of a Service that can be destinations.
pub(super) fn keys(key: &ObjectKey, service: &Service) -> impl Iterator<Item = ClusterKey> {
    let ports = tcp_ports(service).filter(|_| !is_external_name(service));
    ports.map(|(_, port)| ClusterKey {
        namespace: Arc::clone(&key.namespace),
        service: Arc::clone(&key.name),
        port: port.port,
    })
}

/// A Service as a destination.
#[derive(Debug, Default)]
pub(super) struct Destination {
    /// In the order of its ports.
    pub(super) clusters: Vec<Arc<Cluster>>,
    pub(super) changed: Vec<NewEndpoints>,
    pub(super) findings: Vec<Diagnostic>,
}

/// Compiles a Service with the endpoints of each of its TCP ports; no clusters where there is no such Service.
pub(super) fn compile(
    key: &ObjectKey,
    entry: Option<&Entry<Service>>,
    sets: Vec<(u16, EndpointSet)>,
    spoken: impl Fn(&ClusterKey) -> Spoken,
    interned: &mut Interned,
) -> Destination {
    let mut made = Destination::default();
    let Some(entry) = entry.filter(|entry| !is_external_name(&entry.object)) else { return made };
    let service = &entry.object;
    let subject = Subject::new(Kind::Service, key, entry, &service.metadata);
    let balance = annotation::balance(&service.metadata, &subject, &mut made.findings);
    let requests_max = annotation::requests_max(&service.metadata, &subject, &mut made.findings);
    let affinity = service.spec.affinity();
    for (((_, port), (_, endpoints)), key) in tcp_ports(service).zip(sets).zip(keys(key, service)) {
        let protocol = upstream_protocol(protocol::of_port(port), spoken(&key));
        let settings = ClusterSettings { protocol, balance, affinity, requests_max };
        let (cluster, changed) = interned.cluster(key, settings, endpoints);
        let new = |endpoints| NewEndpoints { cluster: Arc::clone(&cluster), endpoints };
        made.changed.extend(changed.map(new));
        made.clusters.push(cluster);
    }
    made
}

/// Services as destinations.
#[derive(Debug, Default)]
pub(super) struct Services {
    clusters: ClusterTable,
}

impl Services {
    /// All clusters.
    pub(super) fn clusters(&self) -> &ClusterTable {
        &self.clusters
    }

    /// Replaces the clusters of a Service that was `old`. True when one of them is another than before.
    pub(super) fn replace(
        &mut self,
        key: &ObjectKey,
        old: Option<&Entry<Service>>,
        clusters: Vec<Arc<Cluster>>,
    ) -> bool {
        let mut differs = false;
        for port in old.into_iter().flat_map(|entry| keys(key, &entry.object)) {
            if !clusters.iter().any(|cluster| cluster.key == port) && self.clusters.get(&port).is_some() {
                self.clusters.remove(&port);
                differs = true;
            }
        }
        for cluster in clusters {
            if !self.clusters.get(&cluster.key).is_some_and(|old| Arc::ptr_eq(old, &cluster)) {
                self.clusters.insert(cluster);
                differs = true;
            }
        }
        differs
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
        let namespace = namespace_of(backend.namespace.as_deref(), &route.namespace);
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
