//! Pure: what the kernel does with a pod's connect.

use std::net::SocketAddr;
use std::sync::Arc;

use gateway_common::capture::{self, Pick, Proxy, Untouched, Verdict};
use gateway_common::service;

use super::question::Question;
use super::{KernelView, World, frontend};
use crate::snapshot::frontend::{FailPolicy, Frontend, Mode};
use crate::snapshot::tier::Family;

/// Where the connection goes from here.
pub(super) enum Next<'a> {
    /// To the listener in the pod.
    Proxy(&'a Arc<Frontend>),
    /// To an endpoint that the kernel picks.
    Endpoint(&'a Arc<Frontend>),
    /// Where it would go without Weir.
    Alone,
}

/// The kernel's verdict on the call's connect, with the proxy alive.
pub(super) fn look<'a>(question: &Question, world: &World<'a>) -> (KernelView, Next<'a>) {
    let Some(frontend) = frontend(question, world.snapshot) else {
        return (unknown(question, world), Next::Alone);
    };
    let dialled = question.address();
    let address =
        dialled.or_else(|| frontend.addresses.first().map(|ip| SocketAddr::new(*ip, frontend.key.port)));
    let view = |verdict, why| KernelView {
        address,
        service: Some(frontend.key.to_string()),
        mode: Some(frontend.mode.as_str()),
        fail_policy: Some(frontend.fail_policy.as_str()),
        verdict,
        why,
        seen: Vec::new(),
    };
    if let Some(why) = (world.not_captured)(&question.caller.to_string()) {
        return (view(None, why), Next::Alone);
    }
    let Some(address) = address else {
        return (view(None, "the Service has no address of its own (headless)".to_owned()), Next::Alone);
    };
    let verdict = capture::decide(&facts(frontend, address), || Proxy::Alive);
    let (why, next) = match verdict {
        Verdict::Steer => ("to the proxy", Next::Proxy(frontend)),
        Verdict::PickEndpoint(Pick::ByMode | Pick::FailOpen) => {
            ("the kernel picks an endpoint", Next::Endpoint(frontend))
        }
        Verdict::Untouched(Untouched::NoEndpoint | Untouched::OpenNoEndpoint) => {
            ("left alone: no endpoint is known", Next::Alone)
        }
        Verdict::Untouched(_) => ("left alone", Next::Alone),
        Verdict::Refuse => ("refused", Next::Alone),
    };
    (view(Some(verdict.counter().as_str()), why.to_owned()), next)
}

fn facts(frontend: &Frontend, address: SocketAddr) -> capture::Service {
    let endpoints = frontend.cluster.endpoints.load();
    capture::Service {
        mode: match frontend.mode {
            Mode::L7 => service::Mode::L7,
            Mode::L4 => service::Mode::L4,
            Mode::Pass => service::Mode::Pass,
        },
        fail_policy: match frontend.fail_policy {
            FailPolicy::Open => service::FailPolicy::Open,
            FailPolicy::Closed => service::FailPolicy::Closed,
        },
        has_endpoints: !endpoints.of_family(Family::of(address.ip())).is_empty(),
    }
}

/// What is dialled is no Service port that Weir knows: say what comes near.
fn unknown(question: &Question, world: &World<'_>) -> KernelView {
    let why = match question.service() {
        _ if question.address().is_some() => {
            "no Service that Weir knows has this address and port".to_owned()
        }
        None => format!("{} is no name of a Service", question.host),
        Some((namespace, service)) => {
            let same = |f: &&Arc<Frontend>| (&*f.key.namespace, &*f.key.service) == (namespace, service);
            let ports: Vec<String> =
                world.snapshot.frontends.iter().filter(same).map(|f| f.key.port.to_string()).collect();
            match ports.as_slice() {
                [] => format!("Weir knows no Service {namespace}/{service}"),
                ports => {
                    let port = question.port;
                    format!("Service {namespace}/{service} has no port {port}; it has {}", ports.join(", "))
                }
            }
        }
    };
    let address = question.address();
    KernelView { address, service: None, mode: None, fail_policy: None, verdict: None, why, seen: Vec::new() }
}
