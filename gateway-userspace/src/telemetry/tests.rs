//! From records to what a scraper reads, and how records get to the log.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use http::{Method, StatusCode};

use super::access_log::{AccessLogOptions, LogFormat, LogMode, LogTarget};
use super::exposition::Format;
use super::metrics::{ConditionCount, Facts};
use super::pods::PodName;
use super::record::{Observe, PodId, Protocol, Record, example};
use super::*;
use crate::reason::Reason;
use crate::snapshot::cluster::ClusterId;
use crate::snapshot::router::RuleId;

fn directory() -> Directory {
    let directory = Directory::default();
    directory.names.add_cluster("shop/cart:80".into());
    directory.names.add_cluster("shop/db:5432".into());
    directory.names.add_rule("shop/cart/write".into());
    for (id, name, service) in [(1, "web-a", "web"), (2, "web-b", "web")] {
        let name = PodName { namespace: "shop".into(), name: name.into(), service: service.into() };
        directory.pods.insert(PodId(id), name);
    }
    directory
}

fn telemetry(limits: &Limits) -> Arc<Telemetry> {
    let off = AccessLogOptions { mode: LogMode::Off, ..AccessLogOptions::default() };
    Telemetry::new(&off, directory(), limits).unwrap()
}

/// Samples by name and labels, read back as a scraper would; checks the form of every line.
fn parse(text: &str) -> BTreeMap<String, f64> {
    let mut samples = BTreeMap::new();
    let mut family = String::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            family = rest.split(' ').next().unwrap().to_owned();
            continue;
        }
        if line.starts_with("# HELP ") || line == "# EOF" {
            continue;
        }
        let (series, value) = line.rsplit_once(' ').unwrap();
        let name = series.split('{').next().unwrap();
        assert!(name.starts_with(family.trim_end_matches("_total")), "{name} stands in family {family}");
        assert!(series == name || series.ends_with('}'), "{line}");
        assert!(samples.insert(series.to_owned(), value.parse().unwrap()).is_none(), "twice: {series}");
    }
    samples
}

fn scrape(telemetry: &Telemetry) -> BTreeMap<String, f64> {
    parse(&telemetry.metrics(&Facts::default(), Format::Prometheus, Instant::now()))
}

#[test]
fn requests_of_all_workers_and_pods_of_a_workload_are_one_series() {
    let telemetry = telemetry(&Limits::default());
    let workers: Vec<_> = (0..2).map(|_| telemetry.worker()()).collect();
    workers[0].ended(example());
    workers[1].ended(Record { pod: PodId(2), duration: Duration::from_millis(20), ..example() });
    let samples = scrape(&telemetry);
    let labels = "http_request_method=\"GET\",http_response_status_code=\"200\",http_route=\"shop/cart/write\",\
                  network_protocol_version=\"1.1\",server_address=\"cart.shop\",server_port=\"80\",\
                  service_namespace=\"shop\",service_name=\"web\",service_peer_namespace=\"shop\",\
                  service_peer_name=\"cart\"";
    let name = "http_client_request_duration_seconds";
    assert_eq!(samples[&format!("{name}_count{{{labels}}}")], 2.0);
    assert!((samples[&format!("{name}_sum{{{labels}}}")] - 0.0215).abs() < 1e-9);
    assert_eq!(samples[&format!("{name}_bucket{{{labels},le=\"0.001\"}}")], 0.0);
    assert_eq!(samples[&format!("{name}_bucket{{{labels},le=\"0.0025\"}}")], 1.0);
    assert_eq!(samples[&format!("{name}_bucket{{{labels},le=\"+Inf\"}}")], 2.0);
    assert_eq!(samples["weir_requests_total{reason=\"none\"}"], 2.0);
    assert!(samples.keys().all(|series| !series.contains("web-a") && !series.contains("10.1.2.9")));
}

#[test]
fn a_gateway_request_counts_as_the_servers_and_a_relayed_connection_as_tcp() {
    let telemetry = telemetry(&Limits::default());
    let worker = telemetry.worker()();
    worker.ended(Record {
        pod: PodId(0),
        frontend: None,
        method: Some(Method::from_bytes(b"MADE-UP").unwrap()),
        status: Some(StatusCode::NOT_FOUND),
        rule: None,
        cluster: None,
        reason: Some(Reason::NoRoute),
        ..example()
    });
    worker.ended(Record {
        protocol: Protocol::Tcp,
        method: None,
        status: None,
        rule: None,
        frontend: Some(ClusterId(1)),
        cluster: Some(ClusterId(1)),
        bytes_received: 7,
        ..example()
    });
    let samples = scrape(&telemetry);
    assert_eq!(
        samples["http_server_request_duration_seconds_count{http_request_method=\"_OTHER\",\
                 http_response_status_code=\"404\",error_type=\"no_route\",network_protocol_version=\"1.1\",\
                 server_port=\"80\",weir_reason=\"no_route\"}"],
        1.0
    );
    assert_eq!(
        samples["weir_tcp_received_bytes_total{server_address=\"db.shop\",server_port=\"5432\",\
                 service_namespace=\"shop\",service_name=\"web\",service_peer_namespace=\"shop\",\
                 service_peer_name=\"db\"}"],
        7.0
    );
    assert_eq!(samples["weir_requests_total{reason=\"no_route\"}"], 1.0);
    assert_eq!(samples["weir_requests_total{reason=\"none\"}"], 0.0);
}

#[test]
fn grpc_failures_show_their_status_by_name() {
    let telemetry = telemetry(&Limits::default());
    let worker = telemetry.worker()();
    worker.ended(Record { protocol: Protocol::Grpc, grpc_status: Some(14), ..example() });
    worker.ended(Record { protocol: Protocol::Grpc, grpc_status: Some(999), ..example() });
    let text = telemetry.metrics(&Facts::default(), Format::Prometheus, Instant::now());
    assert!(text.contains("error_type=\"UNAVAILABLE\""));
    assert!(text.contains("rpc_response_status_code=\"_OTHER\""));
}

#[test]
fn combinations_beyond_the_limit_are_counted_together_and_their_number_is_told() {
    let limits = Limits { metric_series_max: 10, ..Limits::default() };
    let telemetry = telemetry(&limits);
    let worker = telemetry.worker()();
    for status in 200..300 {
        worker.ended(Record { status: StatusCode::from_u16(status).ok(), ..example() });
    }
    let samples = scrape(&telemetry);
    let counts: Vec<_> =
        samples.iter().filter(|(k, _)| k.starts_with("http_client_request_duration_seconds_count")).collect();
    assert_eq!(counts.len(), 11);
    assert_eq!(counts.iter().map(|(_, n)| **n).sum::<f64>(), 100.0);
    assert_eq!(
        samples["http_client_request_duration_seconds_count{http_request_method=\"other\",http_route=\"other\",\
                 server_address=\"other\"}"],
        90.0
    );
    assert_eq!(samples["weir_series_dropped_total"], 90.0);
}

#[test]
fn a_series_that_was_idle_for_long_is_forgotten_and_starts_anew() {
    let telemetry = telemetry(&Limits::default());
    let worker = telemetry.worker()();
    let count = |now| {
        let samples = parse(&telemetry.metrics(&Facts::default(), Format::Prometheus, now));
        let mut counts =
            samples.iter().filter(|(k, _)| k.starts_with("http_client_request_duration_seconds_count"));
        counts.next().map(|(_, n)| *n)
    };
    let now = Instant::now();
    worker.ended(example());
    assert_eq!(count(now), Some(1.0));
    worker.ended(example());
    let later = now + Duration::from_secs(20 * 60);
    assert_eq!(count(later), Some(2.0), "it had a request since the last scrape");
    let much_later = later + Duration::from_secs(20 * 60);
    assert_eq!(count(much_later), None);
    worker.ended(example());
    assert_eq!(count(much_later), Some(1.0));
}

#[test]
fn every_family_is_there_in_both_formats_with_one_type_each() {
    let telemetry = telemetry(&Limits::default());
    let worker = telemetry.worker()();
    worker.ended(example());
    worker.retried(ClusterId(0));
    worker.ejected(ClusterId(0), Reason::ConnectRefused);
    worker.rejected(Reason::SelfCall);
    worker.downstream_connections(2);
    worker.downstream_connections(-1);
    worker.upstream_connections(ClusterId(0), 3);
    telemetry.config_applied(Duration::from_millis(30));
    let facts = Facts {
        generation: 4,
        endpoints: vec![("ready", 3)],
        connects: vec![("l7", 9)],
        datapath_events: vec![("flow_lost", 1)],
        pods: vec![("captured", 2)],
        api_age: Some(Duration::from_secs(42)),
        conditions: vec![ConditionCount {
            kind: "HTTPRoute",
            condition: "Accepted",
            status: true,
            reason: "Accepted",
            count: 5,
        }],
    };
    let text = telemetry.metrics(&facts, Format::OpenMetrics, Instant::now());
    assert!(text.ends_with("# EOF\n"));
    let samples = parse(&text);
    let cart = "{service_peer_namespace=\"shop\",service_peer_name=\"cart\"}";
    for (series, value) in [
        (format!("weir_retries_total{cart}"), 1.0),
        (format!("weir_upstream_connections{cart}"), 3.0),
        ("weir_ejections_total{cause=\"connect_refused\"}".into(), 1.0),
        ("weir_rejected_total{reason=\"self_call\"}".into(), 1.0),
        ("weir_downstream_connections".into(), 1.0),
        ("weir_config_generation".into(), 4.0),
        ("weir_config_apply_seconds".into(), 0.03),
        ("weir_endpoint_state{state=\"ready\"}".into(), 3.0),
        ("weir_connects_total{verdict=\"l7\"}".into(), 9.0),
        ("weir_datapath_events_total{event=\"flow_lost\"}".into(), 1.0),
        ("weir_captured_pods{state=\"captured\"}".into(), 2.0),
        ("weir_api_age_seconds".into(), 42.0),
        ("weir_access_log_dropped_total{at=\"ring\"}".into(), 0.0),
        (
            "weir_object_status{kind=\"HTTPRoute\",condition=\"Accepted\",status=\"True\",reason=\"Accepted\"}".into(),
            5.0,
        ),
    ] {
        assert_eq!(samples.get(&series), Some(&value), "{series}");
    }
    let mut families: Vec<_> = text.lines().filter(|l| l.starts_with("# TYPE ")).collect();
    let all = families.len();
    families.sort_unstable();
    families.dedup();
    assert_eq!(families.len(), all);
}

/// Names that begin as Weir's do, in the alerts of the chart.
#[test]
fn every_metric_that_an_alert_of_the_chart_asks_for_exists() {
    let rules = include_str!("../../../deploy/charts/weir/templates/prometheusrule.yaml");
    let facts = Facts { api_age: Some(Duration::ZERO), ..Facts::default() };
    let text = telemetry(&Limits::default()).metrics(&facts, Format::OpenMetrics, Instant::now());
    let controller = include_str!("../controller/meters.rs");
    let words = rules.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let mut asked = 0;
    for name in words.filter(|word| word.starts_with("weir_") || word.starts_with("http_")) {
        let family = name.trim_end_matches("_total");
        let there =
            text.contains(&format!("# TYPE {family} ")) || controller.contains(&format!("\"{family}\""));
        assert!(there, "there is no metric {name}");
        asked += 1;
    }
    assert!(asked > 5);
}

#[tokio::test]
async fn a_record_reaches_the_log_and_the_memory_of_recent_requests() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("access.log");
    let options = AccessLogOptions {
        mode: LogMode::All,
        format: LogFormat::Json,
        target: LogTarget::File(path.clone()),
    };
    let telemetry = Telemetry::new(&options, directory(), &Limits::default()).unwrap();
    let worker = telemetry.worker()();
    worker.ended(Record { rule: Some(RuleId(0)), ..example() });
    telemetry.run(std::future::ready(())).await;
    assert!(telemetry.with_recent(|recent| recent.find("r-1").is_some()));
    let line: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    assert_eq!(line["http.route"], "shop/cart/write");
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_fell_asleep_is_woken_by_a_record() {
    let telemetry = telemetry(&Limits::default());
    let worker = telemetry.worker()();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let reader = {
        let telemetry = Arc::clone(&telemetry);
        tokio::spawn(async move {
            telemetry
                .run(async {
                    let _ = stopped.await;
                })
                .await;
        })
    };
    for _ in 0..QUIET_READINGS + 5 {
        tokio::time::advance(READ_INTERVAL).await;
    }
    let asked = tokio::time::Instant::now();
    worker.ended(example());
    while !telemetry.with_recent(|recent| recent.find("r-1").is_some()) {
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(asked.elapsed() < SLEEP_MAX / 2, "nobody woke the reader");
    }
    stop.send(()).unwrap();
    reader.await.unwrap();
}

#[test]
fn a_worker_whose_records_nobody_reads_drops_and_counts_them() {
    let limits = Limits { log_ring_records: 4, ..Limits::default() };
    let telemetry = telemetry(&limits);
    let worker = telemetry.worker()();
    (0..10).for_each(|_| worker.ended(example()));
    assert_eq!(scrape(&telemetry)["weir_access_log_dropped_total{at=\"ring\"}"], 6.0);
    assert_eq!(scrape(&telemetry)["weir_requests_total{reason=\"none\"}"], 10.0);
}
