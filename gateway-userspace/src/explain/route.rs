//! Pure: which rule serves a call, what its filters make of it, and where it may go.

use std::sync::Arc;
use std::time::Duration;

use http::Request;

use super::endpoint::{EndpointView, State};
use super::question::Question;
use super::{AnswerView, BackendView, Explanation, OtherRule, RouteView, World, filters};
use crate::proxy::filter::{FilterContext, Outcome, on_request};
use crate::proxy::http::path;
use crate::reason::Reason;
use crate::snapshot::cluster::Cluster;
use crate::snapshot::router::{RequestHead, RouteMatch, Router, Rule};
use crate::snapshot::tier::Caller;

/// Fills in everything from the route on.
pub(super) fn explain(
    explanation: &mut Explanation,
    router: &Router,
    question: &Question,
    world: &World<'_>,
) {
    let path = match path::normalize(question.uri.path()) {
        Ok(path) => path,
        Err(error) => {
            explanation.answer = AnswerView::refused(Reason::ClientProtocol, &error.to_string());
            return;
        }
    };
    let host = question.request_host();
    let head = RequestHead {
        host: &host,
        path: &path,
        query: question.uri.query(),
        method: &question.method,
        headers: &question.headers,
    };
    let found = router.find(&head);
    explanation.route = Some(view(router, &head, found.as_ref()));
    let Some(found) = found else {
        explanation.answer = AnswerView::refused(Reason::NoRoute, "no rule matches");
        return;
    };
    explanation.filters = filters::describe(&found.rule.filters);
    explanation.backends = backends(found.rule, question.asks_as(), world);
    explanation.answer = match filtered(&found, question, &path, &host) {
        Outcome::Continue => proxied(&explanation.backends),
        Outcome::Redirect { status, location } => {
            explanation.backends.clear();
            let location = String::from_utf8_lossy(location.as_bytes()).into_owned();
            let mut answer = AnswerView::would(format!("{} to {location}", status.as_u16()));
            answer.status = Some(status.as_u16());
            answer
        }
        Outcome::Refuse(reason) => {
            explanation.backends.clear();
            AnswerView::refused(reason, "a filter of the rule cannot be applied")
        }
    };
}

fn view(router: &Router, head: &RequestHead<'_>, found: Option<&RouteMatch<'_>>) -> RouteView {
    let mut verdicts = router.explain(head).into_iter();
    // The rule that serves comes first.
    let serving = found.and_then(|_| verdicts.next());
    let mut others: Vec<OtherRule> = Vec::new();
    for (rule, why) in verdicts {
        let served = found.is_some_and(|found| found.rule.name == rule);
        let other = OtherRule { rule: (&*rule).into(), why };
        if !served && !others.contains(&other) {
            others.push(other);
        }
    }
    match (found, serving) {
        (Some(found), Some((rule, why))) => {
            RouteView { rule: Some((&*rule).into()), why, limits: limits(found.rule), others }
        }
        _ => RouteView { why: "no rule matches".to_owned(), others, ..RouteView::default() },
    }
}

fn limits(rule: &Rule) -> Vec<String> {
    let timeout = |name: &str, timeout: Option<Duration>| match timeout {
        None => None,
        Some(Duration::ZERO) => Some(format!("{name} timeout off")),
        Some(timeout) => Some(format!("{name} timeout {timeout:?}")),
    };
    let retry = rule.retry.as_ref().map(|retry| {
        let codes: Vec<String> = retry.codes.iter().map(u16::to_string).collect();
        let on = if codes.is_empty() { String::new() } else { format!(" on {}", codes.join(", ")) };
        format!("up to {} retries{on}, at least {:?} apart", retry.attempts, retry.backoff)
    });
    let timeouts = [
        timeout("request", rule.timeouts.request),
        timeout("backend request", rule.timeouts.backend_request),
    ];
    timeouts.into_iter().flatten().chain(retry).collect()
}

/// What the rule's filters make of the request.
fn filtered(found: &RouteMatch<'_>, question: &Question, path: &str, host: &str) -> Outcome {
    let target = match question.uri.query() {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    let Ok(request) = Request::builder().method(&question.method).uri(target).body(()) else {
        return Outcome::Refuse(Reason::ClientProtocol);
    };
    let (mut parts, ()) = request.into_parts();
    parts.headers = question.headers.clone();
    let context =
        FilterContext { prefix_len: found.prefix_len, scheme: "http", listener_port: question.port, host };
    on_request(&found.rule.filters, &mut parts, &context)
}

fn backends(rule: &Rule, caller: Caller, world: &World<'_>) -> Vec<BackendView> {
    let total: u64 = rule.backends.iter().map(|b| u64::from(b.weight)).sum();
    let view = |backend: &crate::snapshot::router::Backend| {
        let mut view = match &backend.cluster {
            Ok(cluster) => whole(cluster, caller, world),
            Err(reason) => BackendView {
                service: None,
                percent: 0.0,
                reason: Some(reason.as_str()),
                panic: false,
                filters: Vec::new(),
                endpoints: Vec::new(),
            },
        };
        view.percent = f64::from(backend.weight) * 100.0 / total.max(1) as f64;
        view.filters = filters::describe(&backend.filters);
        view
    };
    rule.backends.iter().map(view).collect()
}

/// A cluster that gets everything.
pub(super) fn whole(cluster: &Arc<Cluster>, caller: Caller, world: &World<'_>) -> BackendView {
    let endpoints = EndpointView::all(cluster, caller, world.endpoint_states);
    let in_use = || endpoints.iter().filter(|e| e.in_use);
    let within = in_use().filter(|e| e.state.is_in()).count();
    let ejected = in_use().filter(|e| e.state == State::Ejected).count();
    let panic = ejected > 0 && within * 100 < (within + ejected) * world.panic_threshold_percent as usize;
    BackendView {
        service: Some(cluster.key.to_string()),
        percent: 100.0,
        reason: (within == 0 && !panic).then(|| cluster.endpoints.load().why_none().as_str()),
        panic,
        filters: Vec::new(),
        endpoints,
    }
}

/// How a call ends that goes to one of `backends`.
pub(super) fn proxied(backends: &[BackendView]) -> AnswerView {
    let used: Vec<&BackendView> = backends.iter().filter(|backend| backend.percent > 0.0).collect();
    let [first, ..] = used.as_slice() else {
        return AnswerView::refused(Reason::InvalidBackend, "the rule sends nothing anywhere");
    };
    let reason_of = |backend: &BackendView| {
        let code = backend.reason?;
        Reason::ALL.into_iter().find(|reason| reason.as_str() == code)
    };
    if let (Some(reason), true) = (reason_of(first), used.iter().all(|b| b.reason == first.reason)) {
        let why = match reason {
            Reason::NoHealthyEndpoint => "no endpoint may take traffic",
            Reason::EndpointRefused => "its endpoints are no addresses of pods",
            _ => "the backend reference leads nowhere",
        };
        return AnswerView::refused(reason, why);
    }
    let share = |backend: &&BackendView| {
        if used.len() == 1 { String::new() } else { format!(" ({:.0} %)", backend.percent) }
    };
    let part = |backend: &&BackendView| match (reason_of(backend), &backend.service) {
        (Some(reason), _) => format!("{}, reason {reason}{}", reason.status().as_u16(), share(backend)),
        (None, service) => {
            let place = match in_rotation(backend).as_slice() {
                [only] => only.address.to_string(),
                several => format!("one of {}", several.len()),
            };
            format!("proxied to {} {place}{}", service.as_deref().unwrap_or("-"), share(backend))
        }
    };
    AnswerView::would(used.iter().map(part).collect::<Vec<_>>().join(", or "))
}

fn in_rotation(backend: &BackendView) -> Vec<&EndpointView> {
    let usable = |e: &&EndpointView| e.state.is_in() || backend.panic && e.state == State::Ejected;
    backend.endpoints.iter().filter(usable).collect()
}
