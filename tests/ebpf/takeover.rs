//! One gateway after the other: upgrades, second copies, other cgroups, and the end.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;

use gateway_tests::pod::Node;
use gateway_tests::pod::stand_in::{Manner, StandIn, options, tables};
use gateway_userspace::ebpf::{Beat, Datapath, DatapathError, DatapathOptions};
use gateway_userspace::snapshot::frontend::{FailPolicy, Mode};
use nix::fcntl::{Flock, FlockArg};

use crate::fixture::{Client, Gateway, POD_PROGRAM, Pins, connect, counter, turn, wait_for};

const SERVICE: &str = "10.96.0.1:80";

fn start(name: &str, options: &DatapathOptions) -> StandIn {
    let proxy = StandIn::start(name, Manner::Answer, options).unwrap();
    let service = (SERVICE, Mode::L7, FailPolicy::Closed, &[][..]);
    proxy.datapath.sync(&tables(&[service]).unwrap()).unwrap();
    proxy
}

#[test]
fn twenty_thousand_connects_across_replaced_programs_and_flipped_listeners_all_succeed() {
    let Some(_turn) = turn() else { return };
    let node = Node::make("flip", 1, &[]).unwrap();
    let options = options(&node);
    let _pins = Pins(options.clone());
    let takeover = DatapathOptions { takeover: true, ..options.clone() };
    let pod = node.pod(0);
    let mut proxies = vec![start("proxy-0", &options)];
    proxies[0].enroll(pod).unwrap();
    let clients =
        ["", "--mapped"].map(|how| Client::start(pod, &format!("{SERVICE} {how} --count 10000 --until-eof")));
    for round in 1..=30 {
        let next = start(&format!("proxy-{round}"), &takeover);
        next.enroll(pod).unwrap();
        proxies.push(next);
        wait_for("the new listener", || {
            connect(pod, SERVICE).answer().starts_with(&format!("proxy-{round} "))
        });
    }
    let mut connects = 0;
    for client in clients {
        let seen = client.finish();
        assert!(seen.errors.is_empty(), "{:?}", seen.errors);
        assert!(seen.answers.keys().all(|answer| answer.ends_with("got 10.96.0.1:80")), "{:?}", seen.answers);
        connects += seen.ok;
    }
    assert!(connects >= 20_000);
    eprintln!("{connects} connects across 30 takeovers, 0 failed");
}

#[test]
fn a_second_gateway_is_told_whom_it_would_disturb_unless_it_takes_over() {
    let Some(_turn) = turn() else { return };
    let node = Node::make("second", 1, &[]).unwrap();
    let options = options(&node);
    let _pins = Pins(options.clone());
    let first = Gateway::start(&node, &format!("--service {SERVICE}=l7,closed"));
    let refused = Datapath::open(&options).unwrap_err().to_string();
    assert!(refused.contains(&format!("pid {}", first.id())), "{refused}");
    let refused = Datapath::cleanup(&options.pin_root).unwrap_err().to_string();
    assert!(refused.contains(&format!("pid {}", first.id())), "{refused}");
    assert_eq!(
        connect(node.pod(0), SERVICE).answer(),
        "proxy got 10.96.0.1:80",
        "the first is not disturbed"
    );

    let second = start("second", &DatapathOptions { takeover: true, ..options });
    assert_eq!(connect(node.pod(0), SERVICE).answer(), "proxy got 10.96.0.1:80", "until the pod is flipped");
    second.enroll(node.pod(0)).unwrap();
    assert_eq!(connect(node.pod(0), SERVICE).answer(), "second got 10.96.0.1:80");
    drop(first);
    assert_eq!(
        connect(node.pod(0), SERVICE).answer(),
        "second got 10.96.0.1:80",
        "the first's death is its own"
    );
}

#[test]
fn a_gateway_that_was_replaced_is_told_and_changes_nothing_any_more() {
    let Some(_turn) = turn() else { return };
    let node = Node::make("replaced", 1, &[]).unwrap();
    let options = options(&node);
    let _pins = Pins(options.clone());
    let first = start("first", &options);
    let second = start("second", &DatapathOptions { takeover: true, ..options });
    assert_eq!(first.datapath.beat().unwrap(), Beat::Superseded);
    assert!(matches!(first.datapath.sync(&tables(&[]).unwrap()), Err(DatapathError::Superseded)));
    first.datapath.retire().unwrap();
    drop(first);
    second.enroll(node.pod(0)).unwrap();
    assert_eq!(connect(node.pod(0), SERVICE).answer(), "second got 10.96.0.1:80");
}

#[test]
fn what_was_on_its_way_to_a_dead_gateway_is_forgotten_and_to_a_draining_one_is_not() {
    let Some(_turn) = turn() else { return };
    let node = Node::make("flows", 1, &[]).unwrap();
    let options = options(&node);
    let _pins = Pins(options.clone());
    let pod = node.pod(0);
    let dial = || {
        let first = StandIn::start("first", Manner::Ignore, &options).unwrap();
        let services = tables(&[(SERVICE, Mode::L7, FailPolicy::Closed, &[])]).unwrap();
        first.datapath.sync(&services).unwrap();
        let cookie = first.enroll(pod).unwrap();
        connect(pod, &format!("{SERVICE} --mute"));
        let port = first.datapath.decisions()[0].actual.port.get();
        (first, cookie, port)
    };
    let left = |datapath: &Datapath, cookie, port| {
        let flows = datapath.flows();
        let peer = |from| SocketAddr::new(pod.ip_v4.into(), from);
        (1024..=u16::MAX).filter(|from| flows.take(cookie, peer(*from), port).is_some()).count()
    };
    let (first, cookie, port) = dial();
    let takeover = DatapathOptions { takeover: true, ..options.clone() };
    let second = Datapath::open(&takeover).unwrap();
    assert_eq!(left(&second, cookie, port), 1, "the draining process may still accept it");
    drop((first, second));
    wait_for("the first two to let go", || Datapath::open(&options).is_ok());
    let (first, cookie, port) = dial();
    first.hang();
    drop(first);
    let mut next = None;
    wait_for("the first to let go", || {
        next = Datapath::open(&options).ok();
        next.is_some()
    });
    assert_eq!(left(&next.unwrap(), cookie, port), 0);
}

#[test]
fn what_nobody_accepts_of_a_pod_that_was_let_go_is_forgotten_after_a_moment_and_not_at_once() {
    let Some(_turn) = turn() else { return };
    let node = Node::make("let-go", 2, &[]).unwrap();
    let options = options(&node);
    let _pins = Pins(options.clone());
    let first = StandIn::start("first", Manner::Ignore, &options).unwrap();
    first.datapath.sync(&tables(&[(SERVICE, Mode::L7, FailPolicy::Closed, &[])]).unwrap()).unwrap();
    let cookies = [node.pod(0), node.pod(1)].map(|pod| {
        let cookie = first.enroll(pod).unwrap();
        connect(pod, &format!("{SERVICE} --mute"));
        cookie
    });
    let flows = || {
        let entries = Datapath::entries(&options.pin_root).unwrap();
        entries.into_iter().find(|(map, _)| *map == "WEIR_FLOWS").map(|(_, count)| count)
    };
    first.datapath.unenroll(cookies[0]).unwrap();
    first.datapath.beat().unwrap();
    assert_eq!(flows(), Some(2), "its listener may still accept it");
    wait_for("what was on its way is forgotten", || {
        first.datapath.beat().unwrap();
        flows() == Some(1)
    });
}

#[test]
fn each_decision_is_logged_when_asked_for() {
    let Some(_turn) = turn() else { return };
    let node = Node::make("log", 1, &[]).unwrap();
    let options = DatapathOptions { debug_log: true, ..options(&node) };
    let _pins = Pins(options.clone());
    let proxy = start("proxy", &options);
    proxy.hang();
    proxy.enroll(node.pod(0)).unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    let log = Mutex::new(file.reopen().unwrap());
    let subscriber =
        tracing_subscriber::fmt().with_max_level(tracing::Level::DEBUG).with_writer(log).finish();
    tracing::subscriber::with_default(subscriber, || {
        connect(node.pod(0), SERVICE);
        wait_for("the log line", || {
            proxy.datapath.beat().unwrap();
            fs::read_to_string(file.path()).unwrap().contains("weir::kernel")
        });
    });
    let text = fs::read_to_string(file.path()).unwrap();
    assert!(text.contains("to service 1: outcome 0, port"), "{text}");
}

#[test]
fn a_gateway_without_the_privileges_says_which() {
    let Some(_turn) = turn() else { return };
    let node = Node::make("caps", 0, &[]).unwrap();
    let mut command = Command::new("setpriv");
    command.args(["--bounding-set=-bpf,-sys_admin", POD_PROGRAM, "gateway", "--pods"]).arg(node.cgroup());
    let output = command.env("RUST_BACKTRACE", "0").output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success());
    assert!(error.starts_with("Error: CAP_BPF is missing: run weir as root"), "{error}");
    assert_eq!(error.lines().count(), 1, "{error}");
}

#[test]
fn counters_and_services_outlive_the_process() {
    let Some(_turn) = turn() else { return };
    let node = Node::make("outlive", 1, &[]).unwrap();
    let options = options(&node);
    let _pins = Pins(options.clone());
    let first = start("first", &options);
    first.enroll(node.pod(0)).unwrap();
    connect(node.pod(0), SERVICE);
    first.hang();
    drop(first);
    wait_for("the first to let go", || Datapath::open(&options).is_ok());
    let second = start("second", &options);
    assert_eq!(counter(&second.datapath, "steered"), 1);
    let services = tables(&[(SERVICE, Mode::L7, FailPolicy::Closed, &[])]).unwrap();
    assert_eq!(second.datapath.sync(&services).unwrap(), Default::default(), "nothing is written twice");
}

#[test]
fn the_gateways_own_connects_are_left_alone() {
    let Some(_turn) = turn() else { return };
    let node = Node::make("own", 2, &["10.96.0.1/32"]).unwrap();
    node.serve(SERVICE, "the Service itself").unwrap();
    let _pins = Pins(options(&node));
    // The gateway is itself a pod below the captured cgroup, and connects to what was dialled from the
    // client's namespace: steered again, it would talk to itself for ever.
    let gateway_cgroup = node.pod(1).cgroup.clone();
    let arguments = format!("--service {SERVICE}=l7,closed --relay");
    let _gateway = Gateway::start_in(&node, Some(&gateway_cgroup), &arguments);
    assert_eq!(connect(node.pod(0), SERVICE).answer(), "the Service itself");
}

#[test]
fn a_cgroup_that_was_replaced_is_captured_again() {
    let Some(_turn) = turn() else { return };
    let node = Node::make("again", 1, &[]).unwrap();
    let options = options(&node);
    let _pins = Pins(options.clone());
    let proxy = start("proxy", &options);
    proxy.enroll(node.pod(0)).unwrap();
    proxy.hang();
    connect(node.pod(0), SERVICE).answer();
    node.replace_cgroup().unwrap();
    assert_eq!(proxy.datapath.beat().unwrap(), Beat::Reattached);
    assert_eq!(proxy.datapath.beat().unwrap(), Beat::Owner);
    assert_eq!(connect(node.pod(0), SERVICE).answer(), "proxy got 10.96.0.1:80");
    // And the same when nobody was there to see it.
    drop(proxy);
    node.replace_cgroup().unwrap();
    let next = start("next", &options);
    next.enroll(node.pod(0)).unwrap();
    assert_eq!(connect(node.pod(0), SERVICE).answer(), "next got 10.96.0.1:80");
}

#[test]
fn cleanup_leaves_nothing_and_may_be_repeated() {
    let Some(_turn) = turn() else { return };
    let node = Node::make("clean", 1, &["10.96.0.1/32"]).unwrap();
    node.serve(SERVICE, "direct").unwrap();
    let options = options(&node);
    let _pins = Pins(options.clone());
    let mut gateway = Gateway::start(&node, &format!("--service {SERVICE}=l7,closed"));
    gateway.kill();
    assert!(connect(node.pod(0), SERVICE).errors.contains_key("ECONNREFUSED"));
    let removed = Datapath::cleanup(&options.pin_root).unwrap();
    assert!(removed.iter().any(|path| path.ends_with("weir_connect4")), "{removed:?}");
    assert!(!options.pin_root.exists());
    assert_eq!(connect(node.pod(0), SERVICE).answer(), "direct");
    assert!(Datapath::cleanup(&options.pin_root).unwrap().is_empty());
}

#[test]
fn the_pins_of_another_layout_go_when_their_owner_is_gone() {
    let Some(_turn) = turn() else { return };
    let node = Node::make("layout", 1, &[]).unwrap();
    let options = options(&node);
    let _pins = Pins(options.clone());
    let old = options.pin_root.join("v0");
    fs::create_dir_all(old.join("maps")).unwrap();
    fs::create_dir_all(old.join("links")).unwrap();
    let owner = Flock::lock(File::open(&old).unwrap(), FlockArg::LockExclusive).map_err(|(_, e)| e).unwrap();
    let refused = Datapath::open(&options).unwrap_err().to_string();
    assert!(refused.contains(&format!("pid {}", std::process::id())), "{refused}");
    let takeover = DatapathOptions { takeover: true, ..options.clone() };
    drop(Datapath::open(&takeover).unwrap());
    assert!(old.exists(), "its owner still drains");
    let new = Datapath::open(&takeover).unwrap();
    drop(owner);
    wait_for("what it left is noticed", || {
        new.beat().unwrap();
        !old.exists()
    });
}

#[test]
fn what_is_missing_is_told_in_one_line_each() {
    let Some(_turn) = turn() else { return };
    let node = Node::make("missing", 0, &[]).unwrap();
    let open = |cgroup: &Path, pin_root: &Path| {
        let options =
            DatapathOptions { cgroup: cgroup.to_owned(), pin_root: pin_root.to_owned(), ..options(&node) };
        Datapath::open(&options).unwrap_err().to_string()
    };
    let bpffs = options(&node).pin_root;
    let error = open(node.cgroup(), Path::new("/tmp/weir-no-bpffs"));
    assert_eq!(error, "/tmp/weir-no-bpffs is not on a bpffs: mount one: mount -t bpf bpf /sys/fs/bpf");
    let error = open(Path::new("/tmp"), &bpffs);
    assert!(error.starts_with("/tmp is not a cgroup2 directory: name one below /"), "{error}");
    let error = open(Path::new("/tmp/gone"), Path::new("/tmp/weir-no-bpffs"));
    assert_eq!(error.lines().count(), 2, "{error}");
}
