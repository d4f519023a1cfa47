//! Pure: Service ports as pods dial them: addresses, mode, fail policy and routes.

use std::collections::BTreeMap;
use std::collections::btree_map;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::annotation;
use super::backend::{Services, is_external_name, tcp_ports};
use super::conditions::Subject;
use super::place::Locality;
use super::protocol::{self, Protocol, Speaks};
use crate::control::config::meta::ObjectKey;
use crate::control::config::resources::{Kind, ResourceSet};
use crate::control::config::service::{Distribution, Service, ServicePort};
use crate::control::diagnostic::{Code, Diagnostic};
use crate::snapshot::cluster::Cluster;
use crate::snapshot::frontend::{FailPolicy, Frontend, Mode, PortProtocol};
use crate::snapshot::router::{RouteEntry, Router, Section};

/// Services that pods can dial, before and while routes attach to them.
#[derive(Debug)]
pub(super) struct Frontends<'a>(BTreeMap<ObjectKey, ServiceFrontends<'a>>);

/// One such Service.
#[derive(Debug)]
pub(super) struct ServiceFrontends<'a> {
    subject: Subject,
    addresses: Vec<IpAddr>,
    mode: Option<Mode>,
    fail_policy: FailPolicy,
    /// To be said if Weir balances any of its ports.
    unkept: Vec<Diagnostic>,
    pub(super) ports: Vec<PortFrontend<'a>>,
}

/// One TCP port of it.
#[derive(Debug)]
pub(super) struct PortFrontend<'a> {
    pub(super) port: &'a ServicePort,
    index: usize,
    pub(super) protocol: Protocol,
    cluster: Arc<Cluster>,
    /// Of the routes that attached; `None` while none did.
    entries: Option<Vec<RouteEntry>>,
}

impl PortFrontend<'_> {
    /// Takes a route's matches. An attached route with none still answers 404 to everything.
    pub(super) fn attach(&mut self, entries: impl IntoIterator<Item = RouteEntry>) {
        self.entries.get_or_insert_default().extend(entries);
    }
}

impl<'a> Frontends<'a> {
    pub(super) fn build(
        set: &'a ResourceSet,
        services: &Services,
        locality: &Locality,
        findings: &mut Vec<Diagnostic>,
    ) -> Self {
        let mut frontends = BTreeMap::new();
        for (key, entry) in set.services.iter() {
            let service = &*entry.object;
            let subject = Subject::new(Kind::Service, key, entry, &service.metadata);
            if is_external_name(service) {
                continue;
            }
            let addresses = cluster_ips(service, &subject, findings);
            if addresses.is_empty() {
                continue;
            }
            let mode = annotation::mode(&service.metadata, &subject, findings);
            let fail_policy = annotation::fail_policy(&service.metadata, &subject, findings);
            let ports = tcp_ports(service)
                .filter_map(|(index, port)| {
                    Some(PortFrontend {
                        port,
                        index,
                        protocol: protocol::of_port(port),
                        cluster: Arc::clone(services.cluster(key, port.port)?),
                        entries: None,
                    })
                })
                .collect();
            let unkept = unkept(service, mode, locality, &subject);
            let frontend = ServiceFrontends { subject, addresses, mode, fail_policy, unkept, ports };
            frontends.insert(key.clone(), frontend);
        }
        Self(frontends)
    }

    /// The frontends of a Service; none for a headless one.
    pub(super) fn get_mut(&mut self, service: &ObjectKey) -> Option<&mut ServiceFrontends<'a>> {
        self.0.get_mut(service)
    }

    /// The finished frontends. Of two that claim one address and port, the first by name has it.
    pub(super) fn close(self, findings: &mut Vec<Diagnostic>) -> Vec<Arc<Frontend>> {
        let mut claimed: BTreeMap<SocketAddr, ObjectKey> = BTreeMap::new();
        let mut all = Vec::new();
        for (key, service) in self.0 {
            let mut balanced = false;
            for port in service.ports {
                let mut addresses = service.addresses.clone();
                addresses.retain(|ip| match claimed.entry(SocketAddr::new(*ip, port.port.port)) {
                    btree_map::Entry::Vacant(free) => {
                        free.insert(key.clone());
                        true
                    }
                    btree_map::Entry::Occupied(taken) => {
                        findings.push(taken_address(&service.subject, taken.key(), taken.get()));
                        false
                    }
                });
                if addresses.is_empty() {
                    continue;
                }
                let mode = mode(service.mode, &port, &service.subject, findings);
                balanced |= mode != Mode::Pass;
                all.push(Arc::new(Frontend {
                    key: port.cluster.key.clone(),
                    addresses,
                    protocol: port_protocol(port.protocol, port.entries.is_some()),
                    mode,
                    fail_policy: service.fail_policy,
                    routes: port
                        .entries
                        .map(|entries| Router::new(vec![Section { hostname: None, entries }])),
                    cluster: port.cluster,
                }));
            }
            if balanced {
                findings.extend(service.unkept);
            }
        }
        all
    }
}

/// What the kernel does with a port, by annotation or else by what it speaks.
fn mode(
    asked: Option<Mode>,
    port: &PortFrontend<'_>,
    subject: &Subject,
    findings: &mut Vec<Diagnostic>,
) -> Mode {
    let routed = port.entries.is_some();
    let speaks = port.protocol.speaks();
    let field = format!("spec.ports[{}]", port.index);
    if let Some(mode) = asked {
        if routed && mode != Mode::L7 {
            let finding = subject.warning(Code::FieldIgnored).field(field);
            findings.push(
                finding
                    .message(format!(
                        "routes attach to port {}, and the mode of the Service keeps Weir off the path",
                        port.port.port
                    ))
                    .fix(format!("remove the annotation {} or set it to l7", annotation::MODE)),
            );
        }
        return mode;
    }
    if port.protocol == Protocol::Unknown && !routed {
        let finding = subject
            .finding(crate::control::diagnostic::Severity::Info, Code::PortWithoutProtocol)
            .field(field);
        findings.push(
            finding
                .message(format!(
                    "port {} does not say what it speaks: its connections are left alone",
                    port.port.port
                ))
                .fix("set appProtocol: http (or grpc), or weir.dev/opaque if it is neither"),
        );
    }
    match speaks {
        Speaks::Http | Speaks::Http2 => Mode::L7,
        Speaks::Tls | Speaks::Opaque if routed => Mode::L7,
        Speaks::Tls | Speaks::Opaque => Mode::Pass,
    }
}

fn port_protocol(protocol: Protocol, routed: bool) -> PortProtocol {
    match protocol.speaks() {
        Speaks::Http2 => PortProtocol::Http2,
        Speaks::Http => PortProtocol::Http,
        Speaks::Tls | Speaks::Opaque if routed => PortProtocol::Http,
        Speaks::Tls | Speaks::Opaque => PortProtocol::Opaque,
    }
}

/// The addresses that pods dial; none for a headless Service.
fn cluster_ips(service: &Service, subject: &Subject, findings: &mut Vec<Diagnostic>) -> Vec<IpAddr> {
    let mut ips: Vec<IpAddr> = Vec::new();
    let spec = &service.spec;
    let listed = spec.cluster_ips.iter().enumerate().map(|(i, text)| (format!("spec.clusterIPs[{i}]"), text));
    let first = spec.cluster_ip.iter().map(|text| ("spec.clusterIP".to_owned(), text));
    for (field, text) in first.chain(listed) {
        if text.is_empty() || text == "None" {
            continue;
        }
        match text.parse() {
            Ok(ip) if !ips.contains(&ip) => ips.push(ip),
            Ok(_) => {}
            Err(_) => findings.push(
                subject
                    .error(Code::BadServiceAddress)
                    .field(field)
                    .message(format!("`{text}` is not an IP address; calls to it are not served"))
                    .fix("write an IPv4 or IPv6 address, or None"),
            ),
        }
    }
    ips
}

/// What a Service asks of whoever balances it, and Weir does not do.
fn unkept(service: &Service, mode: Option<Mode>, locality: &Locality, subject: &Subject) -> Vec<Diagnostic> {
    let spec = &service.spec;
    let set = |value: &'_ Option<String>, default: &str| {
        value.clone().filter(|value| !value.is_empty() && value != default)
    };
    let mut unkept = Vec::new();
    let mut add = |field: &str, message: String, fix: String| {
        unkept.push(subject.warning(Code::FieldIgnored).field(field).message(message).fix(fix));
    };
    let leave = format!("remove it, or leave the Service to others: annotation {}: pass", annotation::MODE);
    let unknown = |value: &str| format!("`{value}` has no effect: Weir does not know it");
    let nowhere = |value: &str, what: &str| {
        format!("`{value}` has no effect: Weir was not told on which {what} it runs")
    };
    let tell = || "tell Weir its node: weir run --node-name NAME --zone ZONE".to_owned();
    let affinity = set(&spec.session_affinity, "None");
    if let Some(value) = affinity.filter(|_| spec.affinity().is_none()) {
        add("spec.sessionAffinity", unknown(&value), leave.clone());
    } else if mode == Some(Mode::L4) && spec.affinity().is_some() {
        let message = "`ClientIP` has no effect in mode l4: the kernel picks anew for each connection";
        let fix = format!("leave the Service to the proxy: annotation {}: l7", annotation::MODE);
        add("spec.sessionAffinity", message.to_owned(), fix);
    }
    let field = "spec.internalTrafficPolicy";
    match set(&spec.internal_traffic_policy, "Cluster") {
        Some(value) if !spec.is_node_local() => add(field, unknown(&value), leave.clone()),
        Some(value) if locality.node.is_none() => add(field, nowhere(&value, "node"), tell()),
        _ => {}
    }
    let field = "spec.trafficDistribution";
    match (set(&spec.traffic_distribution, ""), spec.distribution()) {
        (Some(value), None) => add(field, unknown(&value), leave),
        (Some(value), Some(Distribution::SameZone)) if locality.zone.is_none() => {
            add(field, nowhere(&value, "node and in which zone"), tell());
        }
        (Some(value), Some(Distribution::SameNode)) if locality.node.is_none() => {
            add(field, nowhere(&value, "node"), tell());
        }
        _ => {}
    }
    unkept
}

fn taken_address(subject: &Subject, address: &SocketAddr, by: &ObjectKey) -> Diagnostic {
    subject
        .error(Code::BadServiceAddress)
        .field("spec.clusterIP")
        .message(format!("{address} is Service {by} already, which keeps it"))
        .fix("give this Service an address of its own")
}
