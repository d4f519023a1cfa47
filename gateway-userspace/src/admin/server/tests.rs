//! The admin API over a real socket, with clients of every kind.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::AtomicU64;
use std::time::Instant;

use gateway_common::decision::Decision;

use super::*;
use crate::capture::pod_table::PodStatus;
use crate::control::report::StatusReport;
use crate::explain::tests::Shop;
use crate::limits::Limits;
use crate::snapshot::Snapshot;
use crate::telemetry::Telemetry;
use crate::telemetry::access_log::{AccessLogOptions, LogMode};
use crate::telemetry::endpoint_state::{EndpointStates, NoEndpointStates};
use crate::telemetry::record::{Observe, example};

struct Process {
    shop: Shop,
    telemetry: Arc<Telemetry>,
    pending: Mutex<Vec<&'static str>>,
    drains: AtomicU64,
}

impl AdminState for Process {
    fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.shop.snapshot)
    }
    fn report(&self) -> Arc<StatusReport> {
        Arc::default()
    }
    fn pending(&self) -> Vec<&'static str> {
        self.pending.lock().unwrap().clone()
    }
    fn pods(&self) -> Vec<PodStatus> {
        Vec::new()
    }
    fn datapath_error(&self) -> Option<String> {
        Some("no CAP_BPF".to_owned())
    }
    fn connects(&self) -> Vec<(&'static str, u64)> {
        vec![("steered", 3), ("flow_lost", 1)]
    }
    fn decisions(&self) -> Vec<Decision> {
        Vec::new()
    }
    fn telemetry(&self) -> &Telemetry {
        &self.telemetry
    }
    fn endpoint_states(&self) -> &dyn EndpointStates {
        &NoEndpointStates
    }
    fn drain(&self) {
        self.drains.fetch_add(1, Ordering::Relaxed);
    }
}

/// A server on a thread of its own, and its socket.
struct Served {
    process: Arc<Process>,
    path: PathBuf,
    _folder: tempfile::TempDir,
    _runtime: tokio::runtime::Runtime,
}

fn serve_with(access: Access) -> Served {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("admin.sock");
    let off = AccessLogOptions { mode: LogMode::Off, ..AccessLogOptions::default() };
    let shop = Shop::new();
    let telemetry = Telemetry::new(&off, shop.directory.clone(), &Limits::default()).unwrap();
    let process = Arc::new(Process { shop, telemetry, pending: Mutex::default(), drains: AtomicU64::new(0) });
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let socket = {
        let _inside = runtime.enter();
        AdminSocket::bind(&path, false).unwrap()
    };
    runtime.spawn(serve(socket, Arc::clone(&process) as Arc<dyn AdminState>, access));
    Served { process, path, _folder: folder, _runtime: runtime }
}

fn connect(path: &Path) -> UnixStream {
    let stream = UnixStream::connect(path).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

/// Sends bytes and reads all that comes back.
fn send(path: &Path, bytes: &[u8]) -> String {
    let mut stream = connect(path);
    // The server may hang up on garbage before it has read all of it.
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

fn ask(path: &Path, method: &str, page: &str) -> (u16, String) {
    let answer = send(path, format!("{method} {page} HTTP/1.1\r\nHost: weir\r\n\r\n").as_bytes());
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    (head.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0), body.to_owned())
}

#[test]
fn readiness_names_what_is_missing_and_liveness_does_not_care() {
    let served = serve_with(Access::Full);
    assert_eq!(ask(&served.path, "GET", "/readyz"), (200, "ok\n".into()));
    *served.process.pending.lock().unwrap() = vec!["configuration", "pods"];
    let (status, body) = ask(&served.path, "GET", "/readyz");
    assert_eq!((status, body.as_str()), (503, "waiting for configuration\nwaiting for pods\n"));
    assert_eq!(ask(&served.path, "GET", "/livez").0, 200);
}

#[test]
fn a_scrape_gets_the_format_it_asks_for() {
    let served = serve_with(Access::Full);
    let request = "GET /metrics HTTP/1.1\r\nHost: w\r\nAccept: application/openmetrics-text\r\n\r\n";
    let answer = send(&served.path, request.as_bytes());
    assert!(answer.contains("content-type: application/openmetrics-text; version=1.0.0"));
    assert!(answer.ends_with("# EOF\n"));
    let (status, plain) = ask(&served.path, "GET", "/metrics");
    assert_eq!(status, 200);
    assert!(plain.contains("weir_config_generation 7\n") && plain.contains("{verdict=\"steered\"} 3\n"));
    assert!(plain.contains("weir_datapath_events_total{event=\"flow_lost\"} 1\n"));
}

#[test]
fn status_tells_the_same_as_json_and_as_text() {
    let served = serve_with(Access::Full);
    let (_, json) = ask(&served.path, "GET", "/status");
    let value: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&value["generation"], &value["ready"]), (&7.into(), &true.into()));
    assert_eq!(value["datapath"]["error"], "no CAP_BPF");
    let (_, text) = ask(&served.path, "GET", "/status?output=text");
    assert!(text.contains("configuration generation 7: ready\n"), "{text}");
    assert!(text.contains("- datapath not loaded: no CAP_BPF\n"), "{text}");
}

#[test]
fn a_call_is_explained_as_json_and_as_text_and_a_bad_question_says_why() {
    let served = serve_with(Access::Full);
    let question = "from=gateway&url=http%3A%2F%2Fshop.example.com%3A8000%2F&method=GET&header=x-a%3A1";
    let (status, json) = ask(&served.path, "GET", &format!("/explain?{question}"));
    let value: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((status, &value["answer"]["status"]), (200, &301.into()));
    let (_, text) = ask(&served.path, "GET", &format!("/explain?output=text&{question}"));
    assert!(text.contains("would answer 301 to https://shop.example.com"), "{text}");
    let pod = ask(&served.path, "GET", "/explain?output=text&from=shop/web-7d9f&url=http://cart/items");
    assert!(pod.1.contains("the datapath is not loaded (no CAP_BPF)"), "{}", pod.1);
    for (page, status, why) in [
        ("/explain", 400, "wants `from` and `url`, or `id`"),
        ("/explain?from=web&url=http://cart/", 400, "NAMESPACE/POD"),
        ("/explain?id=nothing", 404, "among the last ones"),
    ] {
        let answer = ask(&served.path, "GET", page);
        assert_eq!(answer.0, status);
        assert!(answer.1.contains(why), "{}", answer.1);
    }
}

#[test]
fn a_request_that_was_made_is_explained_by_its_id() {
    let served = serve_with(Access::Full);
    served.process.telemetry.worker()().ended(example());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(served.process.telemetry.run(std::future::ready(())));
    let (status, text) = ask(&served.path, "GET", "/explain?output=text&id=r-1");
    assert_eq!(status, 200);
    assert!(text.contains("answered     200, from 10.1.2.9:8080"), "{text}");
}

#[test]
fn the_configuration_is_one_document_with_routes_in_the_order_they_are_tried() {
    let served = serve_with(Access::Full);
    let (_, json) = ask(&served.path, "GET", "/config_dump");
    let value: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(value["listeners"][0]["name"], "edge/web/http");
    let cart = &value["frontends"][0];
    assert_eq!((&cart["service"], &cart["mode"]), (&"shop/cart:80".into(), &"l7".into()));
    let names: Vec<_> = cart["routes"].as_array().unwrap().iter().map(|r| &r["rule"]["name"]).collect();
    assert_eq!(names.len(), 5);
    assert_eq!(names[4], "shop/cart/canary", "the shortest path comes last");
    assert_eq!(value["clusters"][0]["endpoints"][0]["state"], "ready");
}

#[test]
fn a_post_drains_but_only_where_changes_are_allowed() {
    let served = serve_with(Access::Full);
    assert_eq!(ask(&served.path, "GET", "/drain").0, 405);
    assert_eq!(ask(&served.path, "POST", "/drain").0, 202);
    assert_eq!(served.process.drains.load(Ordering::Relaxed), 1);
    let read_only = serve_with(Access::ReadOnly);
    assert_eq!(ask(&read_only.path, "POST", "/drain").0, 403);
    assert_eq!(read_only.process.drains.load(Ordering::Relaxed), 0);
}

#[test]
fn a_port_that_strangers_reach_tells_of_health_and_of_nothing_that_is_configured() {
    let served = serve_with(Access::Health);
    for path in ["/livez", "/readyz", "/metrics"] {
        assert_ne!(ask(&served.path, "GET", path).0, 403, "{path}");
    }
    for path in ["/config_dump", "/clusters", "/status", "/explain"] {
        let (status, body) = ask(&served.path, "GET", path);
        assert!(status == 403 && body.contains("for the Unix socket only"), "{path}: {status} {body}");
    }
    assert_eq!(ask(&served.path, "POST", "/drain").0, 403);
}

#[test]
fn an_unknown_page_lists_the_pages_and_other_methods_are_refused() {
    let served = serve_with(Access::Full);
    let (status, body) = ask(&served.path, "GET", "/nothing");
    assert_eq!(status, 404);
    assert!(body.contains("/metrics"));
    assert_eq!(ask(&served.path, "DELETE", "/clusters").0, 405);
}

#[test]
fn garbage_and_half_requests_hurt_nobody_else() {
    let served = serve_with(Access::Full);
    let mut half = connect(&served.path);
    half.write_all(b"GET /livez HT").unwrap();
    for garbage in [&b"\x16\x03\x01\x02\x00"[..], b"\r\n\r\n\r\n", b"GET\0/ HTTP/9.9\r\n\r\n", &[0xff; 4096]]
    {
        let mut stream = connect(&served.path);
        let _ = stream.write_all(garbage);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 4"), "{garbage:?}");
    }
    let endless = [b"GET / HTTP/1.1\r\nx: ".as_slice(), &vec![b'a'; 2 * HEAD_BYTES_MAX]].concat();
    assert!(send(&served.path, &endless).starts_with("HTTP/1.1 431"));
    assert_eq!(ask(&served.path, "GET", "/livez").0, 200);
    half.write_all(b"TP/1.1\r\nHost: w\r\n\r\n").unwrap();
    let mut answer = String::new();
    half.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"));
}

#[test]
fn many_idle_connections_do_not_keep_a_probe_waiting() {
    let served = serve_with(Access::Full);
    let idle: Vec<_> = (0..4 * CONNECTIONS_MAX).map(|_| connect(&served.path)).collect();
    let asked = Instant::now();
    assert_eq!(ask(&served.path, "GET", "/livez").0, 200);
    assert!(asked.elapsed() < HEAD_TIMEOUT, "the probe waited for idle connections to time out");
    drop(idle);
}

#[tokio::test]
async fn the_socket_is_for_its_owner_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("admin.sock");
    let socket = AdminSocket::bind(&path, false).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    drop(socket);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_socket_that_nobody_answers_is_replaced_and_one_that_is_answered_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("admin.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let first = AdminSocket::bind(&path, false).unwrap();
    assert!(matches!(AdminSocket::bind(&path, false), Err(SocketError::InUse(_))));
    let second = AdminSocket::bind(&path, true).unwrap();
    drop(first);
    assert!(UnixStream::connect(&path).is_ok(), "the first one removed its successor's socket");
    drop(second);
}

#[tokio::test]
async fn what_is_wrong_with_the_path_is_said_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let missing = AdminSocket::bind(&folder.path().join("no/admin.sock"), false).unwrap_err();
    assert!(missing.to_string().contains("does not exist; create it"), "{missing}");
    let file = folder.path().join("file");
    std::fs::write(&file, "mine").unwrap();
    let taken = AdminSocket::bind(&file, true).unwrap_err();
    assert!(taken.to_string().contains("is no socket"), "{taken}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "mine");
}
