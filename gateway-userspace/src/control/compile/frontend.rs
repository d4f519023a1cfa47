//! Pure: Service ports as pods dial them: addresses, mode, fail policy and routes.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use super::address_claims::AddressClaims;
use super::annotation;
use super::backend::{Services, is_external_name, tcp_ports};
use super::conditions::Subject;
use super::place::Locality;
use super::protocol::{self, Protocol, Speaks};
use super::service_routes::ServiceRoutes;
use crate::control::config::meta::ObjectKey;
use crate::control::config::resources::{Entry, Kind};
use crate::control::config::service::{Distribution, Service};
use crate::control::diagnostic::{Code, Diagnostic};
use crate::snapshot::frontend::{Frontend, Mode, PortProtocol};

/// What a Service as pods dial it is made from, beside its object.
pub(super) struct Dialling<'a> {
    pub(super) services: &'a Services,
    pub(super) addresses: &'a AddressClaims,
    pub(super) routes: &'a ServiceRoutes,
    pub(super) locality: &'a Locality,
}

/// True for a Service that has an address to dial: a headless one has none.
pub(super) fn is_dialled(service: &Service) -> bool {
    !is_external_name(service) && ips(service).any(|(_, _, ip)| ip.is_some())
}

/// All that pods may dial of a Service.
pub(super) fn socket_addresses(service: &Service) -> BTreeSet<SocketAddr> {
    if is_external_name(service) {
        return BTreeSet::new();
    }
    let ips = ips(service).filter_map(|(_, _, ip)| ip);
    ips.flat_map(|ip| tcp_ports(service).map(move |(_, port)| SocketAddr::new(ip, port.port))).collect()
}

/// The frontends of a Service's ports, and findings.
pub(super) fn of_service(
    key: &ObjectKey,
    entry: &Entry<Service>,
    dialling: &Dialling<'_>,
) -> (Vec<Frontend>, Vec<Diagnostic>) {
    let (mut frontends, mut findings) = (Vec::new(), Vec::new());
    let service = &*entry.object;
    if is_external_name(service) {
        return (frontends, findings);
    }
    let subject = Subject::new(Kind::Service, key, entry, &service.metadata);
    let addresses = cluster_ips(service, &subject, &mut findings);
    if addresses.is_empty() {
        return (frontends, findings);
    }
    let asked = annotation::mode(&service.metadata, &subject, &mut findings);
    let fail_policy = annotation::fail_policy(&service.metadata, &subject, &mut findings);
    for (index, port) in tcp_ports(service) {
        let Some(cluster) = dialling.services.cluster(key, port.port) else { continue };
        let mut addresses = addresses.clone();
        addresses.retain(|ip| {
            let address = SocketAddr::new(*ip, port.port);
            let other = dialling.addresses.owner(address).filter(|owner| *owner != key);
            findings.extend(other.map(|other| taken_address(&subject, &address, other)));
            other.is_none()
        });
        if addresses.is_empty() {
            continue;
        }
        let routes = dialling.routes.router(&cluster.key).cloned();
        let port =
            Port { index, number: port.port, protocol: protocol::of_port(port), routed: routes.is_some() };
        let mode = mode(asked, &port, &subject, &mut findings);
        frontends.push(Frontend {
            key: cluster.key.clone(),
            addresses,
            protocol: port_protocol(port.protocol, port.routed),
            mode,
            fail_policy,
            routes,
            cluster: cluster.clone(),
        });
    }
    if frontends.iter().any(|frontend| frontend.mode != Mode::Pass) {
        findings.extend(unkept(service, asked, dialling.locality, &subject));
    }
    (frontends, findings)
}

/// What decides about the mode of a port.
struct Port {
    index: usize,
    number: u16,
    protocol: Protocol,
    routed: bool,
}

/// What the kernel does with a port, by annotation or else by what it speaks.
fn mode(asked: Option<Mode>, port: &Port, subject: &Subject, findings: &mut Vec<Diagnostic>) -> Mode {
    let routed = port.routed;
    let speaks = port.protocol.speaks();
    let field = format!("spec.ports[{}]", port.index);
    if let Some(mode) = asked {
        if routed && mode != Mode::L7 {
            let finding = subject.warning(Code::FieldIgnored).field(field);
            findings.push(
                finding
                    .message(format!(
                        "routes attach to port {}, and the mode of the Service keeps Weir off the path",
                        port.number
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
                    port.number
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

/// What is written as addresses: the number in the list, where it is one of the list, and the address.
fn ips(service: &Service) -> impl Iterator<Item = (Option<usize>, &str, Option<IpAddr>)> {
    let spec = &service.spec;
    let listed = spec.cluster_ips.iter().enumerate().map(|(index, text)| (Some(index), text));
    let all = spec.cluster_ip.iter().map(|text| (None, text)).chain(listed);
    let written = all.filter(|(_, text)| !text.is_empty() && *text != "None");
    written.map(|(index, text)| (index, text.as_str(), text.parse().ok()))
}

/// The addresses that pods dial; none for a headless Service.
fn cluster_ips(service: &Service, subject: &Subject, findings: &mut Vec<Diagnostic>) -> Vec<IpAddr> {
    let mut known: Vec<IpAddr> = Vec::new();
    for (index, text, ip) in ips(service) {
        match ip {
            Some(ip) if known.contains(&ip) => {}
            Some(ip) => known.push(ip),
            None => {
                let field = index.map_or("spec.clusterIP".to_owned(), |n| format!("spec.clusterIPs[{n}]"));
                findings.push(
                    subject
                        .error(Code::BadServiceAddress)
                        .field(field)
                        .message(format!("`{text}` is not an IP address; calls to it are not served"))
                        .fix("write an IPv4 or IPv6 address, or None"),
                );
            }
        }
    }
    known
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
