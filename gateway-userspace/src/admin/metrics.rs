//! The scrape: workers' counters, and what the rest of the process knows.

use std::collections::BTreeMap;
use std::time::Instant;

use gateway_common::counter::Counter;
use http::StatusCode;

use super::AdminState;
use super::server::Answer;
use crate::control::report::{Condition, StatusReport};
use crate::explain::endpoint::{EndpointView, State};
use crate::snapshot::tier::Caller;
use crate::telemetry::exposition::Format;
use crate::telemetry::metrics::{ConditionCount, Facts};

pub(super) fn metrics(state: &dyn AdminState, accept: Option<&str>) -> Answer {
    let format = Format::negotiate(accept);
    let text = state.telemetry().metrics(&facts(state), format, Instant::now());
    Answer { status: StatusCode::OK, content_type: format.content_type(), body: text, findings: false }
}

fn facts(state: &dyn AdminState) -> Facts {
    let snapshot = state.snapshot();
    let mut endpoints: BTreeMap<&'static str, u64> = State::ALL.iter().map(|s| (s.as_str(), 0)).collect();
    for cluster in snapshot.clusters.iter() {
        for view in EndpointView::all(cluster, Caller::ANY_POD, state.endpoint_states()) {
            *endpoints.entry(view.state.as_str()).or_default() += 1;
        }
    }
    let mut pods = BTreeMap::from([("captured", 0), ("pending", 0), ("refused", 0), ("skipped", 0)]);
    for pod in state.pods() {
        *pods.entry(pod.state).or_default() += 1;
    }
    let outcomes = Counter::ALL.map(Counter::as_str);
    let (connects, datapath_events) =
        state.connects().into_iter().partition(|(name, _)| outcomes[..Counter::OUTCOMES].contains(name));
    Facts {
        generation: snapshot.generation,
        endpoints: endpoints.into_iter().collect(),
        connects,
        datapath_events,
        pods: pods.into_iter().collect(),
        api_age: state.api().and_then(|freshness| freshness.age()),
        conditions: conditions(&state.report()),
    }
}

/// Counts conditions; single objects are what `weir status` is for.
fn conditions(report: &StatusReport) -> Vec<ConditionCount> {
    type Key = (&'static str, &'static str, bool, &'static str);
    let mut counts: BTreeMap<Key, u64> = BTreeMap::new();
    let mut count = |kind, conditions: &[Condition]| {
        for c in conditions {
            *counts.entry((kind, c.kind, c.status, c.reason)).or_default() += 1;
        }
    };
    for class in &report.gateway_classes {
        count("GatewayClass", &class.conditions);
    }
    for gateway in &report.gateways {
        count("Gateway", &gateway.conditions);
        gateway.listeners.iter().for_each(|listener| count("Listener", &listener.conditions));
    }
    report.services.iter().for_each(|service| count("Service", &service.conditions));
    for route in report.routes.iter() {
        route.parents.iter().for_each(|parent| count(route.kind.as_str(), &parent.conditions));
    }
    let named = |((kind, condition, status, reason), count)| ConditionCount {
        kind,
        condition,
        status,
        reason,
        count,
    };
    counts.into_iter().map(named).collect()
}
