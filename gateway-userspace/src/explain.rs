//! Pure: which way a call goes, and why not another.
//!
//! `answer` walks the way of a call that nobody has made: kernel, listener, route, filters,
//! endpoints. `happened` shows one that was made, in the same steps, from its record.

pub mod endpoint;
mod filters;
mod happened;
mod kernel;
pub mod question;
mod recent;
mod route;
pub mod seen;
mod text;

use std::net::SocketAddr;
use std::sync::Arc;

use serde::Serialize;

use crate::reason::Reason;
use crate::snapshot::Snapshot;
use crate::snapshot::cluster::Cluster;
use crate::snapshot::frontend::{Frontend, PortProtocol};
use crate::snapshot::listener::{Listener, ListenerKind};
use crate::telemetry::directory::Directory;
use crate::telemetry::endpoint_state::EndpointStates;
use endpoint::EndpointView;
use question::{Caller, Question};
use seen::SeenConnect;

pub use filters::describe as describe_filters;
pub use happened::happened;
pub use recent::{RecentView, WINDOW};

/// What is known of the process and the node.
#[derive(Clone, Copy)]
pub struct World<'a> {
    /// What is served from.
    pub snapshot: &'a Snapshot,
    /// Names of what records number.
    pub directory: &'a Directory,
    /// Live state of endpoints.
    pub endpoint_states: &'a dyn EndpointStates,
    /// Why connects of the pod `namespace/name` are not intercepted; `None` when they are.
    pub not_captured: &'a dyn Fn(&str) -> Option<String>,
    /// `Limits::panic_threshold_percent`.
    pub panic_threshold_percent: u32,
}

/// The way of a call, step by step. A step that the call does not reach is absent.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Explanation {
    /// Who calls.
    pub from: String,
    /// Method and URL.
    pub call: String,
    /// What the kernel does with the connect; absent for calls to a gateway.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kernel: Option<KernelView>,
    /// Where it comes in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listener: Option<String>,
    /// Which rule serves it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route: Option<RouteView>,
    /// What is changed on the way, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub filters: Vec<String>,
    /// Where it may go.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub backends: Vec<BackendView>,
    /// How it ends.
    pub answer: AnswerView,
    /// Calls like this one of the last five minutes, as far as they are remembered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recent: Option<RecentView>,
}

/// What the kernel does with a connect.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct KernelView {
    /// What is dialled, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<SocketAddr>,
    /// `namespace/service:port`, when it is a Service that Weir knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// `l7`, `l4` or `pass`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<&'static str>,
    /// `open` or `closed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fail_policy: Option<&'static str>,
    /// As in the metric `weir_connects_total`; absent where it is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdict: Option<&'static str>,
    /// The same in words.
    pub why: String,
    /// Connects like this one that were made lately, newest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub seen: Vec<SeenConnect>,
}

/// Which rule serves a call.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct RouteView {
    /// `namespace/route/rule`; absent when none does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<Box<str>>,
    /// Why this one, or why none.
    pub why: String,
    /// Timeouts and retries, where the rule has any of its own.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub limits: Vec<String>,
    /// Others, and why not they.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<OtherRule>,
}

/// A rule that does not serve the call.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct OtherRule {
    /// `namespace/route/rule`.
    pub rule: Box<str>,
    /// Why not.
    pub why: String,
}

/// A place where a call may go.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BackendView {
    /// `namespace/service:port`; absent for a reference that leads nowhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// Share of the calls, percent.
    pub percent: f64,
    /// Why that share is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
    /// True when so many endpoints are ejected that ejections are ignored.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub panic: bool,
    /// What is changed for this backend only.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub filters: Vec<String>,
    /// In and out, and why.
    pub endpoints: Vec<EndpointView>,
}

/// How a call ends.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AnswerView {
    /// In words.
    pub text: String,
    /// Status, where it does not depend on an endpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Why it is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
    /// True for a call that was made, false for one that would be.
    pub happened: bool,
}

impl AnswerView {
    fn would(text: impl Into<String>) -> Self {
        Self { text: text.into(), status: None, reason: None, happened: false }
    }

    /// Refused by Weir itself.
    fn refused(reason: Reason, why: &str) -> Self {
        let status = reason.status().as_u16();
        let text = format!("{status}, reason {reason}: {why}");
        Self { text, status: Some(status), reason: Some(reason.as_str()), happened: false }
    }
}

impl Explanation {
    fn begin(question: &Question) -> Self {
        Self {
            from: question.caller.to_string(),
            call: format!("{} {}", question.method, question.uri),
            kernel: None,
            listener: None,
            route: None,
            filters: Vec::new(),
            backends: Vec::new(),
            answer: AnswerView::would(""),
            recent: None,
        }
    }
}

/// The way a call would take now.
pub fn answer(question: &Question, world: &World<'_>) -> Explanation {
    match &question.caller {
        Caller::Pod { .. } => from_pod(question, world),
        Caller::Gateway => from_outside(question, world),
    }
}

fn from_pod(question: &Question, world: &World<'_>) -> Explanation {
    let mut explanation = Explanation::begin(question);
    let (view, next) = kernel::look(question, world);
    explanation.kernel = Some(view);
    let frontend = match next {
        kernel::Next::Proxy(frontend) => frontend,
        kernel::Next::Endpoint(frontend) => {
            explanation.backends = vec![route::whole(&frontend.cluster, question.asks_as(), world)];
            explanation.answer = AnswerView::would(
                "whatever the endpoint says that the kernel picks; nothing of Weir is on the path after that",
            );
            return explanation;
        }
        kernel::Next::Alone => {
            explanation.answer =
                AnswerView::would("whatever it would be without Weir: the connect is left alone");
            return explanation;
        }
    };
    let spoken = match frontend.protocol {
        PortProtocol::Http => "HTTP/1.1, or HTTP/2 with prior knowledge",
        PortProtocol::Http2 => "HTTP/2 with prior knowledge",
        PortProtocol::Opaque => "bytes, unread",
    };
    explanation.listener = Some(format!("pod {}, {spoken}", question.caller));
    match (frontend.protocol, &frontend.routes) {
        (PortProtocol::Opaque, _) => relayed(&mut explanation, &[&frontend.cluster], question, world),
        (_, None) => {
            explanation.route = Some(RouteView {
                why: "no route is attached to this Service: it is the destination itself".to_owned(),
                ..RouteView::default()
            });
            explanation.backends = vec![route::whole(&frontend.cluster, question.asks_as(), world)];
            explanation.answer = route::proxied(&explanation.backends);
        }
        (_, Some(router)) => route::explain(&mut explanation, router, question, world),
    }
    explanation
}

fn from_outside(question: &Question, world: &World<'_>) -> Explanation {
    let mut explanation = Explanation::begin(question);
    let Some(listener) = gateway_listener(question, world.snapshot) else {
        let mut ports: Vec<String> = world.snapshot.listeners.iter().map(|l| l.port.to_string()).collect();
        ports.dedup();
        let open = if ports.is_empty() { "none".to_owned() } else { ports.join(", ") };
        explanation.answer = AnswerView::would(format!(
            "none: no Gateway of this process listens on port {} (open: {open})",
            question.port
        ));
        return explanation;
    };
    explanation.listener = Some(format!("gateway {} on {}", listener.name, listener.address));
    match &listener.kind {
        ListenerKind::Http(router) => route::explain(&mut explanation, router, question, world),
        ListenerKind::Tcp(_) => {
            relayed(&mut explanation, &listener.tcp_clusters().collect::<Vec<_>>(), question, world)
        }
    }
    explanation
}

/// The listener on the port that was asked for; on the very address, if the URL names one that is
/// bound.
fn gateway_listener<'a>(question: &Question, snapshot: &'a Snapshot) -> Option<&'a Arc<Listener>> {
    let same_port = |listener: &&Arc<Listener>| listener.port == question.port;
    let exact = question.address();
    let bound = snapshot
        .listeners
        .iter()
        .find(|listener| Some(SocketAddr::new(listener.address.ip(), listener.port)) == exact);
    bound.or_else(|| snapshot.listeners.iter().find(same_port))
}

fn relayed(
    explanation: &mut Explanation,
    clusters: &[&Arc<Cluster>],
    question: &Question,
    world: &World<'_>,
) {
    let caller = question.asks_as();
    explanation.backends = clusters.iter().map(|cluster| route::whole(cluster, caller, world)).collect();
    let share = 100.0 / explanation.backends.len().max(1) as f64;
    explanation.backends.iter_mut().for_each(|backend| backend.percent = share);
    explanation.answer = route::proxied(&explanation.backends);
}

/// The Service port that a call dials.
fn frontend<'a>(question: &Question, snapshot: &'a Snapshot) -> Option<&'a Arc<Frontend>> {
    if let Some(address) = question.address() {
        return snapshot.frontends.get(&address);
    }
    let (namespace, service) = question.service()?;
    snapshot.frontends.iter().find(|frontend| {
        let key = &frontend.key;
        (&*key.namespace, &*key.service, key.port) == (namespace, service, question.port)
    })
}

#[cfg(test)]
pub(crate) mod tests;
