//! `weir node` with the rights of the chart and no more: that it needs each of them, and what else can be wrong with an API server.

use std::ffi::OsString;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use gateway_tests::cluster::Cluster;
use gateway_tests::pod_process::PodProcess;
use gateway_tests::wait::wait_for;
use gateway_tests::weir::{binary, bounded, chart_capabilities};
use gateway_userspace::ebpf::cgroup::mount_point;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};
use serde_json::Value;

use crate::rights::{rights, take_out};
use crate::scene::{Scene, report_crd};

/// For a node to write its report, or for a refusal to be said.
const SOON: Duration = Duration::from_secs(30);
/// Of the pod `weir-n1`, whose rights are those of one node.
const OF_N1: [&str; 2] = ["--bound-object-kind=Pod", "--bound-object-name=weir-n1"];

/// A `weir node`. It ends with what this returns.
struct Node {
    child: Child,
    log: PathBuf,
    /// The kubeconfig that it has.
    token: PathBuf,
    _scratch: tempfile::TempDir,
}

/// How to start one.
#[derive(Default)]
struct How {
    /// What stands before the command, as `setpriv` and its arguments.
    before: Vec<OsString>,
    /// Further arguments.
    arguments: Vec<String>,
    /// The node's folder of state, if not one of its own.
    state: Option<PathBuf>,
}

impl How {
    /// In a mount namespace in which `mount` was done first.
    fn mounted(mount: &str) -> Self {
        let script = format!("{mount} && exec \"$@\"");
        let words = ["unshare", "--mount", "sh", "-c", &script, "sh"];
        Self { before: words.map(OsString::from).to_vec(), ..Self::default() }
    }

    fn with(mut self, arguments: &[&str]) -> Self {
        self.arguments.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        self
    }
}

impl Node {
    fn start(scene: &Scene) -> Result<Self> {
        Self::start_as(scene, How::default())
    }

    fn start_as(scene: &Scene, how: How) -> Result<Self> {
        let scratch = tempfile::tempdir()?;
        let log = scratch.path().join("log");
        let token = scene.token("weir-node", &OF_N1)?;
        let mut words = how.before;
        words.push(binary().into());
        let child = Command::new(&words[0])
            .args(&words[1..])
            .args(["node", "--node-name=n1", "--drain-delay=0s", "--access-log=off", "--state-dir"])
            .arg(how.state.unwrap_or_else(|| scratch.path().join("state")))
            // What is the machine's own is left alone whatever happens.
            .args(["--bpf-root", "/sys/fs/bpf/weir-apiserver-ring", "--kubeconfig"])
            .arg(&token)
            .args(how.arguments)
            .stdout(Stdio::null())
            .stderr(File::create(&log)?)
            .stdin(Stdio::null())
            .spawn()
            .context("no node")?;
        Ok(Self { child, log, token, _scratch: scratch })
    }

    /// Waits until it has said this.
    fn says(&self, text: &str) -> String {
        let said = wait_for(text, SOON * 3, || Some(self.log()).filter(|log| log.contains(text)));
        said.unwrap_or_else(|error| panic!("it never says so: {error}\n{}", self.log()))
    }

    fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn bounded_by(capabilities: &[String]) -> How {
    How { before: bounded(capabilities).to_vec(), ..How::default() }
}

/// What becomes of namespaces and capabilities needs root.
fn is_root() -> bool {
    let root = geteuid().is_root();
    if !root {
        println!("SKIPPED: needs root");
    }
    root
}

/// A cluster in which there is nothing that opens ports on this machine.
fn set_up(scene: &Scene, roles: &[Value]) {
    scene.set_up(&scene.roles()).expect("a scene");
    scene.cluster().kubectl(&["-n", "weir-shop", "delete", "gateway/web"]).expect("no Gateway, no listener");
    start_over(scene, roles);
}

/// As if no node had run before.
fn start_over(scene: &Scene, roles: &[Value]) {
    for role in roles {
        scene.cluster().apply(&role.to_string()).expect("the rights");
    }
    scene.cluster().kubectl(&["delete", "--ignore-not-found", "nodereport/n1"]).expect("no report");
}

fn ready(cluster: &Cluster) -> Option<Value> {
    report(cluster).filter(|report| report["status"]["ready"] == true)
}

fn report(cluster: &Cluster) -> Option<Value> {
    cluster.get(&["nodereport", "n1"]).ok()
}

#[test]
fn with_the_rights_of_the_chart_a_node_is_ready_and_refused_nothing() {
    let Some(scene) = Scene::find() else { return };
    set_up(&scene, &scene.node_roles());
    let node = Node::start(&scene).expect("a node");
    let ready = wait_for("the report says ready", SOON, || ready(scene.cluster()));
    let log = node.log();
    ready.unwrap_or_else(|error| panic!("{error}\n{log}"));
    assert!(!log.contains("forbidden") && !log.contains("refuses") && !log.contains("a rule lacks"), "{log}");
}

#[test]
fn each_right_of_a_node_is_needed_and_its_rule_named_when_it_lacks() {
    let Some(scene) = Scene::find() else { return };
    let roles = scene.node_roles();
    set_up(&scene, &roles);
    let mut cases = 0;
    for (role, rule, resource, verbs) in rights(&roles) {
        let group = roles[role]["rules"][rule]["apiGroups"][0].as_str().unwrap_or_default().to_owned();
        let mut lacking = roles.clone();
        take_out(&mut lacking[role], rule, &resource, &verbs);
        start_over(&scene, &lacking);
        let node = Node::start(&scene).expect("a node");
        // What the API server says, and the rule that would help.
        let refused = |verb: &str| format!("cannot {verb} resource {resource}");
        let words = [format!("apiGroups [{group}]"), format!("apiGroups: [{group}]")];
        let named = wait_for("it names the rule that lacks", SOON, || {
            let log = node.log().replace(['"', '\\'], "");
            let refused = verbs.iter().any(|verb| log.contains(&refused(verb)));
            (refused && words.iter().any(|words| log.contains(words.as_str()))).then_some(())
        });
        assert!(named.is_ok(), "without {verbs:?} on {resource} nothing was refused:\n{}", node.log());
        cases += 1;
    }
    println!("{cases} rights of a node taken away in turn, each was missed");
    start_over(&scene, &roles);
}

#[test]
fn a_node_that_may_not_look_for_pods_says_so_of_each_with_the_capability_that_lacks() {
    let Some(scene) = Scene::find() else { return };
    if !is_root() {
        return;
    }
    set_up(&scene, &scene.node_roles());
    let uid = scene.object("pod", "cart-1")["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
    let _process = PodProcess::start(&uid, None).expect("a process of the pod");
    let label = ["-n", "weir-shop", "label", "pod", "cart-1", "--overwrite", "weir.dev/capture=enabled"];
    scene.cluster().kubectl(&label).expect("labelled");
    let row = |reason: &str| {
        let report = report(scene.cluster())?;
        let row = report["status"]["pods"].as_array()?.iter().find(|row| row["name"] == "cart-1")?.clone();
        (row["reason"] == reason).then_some(row)
    };
    let mut capabilities = chart_capabilities();
    capabilities.retain(|name| name != "SYS_PTRACE");
    let node = Node::start_as(&scene, bounded_by(&capabilities)).expect("a node");
    let seen = wait_for("the report says which capability lacks", SOON, || row("NotPermitted"));
    let seen = seen.unwrap_or_else(|error| panic!("{error}: {:?}\n{}", report(scene.cluster()), node.log()));
    let message = seen["message"].as_str().unwrap_or_default();
    assert!(message.contains("add SYS_PTRACE to securityContext.capabilities.add"), "{message}");
    drop(node);
    // With it, the pod is found: what lacks now is a datapath, of which this machine's cgroups have none.
    start_over(&scene, &scene.node_roles());
    let node = Node::start_as(&scene, bounded_by(&chart_capabilities())).expect("a node");
    let found = wait_for("the pod is found", SOON, || row("LoopbackDown").or_else(|| row("KernelRefused")));
    found.unwrap_or_else(|error| panic!("{error}: {:?}\n{}", report(scene.cluster()), node.log()));
    let unlabel = ["-n", "weir-shop", "label", "pod", "cart-1", "weir.dev/capture-"];
    scene.cluster().kubectl(&unlabel).expect("as before");
}

#[test]
fn a_full_disk_costs_what_a_restart_would_know_and_nothing_that_is_served() {
    let Some(scene) = Scene::find() else { return };
    if !is_root() {
        return;
    }
    set_up(&scene, &scene.node_roles());
    let folder = tempfile::tempdir().expect("a folder");
    let mount = format!("mount -t tmpfs -o size=4k weir-ring {}", folder.path().display());
    let how = How { state: Some(folder.path().to_owned()), ..How::mounted(&mount) };
    let mut node = Node::start_as(&scene, how).expect("a node");
    let log = node.says("No space left on device");
    assert!(
        log.contains("serving goes on") && log.contains("make room, or choose another --state-dir"),
        "{log}"
    );
    wait_for("the report says ready", SOON, || ready(scene.cluster())).expect("it serves");
    let seen = PathBuf::from(format!("/proc/{}/root{}", node.child.id(), folder.path().display()));
    let names = || {
        let entries = std::fs::read_dir(&seen).expect("its folder").flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect::<Vec<_>>()
    };
    assert!(names().iter().all(|name| !name.starts_with("known")), "half a file: {:?}", names());
    assert!(node.child.try_wait().expect("a process").is_none(), "it ended: {}", node.log());
}

#[test]
fn a_kernel_without_btf_captures_nothing_and_the_report_says_why() {
    let Some(scene) = Scene::find() else { return };
    if !is_root() {
        return;
    }
    set_up(&scene, &scene.node_roles());
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("mounts");
    let root = mount_point(&mounts).expect("a cgroup2 hierarchy");
    // Nothing is attached there: the kernel is looked at first.
    let how =
        How::mounted("mount -t tmpfs weir-ring /sys/kernel/btf").with(&["--cgroup", &root.to_string_lossy()]);
    let node = Node::start_as(&scene, how).expect("a node");
    let report = wait_for("the report says ready", SOON, || ready(scene.cluster()));
    let report = report.unwrap_or_else(|error| panic!("{error}\n{}", node.log()));
    let why = report["status"]["datapathError"].as_str().unwrap_or_default();
    assert!(why.contains("/sys/kernel/btf/vmlinux") && why.contains("CONFIG_DEBUG_INFO_BTF"), "{report}");
}

#[test]
fn a_cluster_without_the_crd_of_reports_or_with_another_version_of_it_is_served_and_told_what_lacks() {
    let Some(scene) = Scene::find() else { return };
    set_up(&scene, &scene.node_roles());
    let crd = report_crd().expect("the CRD");
    let cluster = scene.cluster();
    for other in ["", "v9"] {
        cluster.kubectl(&["delete", "--ignore-not-found", "crd/nodereports.weir.dev"]).expect("deleted");
        if !other.is_empty() {
            cluster.apply(&crd.replace("v1alpha1", other)).expect("another version");
        }
        let node = Node::start(&scene).expect("a node");
        node.says("the node's report is not written");
        node.says("install the CRDs of this version: the chart weir-crds");
        assert!(node.log().contains(" serving "), "{}", node.log());
        // Once it is there, the node needs no restart.
        cluster.kubectl(&["delete", "--ignore-not-found", "crd/nodereports.weir.dev"]).expect("deleted");
        cluster.apply(&crd).expect("this version");
        wait_for("the report is written", SOON, || ready(cluster)).expect("a report");
    }
}

#[test]
fn a_node_that_another_installation_serves_is_left_to_it_and_the_second_names_the_first() {
    let Some(scene) = Scene::find() else { return };
    set_up(&scene, &scene.node_roles());
    let folder = tempfile::tempdir().expect("a folder");
    let how =
        |arguments: &[&str]| How { state: Some(folder.path().to_owned()), ..How::default() }.with(arguments);
    let mut first = Node::start_as(&scene, how(&[])).expect("a node");
    wait_for("the report says ready", SOON, || ready(scene.cluster())).expect("the first serves");
    let mut second = Node::start_as(&scene, how(&["--namespace", "weir-too"])).expect("another");
    let said = second.says("another Weir serves this node");
    assert!(said.contains("of the DaemonSet weir-system/weir") && said.contains("weir-too/weir"), "{said}");
    assert!(!second.child.wait().expect("it ends").success());
    assert!(first.child.try_wait().expect("a process").is_none(), "the first was disturbed: {}", first.log());
    // The same installation goes on as ever: an upgrade takes over.
    let next = Node::start_as(&scene, how(&[])).expect("the next");
    next.says("taken over");
}

/// What an uninstall deletes, and who is left then.
const DAEMON_SET: &str = r#"{"apiVersion": "apps/v1", "kind": "DaemonSet",
    "metadata": {"name": "weir", "namespace": "weir-system"},
    "spec": {"selector": {"matchLabels": {"app": "weir"}}, "template": {
        "metadata": {"labels": {"app": "weir"}}, "spec": {"containers": [{"name": "node", "image": "none"}]}}}}"#;

#[test]
fn a_node_whose_account_is_deleted_leaves_nothing_behind_and_one_whose_pod_is_leaves_all() {
    let Some(scene) = Scene::find() else { return };
    for (pod, is_left) in [("weir-n1", false), ("weir-deleted-by-force", true)] {
        set_up(&scene, &scene.node_roles());
        scene.cluster().apply(DAEMON_SET).expect("a DaemonSet");
        let folder = tempfile::tempdir().expect("a folder");
        let how = How { state: Some(folder.path().to_owned()), ..How::default() };
        let mut node = Node::start_as(&scene, how.with(&["--pod-name", pod])).expect("a node");
        wait_for("the report says ready", SOON, || ready(scene.cluster())).expect("it serves");
        let gone = ["-n", "weir-system", "delete", "daemonset/weir", "serviceaccount/weir-node"];
        scene.cluster().kubectl(&gone).expect("deleted");
        // The API server remembers for a while that a token was good.
        let token = node.token.to_string_lossy().into_owned();
        let asks = ["--kubeconfig", &token, "-n", "weir-system", "get", "daemonset/weir"];
        wait_for("the token is worth nothing", SOON, || {
            let refused = scene.cluster().kubectl(&asks).err()?;
            format!("{refused:#}").contains("Unauthorized").then_some(())
        })
        .expect("a refusal");
        let id = i32::try_from(node.child.id()).expect("a process id");
        kill(Pid::from_raw(id), Signal::SIGTERM).expect("it is told to end");
        assert!(node.child.wait().expect("it ends").success(), "{}", node.log());
        let left = std::fs::read_dir(folder.path()).expect("its folder").count();
        assert_eq!(left > 0, is_left, "{left} files; {}", node.log());
    }
}

/// What a runtime has before Weir comes.
const PLUGINS: &str = r#"{"cniVersion": "1.0.0", "name": "net", "plugins": [{"type": "bridge"}]}"#;

/// Runs the plugin as a container runtime does, for a pod of the scene; what it prints.
fn add(plugin: &Path, socket: &Path, pod: &str) -> Value {
    let input = format!(
        r#"{{"cniVersion": "1.0.0", "type": "weir-cni", "socket": "{}", "prevResult": {{"ips": ["{pod}"]}}}}"#,
        socket.display()
    );
    let mut child = Command::new(plugin)
        .envs([("CNI_COMMAND", "ADD"), ("CNI_NETNS", "/proc/self/ns/net")])
        .env("CNI_ARGS", format!("IgnoreUnknown=1;K8S_POD_NAMESPACE=weir-shop;K8S_POD_NAME={pod}"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("a plugin");
    child.stdin.take().expect("its input").write_all(input.as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).expect("it prints JSON")
}

#[test]
fn the_container_runtime_asks_a_node_that_wants_it_about_new_pods_and_no_node_when_that_has_ended() {
    let Some(scene) = Scene::find() else { return };
    set_up(&scene, &scene.node_roles());
    scene.cluster().apply(DAEMON_SET).expect("what ends is to come back");
    let [state, bin, conf] = [(); 3].map(|()| tempfile::tempdir().expect("a folder"));
    let list = conf.path().join("10-net.conflist");
    std::fs::write(&list, PLUGINS).expect("a list");
    let listed = || -> Value {
        serde_json::from_str(&std::fs::read_to_string(&list).expect("a list")).expect("it is JSON")
    };
    let (plugin, socket) = (bin.path().join("weir-cni"), state.path().join("cni.sock"));
    let words = [
        ("--cni-bin-dir", bin.path()),
        ("--cni-conf-dir", conf.path()),
        ("--cni-socket", &socket),
        ("--log-level", Path::new("debug")),
    ];
    let words = words.map(|(flag, value)| format!("{flag}={}", value.display()));
    let how = How { state: Some(state.path().to_owned()), ..How::default() };
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let mut node = Node::start_as(&scene, how.with(&words)).expect("a node");
    let entry = serde_json::json!({"type": "weir-cni", "socket": socket});
    wait_for("the plugin is in the list", SOON, || (listed()["plugins"][1] == entry).then_some(()))
        .unwrap_or_else(|error| panic!("{error}: {}\n{}", listed(), node.log()));
    // Nobody asked for that pod to be captured.
    assert_eq!(add(&plugin, &socket, "cart-1")["ips"][0], "cart-1");
    node.says("not asked for");
    // Somebody else, who knows nothing of Weir, writes the list anew.
    std::fs::write(&list, PLUGINS).expect("a list");
    wait_for("the plugin is there again", SOON, || (listed()["plugins"][1] == entry).then_some(()))
        .unwrap_or_else(|error| panic!("{error}: {}\n{}", listed(), node.log()));
    let id = i32::try_from(node.child.id()).expect("a process id");
    kill(Pid::from_raw(id), Signal::SIGTERM).expect("it is told to end");
    assert!(node.child.wait().expect("it ends").success(), "{}", node.log());
    assert_eq!(listed(), serde_json::from_str::<Value>(PLUGINS).expect("as before"));
    assert_eq!(add(&plugin, &socket, "cart-1")["ips"][0], "cart-1", "a pod starts without Weir, too");
}
