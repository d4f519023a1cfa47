//! Pure: a call that was made, from its record.

use super::{AnswerView, BackendView, Explanation, KernelView, RouteView, World};
use crate::reason::Reason;
use crate::snapshot::cluster::ClusterId;
use crate::snapshot::tier::Caller;
use crate::telemetry::record::{PodId, Protocol, Record};

/// The way a recorded call took. Names are those of today.
pub fn happened(record: &Record, world: &World<'_>) -> Explanation {
    let pod = world.directory.pod(record.pod).map(|pod| pod.to_string());
    let from = pod.clone().unwrap_or_else(|| {
        record.client.map_or_else(|| record.downstream.to_string(), |client| client.to_string())
    });
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let call = match &record.method {
        Some(method) => {
            format!("{method} http://{}{}", text(record.text.authority()), text(record.text.path()))
        }
        None => format!("connection to {}", record.destination),
    };
    let spoken = match record.protocol {
        Protocol::Http1 => "HTTP/1.1",
        Protocol::Http2 => "HTTP/2",
        Protocol::Grpc => "gRPC",
        Protocol::Upgrade => "HTTP/1.1 with an upgrade",
        Protocol::Tcp => "bytes, unread",
    };
    let place = match (&pod, record.frontend) {
        (Some(pod), _) => format!("pod {pod}"),
        (None, Some(_)) => "a pod that is gone".to_owned(),
        (None, None) => format!("gateway on {}", record.destination),
    };
    Explanation {
        from,
        call,
        kernel: record.frontend.map(|id| kernel(record, id, world)),
        listener: Some(format!("{place}, {spoken}")),
        route: (record.protocol != Protocol::Tcp).then(|| route(record, world)),
        filters: Vec::new(),
        backends: record.cluster.map(|id| backend(record, id, world)).into_iter().collect(),
        answer: answer(record),
        recent: None,
    }
}

fn service(id: ClusterId, world: &World<'_>) -> Option<String> {
    world.directory.service(id).map(|name| name.as_str().to_owned())
}

fn kernel(record: &Record, frontend: ClusterId, world: &World<'_>) -> KernelView {
    let of = |f: &&std::sync::Arc<crate::snapshot::frontend::Frontend>| f.cluster.id == frontend;
    let known = world.snapshot.frontends.iter().find(of);
    KernelView {
        address: Some(record.destination),
        service: service(frontend, world),
        mode: known.map(|f| f.mode.as_str()),
        fail_policy: known.map(|f| f.fail_policy.as_str()),
        verdict: Some(gateway_common::capture::Verdict::Steer.counter().as_str()),
        why: "to the proxy".to_owned(),
        seen: Vec::new(),
    }
}

fn route(record: &Record, world: &World<'_>) -> RouteView {
    let rule = record.rule.and_then(|id| world.directory.rule(id));
    let why = match (&rule, record.reason) {
        (Some(_), _) => "served the request",
        (None, Some(Reason::NoRoute)) => "no rule matched",
        (None, _) if record.rule.is_some() => "served by a rule without a name",
        (None, _) => "none was asked: the Service itself is the destination, or it did not get so far",
    };
    RouteView { rule: rule.map(|rule| (&*rule).into()), why: why.to_owned(), ..RouteView::default() }
}

fn backend(record: &Record, cluster: ClusterId, world: &World<'_>) -> BackendView {
    let of = |c: &&std::sync::Arc<crate::snapshot::cluster::Cluster>| c.id == cluster;
    match world.snapshot.clusters.iter().find(of) {
        Some(cluster) => {
            let from_pod = record.pod != PodId(0);
            let caller = if from_pod { Caller::pod(record.destination.ip()) } else { Caller::GATEWAY };
            let whole = super::route::whole(cluster, caller, world);
            BackendView { reason: record.reason.map(Reason::as_str), ..whole }
        }
        None => BackendView {
            service: service(cluster, world),
            percent: 100.0,
            reason: record.reason.map(Reason::as_str),
            panic: false,
            filters: Vec::new(),
            endpoints: Vec::new(),
        },
    }
}

fn answer(record: &Record) -> AnswerView {
    let millis = |duration: std::time::Duration| duration.as_micros() as f64 / 1000.0;
    let mut words = match record.status {
        Some(status) => status.as_u16().to_string(),
        None => format!("{} bytes in, {} bytes out", record.bytes_received, record.bytes_sent),
    };
    if let Some(code) = record.grpc_status {
        words += &format!(", grpc-status {code}");
    }
    if let Some(reason) = record.reason {
        words += &format!(", reason {reason}");
    }
    match record.endpoint {
        Some(endpoint) if record.attempts > 1 => {
            words += &format!(", from {endpoint} at attempt {}", record.attempts);
        }
        Some(endpoint) => words += &format!(", from {endpoint}"),
        None => {}
    }
    words += &format!(", in {} ms", millis(record.duration));
    if let Some(upstream) = record.upstream_duration {
        words += &format!(" (endpoint {} ms)", millis(upstream));
    }
    AnswerView {
        text: format!("{words}, at {}", crate::telemetry::access_log::line::timestamp(record.start)),
        status: record.status.map(|status| status.as_u16()),
        reason: record.reason.map(Reason::as_str),
        happened: true,
    }
}
