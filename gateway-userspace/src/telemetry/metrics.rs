//! Every metric family of Weir, from the workers' counters and what the rest of the process knows.
//!
//! Names are OpenTelemetry's in Prometheus' spelling, and `weir_...` for what no standard names. No
//! label holds a pod, an address, a path, or anything else a client can choose freely.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use super::Telemetry;
use super::access_log::line::protocol_version;
use super::directory::Directory;
use super::exposition::{Exposition, Format, Kind, LabelText};
use super::histogram::Totals;
use super::series::{Family, GRPC_STATUSES, Labels, METHODS, Sample};
use super::worker::WorkerCounters;
use crate::reason::Reason;
use crate::snapshot::cluster::ClusterId;

/// What is scraped but not counted by workers.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// Generation of the snapshot that is served from.
    pub generation: u64,
    /// Endpoints by state.
    pub endpoints: Vec<(&'static str, u64)>,
    /// Connects that the kernel decided on, by verdict.
    pub connects: Vec<(&'static str, u64)>,
    /// What else the kernel programs counted, by name.
    pub datapath_events: Vec<(&'static str, u64)>,
    /// Pods of this node by state of their capture.
    pub pods: Vec<(&'static str, u64)>,
    /// How old what is known of the cluster may be; absent where there is no cluster.
    pub api_age: Option<Duration>,
    /// Conditions of objects, counted.
    pub conditions: Vec<ConditionCount>,
}

/// How many objects of a kind have a condition in this state.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConditionCount {
    /// `Gateway`, `HTTPRoute`, ...
    pub kind: &'static str,
    /// `Accepted`, `Programmed`, ...
    pub condition: &'static str,
    /// True or False.
    pub status: bool,
    /// The API's word for why.
    pub reason: &'static str,
    /// How many.
    pub count: u64,
}

/// Causes of ejection that are shown before they occur for the first time.
const EJECTION_CAUSES: [Reason; 4] =
    [Reason::ConnectRefused, Reason::ConnectTimeout, Reason::ConnectFailed, Reason::UpstreamReset];

/// Stands for everything that found no room in a family, or has no name any more.
const OTHER: &str = "other";

/// One series after adding up, by its text.
#[derive(Debug, Default)]
struct Row {
    duration: Totals,
    bytes_received: u64,
    bytes_sent: u64,
}

impl Telemetry {
    /// The text of one scrape.
    pub fn metrics(&self, facts: &Facts, format: Format, now: Instant) -> String {
        let workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut text = Exposition::new(format);
        self.request_families(&mut text, now);
        reason_families(&mut text, &workers);
        self.connection_families(&mut text, &workers);
        self.log_families(&mut text, &workers);
        fact_families(&mut text, facts);
        text.family(
            "weir_config_apply_seconds",
            Kind::Gauge,
            "From the last change of configuration to live.",
        );
        let apply = Duration::from_nanos(self.config_apply_nanos.load(Ordering::Relaxed));
        text.sample(&LabelText::default(), apply.as_secs_f64());
        text.finish()
    }

    fn request_families(&self, text: &mut Exposition, now: Instant) {
        let mut rows: BTreeMap<(Family, LabelText), Row> = BTreeMap::new();
        for sample in self.series.scrape(now) {
            let row = rows.entry((sample.key.family, labels_of(&sample, &self.directory))).or_default();
            row.duration.merge(&sample.duration);
            row.bytes_received += sample.bytes_received;
            row.bytes_sent += sample.bytes_sent;
        }
        let of = |family| rows.iter().filter(move |((f, _), _)| *f == family).map(|((_, l), row)| (l, row));
        let durations = [
            (Family::Server, "http_server_request_duration_seconds", "Requests to gateway listeners."),
            (Family::Client, "http_client_request_duration_seconds", "Requests of this node's pods."),
        ];
        for (family, name, help) in durations {
            text.family(name, Kind::Histogram, help);
            for (labels, row) in of(family) {
                text.histogram(labels, row.duration.cumulated(), row.duration.sum_seconds());
            }
        }
        text.family("weir_tcp_connections", Kind::Counter, "Relayed connections that have ended.");
        of(Family::Tcp).for_each(|(labels, row)| text.sample(labels, row.duration.count()));
        text.family("weir_tcp_received_bytes", Kind::Counter, "Bytes relayed from clients.");
        of(Family::Tcp).for_each(|(labels, row)| text.sample(labels, row.bytes_received));
        text.family("weir_tcp_sent_bytes", Kind::Counter, "Bytes relayed to clients.");
        of(Family::Tcp).for_each(|(labels, row)| text.sample(labels, row.bytes_sent));
    }

    fn connection_families(&self, text: &mut Exposition, workers: &[Arc<WorkerCounters>]) {
        let mut clusters: BTreeMap<LabelText, (u64, i64)> = BTreeMap::new();
        for (id, cells) in workers.iter().flat_map(|worker| worker.clusters()) {
            let sums = clusters.entry(cluster_labels(id, &self.directory)).or_default();
            sums.0 += cells.retries.load(Ordering::Relaxed);
            sums.1 += cells.upstream_connections.load(Ordering::Relaxed);
        }
        text.family("weir_retries", Kind::Counter, "Attempts that were repeated.");
        clusters.iter().for_each(|(labels, (retries, _))| text.sample(labels, retries));
        text.family("weir_upstream_connections", Kind::Gauge, "Open connections to endpoints.");
        clusters.iter().for_each(|(labels, (_, open))| text.sample(labels, open));
        text.family("weir_downstream_connections", Kind::Gauge, "Open connections from clients.");
        let open: i64 = workers.iter().map(|w| w.downstream_connections.load(Ordering::Relaxed)).sum();
        text.sample(&LabelText::default(), open);
    }

    fn log_families(&self, text: &mut Exposition, workers: &[Arc<WorkerCounters>]) {
        text.family(
            "weir_access_log_dropped",
            Kind::Counter,
            "Records that made no log line, by where they were lost.",
        );
        let rings: u64 = workers.iter().map(|w| w.ring.dropped()).sum();
        text.sample(&LabelText::default().with("at", "ring"), rings);
        text.sample(&LabelText::default().with("at", "write"), self.log.dropped());
        text.family(
            "weir_series_dropped",
            Kind::Counter,
            "Label combinations counted as other, for want of room.",
        );
        text.sample(&LabelText::default(), self.series.dropped());
    }
}

fn labels_of(sample: &Sample, directory: &Directory) -> LabelText {
    let text = LabelText::default();
    let Some(labels) = &sample.key.labels else {
        return text
            .with("http_request_method", OTHER)
            .with("http_route", OTHER)
            .with("server_address", OTHER);
    };
    let text = match sample.key.family {
        Family::Tcp => text,
        Family::Server | Family::Client => http_labels(labels, directory, text),
    };
    let text = match labels.frontend {
        Some(id) => match directory.service(id) {
            Some(service) => text.with("server_address", &service.host()).with("server_port", service.port()),
            None => text.with("server_address", OTHER),
        },
        None => text.with("server_port", &labels.port.to_string()),
    };
    let text = match &sample.caller {
        Some(caller) => {
            text.with("service_namespace", &caller.namespace).with("service_name", &caller.service)
        }
        None => text,
    };
    let text = match labels.cluster {
        Some(id) => peer_labels(Some(id), directory, text),
        None => text,
    };
    text.with("weir_reason", labels.reason.map_or("", |reason| reason.as_str()))
}

fn http_labels(labels: &Labels, directory: &Directory, text: LabelText) -> LabelText {
    let method = METHODS.get(usize::from(labels.method)).copied().unwrap_or(OTHER);
    let status = if labels.status == 0 { String::new() } else { labels.status.to_string() };
    let grpc = labels.grpc_status.and_then(|code| GRPC_STATUSES.get(usize::from(code))).copied();
    let error = match labels.reason {
        Some(reason) => reason.as_str(),
        None if labels.status >= 400 => status.as_str(),
        None => grpc.filter(|code| *code != "OK").unwrap_or(""),
    };
    let route = labels.rule.map(|id| directory.rule(id).unwrap_or_else(|| OTHER.into()));
    text.with("http_request_method", method)
        .with("http_response_status_code", &status)
        .with("error_type", error)
        .with("http_route", route.as_deref().unwrap_or(""))
        .with("network_protocol_version", protocol_version(labels.protocol).unwrap_or(""))
        .with("rpc_response_status_code", grpc.unwrap_or(""))
}

fn peer_labels(cluster: Option<ClusterId>, directory: &Directory, text: LabelText) -> LabelText {
    match cluster.and_then(|id| directory.service(id)) {
        Some(peer) => {
            text.with("service_peer_namespace", peer.namespace()).with("service_peer_name", peer.service())
        }
        None => text.with("service_peer_name", OTHER),
    }
}

fn cluster_labels(cluster: Option<ClusterId>, directory: &Directory) -> LabelText {
    peer_labels(cluster, directory, LabelText::default())
}

fn reason_families(text: &mut Exposition, workers: &[Arc<WorkerCounters>]) {
    text.family(
        "weir_requests",
        Kind::Counter,
        "HTTP requests by reason of failure; none for those that ended well.",
    );
    let names = Reason::ALL.iter().map(|reason| reason.as_str()).chain(["none"]);
    for (index, name) in names.enumerate() {
        let sum: u64 = workers.iter().map(|w| w.requests[index].load(Ordering::Relaxed)).sum();
        text.sample(&LabelText::default().with("reason", name), sum);
    }
    text.family("weir_rejected", Kind::Counter, "Connections closed before there was a request, by reason.");
    for reason in Reason::ALL {
        let sum: u64 = workers.iter().map(|w| w.rejected[reason as usize].load(Ordering::Relaxed)).sum();
        text.sample(&LabelText::default().with("reason", reason.as_str()), sum);
    }
    text.family("weir_ejections", Kind::Counter, "Endpoints taken out of rotation, by cause.");
    for cause in Reason::ALL {
        let sum: u64 = workers.iter().map(|w| w.ejections[cause as usize].load(Ordering::Relaxed)).sum();
        if sum > 0 || EJECTION_CAUSES.contains(&cause) {
            text.sample(&LabelText::default().with("cause", cause.as_str()), sum);
        }
    }
}

fn fact_families(text: &mut Exposition, facts: &Facts) {
    text.family("weir_endpoint_state", Kind::Gauge, "Endpoints of all Services by state.");
    for (state, count) in &facts.endpoints {
        text.sample(&LabelText::default().with("state", state), count);
    }
    text.family("weir_connects", Kind::Counter, "Connects the kernel decided on, by verdict.");
    for (verdict, count) in &facts.connects {
        text.sample(&LabelText::default().with("verdict", verdict), count);
    }
    text.family("weir_datapath_events", Kind::Counter, "What the kernel programs met besides, by event.");
    for (event, count) in &facts.datapath_events {
        text.sample(&LabelText::default().with("event", event), count);
    }
    text.family("weir_captured_pods", Kind::Gauge, "Pods of this node by state of their capture.");
    for (state, count) in &facts.pods {
        text.sample(&LabelText::default().with("state", state), count);
    }
    text.family("weir_object_status", Kind::Gauge, "Conditions of configuration objects, counted.");
    for c in &facts.conditions {
        let status = if c.status { "True" } else { "False" };
        let labels = LabelText::default().with("kind", c.kind).with("condition", c.condition);
        text.sample(&labels.with("status", status).with("reason", c.reason), c.count);
    }
    text.family(
        "weir_config_generation",
        Kind::Gauge,
        "Generation of the configuration that is served from.",
    );
    text.sample(&LabelText::default(), facts.generation);
    if let Some(age) = facts.api_age {
        text.family(
            "weir_api_age_seconds",
            Kind::Gauge,
            "How old what is known of the API server may be; 0 while it is followed.",
        );
        text.sample(&LabelText::default(), age.as_secs());
    }
    text.family("weir_build_info", Kind::Gauge, "Always 1; its labels say what runs.");
    text.sample(&LabelText::default().with("version", env!("CARGO_PKG_VERSION")), 1);
}
