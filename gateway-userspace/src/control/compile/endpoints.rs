//! Pure: from the EndpointSlices of a Service to the endpoints of each of its ports.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::annotation;
use super::backend::{is_external_name, tcp_ports};
use super::conditions::Subject;
use super::endpoint_slice::{Ground, Hint, Hints, Slice};
use super::place::Locality;
use crate::control::config::meta::ObjectKey;
use crate::control::config::resources::{Entry, Kind};
use crate::control::config::service::{
    EndpointSlice, IntOrString, Service, ServicePort, SliceEndpoint, SlicePort,
};
use crate::control::diagnostic::{Code, Diagnostic};
use crate::control::report::ServiceStatus;
use crate::snapshot::cluster::{Endpoint, EndpointSet};
use crate::snapshot::tier::Family;

/// The endpoints of each TCP port, in the order of the Service's ports.
pub(super) fn of_service(
    key: &ObjectKey,
    entry: &Entry<Service>,
    slices: &[(&ObjectKey, &Entry<EndpointSlice>)],
    ground: Ground<'_>,
    findings: &mut Vec<Diagnostic>,
) -> Vec<(u16, EndpointSet)> {
    let slice_count = slices.len();
    let service = &entry.object;
    // Who calls it without Weir is not held up by what Weir would not do. A Gateway's own Service is one.
    let mut unheard = Vec::new();
    let findings = if annotation::is_left_alone(&service.metadata) { &mut unheard } else { findings };
    let slices: Vec<Slice<'_>> =
        slices.iter().filter_map(|(key, entry)| Slice::read(service, key, entry, ground, findings)).collect();
    let subject = Subject::new(Kind::Service, key, entry, &service.metadata);
    let nothing: Arc<str> = "".into();
    let mut sets = Vec::new();
    for (index, port) in tcp_ports(service) {
        let set = of_port(service, port, &slices, ground.locality, &nothing);
        if !set.endpoints.iter().any(Endpoint::is_active) && !is_external_name(service) {
            findings.push(no_endpoints(&subject, index, port, &slices, slice_count, &set));
        }
        sets.push((port.port, set));
    }
    sets
}

/// What is to be said of a Service some of whose endpoints are never dialled.
pub(super) fn status(key: &ObjectKey, entry: &Entry<Service>, found: &[Diagnostic]) -> Option<ServiceStatus> {
    let mut refused = found.iter().filter(|finding| finding.code == Code::EndpointRefused);
    let first = refused.next()?;
    let more = match refused.count() {
        0 => String::new(),
        more => format!("; and {more} more"),
    };
    let subject = Subject::new(Kind::Service, key, entry, &entry.object.metadata);
    let object = first.object.as_deref().unwrap_or_default();
    let message = format!("{object} {}: {}{more}", first.field, first.message);
    Some(ServiceStatus {
        namespace: key.namespace.to_string(),
        name: key.name.to_string(),
        conditions: vec![subject.condition("EndpointsAccepted", false, "EndpointRefused", message)],
    })
}

fn of_port(
    service: &Service,
    port: &ServicePort,
    slices: &[Slice<'_>],
    locality: &Locality,
    nothing: &Arc<str>,
) -> EndpointSet {
    let mut by_address: BTreeMap<SocketAddr, (Endpoint, Hints)> = BTreeMap::new();
    for slice in slices {
        let Some(number) = slice.object.ports.iter().find_map(|p| target(port, p)) else { continue };
        for usable in &slice.endpoints {
            let new = Endpoint {
                address: SocketAddr::new(usable.ip, number),
                weight: slice.weight,
                ..describe(service, usable.object, locality, nothing)
            };
            match by_address.get(&new.address) {
                // In two slices while one moves to the other: the better word counts.
                Some((known, _)) if use_of(known) >= use_of(&new) => {}
                _ => {
                    by_address.insert(new.address, (new, usable.hints));
                }
            }
        }
    }
    let mut endpoints: Vec<(Endpoint, Hints)> = by_address.into_values().collect();
    for family in Family::ALL {
        prefer(&mut endpoints, family);
    }
    EndpointSet {
        endpoints: endpoints.into_iter().map(|(endpoint, _)| endpoint).collect(),
        local_only: service.spec.is_node_local() && locality.node.is_some(),
        family: first_family(service),
        refused: slices.iter().map(|slice| slice.refused).sum(),
    }
}

/// How much use an endpoint is.
fn use_of(endpoint: &Endpoint) -> u8 {
    u8::from(endpoint.is_fallback()) + 2 * u8::from(endpoint.is_active())
}

/// Marks what is near. As kube-proxy does: hints count only if every ready endpoint of the family has
/// one of the kind and at least one of them is for us; those that name nodes before those that name
/// zones.
fn prefer(endpoints: &mut [(Endpoint, Hints)], family: Family) {
    let of_family = |(endpoint, _): &&(Endpoint, Hints)| {
        endpoint.is_active() && Family::of(endpoint.address.ip()) == family
    };
    let counts = |kind: fn(&Hints) -> Hint| {
        let mut hints = endpoints.iter().filter(of_family).map(|(_, hints)| kind(hints));
        hints.clone().any(|hint| hint == Hint::Ours) && hints.all(|hint| hint != Hint::Absent)
    };
    let kinds: [fn(&Hints) -> Hint; 2] = [|hints| hints.nodes, |hints| hints.zones];
    let Some(kind) = kinds.into_iter().find(|kind| counts(*kind)) else { return };
    for (endpoint, hints) in endpoints.iter_mut().filter(|(e, _)| Family::of(e.address.ip()) == family) {
        endpoint.preferred = kind(hints) == Hint::Ours;
    }
}

fn first_family(service: &Service) -> Option<Family> {
    let spec = &service.spec;
    match spec.ip_families.first().map(String::as_str) {
        Some("IPv4") => return Some(Family::V4),
        Some("IPv6") => return Some(Family::V6),
        _ => {}
    }
    let address = spec.cluster_ip.as_ref().or(spec.cluster_ips.first());
    address.and_then(|text| text.parse().ok()).map(Family::of)
}

/// The number behind a Service port in a slice. A slice port without a number stands for all ports.
fn target(port: &ServicePort, slice_port: &SlicePort) -> Option<u16> {
    let name = |n: &Option<String>| n.clone().unwrap_or_default();
    if name(&slice_port.name) != name(&port.name) || !is_tcp(slice_port.protocol.as_deref()) {
        return None;
    }
    let number = slice_port.port.or(match port.target_port {
        Some(IntOrString::Int(number)) => Some(number),
        Some(IntOrString::String(_)) => None,
        None => Some(port.port),
    });
    number.filter(|number| *number != 0)
}

pub(super) fn is_tcp(protocol: Option<&str>) -> bool {
    protocol.is_none_or(|p| p.is_empty() || p == "TCP")
}

/// Everything but the address and weight, with the API's meaning of absent conditions.
fn describe(
    service: &Service,
    endpoint: &SliceEndpoint,
    locality: &Locality,
    nothing: &Arc<str>,
) -> Endpoint {
    let conditions = &endpoint.conditions;
    let all = service.spec.publish_not_ready_addresses;
    let ready = all || conditions.ready.unwrap_or(true);
    let target = endpoint.target_ref.as_ref().and_then(|t| {
        Some(format!(
            "{}/{}",
            t.namespace.as_deref().unwrap_or(&service.metadata.namespace),
            t.name.as_ref()?
        ))
    });
    Endpoint {
        address: SocketAddr::new(IpAddr::from([0, 0, 0, 0]), 0),
        ready,
        serving: all || conditions.serving.unwrap_or(ready),
        terminating: conditions.terminating.unwrap_or(false),
        weight: 1,
        target: target.map_or_else(|| Arc::clone(nothing), Into::into),
        node: endpoint.node_name.clone().unwrap_or_else(|| Arc::clone(nothing)),
        zone: endpoint.zone.clone().unwrap_or_else(|| Arc::clone(nothing)),
        local: locality.node.is_some() && endpoint.node_name.as_deref() == locality.node.as_deref(),
        preferred: true,
    }
}

fn no_endpoints(
    subject: &Subject,
    index: usize,
    port: &ServicePort,
    slices: &[Slice<'_>],
    slice_count: usize,
    set: &EndpointSet,
) -> Diagnostic {
    let number = port.port;
    let name = port.name.as_deref().unwrap_or_default();
    let finding = subject.warning(Code::NoEndpoints).field(format!("spec.ports[{index}]"));
    let key = &subject.id.key;
    if !set.endpoints.is_empty() {
        return finding
            .message(format!(
                "port {number} has {} endpoints and none of them is ready; calls get 503",
                set.endpoints.len()
            ))
            .fix("see why its pods are not ready");
    }
    if set.refused > 0 {
        let refused = set.refused;
        return finding
            .message(format!("port {number} has {refused} endpoints and Weir refuses them; calls get 502"))
            .fix("see the findings on its EndpointSlices");
    }
    if slice_count == 0 {
        return finding
            .message(format!("port {number} has no endpoint, for no EndpointSlice names this Service"))
            .fix(format!(
                "add an EndpointSlice in {} with the label kubernetes.io/service-name: {}",
                key.namespace, key.name
            ));
    }
    let offered: Vec<&str> =
        slices.iter().flat_map(|s| &s.object.ports).map(|p| p.name.as_deref().unwrap_or_default()).collect();
    if offered.is_empty() || offered.contains(&name) {
        return finding
            .message(format!("port {number} has no endpoint; calls get 503"))
            .fix("write endpoints into its EndpointSlices, or start its pods");
    }
    finding
        .message(format!(
            "port {number} is named `{name}`, and its EndpointSlices have the ports {offered:?}: no endpoint"
        ))
        .fix("give the port the same name in the Service and in its EndpointSlices")
}
