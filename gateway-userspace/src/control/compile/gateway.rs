//! Pure: GatewayClasses, Gateways and their listeners: what is accepted, opened and reported.

mod status;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

pub(super) use status::statuses;

use super::conditions::Subject;
use super::host_claims::HostClaims;
use super::hostname;
use super::listener_claims::{Claims, Refusal, conflict};
use super::place::Place;
use super::precedence::rank;
use super::target_port::TargetPorts;
use crate::control::config::gateway::{FromNamespaces, Gateway, Listener as ListenerSpec, ParametersRef};
use crate::control::config::meta::ObjectKey;
use crate::control::config::resources::{Kind, ResourceSet};
use crate::control::config::route::GATEWAY_GROUP;
use crate::control::diagnostic::{Code, Diagnostic};
use crate::control::report::{CONTROLLER_NAME, ClassStatus};
use crate::limits::GATEWAY_TARGET_PORTS;
use crate::snapshot::listener::{Listener, ListenerKind};
use crate::snapshot::router::Router;

/// The class that needs no GatewayClass object.
const OWN_CLASS: &str = "weir";

/// A Gateway of ours, before and while routes attach.
#[derive(Debug)]
pub(super) struct GatewayState {
    pub(super) key: ObjectKey,
    subject: Subject,
    /// Why nothing of it is served.
    pub(super) refusal: Option<Refusal>,
    /// Addresses to bind; the unspecified one unless it names some.
    pub(super) addresses: Vec<IpAddr>,
    named_addresses: bool,
    pub(super) listeners: Vec<ListenerState>,
}

/// A listener of it.
#[derive(Debug)]
pub(super) struct ListenerState {
    pub(super) spec: ListenerSpec,
    /// The port to bind.
    pub(super) bound_port: u16,
    /// Lower case; `None` for every host.
    pub(super) hostname: Option<String>,
    /// Kinds of routes that may attach.
    pub(super) kinds: Vec<Kind>,
    /// Kinds that were asked for and cannot attach.
    bad_kinds: Vec<String>,
    pub(super) refusal: Option<Refusal>,
    /// Accepted routes.
    pub(super) attached: u32,
    pub(super) claims: HostClaims,
}

impl ListenerState {
    /// True when a route of `namespace` may attach.
    pub(super) fn allows_namespace(&self, set: &ResourceSet, gateway: &ObjectKey, namespace: &str) -> bool {
        let allowed = &self.spec.allowed_routes.namespaces;
        match allowed.from {
            FromNamespaces::All => true,
            FromNamespaces::Same => &*gateway.namespace == namespace,
            FromNamespaces::None => false,
            FromNamespaces::Selector => allowed.selector.as_ref().is_some_and(|selector| {
                let object = set.namespaces.get(&ObjectKey::new("", namespace));
                let mut labels = object.map(|o| o.object.metadata.labels.clone()).unwrap_or_default();
                // Every namespace of a cluster has this label, also one that no folder spells out.
                labels.insert("kubernetes.io/metadata.name".to_owned(), namespace.to_owned());
                selector.matches(&labels)
            }),
        }
    }
}

/// Classes of ours with their statuses, and their Gateways from the oldest to the youngest.
pub(super) fn read(
    set: &ResourceSet,
    place: &Place,
    findings: &mut Vec<Diagnostic>,
) -> (Vec<ClassStatus>, Vec<GatewayState>) {
    let mut classes = Vec::new();
    let mut refused_classes = Vec::new();
    for (key, entry) in set.gateway_classes.iter() {
        let class = &entry.object;
        if class.spec.controller_name != CONTROLLER_NAME {
            continue;
        }
        let subject = Subject::new(Kind::GatewayClass, key, entry, &class.metadata);
        let accepted = match &class.spec.parameters_ref {
            None => subject.yes("Accepted", "Accepted"),
            Some(reference) => {
                refused_classes.push(&*key.name);
                let refusal = parameters(reference);
                findings.push(refused(&subject, &refusal, "spec.parametersRef"));
                subject.condition("Accepted", false, refusal.reason, refusal.message)
            }
        };
        classes.push(ClassStatus { name: key.name.to_string(), conditions: vec![accepted] });
    }
    let mut entries: Vec<_> = set.gateways.iter().collect();
    entries.sort_by_cached_key(|(_, entry)| rank(&entry.object.metadata));
    let mut claims = Claims::default();
    let mut targets = place.behind_services.then(TargetPorts::default);
    let mut gateways = Vec::new();
    for (key, entry) in entries {
        let gateway = &*entry.object;
        let subject = Subject::new(Kind::Gateway, key, entry, &gateway.metadata);
        let class = &gateway.spec.gateway_class_name;
        if !is_ours(set, class) {
            let finding = subject.warning(Code::ForeignClass).field("spec.gatewayClassName");
            findings.push(
                finding.message(format!("class `{class}` is not Weir's: this Gateway is left alone")).fix(
                    format!("use `{OWN_CLASS}`, or a GatewayClass with controllerName {CONTROLLER_NAME}"),
                ),
            );
            continue;
        }
        let class_refused = refused_classes.contains(&class.as_str());
        let ports = Ports { claims: &mut claims, targets: targets.as_mut() };
        gateways.push(state(key, gateway, subject, class_refused, ports, findings));
    }
    (classes, gateways)
}

/// A class of our controller, or the class `weir` without an object.
fn is_ours(set: &ResourceSet, class: &str) -> bool {
    match set.gateway_classes.get(&ObjectKey::new("", class)) {
        Some(entry) => entry.object.spec.controller_name == CONTROLLER_NAME,
        None => class == OWN_CLASS,
    }
}

fn parameters(reference: &ParametersRef) -> Refusal {
    let message = format!("Weir takes no parameters: {} {} is not read", reference.kind, reference.name);
    Refusal::new("InvalidParameters", message, "remove parametersRef")
}

fn refused(subject: &Subject, refusal: &Refusal, field: &str) -> Diagnostic {
    subject.error(Code::GatewayRefused).field(field).message(&*refusal.message).fix(&*refusal.fix)
}

/// Who has which port.
struct Ports<'a> {
    claims: &'a mut Claims,
    /// Where Gateways are reached through Services.
    targets: Option<&'a mut TargetPorts>,
}

impl Ports<'_> {
    /// The port to bind for a Gateway's port.
    fn bound(&mut self, gateway: &ObjectKey, port: u16) -> Result<u16, Refusal> {
        let Some(targets) = &mut self.targets else { return Ok(port) };
        targets.take(gateway, port).ok_or_else(|| {
            let count = GATEWAY_TARGET_PORTS.len();
            let message = format!("Gateways that are older have all {count} ports of a node");
            Refusal::new("PortUnavailable", message, "remove Gateways, or ports of them")
        })
    }
}

fn state(
    key: &ObjectKey,
    gateway: &Gateway,
    subject: Subject,
    class_refused: bool,
    mut ports: Ports<'_>,
    findings: &mut Vec<Diagnostic>,
) -> GatewayState {
    let spec = &gateway.spec;
    let (mut addresses, mut refusal) = addresses(gateway, &subject, findings);
    let named_addresses = !spec.addresses.is_empty() && ports.targets.is_none();
    if ports.targets.is_some() {
        // The Service has them.
        addresses = vec![IpAddr::V6(Ipv6Addr::UNSPECIFIED)];
    }
    if class_refused {
        refusal =
            Some(Refusal::new("InvalidParameters", "its GatewayClass is not accepted", "correct that class"));
    }
    if let Some(reference) = spec.infrastructure.as_ref().and_then(|i| i.parameters_ref.as_ref()) {
        let why = parameters(reference);
        findings.push(refused(&subject, &why, "spec.infrastructure.parametersRef"));
        refusal = Some(why);
    }
    ignored(gateway, &subject, findings);
    let mut listeners = Vec::with_capacity(spec.listeners.len());
    for (index, listener) in spec.listeners.iter().enumerate() {
        let mut state = listener_state(listener, conflict(&spec.listeners, index));
        match ports.bound(key, listener.port) {
            Ok(port) => state.bound_port = port,
            Err(refusal) => state.refusal = state.refusal.or(Some(refusal)),
        }
        if refusal.is_none() && state.refusal.is_none() {
            let name = format!("{key}/{}", listener.name);
            let host = state.hostname.as_deref();
            state.refusal = ports.claims.take(&addresses, state.bound_port, host, &name).err();
        }
        if let Some(refusal) = &state.refusal {
            findings.push(refused(&subject, refusal, &format!("spec.listeners[{index}]")));
        }
        for kind in &state.bad_kinds {
            let field = format!("spec.listeners[{index}].allowedRoutes.kinds");
            let finding = subject.error(Code::GatewayRefused).field(field);
            findings.push(
                finding
                    .message(format!("routes of kind {kind} cannot attach to protocol {}", listener.protocol))
                    .fix("use HTTPRoute or GRPCRoute"),
            );
        }
        listeners.push(state);
    }
    GatewayState { key: key.clone(), subject, refusal, addresses, named_addresses, listeners }
}

/// Fields that are read and have no effect.
fn ignored(gateway: &Gateway, subject: &Subject, findings: &mut Vec<Diagnostic>) {
    let spec = &gateway.spec;
    let mut note = |there: bool, field: String, message: &str, fix: &str| {
        if there {
            findings.push(subject.warning(Code::FieldIgnored).field(field).message(message).fix(fix));
        }
    };
    note(spec.tls.is_some(), "spec.tls".into(), "TLS is not supported yet; this has no effect", "remove it");
    let sets = "ListenerSets are not supported; this has no effect";
    note(spec.allowed_listeners.is_some(), "spec.allowedListeners".into(), sets, "remove it");
    let scope = "default Gateways are not supported; this has no effect";
    note(
        spec.default_scope.is_some(),
        "spec.defaultScope".into(),
        scope,
        "name this Gateway in each route's parentRefs",
    );
    for (index, listener) in spec.listeners.iter().enumerate().filter(|(_, l)| l.protocol == "HTTP") {
        let field = format!("spec.listeners[{index}].tls");
        note(listener.tls.is_some(), field, "an HTTP listener has no TLS; this has no effect", "remove it");
    }
}

/// The addresses to bind, or why the Gateway cannot have those it asks for.
fn addresses(
    gateway: &Gateway,
    subject: &Subject,
    findings: &mut Vec<Diagnostic>,
) -> (Vec<IpAddr>, Option<Refusal>) {
    let mut addresses = Vec::new();
    for (index, address) in gateway.spec.addresses.iter().enumerate() {
        let kind = address.kind.as_deref().unwrap_or("IPAddress");
        let field = format!("spec.addresses[{index}]");
        let ip = if kind != "IPAddress" {
            Err(format!("addresses of type {kind} are not supported"))
        } else if address.value.is_empty() {
            Ok(IpAddr::V6(Ipv6Addr::UNSPECIFIED))
        } else {
            address.value.parse().map_err(|_| format!("`{}` is not an IP address", address.value))
        };
        match ip {
            Ok(ip) if addresses.contains(&ip) => {}
            Ok(ip) => addresses.push(ip),
            Err(message) => {
                let refusal = Refusal::new(
                    "UnsupportedAddress",
                    message,
                    "use type IPAddress and an IP address of this host",
                );
                findings.push(refused(subject, &refusal, &field));
                return (Vec::new(), Some(refusal));
            }
        }
    }
    if addresses.is_empty() {
        addresses.push(IpAddr::V6(Ipv6Addr::UNSPECIFIED));
    }
    (addresses, None)
}

fn listener_state(listener: &ListenerSpec, conflict: Option<Refusal>) -> ListenerState {
    let supported = listener.protocol == "HTTP";
    let unsupported = (!supported).then(|| {
        let message = format!("protocol {} is not supported by this version", listener.protocol);
        Refusal::new("UnsupportedProtocol", message, "use protocol HTTP")
    });
    let asked = &listener.allowed_routes.kinds;
    let mut kinds = Vec::new();
    let mut bad_kinds = Vec::new();
    for kind in asked {
        let group = kind.group.as_deref().unwrap_or(GATEWAY_GROUP);
        let known = match (group == GATEWAY_GROUP && supported, kind.kind.as_str()) {
            (true, "HTTPRoute") => Some(Kind::HttpRoute),
            (true, "GRPCRoute") => Some(Kind::GrpcRoute),
            _ => None,
        };
        match known {
            Some(kind) if kinds.contains(&kind) => {}
            Some(kind) => kinds.push(kind),
            None => bad_kinds.push(format!("{group}/{}", kind.kind)),
        }
    }
    if asked.is_empty() && supported {
        kinds = vec![Kind::HttpRoute, Kind::GrpcRoute];
    }
    ListenerState {
        spec: listener.clone(),
        bound_port: listener.port,
        hostname: hostname::normal(listener.hostname.as_deref()),
        kinds,
        bad_kinds,
        refusal: conflict.or(unsupported),
        attached: 0,
        claims: HostClaims::default(),
    }
}

impl GatewayState {
    fn socket_addresses(&self, listener: &ListenerState) -> impl Iterator<Item = SocketAddr> {
        let port = listener.bound_port;
        self.addresses.iter().map(move |ip| SocketAddr::new(*ip, port))
    }
}

/// What is to be opened, without routes. Listeners that share an address and port become sections of one.
pub(super) fn open(gateways: &[GatewayState]) -> BTreeMap<SocketAddr, Arc<Listener>> {
    let mut open: BTreeMap<SocketAddr, (Arc<str>, u16, Vec<_>)> = BTreeMap::new();
    for gateway in gateways.iter().filter(|g| g.refusal.is_none()) {
        for listener in gateway.listeners.iter().filter(|l| l.refusal.is_none()) {
            let name: Arc<str> = format!("{}/{}", gateway.key, listener.spec.name).into();
            for address in gateway.socket_addresses(listener) {
                let new = || (Arc::clone(&name), listener.spec.port, Vec::new());
                let (_, _, sections) = open.entry(address).or_insert_with(new);
                sections.push(listener.hostname.as_deref().map(Into::into));
            }
        }
    }
    let listener = |(address, (name, port, sections))| {
        let kind = ListenerKind::Http(Router::of_hostnames(sections));
        (address, Arc::new(Listener { address, port, name, kind }))
    };
    open.into_iter().map(listener).collect()
}
