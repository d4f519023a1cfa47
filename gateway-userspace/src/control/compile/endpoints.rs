//! Pure: from the EndpointSlices of a Service to the endpoints of each of its ports.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::annotation;
use super::backend::tcp_ports;
use super::conditions::Subject;
use crate::control::config::meta::ObjectKey;
use crate::control::config::resources::{Entry, Kind};
use crate::control::config::service::{
    AddressType, EndpointSlice, IntOrString, Service, ServicePort, SliceEndpoint, SlicePort,
};
use crate::control::diagnostic::{Code, Diagnostic};
use crate::snapshot::cluster::{Endpoint, EndpointSet};

/// A slice that can be used, with what was read of it once for all ports.
struct Slice<'a> {
    object: &'a EndpointSlice,
    weight: u32,
    /// The first address of each endpoint that has a usable one.
    endpoints: Vec<(IpAddr, &'a SliceEndpoint)>,
}

/// The endpoints of each TCP port, in the order of the Service's ports.
pub(super) fn of_service(
    key: &ObjectKey,
    entry: &Entry<Service>,
    slices: &[(&ObjectKey, &Entry<EndpointSlice>)],
    findings: &mut Vec<Diagnostic>,
) -> Vec<(u16, EndpointSet)> {
    let slice_count = slices.len();
    let slices: Vec<Slice<'_>> =
        slices.iter().filter_map(|(key, entry)| read(key, entry, findings)).collect();
    let service = &entry.object;
    let subject = Subject::new(Kind::Service, key, entry, &service.metadata);
    let mut texts = Texts::default();
    let mut sets = Vec::new();
    for (index, port) in tcp_ports(service) {
        let set = of_port(service, port, &slices, &mut texts);
        if !set.endpoints.iter().any(Endpoint::is_active)
            && service.spec.kind.as_deref() != Some("ExternalName")
        {
            findings.push(no_endpoints(&subject, index, port, &slices, slice_count, &set));
        }
        sets.push((port.port, set));
    }
    sets
}

fn read<'a>(
    key: &ObjectKey,
    entry: &'a Entry<EndpointSlice>,
    findings: &mut Vec<Diagnostic>,
) -> Option<Slice<'a>> {
    let object = &*entry.object;
    let subject = Subject::new(Kind::EndpointSlice, key, entry, &object.metadata);
    if object.address_type == AddressType::Fqdn {
        let finding = subject.warning(Code::BadEndpoint).field("addressType");
        findings.push(
            finding
                .message("endpoints of type FQDN are not supported and get no traffic")
                .fix("write IP addresses in a slice of type IPv4 or IPv6"),
        );
        return None;
    }
    let mut endpoints = Vec::with_capacity(object.endpoints.len());
    for (index, endpoint) in object.endpoints.iter().enumerate() {
        // The addresses of one endpoint are interchangeable, and clients take the first.
        let text = endpoint.addresses.first().map(String::as_str).unwrap_or_default();
        let wanted = |ip: &IpAddr| ip.is_ipv4() == (object.address_type == AddressType::IPv4);
        match text.parse::<IpAddr>().ok().filter(wanted) {
            Some(ip) => endpoints.push((ip, endpoint)),
            None => {
                let family = if object.address_type == AddressType::IPv4 { "IPv4" } else { "IPv6" };
                let field = format!("endpoints[{index}].addresses[0]");
                findings.push(
                    subject
                        .warning(Code::BadEndpoint)
                        .field(field)
                        .message(format!(
                            "`{text}` is not an {family} address; this endpoint gets no traffic"
                        ))
                        .fix(format!("write an {family} address, or correct addressType")),
                );
            }
        }
    }
    Some(Slice { object, weight: annotation::weight(&object.metadata, &subject, findings), endpoints })
}

fn of_port(service: &Service, port: &ServicePort, slices: &[Slice<'_>], texts: &mut Texts) -> EndpointSet {
    let mut by_address: BTreeMap<SocketAddr, Endpoint> = BTreeMap::new();
    for slice in slices {
        let Some(number) = slice.object.ports.iter().find_map(|p| target(port, p)) else { continue };
        for (ip, endpoint) in &slice.endpoints {
            let new = Endpoint {
                address: SocketAddr::new(*ip, number),
                weight: slice.weight,
                ..describe(service, endpoint, texts)
            };
            match by_address.get(&new.address) {
                // In two slices while one moves to the other: the one that may take traffic counts.
                Some(known) if known.is_active() || !new.is_active() => {}
                _ => {
                    by_address.insert(new.address, new);
                }
            }
        }
    }
    EndpointSet { endpoints: by_address.into_values().collect() }
}

/// The number behind a Service port in a slice. A slice port without a number stands for all ports.
fn target(port: &ServicePort, slice_port: &SlicePort) -> Option<u16> {
    let name = |n: &Option<String>| n.clone().unwrap_or_default();
    if name(&slice_port.name) != name(&port.name) || !is_tcp(slice_port.protocol.as_deref()) {
        return None;
    }
    slice_port.port.or(match port.target_port {
        Some(IntOrString::Int(number)) => Some(number),
        Some(IntOrString::String(_)) => None,
        None => Some(port.port),
    })
}

pub(super) fn is_tcp(protocol: Option<&str>) -> bool {
    protocol.is_none_or(|p| p.is_empty() || p == "TCP")
}

/// Everything but the address and weight, with the API's meaning of absent conditions.
fn describe(service: &Service, endpoint: &SliceEndpoint, texts: &mut Texts) -> Endpoint {
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
        target: target.map_or_else(|| texts.get(""), Into::into),
        node: texts.get(endpoint.node_name.as_deref().unwrap_or_default()),
        zone: texts.get(endpoint.zone.as_deref().unwrap_or_default()),
    }
}

/// Nodes and zones are few: one allocation each.
#[derive(Default)]
struct Texts(BTreeMap<String, Arc<str>>);

impl Texts {
    fn get(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.0.get(text) {
            return Arc::clone(known);
        }
        let new: Arc<str> = text.into();
        self.0.insert(text.to_owned(), Arc::clone(&new));
        new
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
