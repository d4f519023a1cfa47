//! Pure: routes attach to their parents: which listeners and Services take them, and why not.

use std::ops::RangeFrom;
use std::sync::Arc;

use super::backend::tcp_ports;
use super::conditions::{Problem, Subject, summary};
use super::frontend::is_dialled;
use super::gateway::ListenerState;
use super::gateway_table::{GatewayTable, ListenerId};
use super::hostname::serve_at;
use super::protocol::{self, Protocol, Speaks};
use super::route_table::{Attachment, Surroundings, Target};
use super::rule::{RouteContext, RouteRules};
use super::spoken::namespace_of;
use super::{grpc_route, http_route};
use crate::control::config::grpc_route::GrpcRoute;
use crate::control::config::http_route::HttpRoute;
use crate::control::config::meta::ObjectKey;
use crate::control::config::resources::{Kind, ObjectId, ResourceSet};
use crate::control::config::route::{GATEWAY_GROUP, ParentRef};
use crate::control::config::service::ServicePort;
use crate::control::diagnostic::{Code, Diagnostic};
use crate::control::report::{CONTROLLER_NAME, Condition, ParentRefStatus, ParentStatus, RouteStatus};
use crate::snapshot::router::{RankedEntry, RouteAge, RouteEntry};

/// A route of either kind.
pub(super) enum Route<'a> {
    Http(Subject, &'a HttpRoute),
    Grpc(Subject, &'a GrpcRoute),
}

impl<'a> Route<'a> {
    fn subject(&self) -> &Subject {
        match self {
            Self::Http(subject, _) | Self::Grpc(subject, _) => subject,
        }
    }

    /// When it was made, and its name.
    pub(super) fn age(&self) -> Arc<RouteAge> {
        let created = match self {
            Self::Http(_, route) => &route.metadata.creation_timestamp,
            Self::Grpc(_, route) => &route.metadata.creation_timestamp,
        };
        let ObjectId { kind, key } = &self.subject().id;
        Arc::new(RouteAge {
            created: created.as_deref().map(Into::into),
            namespace: Arc::clone(&key.namespace),
            name: Arc::clone(&key.name),
            grpc: *kind == Kind::GrpcRoute,
        })
    }

    pub(super) fn parent_refs(&self) -> &'a [ParentRef] {
        match self {
            Self::Http(_, route) => &route.spec.parent_refs,
            Self::Grpc(_, route) => &route.spec.parent_refs,
        }
    }

    fn hostnames(&self) -> &'a [String] {
        match self {
            Self::Http(_, route) => &route.spec.hostnames,
            Self::Grpc(_, route) => &route.spec.hostnames,
        }
    }

    fn uses_default_gateways(&self) -> bool {
        match self {
            Self::Http(_, route) => route.spec.use_default_gateways.is_some(),
            Self::Grpc(_, route) => route.spec.use_default_gateways.is_some(),
        }
    }

    fn rules(&self, context: &mut RouteContext<'_>) -> RouteRules {
        match self {
            Self::Http(_, route) => http_route::rules(route, context),
            Self::Grpc(_, route) => grpc_route::rules(route, context),
        }
    }
}

/// A route of a set.
pub(super) fn route<'a>(set: &'a ResourceSet, id: &ObjectId) -> Option<Route<'a>> {
    if id.kind == Kind::GrpcRoute {
        let entry = set.grpc_routes.get(&id.key)?;
        let subject = Subject::new(id.kind, &id.key, entry, &entry.object.metadata);
        return Some(Route::Grpc(subject, &entry.object));
    }
    let entry = set.http_routes.get(&id.key)?;
    Some(Route::Http(Subject::new(id.kind, &id.key, entry, &entry.object.metadata), &entry.object))
}

/// What became of a route: no status where no parent is Weir's.
#[derive(Default)]
pub(super) struct Attached {
    pub(super) status: Option<RouteStatus>,
    pub(super) findings: Vec<Diagnostic>,
    pub(super) attachments: Vec<Attachment>,
}

/// A refusal by a parent.
type Refused = Problem;

/// Compiles a route and says where it attaches.
pub(super) fn attach(route: &Route<'_>, surroundings: &mut Surroundings<'_>) -> Attached {
    let subject = route.subject();
    let regex_bytes_left = surroundings.interned.route_regex_bytes_max;
    let rules = route.rules(&mut RouteContext {
        set: surroundings.set,
        services: surroundings.services,
        interned: surroundings.interned,
        patterns: surroundings.patterns,
        regex_bytes_left,
        subject,
    });
    let mut findings = rule_findings(route, &rules);
    let mut statuses = Vec::new();
    let mut entries = Entries { rules: &rules, age: route.age(), positions: 0.. };
    let mut attachments = Vec::new();
    for (index, parent) in route.parent_refs().iter().enumerate() {
        let field = format!("spec.parentRefs[{index}]");
        let asked = Asked { route, parent, field: &field, key: parent_key(parent, subject) };
        let Some(outcome) = attach_to(&asked, &mut entries, surroundings, &mut findings) else {
            continue;
        };
        let refusal = match outcome {
            Ok(new) => {
                attachments.extend(new);
                None
            }
            Err(problem) => {
                findings.push(problem.finding(subject, Code::RouteRefused));
                Some(problem)
            }
        };
        statuses.push(ParentStatus {
            parent_ref: parent_status(parent, subject),
            controller_name: CONTROLLER_NAME,
            conditions: conditions(subject, &rules, refusal),
        });
    }
    let key = &subject.id.key;
    let status = (!statuses.is_empty()).then(|| RouteStatus {
        kind: subject.id.kind,
        namespace: key.namespace.to_string(),
        name: key.name.to_string(),
        parents: statuses,
    });
    Attached { status, findings, attachments }
}

/// A parentRef and whose it is.
struct Asked<'a> {
    route: &'a Route<'a>,
    parent: &'a ParentRef,
    field: &'a str,
    /// Of the parent.
    key: ObjectKey,
}

fn parent_key(parent: &ParentRef, subject: &Subject) -> ObjectKey {
    ObjectKey::new(namespace_of(parent.namespace.as_deref(), &subject.id.key.namespace), &parent.name)
}

/// Makes the entries of a route, each with a place of its own.
struct Entries<'a> {
    rules: &'a RouteRules,
    age: Arc<RouteAge>,
    positions: RangeFrom<u32>,
}

impl Entries<'_> {
    fn at(&mut self, host: Option<&str>) -> impl Iterator<Item = Arc<RankedEntry>> {
        let (rules, age) = (self.rules, &self.age);
        rules.entries.iter().zip(&mut self.positions).map(move |((matcher, rule), position)| {
            let hostname = host.map(Into::into);
            let entry = RouteEntry { hostname, matcher: matcher.clone(), rule: Arc::clone(rule) };
            RankedEntry::new(entry, age, position)
        })
    }
}

/// The hostnames that a route wants of each listener that would have it.
pub(super) fn wanted(
    route: &Route<'_>,
    set: &ResourceSet,
    gateways: &GatewayTable,
) -> Vec<(ListenerId, Vec<Option<String>>)> {
    let mut wanted = Vec::new();
    for parent in route.parent_refs().iter().filter(|parent| is_gateway(parent)) {
        let key = parent_key(parent, route.subject());
        let Some((_, listeners)) = gateways.get(&key) else { continue };
        let named = listeners.filter(|(_, listener)| is_named(parent, listener));
        let offers = named.filter_map(|(id, listener)| Some((id, offer(route, set, &key, listener).ok()?)));
        wanted.extend(offers);
    }
    wanted
}

fn is_gateway(parent: &ParentRef) -> bool {
    parent.group.as_deref().unwrap_or(GATEWAY_GROUP) == GATEWAY_GROUP
        && parent.kind.as_deref().unwrap_or("Gateway") == "Gateway"
}

fn is_named(parent: &ParentRef, listener: &ListenerState) -> bool {
    parent.section_name.as_ref().is_none_or(|s| s.is_empty() || *s == listener.spec.name)
        && parent.port.is_none_or(|p| p == listener.spec.port)
}

fn rule_findings(route: &Route<'_>, rules: &RouteRules) -> Vec<Diagnostic> {
    let subject = route.subject();
    let mut findings = rules.notes.clone();
    findings.extend(rules.invalid.iter().map(|p| p.finding(subject, Code::RuleUnsupported)));
    findings.extend(rules.unresolved.iter().map(|p| p.finding(subject, Code::RefUnresolved)));
    if route.uses_default_gateways() {
        let finding = subject.warning(Code::FieldIgnored).field("spec.useDefaultGateways");
        findings.push(
            finding
                .message("default Gateways are not supported; this has no effect")
                .fix("name a Gateway in parentRefs"),
        );
    }
    if route.parent_refs().is_empty() {
        let finding = subject.warning(Code::RouteWithoutParent).field("spec.parentRefs");
        findings.push(
            finding
                .message("it has no parent and serves nothing")
                .fix("name a Gateway or a Service in parentRefs"),
        );
    }
    findings
}

/// Attaches to one parent. `None` where the parent is not Weir's: nobody claims its status then.
fn attach_to(
    asked: &Asked<'_>,
    entries: &mut Entries<'_>,
    surroundings: &Surroundings<'_>,
    findings: &mut Vec<Diagnostic>,
) -> Option<Result<Vec<Attachment>, Refused>> {
    let Asked { route, parent, field, key } = asked;
    let subject = route.subject();
    if is_gateway(parent) {
        if surroundings.gateways.get(key).is_some() {
            return Some(to_gateway(asked, entries, surroundings));
        }
        if surroundings.set.gateways.get(key).is_none() {
            let finding = subject.error(Code::RouteRefused).field(*field);
            findings.push(
                finding.message(format!("Gateway {key} does not exist")).fix("add it, or correct the name"),
            );
        }
        return None;
    }
    match (parent.group.as_deref().unwrap_or(GATEWAY_GROUP), parent.kind.as_deref().unwrap_or("Gateway")) {
        ("" | "core", "Service") => Some(to_service(asked, entries, surroundings, findings)),
        (group, kind) => {
            let finding = subject.error(Code::RouteRefused).field(*field);
            findings.push(
                finding
                    .message(format!("a {kind} of group `{group}` cannot be a parent"))
                    .fix("name a Gateway, or a Service with group: \"\""),
            );
            None
        }
    }
}

/// Why a listener does not have a route. The later the step, the more precise the reason.
struct Declined {
    step: u8,
    reason: &'static str,
    message: String,
    fix: &'static str,
}

/// The hostnames that a listener would have a route for.
fn offer(
    route: &Route<'_>,
    set: &ResourceSet,
    gateway: &ObjectKey,
    listener: &ListenerState,
) -> Result<Vec<Option<String>>, Declined> {
    let ObjectId { kind, key: ObjectKey { namespace, .. } } = &route.subject().id;
    let name = &listener.spec.name;
    if !listener.kinds.contains(kind) || !listener.allows_namespace(set, gateway, namespace) {
        return Err(Declined {
            step: 1,
            reason: "NotAllowedByListeners",
            message: format!(
                "listener {name} does not allow routes of kind {kind} from namespace {namespace}"
            ),
            fix: "see allowedRoutes of that listener",
        });
    }
    let hosts = serve_at(listener.hostname.as_deref(), route.hostnames());
    if hosts.is_empty() {
        return Err(Declined {
            step: 2,
            reason: "NoMatchingListenerHostname",
            message: format!("no hostname of the route is one of listener {name}"),
            fix: "use a hostname that the listener has",
        });
    }
    Ok(hosts)
}

fn conflict(listener: &ListenerState) -> Declined {
    let name = &listener.spec.name;
    Declined {
        step: 3,
        reason: "HostnameConflict",
        message: format!("an older route of another kind has one of these hostnames at listener {name}"),
        fix: "give HTTPRoutes and GRPCRoutes different hostnames",
    }
}

fn to_gateway(
    asked: &Asked<'_>,
    entries: &mut Entries<'_>,
    surroundings: &Surroundings<'_>,
) -> Result<Vec<Attachment>, Refused> {
    let Asked { route, parent, field, key } = asked;
    let mut refusal = Declined {
        step: 0,
        reason: "NoMatchingParent",
        message: format!("Gateway {key} has no listener with this sectionName and port"),
        fix: "correct sectionName or port, or leave them out",
    };
    let mut attachments = Vec::new();
    let listeners = surroundings.gateways.get(key).into_iter().flat_map(|(_, listeners)| listeners);
    for (id, listener) in listeners.filter(|(_, listener)| is_named(parent, listener)) {
        let offered = offer(route, surroundings.set, key, listener);
        match offered.and_then(|hosts| {
            let refused = listener.claims.is_refused(&entries.age);
            if refused { Err(conflict(listener)) } else { Ok(hosts) }
        }) {
            Ok(hosts) => attachments.push(Attachment {
                to: Target::Listener(id),
                entries: hosts
                    .iter()
                    .flat_map(|host| entries.at(host.as_deref()).collect::<Vec<_>>())
                    .collect(),
                accepted: entries.rules.is_accepted(),
            }),
            Err(declined) if declined.step > refusal.step => refusal = declined,
            Err(_) => {}
        }
    }
    if attachments.is_empty() {
        return Err(Problem::new(refusal.reason, *field, refusal.message, refusal.fix));
    }
    Ok(attachments)
}

fn to_service(
    asked: &Asked<'_>,
    entries: &mut Entries<'_>,
    surroundings: &Surroundings<'_>,
    findings: &mut Vec<Diagnostic>,
) -> Result<Vec<Attachment>, Refused> {
    let Asked { route, parent, field, key } = asked;
    let subject = route.subject();
    let refuse = |reason, message: String, fix: &str| Err(Problem::new(reason, *field, message, fix));
    let Some(service) = surroundings.set.services.get(key) else {
        return refuse(
            "NoMatchingParent",
            format!("Service {key} does not exist"),
            "add it, or correct the name",
        );
    };
    if key.namespace != subject.id.key.namespace {
        let message =
            format!("only routes of namespace {} may change what calls to Service {key} get", key.namespace);
        return refuse("NotAllowedByListeners", message, "move the route into the namespace of the Service");
    }
    if !is_dialled(&service.object) {
        let message = format!("Service {key} has no cluster IP, so there is nothing to intercept");
        return refuse("UnsupportedValue", message, "use a Service with a clusterIP");
    }
    let wanted = |port: &ServicePort| {
        parent.port.is_none_or(|p| p == port.port)
            && parent.section_name.as_deref().is_none_or(|s| s.is_empty() || port.name.as_deref() == Some(s))
    };
    let ports: Vec<&ServicePort> =
        tcp_ports(&service.object).map(|(_, port)| port).filter(|port| wanted(port)).collect();
    if ports.is_empty() {
        let message = format!("Service {key} has no TCP port with this port and sectionName");
        return refuse("NoMatchingParent", message, "correct port or sectionName, or leave them out");
    }
    let opaque = |port: &&ServicePort| {
        matches!(protocol::of_port(port), Protocol::Declared(Speaks::Opaque | Speaks::Tls))
    };
    let attachments: Vec<Attachment> = ports
        .into_iter()
        .filter(|port| !opaque(port))
        .filter_map(|port| surroundings.services.cluster(key, port.port))
        .map(|cluster| Attachment {
            to: Target::Port(cluster.key.clone()),
            entries: entries.at(None).collect(),
            accepted: entries.rules.is_accepted(),
        })
        .collect();
    if attachments.is_empty() {
        let message = format!("the appProtocol of Service {key} says that it does not speak HTTP");
        return refuse("UnsupportedProtocol", message, "correct appProtocol, or remove the route");
    }
    if !route.hostnames().is_empty() {
        let finding = subject.warning(Code::FieldIgnored).field("spec.hostnames");
        findings.push(
            finding
                .message("a Service is matched by its address: hostnames have no effect on it")
                .fix("remove them"),
        );
    }
    Ok(attachments)
}

impl RouteRules {
    /// False when no rule can be served as written.
    fn is_accepted(&self) -> bool {
        self.valid > 0 || self.invalid.is_empty()
    }
}

fn conditions(subject: &Subject, rules: &RouteRules, refusal: Option<Refused>) -> Vec<Condition> {
    let mut conditions = Vec::with_capacity(3);
    let invalid = rules.invalid.first();
    match (refusal, invalid) {
        (Some(refusal), _) => {
            conditions.push(subject.condition("Accepted", false, refusal.reason, refusal.message));
        }
        (None, Some(first)) if !rules.is_accepted() => {
            conditions.push(subject.condition("Accepted", false, first.reason, summary(&rules.invalid)));
        }
        (None, Some(_)) => {
            let broken = rules.total - rules.valid;
            let message = format!("{broken} of {} rules: {}", rules.total, summary(&rules.invalid));
            conditions.push(subject.yes("Accepted", "Accepted"));
            conditions.push(subject.condition("PartiallyInvalid", true, "UnsupportedValue", message));
        }
        (None, None) => conditions.push(subject.yes("Accepted", "Accepted")),
    }
    conditions.push(match rules.unresolved.first() {
        Some(first) => subject.condition("ResolvedRefs", false, first.reason, summary(&rules.unresolved)),
        None => subject.yes("ResolvedRefs", "ResolvedRefs"),
    });
    conditions
}

fn parent_status(parent: &ParentRef, subject: &Subject) -> ParentRefStatus {
    ParentRefStatus {
        group: parent.group.clone().unwrap_or_else(|| GATEWAY_GROUP.to_owned()),
        kind: parent.kind.clone().unwrap_or_else(|| "Gateway".to_owned()),
        namespace: parent.namespace.clone().unwrap_or_else(|| subject.id.key.namespace.to_string()),
        name: parent.name.clone(),
        section_name: parent.section_name.clone(),
        port: parent.port,
    }
}
