//! How this process is: ready or not, its pods, its datapath, and what became of each object.

use std::fmt::Write as _;

use http::StatusCode;
use serde::Serialize;

use super::AdminState;
use super::query::Query;
use super::server::Answer;
use crate::capture::pod_table::PodStatus;
use crate::control::diagnostic::{Diagnostic, Severity};
use crate::control::provider::kubernetes::freshness::{Freshness, KindFreshness, Standing};
use crate::control::report::{Condition, StatusReport};

#[derive(Debug, Serialize)]
struct StatusView<'a> {
    version: &'static str,
    /// Of the configuration that is served from.
    generation: u64,
    ready: bool,
    /// What a process that is not ready waits for.
    pending: Vec<&'static str>,
    datapath: DatapathView,
    /// How new what is known of each kind is, where there is a cluster.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    api: Vec<KindFreshness>,
    pods: Vec<PodStatus>,
    objects: &'a StatusReport,
}

#[derive(Debug, Serialize)]
struct DatapathView {
    loaded: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    connects: std::collections::BTreeMap<&'static str, u64>,
}

pub(super) fn status(state: &dyn AdminState, query: &Query) -> Answer {
    let report = state.report();
    let pending = state.pending();
    let error = state.datapath_error();
    let view = StatusView {
        version: env!("CARGO_PKG_VERSION"),
        generation: state.snapshot().generation,
        ready: pending.is_empty(),
        pending,
        datapath: DatapathView {
            loaded: error.is_none(),
            error,
            connects: state.connects().into_iter().collect(),
        },
        api: state.api().map(Freshness::kinds).unwrap_or_default(),
        pods: state.pods(),
        objects: &report,
    };
    let answer =
        if query.wants_text() { Answer::text(StatusCode::OK, text(&view)) } else { Answer::json(&view) };
    Answer { findings: has_findings(&view), ..answer }
}

/// True when something that was asked for is not served.
fn has_findings(view: &StatusView<'_>) -> bool {
    let report = view.objects;
    let classes = report.gateway_classes.iter().flat_map(|c| &c.conditions);
    let gateways = report.gateways.iter().flat_map(|g| &g.conditions);
    let listeners = report.gateways.iter().flat_map(|g| &g.listeners).flat_map(|l| &l.conditions);
    let routes = report.routes.iter().flat_map(|r| &r.parents).flat_map(|p| &p.conditions);
    !view.ready
        || view.pods.iter().any(|pod| pod.state == "refused")
        || classes.chain(gateways).chain(listeners).chain(routes).any(|condition| !is_good(condition))
        || report.diagnostics.iter().any(|finding| finding.severity == Severity::Error)
}

/// The mark before a line.
const fn mark(good: bool) -> &'static str {
    if good { "√" } else { "×" }
}

fn text(view: &StatusView<'_>) -> String {
    let mut lines = Lines(String::new());
    let ready = if view.ready {
        "ready".to_owned()
    } else {
        format!("not ready, waiting for {}", view.pending.join(", "))
    };
    let head = format!("weir {}, configuration generation {}: {ready}", view.version, view.generation);
    lines.add(mark(view.ready), 0, &head);
    match &view.datapath.error {
        None => lines.add(mark(true), 0, "datapath loaded"),
        // Nobody asked for it: not worth a warning.
        Some(error) if view.pods.is_empty() => lines.add("-", 0, &format!("datapath not loaded: {error}")),
        Some(error) => lines.add("‼", 0, &format!("datapath not loaded: {error}")),
    }
    api(&mut lines, &view.api);
    pods(&mut lines, &view.pods);
    objects(&mut lines, view.objects);
    diagnostics(&mut lines, view.objects.diagnostics.iter());
    lines.0
}

/// One line while all is followed, and one for each kind that is not.
fn api(lines: &mut Lines, kinds: &[KindFreshness]) {
    if kinds.is_empty() {
        return;
    }
    let is_old = |kind: &&KindFreshness| !matches!(kind.standing, Standing::Following | Standing::Absent);
    let old: Vec<&KindFreshness> = kinds.iter().filter(is_old).collect();
    let age = old.iter().filter_map(|kind| kind.age_seconds).fold(0.0, f64::max);
    match old.is_empty() {
        true => lines.add(mark(true), 0, "API server: followed"),
        false => lines.add("‼", 0, &format!("API server: what is known is up to {age:.0} s old")),
    }
    for kind in old {
        lines.add("", 1, &format!("{}: {}", kind.kind, kind.error.as_deref().unwrap_or("no answer yet")));
    }
}

fn pods(lines: &mut Lines, pods: &[PodStatus]) {
    let of = |state: &str| pods.iter().filter(|pod| pod.state == state).count();
    let (captured, skipped) = (of("captured"), of("skipped"));
    let wanted = pods.len() - skipped;
    let waiting = match of("pending") {
        0 => String::new(),
        pending => format!(", {pending} not started yet"),
    };
    let head = format!("pods captured: {captured} of {wanted}{waiting}");
    lines.add(mark(of("refused") == 0), 0, &head);
    for pod in pods.iter().filter(|pod| pod.reason.is_some()) {
        let (reason, message) = (pod.reason.unwrap_or_default(), pod.message.as_deref().unwrap_or_default());
        // One that is left alone for a reason needs nobody's care.
        let mark = if pod.state == "skipped" { "-" } else { mark(false) };
        lines.add(mark, 1, &format!("{}: {reason}: {message}", pod.pod));
    }
}

fn objects(lines: &mut Lines, report: &StatusReport) {
    for class in &report.gateway_classes {
        lines.conditions(0, &format!("GatewayClass {}", class.name), &class.conditions);
    }
    for gateway in &report.gateways {
        lines.conditions(0, &format!("Gateway {}/{}", gateway.namespace, gateway.name), &gateway.conditions);
        for listener in &gateway.listeners {
            let (name, port, routes) = (&listener.name, listener.port, listener.attached_routes);
            let title = format!("listener {name}, port {port}, routes attached: {routes}");
            lines.conditions(1, &title, &listener.conditions);
        }
    }
    for service in report.services.iter() {
        lines.conditions(0, &format!("Service {}/{}", service.namespace, service.name), &service.conditions);
    }
    for route in report.routes.iter() {
        for parent in &route.parents {
            let title = format!(
                "{} {}/{} on {}",
                route.kind.as_str(),
                route.namespace,
                route.name,
                parent.parent_ref
            );
            lines.conditions(0, &title, &parent.conditions);
        }
    }
}

fn diagnostics<'d>(lines: &mut Lines, diagnostics: impl Iterator<Item = &'d Diagnostic>) {
    for finding in diagnostics {
        let mark = match finding.severity {
            Severity::Info => "-",
            Severity::Warning => "‼",
            Severity::Error => "×",
        };
        let place = match (&finding.file, finding.line) {
            (Some(file), Some(line)) => format!(" {file}:{line}"),
            (Some(file), None) => format!(" {file}"),
            (None, _) => String::new(),
        };
        let object = finding.object.as_ref().map(|object| format!(" {object}")).unwrap_or_default();
        let field = if finding.field.is_empty() { String::new() } else { format!(" {}", finding.field) };
        lines.add(mark, 0, &format!("{}{place}{object}{field}", finding.code));
        lines.add("", 1, &finding.message);
        if !finding.fix.is_empty() {
            lines.add("", 1, &format!("fix: {}", finding.fix));
        }
    }
}

struct Lines(String);

impl Lines {
    fn add(&mut self, mark: &str, depth: usize, text: &str) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.0, "{:depth$}{mark:1} {text}", "", depth = 2 * depth);
    }

    /// One line for the object, and one for each condition that is not as it should be.
    fn conditions(&mut self, depth: usize, title: &str, conditions: &[Condition]) {
        let bad: Vec<&Condition> = conditions.iter().filter(|c| !is_good(c)).collect();
        self.add(mark(bad.is_empty()), depth, title);
        for condition in bad {
            self.add("", depth + 1, &format!("{condition}: {}", condition.message));
        }
    }
}

/// Conditions of the Gateway API are good when True, but for those that name a problem.
fn is_good(condition: &Condition) -> bool {
    let names_a_problem =
        matches!(condition.kind, "Conflicted" | "PartiallyInvalid" | "OverlappingTLSConfig");
    condition.status != names_a_problem
}
