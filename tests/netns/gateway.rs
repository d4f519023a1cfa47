//! The whole way: a pod that knows of nothing, eBPF, the gateway, replicas in pods of their own.

use std::net::IpAddr;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use gateway_tests::grpc::Calls;
use gateway_tests::load::{Connects, Tally};
use gateway_tests::manifests::{Service, captured_pod, slice};
use gateway_tests::namespaces::turn;
use gateway_tests::pod::ensure_bpffs;
use gateway_tests::stage::Stage;
use gateway_tests::wait::wait_for;
use gateway_tests::weir::{Weir, binary};
use gateway_userspace::ebpf::Datapath;
use nix::sys::signal::Signal;

const NAMES: [&str; 3] = ["one", "two", "three"];
const LONGEST: Duration = Duration::from_secs(30);
pub(crate) const URL: &str = "http://10.96.0.10/";
const SHOP: Service<'_> = Service { name: "shop", address: "10.96.0.10", protocol: "http", annotations: &[] };

/// A stage that serves `shop` from three replicas, with Weir running; `None`, and a line that says why,
/// where there can be none.
pub(crate) fn stage(label: &str) -> Option<Stage> {
    if !Datapath::is_embedded() {
        let obstacle = "needs the eBPF object: run `cargo xtask build` first";
        assert!(std::env::var_os("CI").is_none_or(|v| v != "true"), "{obstacle}");
        eprintln!("SKIPPED: {obstacle}");
        return None;
    }
    ensure_bpffs().unwrap();
    let mut stage = Stage::make(label, &NAMES).unwrap();
    stage.write("shop.yaml", &SHOP.yaml()).unwrap();
    endpoints(&stage, &[0, 1, 2]);
    stage.start_weir().unwrap();
    stage.wait_answer(&[URL], "\"replica\"").unwrap();
    Some(stage)
}

/// Makes these replicas the endpoints of `shop`.
fn endpoints(stage: &Stage, replicas: &[usize]) {
    let addresses: Vec<IpAddr> = replicas.iter().map(|replica| stage.address(*replica)).collect();
    stage.write("endpoints.yaml", &slice("shop", 8080, &addresses)).unwrap();
}

/// Waits until `/clusters` shows so many endpoints of `shop`.
fn wait_endpoints(stage: &mut Stage, addresses: &[IpAddr]) {
    wait_for("the endpoints are in force", LONGEST, || {
        let (_, clusters) = stage.weir().ok()?.get("/clusters").ok()?;
        let shown =
            (0..3).filter(|replica| clusters.contains(&format!("{}:", stage.address(*replica)))).count();
        (shown == addresses.len()
            && addresses.iter().all(|address| clusters.contains(&format!("{address}:"))))
        .then_some(())
    })
    .unwrap();
}

/// Waits until so many more requests have been answered.
fn wait_requests(stage: &mut Stage, more: f64) {
    let name = "http_client_request_duration_seconds_count";
    let before = stage.weir().unwrap().metric(name, "").unwrap();
    wait_for("requests run", LONGEST, || {
        (stage.weir().ok()?.metric(name, "").ok()? >= before + more).then_some(())
    })
    .unwrap();
}

#[test]
fn http_grpc_and_upgrades_of_a_pod_reach_replicas_that_see_the_pods_own_address() {
    let Some(_turn) = turn() else { return };
    let Some(mut stage) = stage("way") else { return };
    let grpc = Service { name: "grpc", address: "10.96.0.11", protocol: "grpc", annotations: &[] };
    let all: Vec<IpAddr> = (0..3).map(|replica| stage.address(replica)).collect();
    stage.write("grpc.yaml", &(grpc.yaml() + &slice("grpc", 8080, &all))).unwrap();
    let tally: Tally = stage.run("weir-load", &format!("--url {URL} --requests 300")).unwrap();
    assert_eq!((tally.failed, tally.replicas.len()), (0, 3), "{tally:?}");
    let http2: Tally = stage.run("weir-load", &format!("--url {URL} --requests 300 --http2")).unwrap();
    assert_eq!((http2.failed, http2.replicas.len()), (0, 3), "{http2:?}");
    wait_for("the gRPC Service is served", LONGEST, || {
        let calls: Calls = stage.run("weir-grpc", "--address 10.96.0.11:80 --calls 60").ok()?;
        (calls.ok == 60 && calls.replicas.len() == 3).then_some(())
    })
    .unwrap();
    let stream: Calls = stage.run("weir-grpc", "--address 10.96.0.11:80 --calls 50 --stream").unwrap();
    assert_eq!((stream.ok, stream.replicas.len()), (50, 1), "{stream:?}");
    let log = stage.weir().unwrap().access_log();
    let client = format!("\"client.address\":\"{}\"", stage.client().ip_v4);
    assert!(log.contains(&client) && log.contains("\"service.name\":\"client\""), "{log}");
}

#[test]
fn opaque_tcp_is_relayed_and_a_server_may_speak_first() {
    let Some(_turn) = turn() else { return };
    let Some(stage) = stage("tcp") else { return };
    let annotations = ["weir.dev/mode: l7"];
    let raw = Service { name: "raw", address: "10.96.0.12", protocol: "tcp", annotations: &annotations };
    stage.write("raw.yaml", &(raw.yaml() + &slice("raw", 8081, &[stage.address(1)]))).unwrap();
    let ask = || {
        let mut nc = stage.client().exec(Path::new("curl"));
        nc.args(["--silent", "--max-time", "2", "telnet://10.96.0.12:80"]);
        let mut child = nc.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().ok()?;
        std::io::Write::write_all(child.stdin.as_mut()?, b"and back\n").ok()?;
        drop(child.stdin.take());
        Some(String::from_utf8_lossy(&child.wait_with_output().ok()?.stdout).into_owned())
    };
    wait_for("the greeting and the echo come", LONGEST, || {
        ask().filter(|answer| answer == "hello from two\nand back\n").map(drop)
    })
    .unwrap();
}

#[test]
fn one_hundred_replica_restarts_announced_in_the_yaml_fail_no_request() {
    let Some(_turn) = turn() else { return };
    let Some(mut stage) = stage("restarts") else { return };
    let arguments = format!("--url {URL} --connections 8 --until-stdin-closes");
    let load = stage.start("weir-load", &arguments).unwrap();
    for restart in 0..100 {
        let leaving = restart % 3;
        let staying: Vec<usize> = (0..3).filter(|replica| *replica != leaving).collect();
        let addresses: Vec<IpAddr> = staying.iter().map(|replica| stage.address(*replica)).collect();
        endpoints(&stage, &staying);
        wait_endpoints(&mut stage, &addresses);
        stage.end_replica(leaving, Signal::SIGTERM).unwrap();
        stage.start_replica(leaving).unwrap();
        endpoints(&stage, &[0, 1, 2]);
        let all: Vec<IpAddr> = (0..3).map(|replica| stage.address(replica)).collect();
        wait_endpoints(&mut stage, &all);
    }
    let tally: Tally = load.finish().unwrap();
    assert_eq!(tally.failed, 0, "{tally:?}");
    assert_eq!(tally.replicas.len(), 3);
}

#[test]
fn replicas_killed_without_notice_fail_no_idempotent_request() {
    let Some(_turn) = turn() else { return };
    let Some(mut stage) = stage("kills") else { return };
    let arguments = format!("--url {URL} --connections 8 --until-stdin-closes");
    let load = stage.start("weir-load", &arguments).unwrap();
    for kill in 0..9 {
        wait_requests(&mut stage, 300.0);
        stage.end_replica(kill % 3, Signal::SIGKILL).unwrap();
        wait_requests(&mut stage, 300.0);
        stage.start_replica(kill % 3).unwrap();
    }
    let tally: Tally = load.finish().unwrap();
    assert_eq!(tally.failed, 0, "{tally:?}");
}

#[test]
fn a_gateway_that_is_killed_five_times_costs_an_open_service_no_connect() {
    let Some(_turn) = turn() else { return };
    let Some(mut stage) = stage("kill9") else { return };
    let arguments = format!("--url {URL} --connect-only --rate 4000 --until-stdin-closes");
    let connects = stage.start("weir-load", &arguments).unwrap();
    let requests = stage
        .start("weir-load", &format!("--url {URL} --connections 2 --no-keepalive --until-stdin-closes"))
        .unwrap();
    let kills = 5;
    for _ in 0..kills {
        let _: Tally = stage.run("weir-load", &format!("--url {URL} --requests 200")).unwrap();
        stage.weir().unwrap().kill().unwrap();
        let without = format!("--url {URL} --requests 200 --no-keepalive");
        let tally: Tally = stage.run("weir-load", &without).unwrap();
        assert_eq!(tally.failed, 0, "{tally:?}");
        stage.start_weir().unwrap();
    }
    let connects: Connects = connects.finish().unwrap();
    // One that was steered just before the kill waits at the holder for the next gateway.
    assert_eq!((connects.refused, connects.failed), (0, 0), "{connects:?}");
    assert!(connects.connects > 2000, "{connects:?}");
    let requests: Tally = requests.finish().unwrap();
    // What was in flight in the process that was killed: at most one for each connection.
    assert!(requests.failed <= 2 * kills, "{requests:?}");
    assert!(!requests.errors.contains_key("connect_refused"), "{requests:?}");
}

#[test]
fn a_takeover_loses_neither_a_connect_nor_a_request() {
    let Some(_turn) = turn() else { return };
    let Some(mut stage) = stage("takeover") else { return };
    let arguments = format!("--url {URL} --connect-only --requests 20000");
    let connects = stage.start("weir-load", &arguments).unwrap();
    let load = format!("--url {URL} --connections 4 --until-stdin-closes");
    let load = stage.start("weir-load", &load).unwrap();
    let mut current = stage.take_weir().unwrap();
    for generation in 0..4 {
        let options = stage.options(&format!("next-{generation}")).with(["--takeover"]);
        let next = Weir::start(options).unwrap();
        let mut old = std::mem::replace(&mut current, next);
        let status = old.wait(LONGEST).unwrap_or_else(|error| panic!("{error}: {}", old.errors()));
        assert!(status.success(), "{status}: {}", old.errors());
    }
    let connects: Connects = connects.finish().unwrap();
    let tally: Tally = load.finish().unwrap();
    assert_eq!((connects.connects, connects.refused, connects.failed), (20_000, 0, 0), "{connects:?}");
    assert_eq!(tally.failed, 0, "{tally:?}");
}

#[test]
fn a_second_gateway_says_whose_node_it_is_and_stops() {
    let Some(_turn) = turn() else { return };
    let Some(mut stage) = stage("second") else { return };
    let first = stage.weir().unwrap().id().to_string();
    let mut second = Weir::spawn(stage.options("second")).unwrap();
    let status = second.wait(LONGEST).unwrap();
    let said = second.errors();
    assert!(!status.success());
    assert!(said.contains(&first) && said.contains("--takeover"), "{said}");
    stage.wait_answer(&[URL], "\"replica\"").unwrap();
}

/// Runs a line of bash in the client's pod.
fn bash(stage: &Stage, line: &str) -> Output {
    stage.client().exec(Path::new("bash")).args(["-c", line]).output().unwrap()
}

#[test]
fn garbage_from_a_pod_harms_nobody_else() {
    let Some(_turn) = turn() else { return };
    let Some(mut stage) = stage("garbage") else { return };
    let load = stage.start("weir-load", &format!("--url {URL} --until-stdin-closes")).unwrap();
    for _ in 0..20 {
        let noise = "exec 3<>/dev/tcp/10.96.0.10/80; head -c 20000 /dev/urandom >&3; timeout 8 cat <&3";
        let answer = bash(&stage, noise).stdout;
        assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 400"), "{answer:?}");
    }
    let tally: Tally = load.finish().unwrap();
    assert_eq!(tally.failed, 0, "{tally:?}");
    let rejected = stage.weir().unwrap().metric("weir_rejected_total", "client_protocol").unwrap();
    assert!(rejected > 0.0, "garbage is counted");
}

#[test]
fn a_direct_dial_of_the_in_pod_listener_is_closed_and_counted() {
    let Some(_turn) = turn() else { return };
    let Some(mut stage) = stage("dial") else { return };
    let listening = String::from_utf8(bash(&stage, "cat /proc/net/tcp").stdout).unwrap();
    let port = listening
        .lines()
        .filter_map(|line| line.split_whitespace().nth(1)?.strip_prefix("0100007F:"))
        .find_map(|port| u16::from_str_radix(port, 16).ok())
        .unwrap();
    let line = format!(
        "exec 3<>/dev/tcp/127.0.0.1/{port}; printf 'GET / HTTP/1.1\\r\\n\\r\\n' >&3; timeout 8 cat <&3"
    );
    let answer = bash(&stage, &line).stdout;
    assert!(answer.is_empty(), "{}", String::from_utf8_lossy(&answer));
    wait_for("the dial is counted", LONGEST, || {
        (stage.weir().ok()?.metric("weir_rejected_total", "self_call").ok()? >= 1.0).then_some(())
    })
    .unwrap();
}

#[test]
fn explain_says_which_way_a_call_of_the_pod_goes() {
    let Some(_turn) = turn() else { return };
    let Some(mut stage) = stage("explain") else { return };
    let socket = stage.weir().unwrap().options().admin_socket.clone();
    let explain = Command::new(binary())
        .args(["explain", "demo/client", URL, "--admin-socket"])
        .arg(socket)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&explain.stdout);
    assert!(explain.status.success(), "{text}");
    for address in (0..3).map(|replica| stage.address(replica)) {
        assert!(text.contains(&format!("{address}:8080 ok")), "{text}");
    }
    assert!(text.contains("mode l7"), "{text}");
}
#[test]
fn an_idle_gateway_with_three_pods_stays_small() {
    let Some(_turn) = turn() else { return };
    let Some(mut stage) = stage("idle") else { return };
    let pods: String = (0..3).map(|n| captured_pod(&format!("pod-{n}"), &stage.pod(n).netns)).collect();
    stage.write("pods.yaml", &pods).unwrap();
    wait_for("three pods are captured", LONGEST, || {
        let captured = stage.weir().ok()?.metric("weir_captured_pods", "captured").ok()?;
        (captured >= 3.0).then_some(())
    })
    .unwrap();
    // A binary with debug information has far more pages of its own than the shipped one: the demo, which
    // runs that one, looks at the whole (at most 20 MiB).
    let own = stage.weir().unwrap().resident_own_kib().unwrap();
    assert!(own <= 8 * 1024, "{own} KiB");
}
