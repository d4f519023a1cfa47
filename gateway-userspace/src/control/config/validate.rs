//! Pure: what the schemas of the Gateway API refuse, for objects that no API server has checked.

mod filters;
mod names;

use std::collections::BTreeSet;

use self::filters::filters;
use self::names::{is_hostname, is_label, is_path};
use super::gateway::Gateway;
use super::grpc_route::GrpcRoute;
use super::http_route::{HttpRoute, HttpRouteMatch, HttpRouteRule, PathMatchType};
use super::route::{BackendRef, NamedMatch, ParentRef};
use super::service::Service;

/// What makes an object invalid as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Path from the object.
    pub field: String,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub fix: String,
}

/// Collects violations below a path.
pub(super) struct Checker(Vec<Violation>);

impl Checker {
    pub(super) fn require(
        &mut self,
        holds: bool,
        field: &str,
        message: impl Into<String>,
        fix: impl Into<String>,
    ) {
        if !holds {
            self.0.push(Violation { field: field.to_owned(), message: message.into(), fix: fix.into() });
        }
    }

    fn at_most(&mut self, most: usize, there: usize, field: &str) {
        self.require(
            there <= most,
            field,
            format!("{there} entries, and {most} are allowed"),
            "split the object",
        );
    }

    fn port(&mut self, port: Option<u16>, field: &str) {
        self.require(port != Some(0), field, "0 is not a port", "use 1 to 65535");
    }

    fn hostname(&mut self, hostname: Option<&str>, wildcard: bool, field: &str) {
        let Some(host) = hostname.filter(|h| !h.is_empty()) else { return };
        let fix =
            if wildcard { "use a DNS name like a.example.com or *.example.com" } else { "use a DNS name" };
        self.require(is_hostname(host, wildcard), field, format!("`{host}` is not a hostname"), fix);
    }
}

/// For kinds whose shape says it all.
pub fn nothing<T>(_: &T) -> Vec<Violation> {
    Vec::new()
}

/// Violations of a Gateway.
pub fn gateway(gateway: &Gateway) -> Vec<Violation> {
    let mut check = Checker(Vec::new());
    let listeners = &gateway.spec.listeners;
    check.require(!listeners.is_empty(), "spec.listeners", "a Gateway needs a listener", "add one");
    check.at_most(64, listeners.len(), "spec.listeners");
    check.at_most(16, gateway.spec.addresses.len(), "spec.addresses");
    let mut names = BTreeSet::new();
    for (index, listener) in listeners.iter().enumerate() {
        let field = format!("spec.listeners[{index}]");
        let name = &listener.name;
        check.require(
            is_label(name),
            &format!("{field}.name"),
            format!("`{name}` is not a name"),
            "use a-z, 0-9 and -",
        );
        let twice = format!("listener `{name}` is there twice");
        check.require(
            names.insert(name),
            &format!("{field}.name"),
            twice,
            "give each listener a name of its own",
        );
        check.port(Some(listener.port), &format!("{field}.port"));
        check.hostname(listener.hostname.as_deref(), true, &format!("{field}.hostname"));
        let host_allowed =
            !matches!(listener.protocol.as_str(), "TCP" | "UDP") || listener.hostname.is_none();
        check.require(
            host_allowed,
            &format!("{field}.hostname"),
            "a TCP or UDP listener has no hostname",
            "remove it",
        );
    }
    check.0
}

/// Violations of a Service.
pub fn service(service: &Service) -> Vec<Violation> {
    let mut check = Checker(Vec::new());
    let ports = &service.spec.ports;
    for (index, port) in ports.iter().enumerate() {
        let field = format!("spec.ports[{index}]");
        check.port(Some(port.port), &format!("{field}.port"));
        let named = ports.len() == 1 || port.name.as_deref().is_some_and(|n| !n.is_empty());
        check.require(named, &format!("{field}.name"), "with several ports each needs a name", "add one");
        let same = |other: &super::service::ServicePort| {
            other.port == port.port
                && other.protocol.as_deref().unwrap_or("TCP") == port.protocol.as_deref().unwrap_or("TCP")
        };
        let twice = format!("port {} is there twice", port.port);
        check.require(
            !ports[..index].iter().any(same),
            &format!("{field}.port"),
            twice,
            "remove one of them",
        );
        let same_name = |other: &super::service::ServicePort| other.name.is_some() && other.name == port.name;
        let message = format!("the name `{}` is there twice", port.name.as_deref().unwrap_or_default());
        check.require(
            !ports[..index].iter().any(same_name),
            &format!("{field}.name"),
            message,
            "rename one of them",
        );
    }
    check.0
}

/// Violations of an HTTPRoute.
pub fn http_route(route: &HttpRoute) -> Vec<Violation> {
    let mut check = Checker(Vec::new());
    parents_and_hosts(&mut check, &route.spec.parent_refs, &route.spec.hostnames);
    let rules = route.spec.rules.as_deref().unwrap_or_default();
    check.at_most(16, rules.len(), "spec.rules");
    let total: usize = rules.iter().map(|r| r.matches.len()).sum();
    check.require(
        total <= 128,
        "spec.rules",
        format!("{total} matches, and 128 are allowed"),
        "split the route",
    );
    rule_names(&mut check, rules.iter().map(|r| r.name.as_deref()));
    for (index, rule) in rules.iter().enumerate() {
        http_rule(&mut check, rule, &format!("spec.rules[{index}]"));
    }
    check.0
}

fn http_rule(check: &mut Checker, rule: &HttpRouteRule, field: &str) {
    check.at_most(64, rule.matches.len(), &format!("{field}.matches"));
    for (index, m) in rule.matches.iter().enumerate() {
        http_match(check, m, &format!("{field}.matches[{index}]"));
    }
    filters(check, &rule.filters, field);
    backends(check, &rule.backend_refs, field);
    if let Some(timeouts) = &rule.timeouts {
        let (request, backend) = (timeouts.request.map(|d| d.0), timeouts.backend_request.map(|d| d.0));
        let longer = matches!((request, backend), (Some(r), Some(b)) if !r.is_zero() && b > r);
        let place = format!("{field}.timeouts.backendRequest");
        check.require(
            !longer,
            &place,
            "one attempt may not take longer than the request",
            "make it at most timeouts.request",
        );
    }
    for (index, code) in rule.retry.iter().flat_map(|r| &r.codes).enumerate() {
        let place = format!("{field}.retry.codes[{index}]");
        check.require(
            (400..600).contains(code),
            &place,
            format!("{code} is no error status"),
            "use 400 to 599",
        );
    }
    let redirects = rule.filters.iter().any(|f| f.request_redirect.is_some());
    check.require(
        !redirects || rule.backend_refs.is_empty(),
        &format!("{field}.backendRefs"),
        "a rule that redirects sends to no backend",
        "remove backendRefs or the RequestRedirect filter",
    );
}

fn http_match(check: &mut Checker, m: &HttpRouteMatch, field: &str) {
    if let Some(path) = &m.path {
        let value = path.value.as_deref().unwrap_or("/");
        let place = format!("{field}.path.value");
        check.require(value.len() <= 1024, &place, "a path match has at most 1024 bytes", "shorten it");
        if path.kind != PathMatchType::RegularExpression {
            check.require(
                is_path(value),
                &place,
                format!("`{value}` is not a path to match"),
                "begin with /, and leave out //, /./, /../, %2f and #",
            );
        }
    }
    named(check, &m.headers, &format!("{field}.headers"));
    named(check, &m.query_params, &format!("{field}.queryParams"));
    const METHODS: [&str; 9] =
        ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];
    if let Some(method) = &m.method {
        let known = METHODS.contains(&method.as_str());
        check.require(
            known,
            &format!("{field}.method"),
            format!("`{method}` is not a method"),
            format!("use one of: {}", METHODS.join(", ")),
        );
    }
}

/// Violations of a GRPCRoute.
pub fn grpc_route(route: &GrpcRoute) -> Vec<Violation> {
    let mut check = Checker(Vec::new());
    parents_and_hosts(&mut check, &route.spec.parent_refs, &route.spec.hostnames);
    check.at_most(16, route.spec.rules.len(), "spec.rules");
    rule_names(&mut check, route.spec.rules.iter().map(|r| r.name.as_deref()));
    for (index, rule) in route.spec.rules.iter().enumerate() {
        let field = format!("spec.rules[{index}]");
        check.at_most(64, rule.matches.len(), &format!("{field}.matches"));
        for (index, m) in rule.matches.iter().enumerate() {
            let field = format!("{field}.matches[{index}]");
            named(&mut check, &m.headers, &format!("{field}.headers"));
            let texts = m.method.iter().flat_map(|m| [("service", &m.service), ("method", &m.method)]);
            for (name, text) in texts {
                let slash = text.as_deref().is_some_and(|t| t.contains('/'));
                let place = format!("{field}.method.{name}");
                check.require(
                    !slash,
                    &place,
                    "a gRPC name has no /",
                    "write service and method in their own fields",
                );
            }
        }
        filters(&mut check, &rule.filters, &field);
        backends(&mut check, &rule.backend_refs, &field);
    }
    check.0
}

fn parents_and_hosts(check: &mut Checker, parents: &[ParentRef], hostnames: &[String]) {
    check.at_most(32, parents.len(), "spec.parentRefs");
    for (index, parent) in parents.iter().enumerate() {
        let field = format!("spec.parentRefs[{index}]");
        check.port(parent.port, &format!("{field}.port"));
        check.require(!parent.name.is_empty(), &format!("{field}.name"), "a parent needs a name", "add one");
        check.require(
            !parents[..index].contains(parent),
            &field,
            "this parent is there twice",
            "remove one of them, or tell them apart by sectionName or port",
        );
    }
    check.at_most(16, hostnames.len(), "spec.hostnames");
    for (index, host) in hostnames.iter().enumerate() {
        check.hostname(Some(host), true, &format!("spec.hostnames[{index}]"));
    }
}

fn rule_names<'a>(check: &mut Checker, names: impl Iterator<Item = Option<&'a str>>) {
    let mut seen = BTreeSet::new();
    for (index, name) in names.enumerate().filter_map(|(i, name)| Some((i, name?))) {
        let message = format!("the rule name `{name}` is there twice");
        check.require(seen.insert(name), &format!("spec.rules[{index}].name"), message, "rename one of them");
    }
}

fn backends(check: &mut Checker, backends: &[BackendRef], field: &str) {
    check.at_most(16, backends.len(), &format!("{field}.backendRefs"));
    for (index, backend) in backends.iter().enumerate() {
        let field = format!("{field}.backendRefs[{index}]");
        check.port(backend.port, &format!("{field}.port"));
        check.require(
            !backend.name.is_empty(),
            &format!("{field}.name"),
            "a backend needs a name",
            "add one",
        );
        let weight = backend.weight.unwrap_or(1);
        check.require(
            weight <= 1_000_000,
            &format!("{field}.weight"),
            format!("{weight} is too heavy"),
            "use 0 to 1000000",
        );
        let core = backend.group.as_deref().unwrap_or_default().is_empty();
        let is_service = core && backend.kind.as_deref().unwrap_or("Service") == "Service";
        let message = "a Service needs a port";
        check.require(
            !is_service || backend.port.is_some(),
            &format!("{field}.port"),
            message,
            "add the Service port",
        );
        filters(check, &backend.filters, &field);
    }
}

fn named(check: &mut Checker, matches: &[NamedMatch], field: &str) {
    check.at_most(16, matches.len(), field);
    for (index, m) in matches.iter().enumerate() {
        let place = format!("{field}[{index}].name");
        check.require(!m.name.is_empty(), &place, "a match needs a name", "add one");
    }
}
