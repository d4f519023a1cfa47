//! Pure: routes attach to their parents: which listeners and Services take them, and why not.

use super::backend::Services;
use super::conditions::{Problem, Subject, summary};
use super::frontend::Frontends;
use super::gateway::GatewayState;
use super::hostname::serve_at;
use super::interned::Interned;
use super::pattern::Patterns;
use super::precedence::rank;
use super::protocol::{Protocol, Speaks};
use super::rule::{RouteContext, RouteRules};
use super::{grpc_route, http_route};
use crate::control::config::grpc_route::GrpcRoute;
use crate::control::config::http_route::HttpRoute;
use crate::control::config::meta::ObjectKey;
use crate::control::config::resources::{Kind, ResourceSet};
use crate::control::config::route::{GATEWAY_GROUP, ParentRef};
use crate::control::diagnostic::{Code, Diagnostic};
use crate::control::report::{CONTROLLER_NAME, Condition, ParentRefStatus, ParentStatus, RouteStatus};
use crate::snapshot::router::RouteEntry;

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

    fn parent_refs(&self) -> &'a [ParentRef] {
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

/// All routes, oldest first.
pub(super) fn in_precedence(set: &ResourceSet) -> Vec<Route<'_>> {
    let http = set.http_routes.iter().map(|(key, entry)| {
        let meta = &entry.object.metadata;
        (rank(meta), Route::Http(Subject::new(Kind::HttpRoute, key, entry, meta), &entry.object))
    });
    let grpc = set.grpc_routes.iter().map(|(key, entry)| {
        let meta = &entry.object.metadata;
        (rank(meta), Route::Grpc(Subject::new(Kind::GrpcRoute, key, entry, meta), &entry.object))
    });
    let mut routes: Vec<_> = http.chain(grpc).collect();
    routes.sort_by(|a, b| a.0.cmp(&b.0));
    routes.into_iter().map(|(_, route)| route).collect()
}

/// What attaching needs, and changes.
pub(super) struct Parents<'p, 'a> {
    pub(super) set: &'a ResourceSet,
    pub(super) services: &'p Services,
    pub(super) gateways: &'p mut Vec<GatewayState<'a>>,
    pub(super) frontends: &'p mut Frontends<'a>,
    pub(super) interned: &'p mut Interned,
    pub(super) patterns: Patterns,
}

/// What became of a route: no status where no parent is Weir's.
pub(super) struct Attached {
    pub(super) status: Option<RouteStatus>,
    pub(super) findings: Vec<Diagnostic>,
}

/// A refusal by a parent.
type Refused = Problem;

/// Compiles a route and attaches it to all of its parents.
pub(super) fn attach(route: &Route<'_>, parents: &mut Parents<'_, '_>) -> Attached {
    let subject = route.subject();
    let regex_bytes_left = parents.interned.route_regex_bytes_max;
    let rules = route.rules(&mut RouteContext {
        set: parents.set,
        services: parents.services,
        interned: parents.interned,
        patterns: &mut parents.patterns,
        regex_bytes_left,
        subject,
    });
    let mut findings = rule_findings(route, &rules);
    let mut statuses = Vec::new();
    for (index, parent) in route.parent_refs().iter().enumerate() {
        let field = format!("spec.parentRefs[{index}]");
        let Some(outcome) = attach_to(route, parent, &field, &rules, parents, &mut findings) else {
            continue;
        };
        if let Err(problem) = &outcome {
            findings.push(problem.finding(subject, Code::RouteRefused));
        }
        statuses.push(ParentStatus {
            parent_ref: parent_status(parent, subject),
            controller_name: CONTROLLER_NAME,
            conditions: conditions(subject, &rules, outcome.err()),
        });
    }
    let key = &subject.id.key;
    let status = (!statuses.is_empty()).then(|| RouteStatus {
        kind: subject.id.kind,
        namespace: key.namespace.to_string(),
        name: key.name.to_string(),
        parents: statuses,
    });
    Attached { status, findings }
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
    route: &Route<'_>,
    parent: &ParentRef,
    field: &str,
    rules: &RouteRules,
    parents: &mut Parents<'_, '_>,
    findings: &mut Vec<Diagnostic>,
) -> Option<Result<(), Refused>> {
    let subject = route.subject();
    let own = &subject.id.key.namespace;
    let namespace = parent.namespace.as_deref().filter(|n| !n.is_empty()).unwrap_or(own);
    let key = ObjectKey::new(namespace, &parent.name);
    let group = parent.group.as_deref().unwrap_or(GATEWAY_GROUP);
    match (group, parent.kind.as_deref().unwrap_or("Gateway")) {
        (GATEWAY_GROUP, "Gateway") => {
            if let Some(gateway) = parents.gateways.iter_mut().find(|g| g.key == key) {
                return Some(to_gateway(route, parent, field, rules, parents.set, gateway));
            }
            if parents.set.gateways.get(&key).is_none() {
                let finding = subject.error(Code::RouteRefused).field(field);
                findings.push(
                    finding
                        .message(format!("Gateway {key} does not exist"))
                        .fix("add it, or correct the name"),
                );
            }
            None
        }
        ("" | "core", "Service") => Some(to_service(route, parent, field, rules, &key, parents, findings)),
        (group, kind) => {
            let finding = subject.error(Code::RouteRefused).field(field);
            findings.push(
                finding
                    .message(format!("a {kind} of group `{group}` cannot be a parent"))
                    .fix("name a Gateway, or a Service with group: \"\""),
            );
            None
        }
    }
}

fn to_gateway(
    route: &Route<'_>,
    parent: &ParentRef,
    field: &str,
    rules: &RouteRules,
    set: &ResourceSet,
    gateway: &mut GatewayState<'_>,
) -> Result<(), Refused> {
    let subject = route.subject();
    let kind = subject.id.kind;
    let key = gateway.key.clone();
    let named = |l: &crate::control::config::gateway::Listener| {
        parent.section_name.as_ref().is_none_or(|s| s.is_empty() || *s == l.name)
            && parent.port.is_none_or(|p| p == l.port)
    };
    // The best reason seen: each step that a listener passes makes the refusal more precise.
    let mut refusal = Problem::new(
        "NoMatchingParent",
        field,
        format!("Gateway {key} has no listener with this sectionName and port"),
        "correct sectionName or port, or leave them out",
    );
    let mut step = 0;
    let mut refuse = |to: u8, reason, message: String, fix: &str| {
        if to > step {
            step = to;
            refusal = Problem::new(reason, field, message, fix);
        }
    };
    let mut attached = false;
    for listener in gateway.listeners.iter_mut().filter(|l| named(l.spec)) {
        let name = &listener.spec.name;
        if !listener.kinds.contains(&kind) || !listener.allows_namespace(set, &key, &subject.id.key.namespace)
        {
            let message = format!(
                "listener {name} does not allow routes of kind {kind} from namespace {}",
                subject.id.key.namespace
            );
            refuse(1, "NotAllowedByListeners", message, "see allowedRoutes of that listener");
            continue;
        }
        let hosts = serve_at(listener.hostname.as_deref(), route.hostnames());
        if hosts.is_empty() {
            let message = format!("no hostname of the route is one of listener {name}");
            refuse(2, "NoMatchingListenerHostname", message, "use a hostname that the listener has");
            continue;
        }
        if listener.other_kind_has(kind, &hosts) {
            let message =
                format!("an older route of another kind has one of these hostnames at listener {name}");
            refuse(3, "HostnameConflict", message, "give HTTPRoutes and GRPCRoutes different hostnames");
            continue;
        }
        let entries: Vec<RouteEntry> =
            hosts.iter().flat_map(|host| entries(rules, host.as_deref())).collect();
        listener.attach(kind, hosts, entries, rules.is_accepted());
        attached = true;
    }
    if attached { Ok(()) } else { Err(refusal) }
}

fn entries<'r>(rules: &'r RouteRules, host: Option<&'r str>) -> impl Iterator<Item = RouteEntry> + 'r {
    rules.entries.iter().map(move |(matcher, rule)| RouteEntry {
        hostname: host.map(Into::into),
        matcher: matcher.clone(),
        rule: rule.clone(),
    })
}

fn to_service(
    route: &Route<'_>,
    parent: &ParentRef,
    field: &str,
    rules: &RouteRules,
    key: &ObjectKey,
    parents: &mut Parents<'_, '_>,
    findings: &mut Vec<Diagnostic>,
) -> Result<(), Refused> {
    let subject = route.subject();
    let refuse = |reason, message: String, fix: &str| Err(Problem::new(reason, field, message, fix));
    if parents.set.services.get(key).is_none() {
        return refuse(
            "NoMatchingParent",
            format!("Service {key} does not exist"),
            "add it, or correct the name",
        );
    }
    if key.namespace != subject.id.key.namespace {
        let message =
            format!("only routes of namespace {} may change what calls to Service {key} get", key.namespace);
        return refuse("NotAllowedByListeners", message, "move the route into the namespace of the Service");
    }
    let Some(service) = parents.frontends.get_mut(key) else {
        let message = format!("Service {key} has no cluster IP, so there is nothing to intercept");
        return refuse("UnsupportedValue", message, "use a Service with a clusterIP");
    };
    let wanted = |port: &crate::control::config::service::ServicePort| {
        parent.port.is_none_or(|p| p == port.port)
            && parent.section_name.as_deref().is_none_or(|s| s.is_empty() || port.name.as_deref() == Some(s))
    };
    let ports: Vec<_> = service.ports.iter_mut().filter(|p| wanted(p.port)).collect();
    if ports.is_empty() {
        let message = format!("Service {key} has no TCP port with this port and sectionName");
        return refuse("NoMatchingParent", message, "correct port or sectionName, or leave them out");
    }
    let opaque = |p: Protocol| matches!(p, Protocol::Declared(Speaks::Opaque | Speaks::Tls));
    let mut attached = false;
    for port in ports.into_iter().filter(|p| !opaque(p.protocol)) {
        port.attach(entries(rules, None));
        attached = true;
    }
    if !attached {
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
    Ok(())
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
