//! The gateway dies, hangs, and comes back.

use gateway_tests::pod::Node;
use gateway_tests::pod::client::Seen;
use gateway_tests::pod::stand_in::options;
use gateway_userspace::ebpf::Datapath;
use nix::sys::signal::Signal;

use crate::fixture::{Client, Gateway, Pins, connect, counter, turn, wait_for};

const OPEN: &str = "--service 10.96.0.1:80=l7,open,10.77.0.1:8081,10.77.0.1:8082";
const CLOSED: &str = "--service 10.96.0.2:80=l7,closed,10.77.0.1:8081";
const OPEN_V6: &str = "--service [fd96::1]:80=l7,open,[fd77::1]:8081";
const NO_ENDPOINT: &str = "--service 10.96.0.3:80=l7,open";

/// A node with the endpoints of the services above, and 10.96.0.3 itself.
fn node(label: &str) -> Node {
    let node = Node::make(label, 1, &["10.96.0.3/32"]).unwrap();
    for address in ["10.77.0.1:8081", "10.77.0.1:8082", "[fd77::1]:8081", "10.96.0.3:80"] {
        node.serve(address, "endpoint").unwrap();
    }
    node
}

/// Connections that were in the dead process: cut, and named as such.
fn cut(seen: &Seen) -> u64 {
    seen.answers.get("").copied().unwrap_or(0) + seen.errors.get("ECONNRESET").copied().unwrap_or(0)
}

fn only_error(seen: &Seen) -> Vec<&str> {
    seen.errors.keys().map(String::as_str).collect()
}

#[test]
fn a_killed_gateway_refuses_nobody_who_dials_an_open_service() {
    let Some(_turn) = turn() else { return };
    let node = node("kill");
    let _pins = Pins(options(&node));
    let mut connects = 0;
    for round in 0..5 {
        // A big process stays half dead for a while: its listeners are there, and nobody accepts.
        let mut gateway = Gateway::start(&node, &format!("{OPEN} {OPEN_V6} --ballast {}", 200 * (round % 2)));
        let clients = ["10.96.0.1:80", "10.96.0.1:80 --mapped", "[fd96::1]:80"];
        let clients = clients
            .map(|arguments| Client::start(node.pod(0), &format!("{arguments} --count 300 --until-eof")));
        wait_for("steering", || connect(node.pod(0), "10.96.0.1:80").answer().starts_with("proxy"));
        gateway.kill();
        for client in clients {
            let seen = client.finish();
            assert!(seen.errors.keys().all(|error| error == "ECONNRESET"), "{seen:?}");
            assert!(seen.answers.contains_key("endpoint"), "{seen:?}");
            assert!(cut(&seen) <= 1, "more was cut than the one connection in flight: {seen:?}");
            connects += seen.ok;
        }
    }
    eprintln!("{connects} connects around 5 kills, none refused");
}

#[test]
fn while_the_gateway_is_dead_each_service_goes_by_its_fail_policy() {
    let Some(_turn) = turn() else { return };
    let node = node("dead");
    let _pins = Pins(options(&node));
    let mut gateway = Gateway::start(&node, &format!("{OPEN} {CLOSED} {NO_ENDPOINT}"));
    let pod = node.pod(0);
    assert_eq!(connect(pod, "10.96.0.2:80").answer(), "proxy got 10.96.0.2:80");
    gateway.kill();

    let open = connect(pod, "10.96.0.1:80 --count 200");
    assert_eq!(open.answer(), "endpoint");
    assert_eq!(
        open.peers.keys().collect::<Vec<_>>(),
        ["10.96.0.1:80"],
        "the Service, also without the gateway"
    );
    let closed = connect(pod, "10.96.0.2:80 --count 2000");
    assert_eq!((closed.ok, only_error(&closed)), (0, vec!["ECONNREFUSED"]), "{closed:?}");
    assert_eq!(connect(pod, "10.96.0.2:80 --mapped").errors.keys().collect::<Vec<_>>(), ["ECONNREFUSED"]);
    assert_eq!(connect(pod, "10.96.0.3:80").answer(), "endpoint", "left alone, where no endpoint is known");

    let _gateway = Gateway::start(&node, &format!("{OPEN} {CLOSED}"));
    assert_eq!(connect(pod, "10.96.0.1:80").answer(), "proxy got 10.96.0.1:80");
    assert_eq!(connect(pod, "10.96.0.2:80").answer(), "proxy got 10.96.0.2:80");
}

#[test]
fn endpoints_of_a_gateway_that_is_gone_for_long_are_nobodys_any_more() {
    let Some(_turn) = turn() else { return };
    let node = Node::make("forget", 1, &["10.96.0.3/32"]).unwrap();
    node.serve("10.77.0.1:8081", "endpoint").unwrap();
    for address in ["10.96.0.3:80", "10.96.0.3:81"] {
        node.serve(address, "as without Weir").unwrap();
    }
    let _pins = Pins(options(&node));
    let services =
        "--service 10.96.0.3:80=l7,open,10.77.0.1:8081 --service 10.96.0.3:81=l4,open,10.77.0.1:8081";
    let mut gateway = Gateway::start(&node, &format!("{services} {CLOSED} --forget-after 3000"));
    let pod = node.pod(0);
    assert_eq!(connect(pod, "10.96.0.3:80").answer(), "proxy got 10.96.0.3:80");
    assert_eq!(connect(pod, "10.96.0.3:81").answer(), "endpoint");
    gateway.kill();
    assert_eq!(connect(pod, "10.96.0.3:80").answer(), "endpoint");
    for service in ["10.96.0.3:80", "10.96.0.3:81"] {
        wait_for("its endpoints are forgotten", || connect(pod, service).answer() == "as without Weir");
    }
    assert_eq!(only_error(&connect(pod, "10.96.0.2:80")), ["ECONNREFUSED"], "closed stays closed");
}

#[test]
fn a_gateway_that_ends_politely_leaves_the_same_behind() {
    let Some(_turn) = turn() else { return };
    let node = node("polite");
    let _pins = Pins(options(&node));
    let mut gateway = Gateway::start(&node, &format!("{OPEN} {CLOSED}"));
    gateway.stop();
    assert_eq!(connect(node.pod(0), "10.96.0.1:80 --count 20").answer(), "endpoint");
    assert_eq!(only_error(&connect(node.pod(0), "10.96.0.2:80 --count 20")), ["ECONNREFUSED"]);
}

#[test]
fn a_gateway_that_hangs_is_passed_by_until_it_goes_on() {
    let Some(_turn) = turn() else { return };
    let node = node("hang");
    let _pins = Pins(options(&node));
    let gateway = Gateway::start(&node, &format!("{OPEN} {CLOSED}"));
    let pod = node.pod(0);
    assert_eq!(connect(pod, "10.96.0.1:80").answer(), "proxy got 10.96.0.1:80");
    gateway.signal(Signal::SIGSTOP);
    // Until the heartbeat is stale, connects still go to the backlog of the hung process: muted, they do
    // not wait there for an answer.
    wait_for("refusals", || only_error(&connect(pod, "10.96.0.2:80 --mute")) == ["ECONNREFUSED"]);
    let closed = connect(pod, "10.96.0.2:80 --count 500");
    assert_eq!((closed.ok, only_error(&closed)), (0, vec!["ECONNREFUSED"]));
    assert_eq!(connect(pod, "10.96.0.1:80 --count 200").answer(), "endpoint");
    gateway.signal(Signal::SIGCONT);
    wait_for("steering", || connect(pod, "10.96.0.1:80").answer().starts_with("proxy"));
    assert_eq!(connect(pod, "10.96.0.2:80").answer(), "proxy got 10.96.0.2:80");
}

#[test]
fn the_kernel_sees_the_death_itself_whatever_numbers_processes_have() {
    let Some(_turn) = turn() else { return };
    let node = node("pidns");
    let options = options(&node);
    let _pins = Pins(options.clone());
    let pod = node.pod(0);
    let deaths = |expected| {
        assert_eq!(connect(pod, "10.96.0.1:80 --count 5").answer(), "endpoint");
        let datapath = Datapath::open(&options).unwrap();
        assert_eq!(counter(&datapath, "proxy_dead"), expected);
        assert_eq!(counter(&datapath, "no_listener"), 0, "the alive word tells before the listener does");
    };
    let mut gateway = Gateway::start(&node, OPEN);
    gateway.kill();
    deaths(5);
    let (mut gateway, inner) = Gateway::start_in_pid_namespace(&node, OPEN);
    assert_eq!(connect(pod, "10.96.0.1:80").answer(), "proxy got 10.96.0.1:80");
    nix::sys::signal::kill(inner, Signal::SIGKILL).unwrap();
    gateway.stop();
    deaths(10);
}
