//! Everything that is served from, as one JSON document.

use serde_json::{Value, json};

use super::AdminState;
use super::server::Answer;
use crate::explain::describe_filters;
use crate::reason::Reason;
use crate::snapshot::frontend::Frontend;
use crate::snapshot::listener::{Listener, ListenerKind};
use crate::snapshot::router::{
    Matcher, PathMatcher, RouteEntry, Router, Rule, ValueMatcher, WeightedBackends,
};

pub(super) fn config_dump(state: &dyn AdminState) -> Answer {
    let snapshot = state.snapshot();
    Answer::json(&json!({
        "version": env!("CARGO_PKG_VERSION"),
        "generation": snapshot.generation,
        "listeners": snapshot.listeners.iter().map(|l| listener(l)).collect::<Vec<_>>(),
        "frontends": snapshot.frontends.iter().map(|f| frontend(f)).collect::<Vec<_>>(),
        "clusters": super::clusters::views(state),
    }))
}

fn listener(listener: &Listener) -> Value {
    let (kind, routes, backends) = match &listener.kind {
        ListenerKind::Http(router) => ("http", entries(router), Value::Null),
        ListenerKind::Tcp(to) => ("tcp", Value::Null, weighted(to)),
    };
    json!({
        "name": &*listener.name,
        "address": listener.address,
        "kind": kind,
        "routes": routes,
        "backends": backends,
    })
}

fn frontend(frontend: &Frontend) -> Value {
    json!({
        "service": frontend.key.to_string(),
        "addresses": frontend.addresses,
        "protocol": frontend.protocol.as_str(),
        "mode": frontend.mode.as_str(),
        "fail_policy": frontend.fail_policy.as_str(),
        "routes": frontend.routes.as_ref().map(entries),
    })
}

/// In the order in which they are tried.
fn entries(router: &Router) -> Value {
    router.entries().map(entry).collect()
}

fn entry(entry: &RouteEntry) -> Value {
    json!({
        "hostname": entry.hostname,
        "match": matcher(&entry.matcher),
        "rule": rule(&entry.rule),
    })
}

fn matcher(matcher: &Matcher) -> Value {
    let (kind, path) = match &matcher.path {
        PathMatcher::Exact(path) => ("exact", &**path),
        PathMatcher::Prefix(path) => ("prefix", &**path),
        PathMatcher::Regex(pattern) => ("regex", pattern.as_str()),
    };
    let value = |value: &ValueMatcher| match value {
        ValueMatcher::Exact(exact) => json!({ "exact": exact }),
        ValueMatcher::Regex(pattern) => json!({ "regex": pattern.as_str() }),
    };
    let headers: Value =
        matcher.headers.iter().map(|(n, v)| json!({ "name": n.as_str(), "value": value(v) })).collect();
    let query: Value = matcher.query.iter().map(|(n, v)| json!({ "name": n, "value": value(v) })).collect();
    json!({
        "path": { kind: path },
        "headers": headers,
        "query": query,
        "method": matcher.method.as_ref().map(http::Method::as_str),
    })
}

fn rule(rule: &Rule) -> Value {
    json!({
        "name": &*rule.name,
        "grpc": rule.grpc,
        "filters": describe_filters(&rule.filters),
        "request_timeout_seconds": rule.timeouts.request.map(|t| t.as_secs_f64()),
        "backend_request_timeout_seconds": rule.timeouts.backend_request.map(|t| t.as_secs_f64()),
        "retry": rule.retry.as_ref().map(|retry| json!({
            "attempts": retry.attempts,
            "codes": retry.codes,
            "backoff_seconds": retry.backoff.as_secs_f64(),
        })),
        "backends": weighted(&rule.backends),
    })
}

fn weighted(backends: &WeightedBackends) -> Value {
    let one = |backend: &crate::snapshot::router::Backend| {
        json!({
            "weight": backend.weight,
            "cluster": backend.cluster.as_ref().ok().map(|cluster| cluster.key.to_string()),
            "reason": backend.cluster.as_ref().err().copied().map(Reason::as_str),
            "filters": describe_filters(&backend.filters),
        })
    };
    backends.iter().map(one).collect()
}
