//! Whether lines are true, and whole, and what happens when they cannot be written.

use std::time::{Duration, Instant};

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::telemetry::directory::Directory;
use crate::telemetry::pods::PodName;
use crate::telemetry::record::text::Text;
use crate::telemetry::record::{PodId, Protocol, example, said};

fn directory() -> Directory {
    let directory = Directory::default();
    directory.names.add_cluster("shop/cart:80".into());
    directory.names.add_rule("shop/cart/write".into());
    let name = PodName { namespace: "shop".into(), name: "web-7d9f".into(), service: "web".into() };
    directory.pods.insert(PodId(1), name);
    directory
}

fn lines(format: LogFormat) -> LineWriter {
    LineWriter { format, directory: directory(), field_bytes_max: 1024 }
}

fn line(format: LogFormat, record: &Record) -> String {
    let mut out = Vec::new();
    lines(format).write(record, &mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn a_json_line_says_who_called_what_by_which_route_and_who_answered() {
    let mut record = example();
    record.trace_id = Some([0xab; 16]);
    let value: serde_json::Value = serde_json::from_str(&line(LogFormat::Json, &record)).unwrap();
    let expected = serde_json::json!({
        "time": "2026-09-21T14:13:20.123Z",
        "http.request.method": "GET",
        "authority": "cart.shop",
        "url.path": "/items",
        "http.response.status_code": 200,
        "duration_ms": 1.5,
        "service.namespace": "shop",
        "service.name": "web",
        "k8s.pod.name": "web-7d9f",
        "server.address": "cart.shop",
        "server.port": 80,
        "http.route": "shop/cart/write",
        "service.peer.namespace": "shop",
        "service.peer.name": "cart",
        "network.protocol.name": "http",
        "network.protocol.version": "1.1",
        "client.address": "10.0.0.1",
        "client.port": 40000,
        "attempts": 1,
        "upstream.address": "10.1.2.9:8080",
        "upstream.duration_ms": 1.2,
        "bytes_received": 0,
        "bytes_sent": 12,
        "request_id": "r-1",
        "trace_id": "ab".repeat(16),
        "user_agent.original": "curl/8",
    });
    assert_eq!(value, expected);
}

#[test]
fn a_failure_names_its_reason_in_both_formats() {
    let record = Record {
        reason: Some(crate::reason::Reason::NoHealthyEndpoint),
        status: Some(http::StatusCode::SERVICE_UNAVAILABLE),
        endpoint: None,
        ..example()
    };
    let value: serde_json::Value = serde_json::from_str(&line(LogFormat::Json, &record)).unwrap();
    assert_eq!(value["weir.reason"], "no_healthy_endpoint");
    assert_eq!(value["error.type"], "no_healthy_endpoint");
    assert_eq!(
        line(LogFormat::Text, &record),
        "2026-09-21T14:13:20.123Z shop/web-7d9f GET cart.shop /items 503 1.5ms -> shop/cart:80 - \
         route=shop/cart/write reason=no_healthy_endpoint id=r-1\n"
    );
}

#[test]
fn an_upstream_error_status_is_its_own_error_type() {
    let record = Record { status: Some(http::StatusCode::BAD_GATEWAY), ..example() };
    let value: serde_json::Value = serde_json::from_str(&line(LogFormat::Json, &record)).unwrap();
    assert_eq!(value["error.type"], "502");
}

#[test]
fn a_client_behind_a_trusted_proxy_is_told_from_its_proxy() {
    let record = Record { client: Some([203, 0, 113, 9].into()), ..example() };
    let value: serde_json::Value = serde_json::from_str(&line(LogFormat::Json, &record)).unwrap();
    assert_eq!((&value["client.address"], value.get("client.port")), (&"203.0.113.9".into(), None));
    assert_eq!(
        (&value["network.peer.address"], &value["network.peer.port"]),
        (&"10.0.0.1".into(), &40000.into())
    );
}

#[test]
fn a_json_line_has_no_character_that_ends_lines_elsewhere_or_hides() {
    let hostile = "a\u{2028}b\u{85}c\u{202e}d\u{7f}e\u{feff}\u{e9}\n${jndi:x}";
    let text =
        line(LogFormat::Json, &Record { text: said("cart.shop", hostile, "curl/8", "r-1"), ..example() });
    let shown = "a\\u2028b\\u0085c\\u202ed\\u007fe\\ufeff\u{e9}\\u000a${jndi:x}";
    assert!(text.contains(shown), "{text}");
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(value["url.path"], hostile);
}

#[test]
fn a_relayed_connection_has_a_line_without_http() {
    let record =
        Record { protocol: Protocol::Tcp, method: None, status: None, text: Text::default(), ..example() };
    let value: serde_json::Value = serde_json::from_str(&line(LogFormat::Json, &record)).unwrap();
    assert_eq!(value["network.protocol.name"], "tcp");
    assert_eq!(value.get("http.request.method"), None);
    assert_eq!(value.get("url.path"), None);
}

#[test]
fn what_a_terminal_obeys_is_escaped_in_json() {
    let text = "\u{7f} \u{9b}2J \u{85} \u{2028} \u{2029} \n \\ \" é";
    let record = Record { text: said("cart.shop", "/items", text, "r-1"), ..example() };
    let line = line(LogFormat::Json, &record);
    assert!(
        !line.trim_end().contains(|c: char| c.is_control() || c == '\u{2028}' || c == '\u{2029}'),
        "{line:?}"
    );
    let value: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(value["user_agent.original"], text);
}

/// Any bytes, with those that could break a line more often than chance would have them.
fn hostile() -> impl Strategy<Value = Bytes> {
    const BREAKING: [u8; 8] = [b'\n', b'\r', b'"', b'\\', 0, 0xff, 0xe2, 0x1b];
    let byte = |n: u16| if n < 0x4000 { BREAKING[usize::from(n % 8)] } else { n.to_be_bytes()[1] };
    let length = prop_oneof![4 => 0..60usize, 1 => 1000..1100usize];
    length
        .prop_flat_map(|length| proptest::collection::vec(any::<u16>(), length))
        .prop_map(move |numbers| numbers.into_iter().map(byte).collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_a_client_sends_a_line_is_one_json_object(
        path in hostile(), authority in hostile(), user_agent in hostile(), request_id in hostile(),
    ) {
        let mut said = Text::new(&authority, &path, &user_agent);
        said.set_request_id(&request_id);
        let record = Record { text: said, ..example() };
        let text = line(LogFormat::Json, &record);
        prop_assert_eq!(text.matches('\n').count(), 1);
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        prop_assert!(value.is_object());
        prop_assert!(text.bytes().all(|b| b >= 0x20 || b == b'\n'));
        // Six bytes is the longest escape of one byte.
        prop_assert!(text.len() < 1000 + 4 * 6 * 1024);
    }

    #[test]
    fn whatever_a_client_sends_a_text_line_is_one_line_with_its_words_in_place(
        path in hostile(), authority in hostile(), request_id in hostile(),
    ) {
        let mut said = Text::new(&authority, &path, b"");
        said.set_request_id(&request_id);
        let record = Record { text: said, ..example() };
        let text = line(LogFormat::Text, &record);
        prop_assert_eq!(text.lines().count(), 1);
        prop_assert!(!text.trim_end_matches('\n').contains(char::is_control));
        prop_assert!(text.contains(" -> shop/cart:80 10.1.2.9:8080 route="));
    }
}

fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < deadline, "in vain: {what}");
        std::thread::yield_now();
    }
}

fn options(path: &std::path::Path, mode: LogMode) -> AccessLogOptions {
    AccessLogOptions { mode, format: LogFormat::Json, target: LogTarget::File(path.into()) }
}

#[test]
fn on_a_full_disk_lines_are_counted_as_dropped_and_handing_over_goes_on() {
    let log =
        AccessLog::open(&options("/dev/full".as_ref(), LogMode::All), lines(LogFormat::Json), 8).unwrap();
    for n in 1..=3 {
        log.submit([example(), example()].into());
        wait_for("drops counted", || log.dropped() == 2 * n);
    }
}

#[tokio::test]
async fn a_reader_that_stopped_costs_lines_but_never_makes_anyone_wait() {
    let dir = tempfile::tempdir().unwrap();
    let fifo = dir.path().join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
    // Held open for reading, and never read.
    let _reader = std::fs::OpenOptions::new().read(true).write(true).open(&fifo).unwrap();
    let log = AccessLog::open(&options(&fifo, LogMode::All), lines(LogFormat::Json), 2).unwrap();
    let batch: Batch = (0..1000).map(|_| example()).collect();
    wait_for("the queue is full", || {
        log.submit(batch.clone());
        log.dropped() > 0
    });
    tokio::time::timeout(10 * FLUSH_TIMEOUT, log.flush()).await.expect("the flush gives up");
}

#[test]
fn a_signal_opens_the_file_anew_even_when_it_still_has_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let log = AccessLog::open(&options(&path, LogMode::All), lines(LogFormat::Json), 8).unwrap();
    std::fs::remove_file(&path).unwrap();
    log.reopen();
    wait_for("the file is there again", || path.exists());
    log.submit([example()].into());
    wait_for("the line is in it", || std::fs::read_to_string(&path).unwrap().lines().count() == 1);
}

#[tokio::test]
async fn in_mode_failures_what_went_well_makes_no_line() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let log = AccessLog::open(&options(&path, LogMode::Failures), lines(LogFormat::Json), 8).unwrap();
    let failures = [
        Record { status: Some(http::StatusCode::NOT_FOUND), ..example() },
        Record { grpc_status: Some(14), ..example() },
        Record { reason: Some(crate::reason::Reason::ClientClosed), ..example() },
    ];
    log.submit([example()].into());
    log.submit(failures.into_iter().flat_map(|failure| [example(), failure]).collect());
    log.flush().await;
    assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 3);
    assert!(!LogMode::Off.wants(&Record { status: None, ..example() }));
}

#[tokio::test]
async fn a_flush_ends_when_all_that_was_handed_over_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let log = AccessLog::open(&options(&path, LogMode::All), lines(LogFormat::Json), 8).unwrap();
    log.submit((0..500).map(|_| example()).collect());
    log.flush().await;
    assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 500);
}

#[test]
fn a_file_that_cannot_be_opened_is_said_at_the_start() {
    let missing = options("/nonexistent/dir/access.log".as_ref(), LogMode::All);
    assert!(AccessLog::open(&missing, lines(LogFormat::Json), 8).is_err());
}
