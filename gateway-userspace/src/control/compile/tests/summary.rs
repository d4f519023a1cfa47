//! What a compile made, as text for a reviewer.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::control::render::finding_line;
use crate::control::report::{Condition, StatusReport};
use crate::snapshot::Snapshot;
use crate::snapshot::cluster::{Cluster, Endpoint};
use crate::snapshot::listener::ListenerKind;
use crate::snapshot::router::{Matcher, PathMatcher, RouteEntry, Router, Rule, ValueMatcher};
use crate::snapshot::tier::Family;

pub(super) fn of(snapshot: &Snapshot, report: &StatusReport) -> String {
    let mut text = String::new();
    let mut rules: BTreeMap<(String, bool), String> = BTreeMap::new();
    section(
        &mut text,
        "listeners",
        snapshot.listeners.iter().map(|listener| {
            let ListenerKind::Http(router) = &listener.kind else { panic!("{listener:?}") };
            format!("\"{} {}\":{}", listener.address, listener.name, routes(router, &mut rules))
        }),
    );
    section(
        &mut text,
        "frontends",
        snapshot.frontends.iter().map(|f| {
            let routes = f.routes.as_ref().map(|r| routes(r, &mut rules)).unwrap_or_default();
            format!(
                "\"{} {:?} {:?} {:?} {:?}\":{routes}",
                f.key, f.addresses, f.protocol, f.mode, f.fail_policy
            )
        }),
    );
    section(&mut text, "rules", rules.values().cloned());
    section(&mut text, "clusters", snapshot.clusters.iter().map(|c| cluster(c)));
    statuses(&mut text, report);
    let findings = report.diagnostics.iter();
    section(
        &mut text,
        "findings",
        findings.map(|f| quoted(&format!("{} {}", f.severity.as_str(), finding_line(f)))),
    );
    text
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn section(text: &mut String, name: &str, items: impl Iterator<Item = String>) {
    let items: Vec<String> = items.collect();
    if !items.is_empty() {
        let _ = writeln!(text, "{name}:");
        items.iter().for_each(|item| {
            let _ = writeln!(text, "- {item}");
        });
    }
}

fn routes(router: &Router, rules: &mut BTreeMap<(String, bool), String>) -> String {
    let mut text = String::new();
    for entry in router.entries() {
        rules.insert((entry.rule.name.to_string(), entry.rule.grpc), rule(&entry.rule));
        let _ = write!(text, "\n  - {}", quoted(&route(entry)));
    }
    if text.is_empty() { " []".to_owned() } else { text }
}

fn route(entry: &RouteEntry) -> String {
    let host = entry.hostname.as_deref().unwrap_or("*");
    format!("{host} {} -> {}", matcher(&entry.matcher), entry.rule.name)
}

fn matcher(m: &Matcher) -> String {
    let mut text = match &m.path {
        PathMatcher::Exact(path) => format!("= {path}"),
        PathMatcher::Prefix(path) => format!("^ {path}"),
        PathMatcher::Regex(regex) => format!("~ {regex}"),
    };
    let value = |v: &ValueMatcher| match v {
        ValueMatcher::Exact(value) => format!("={value}"),
        ValueMatcher::Regex(regex) => format!("~{regex}"),
    };
    for (name, v) in &m.headers {
        let _ = write!(text, " {name}{}", value(v));
    }
    for (name, v) in &m.query {
        let _ = write!(text, " ?{name}{}", value(v));
    }
    if let Some(method) = &m.method {
        let _ = write!(text, " {method}");
    }
    text
}

fn rule(rule: &Rule) -> String {
    let mut text = format!("\"{}{}\":", if rule.grpc { "grpc " } else { "" }, rule.name);
    for filter in &rule.filters {
        let _ = write!(text, "\n  - {}", quoted(&format!("filter {filter:?}")));
    }
    for backend in rule.backends.iter() {
        let to = match &backend.cluster {
            Ok(cluster) => cluster.key.to_string(),
            Err(reason) => format!("({reason})"),
        };
        let _ = write!(text, "\n  - {}", quoted(&format!("{} × {to}", backend.weight)));
        for filter in &backend.filters {
            let _ = write!(text, "\n  - {}", quoted(&format!("  filter {filter:?}")));
        }
    }
    if rule.timeouts != Default::default() {
        let _ = write!(text, "\n  - {}", quoted(&format!("{:?}", rule.timeouts)));
    }
    if let Some(retry) = &rule.retry {
        let _ = write!(text, "\n  - {}", quoted(&format!("{retry:?}")));
    }
    if text.ends_with(':') { text + " []" } else { text }
}

fn cluster(cluster: &Cluster) -> String {
    let set = cluster.endpoints.load();
    let endpoints: Vec<String> = set.endpoints.iter().map(endpoint).collect();
    let limit = cluster.circuit.as_ref().map(|limit| format!(" max-requests={}", limit.requests_max()));
    let local = if set.local_only { " local-only" } else { "" };
    let dual = Family::ALL.into_iter().all(|f| set.endpoints.iter().any(|e| Family::of(e.address.ip()) == f));
    let family = set.family.filter(|_| dual).map(|family| format!(" {family:?}")).unwrap_or_default();
    let refused = if set.refused == 0 { String::new() } else { format!(" refused={}", set.refused) };
    let affinity = cluster.affinity.map(|timeout| format!(" affinity={timeout:?}")).unwrap_or_default();
    let settings = format!(
        "{:?} {:?}{}{affinity}{local}{family}{refused}",
        cluster.protocol,
        cluster.balance,
        limit.unwrap_or_default()
    );
    quoted(&format!("{} {settings}: {}", cluster.key, endpoints.join(", ")))
}

fn endpoint(e: &Endpoint) -> String {
    let state = match (e.ready, e.serving, e.terminating) {
        (true, true, false) => String::new(),
        (ready, serving, terminating) => {
            format!(" ready={ready} serving={serving} terminating={terminating}")
        }
    };
    let weight = if e.weight == 1 { String::new() } else { format!(" weight={}", e.weight) };
    let texts: String =
        [&e.target, &e.node, &e.zone].iter().filter(|t| !t.is_empty()).map(|t| format!(" {t}")).collect();
    let near = match (e.local, e.preferred) {
        (false, true) => "",
        (true, true) => " local",
        (false, false) => " far",
        (true, false) => " local far",
    };
    format!("{}{texts}{weight}{state}{near}", e.address)
}

fn statuses(text: &mut String, report: &StatusReport) {
    section(
        text,
        "gatewayClasses",
        report.gateway_classes.iter().map(|c| format!("\"{}\":{}", c.name, conditions(&c.conditions))),
    );
    section(
        text,
        "gateways",
        report.gateways.iter().map(|g| {
            let mut text =
                format!("\"{}/{} {:?}\":{}", g.namespace, g.name, g.addresses, conditions(&g.conditions));
            for l in &g.listeners {
                let kinds: Vec<&str> = l.supported_kinds.iter().map(|k| k.kind).collect();
                let head = format!("{} attached={} kinds={}", l.name, l.attached_routes, kinds.join(","));
                let _ = write!(text, "\n  - \"{head}\":{}", conditions(&l.conditions).replace("\n", "\n  "));
            }
            text
        }),
    );
    section(
        text,
        "routes",
        report.routes.iter().flat_map(|r| {
            r.parents.iter().map(|p| {
                format!(
                    "\"{} {}/{} -> {}\":{}",
                    r.kind,
                    r.namespace,
                    r.name,
                    p.parent_ref,
                    conditions(&p.conditions)
                )
            })
        }),
    );
}

fn conditions(conditions: &[Condition]) -> String {
    conditions.iter().fold(String::new(), |mut text, c| {
        let message = if c.message.is_empty() { String::new() } else { format!(": {}", c.message) };
        let _ = write!(text, "\n  - {}", quoted(&format!("{c} @{}{message}", c.observed_generation)));
        text
    })
}
