//! The whole gateway with captured pods: takeovers, pods that come and go, the end.

use std::path::{Path, PathBuf};
use std::time::Duration;

use gateway_tests::namespaces::Namespaces;
use gateway_tests::pod::Node;
use gateway_tests::pod::stand_in::{options, options_at};
use gateway_tests::running::Running;
use gateway_tests::wait;
use gateway_userspace::app::App;
use gateway_userspace::bootstrap::Settings;
use gateway_userspace::cli::admin_client;
use gateway_userspace::drain::Cause;
use gateway_userspace::ebpf::tables::KernelTables;
use gateway_userspace::ebpf::{Datapath, DatapathOptions};
use gateway_userspace::telemetry::access_log::LogMode;
use http::Method;
use tokio::task::LocalSet;

use crate::fixture::{Client, Pins, connect, turn};

const SERVICE: &str = "10.96.0.1:80";

/// A folder of YAML and a place for the admin socket.
struct Site {
    folder: tempfile::TempDir,
    datapath: DatapathOptions,
}

impl Site {
    fn new(datapath: DatapathOptions) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("config")).unwrap();
        Self { folder, datapath }
    }

    fn write(&self, name: &str, text: &str) {
        let making = self.folder.path().join("making");
        std::fs::write(&making, text).unwrap();
        std::fs::rename(making, self.folder.path().join("config").join(name)).unwrap();
    }

    fn settings(&self) -> Settings {
        let path = self.folder.path();
        let mut settings = Settings::new(path.join("config"), path.join("admin.sock"));
        settings.access_log.mode = LogMode::Off;
        settings.cgroup = Some(self.datapath.cgroup.clone());
        settings.bpf_root = self.datapath.pin_root.clone();
        settings.workers = 2;
        settings
    }

    fn start(&self) -> Running {
        Running::start(self.settings()).unwrap()
    }

    fn take_over(&self) -> Running {
        Running::start(Settings { takeover: true, ..self.settings() }).unwrap()
    }
}

/// A Service that is relayed as bytes, so that any answer will do.
fn service(fail_policy: &str) -> String {
    let (address, port) = SERVICE.split_once(':').unwrap();
    format!(
        "apiVersion: v1
kind: Service
metadata:
  name: hello
  namespace: shop
  annotations: {{weir.dev/mode: l7, weir.dev/fail-policy: {fail_policy}}}
spec: {{clusterIP: {address}, ports: [{{name: tcp, port: {port}}}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: hello-1, namespace: shop, labels: {{kubernetes.io/service-name: hello}}}}
addressType: IPv4
ports: [{{name: tcp, port: 8080}}]
endpoints: [{{addresses: [10.77.0.1]}}]
"
    )
}

fn captured(name: &str, netns: &Path) -> String {
    let netns = netns.display();
    format!(
        "---
apiVersion: weir.dev/v1alpha1
kind: CapturedPod
metadata: {{name: {name}, namespace: shop}}
spec: {{netns: {netns}}}
"
    )
}

fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    wait::wait_for(what, Duration::from_secs(60), || done().then_some(())).unwrap();
}

#[test]
fn twenty_thousand_connects_through_ten_whole_gateways_one_after_the_other_all_succeed() {
    let Some(_turn) = turn() else { return };
    let node = Node::make("handoff", 2, &[]).unwrap();
    node.serve("10.77.0.1:8080", "hello").unwrap();
    let site = Site::new(options(&node));
    let _pins = Pins(site.datapath.clone());
    site.write("service.yaml", &service("closed"));
    let pods = [0, 1].map(|n| captured(&format!("pod-{n}"), &node.pod(n).netns));
    site.write("pods.yaml", &pods.concat());
    let mut running = site.start();
    let answers = |pod| connect(node.pod(pod), SERVICE).answers.contains_key("hello");
    wait_for("both pods captured", || answers(0) && answers(1));
    let clients = [0, 1].map(|n| Client::start(node.pod(n), &format!("{SERVICE} --count 10000 --until-eof")));
    for _ in 0..10 {
        let next = site.take_over();
        running.join().unwrap();
        running = next;
    }
    let mut connects = 0;
    for client in clients {
        let seen = client.finish();
        assert!(seen.errors.is_empty(), "{:?}", seen.errors);
        assert!(seen.answers.keys().all(|answer| answer == "hello"), "{:?}", seen.answers);
        connects += seen.ok;
    }
    assert!(connects >= 20_000);
    eprintln!("{connects} connects across 10 takeovers of the whole gateway, 0 failed");
}

/// A node whose pod a gateway has captured; the gateway is dropped first.
fn one_captured(name: &str) -> (Node, Site, Pins, Running) {
    let node = Node::make(name, 1, &[]).unwrap();
    node.serve("10.77.0.1:8080", "hello").unwrap();
    let site = Site::new(options(&node));
    let pins = Pins(site.datapath.clone());
    site.write("service.yaml", &service("closed"));
    site.write("pods.yaml", &captured("pod", &node.pod(0).netns));
    let running = site.start();
    wait_for("the pod is captured", || answers(&node));
    (node, site, pins, running)
}

fn answers(node: &Node) -> bool {
    connect(node.pod(0), SERVICE).answers.contains_key("hello")
}

/// It goes on as if nobody had tried to replace it.
fn goes_on(node: &Node, running: &Running) {
    wait_for("the first serves the pod again", || answers(node));
    let ready = admin_client::ask(&running.bound.admin_socket, Method::GET, "/readyz").unwrap();
    assert_eq!(ready.status, 200, "it does not drain, and is found");
}

#[test]
fn a_next_gateway_that_dies_before_it_serves_leaves_the_pods_with_the_one_that_works() {
    let Some(_turn) = turn() else { return };
    let (node, site, _pins, running) = one_captured("unborn");
    let next = Datapath::open(&DatapathOptions { takeover: true, ..site.datapath.clone() }).unwrap();
    // It has captured nothing, and has other Services.
    next.sync(&KernelTables::default()).unwrap();
    assert_eq!(next.retain_pods(&[]).unwrap(), 1);
    drop(next);
    goes_on(&node, &running);
    running.drain().unwrap();
}

#[test]
fn a_next_gateway_that_is_asked_to_end_before_it_serves_leaves_everything_to_the_one_that_works() {
    let Some(_turn) = turn() else { return };
    let (node, site, _pins, running) = one_captured("undone");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, async {
        let next = App::start(Settings { takeover: true, ..site.settings() }).await.unwrap();
        next.bound().drain.start(Cause::Asked);
        next.serve().await.unwrap();
    });
    goes_on(&node, &running);
    let next = site.take_over();
    running.join().unwrap();
    assert!(answers(&node));
    next.drain().unwrap();
}

#[test]
fn a_pod_that_leaves_the_folder_is_left_alone_and_one_that_comes_is_captured() {
    let Some(_turn) = turn() else { return };
    let node = Node::make("folder", 2, &[]).unwrap();
    node.unreachable("10.96.0.0/16").unwrap();
    node.serve("10.77.0.1:8080", "hello").unwrap();
    let site = Site::new(options(&node));
    let _pins = Pins(site.datapath.clone());
    site.write("service.yaml", &service("open"));
    site.write("pods.yaml", &captured("pod-0", &node.pod(0).netns));
    let _running = site.start();
    let answers = |pod| connect(node.pod(pod), SERVICE).ok == 1;
    wait_for("the first pod captured", || answers(0));
    assert!(!answers(1));
    site.write("pods.yaml", &captured("pod-1", &node.pod(1).netns));
    wait_for("the second pod captured", || answers(1));
    wait_for("the first pod left alone", || !answers(0));
}

#[test]
fn a_drained_gateway_leaves_services_to_their_fail_policy() {
    let Some(_turn) = turn() else { return };
    let node = Node::make("drained", 1, &[]).unwrap();
    node.serve("10.77.0.1:8080", "hello").unwrap();
    let site = Site::new(options(&node));
    let _pins = Pins(site.datapath.clone());
    site.write("pods.yaml", &captured("pod-0", &node.pod(0).netns));
    for (policy, answered) in [("open", true), ("closed", false)] {
        site.write("service.yaml", &service(policy));
        let running = site.start();
        let pod = node.pod(0);
        wait_for("the pod captured", || connect(pod, SERVICE).answers.contains_key("hello"));
        let client = Client::start(pod, &format!("{SERVICE} --until-eof"));
        running.drain().unwrap();
        let seen = client.finish();
        let refused = seen.errors.get("ECONNREFUSED").copied().unwrap_or_default();
        assert_eq!(seen.errors.values().sum::<u64>(), refused, "{:?}", seen.errors);
        assert_eq!(connect(pod, SERVICE).ok == 1, answered, "{policy}");
        assert!(refused == 0 || !answered, "{refused} refused of an open Service");
    }
}

#[test]
fn five_hundred_captured_pods_that_go_away_leave_nothing_behind() {
    const MANY: usize = 500;
    let Some(_turn) = turn() else { return };
    let node = Node::make("many", 0, &[]).unwrap();
    let site = Site::new(options_at(node.cgroup()));
    let _pins = Pins(site.datapath.clone());
    site.write("service.yaml", &service("open"));
    let running = site.start();
    let namespaces = Namespaces::make("captured", MANY);
    let write_pods = |paths: &[PathBuf]| {
        let pods: String =
            paths.iter().enumerate().map(|(n, path)| captured(&format!("pod-{n}"), path)).collect();
        site.write("pods.yaml", &pods);
    };
    let wait_captured = |count| wait_for("captured pods", || captured_pods(&running) == count);
    let open_files = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    // One first: it opens what stays open, the datapath above all.
    write_pods(&namespaces.paths()[..1]);
    wait_captured(1);
    write_pods(&[]);
    wait_captured(0);
    let before = open_files();
    write_pods(&namespaces.paths());
    wait_captured(MANY);
    assert!(open_files() >= before + 2 * MANY, "a namespace and a listener each at least");
    // Half leave the folder, half have their namespace deleted under the gateway.
    write_pods(&namespaces.paths()[..MANY / 2]);
    namespaces.delete();
    wait_captured(0);
    namespaces.wait_living(0);
    wait_for("every file closed", || open_files() <= before);
    running.drain().unwrap();
}

fn captured_pods(running: &Running) -> usize {
    let answer = admin_client::ask(&running.bound.admin_socket, Method::GET, "/status").unwrap();
    let status: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    let pods = status["pods"].as_array().unwrap();
    pods.iter().filter(|pod| pod["state"] == "captured").count()
}
