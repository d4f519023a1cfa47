//! Where a connect goes while all is well, and what is left alone.

use std::io::Write;
use std::os::fd::AsFd;

use gateway_common::names;
use gateway_tests::pod::stand_in::{Manner, StandIn, options, tables};
use gateway_tests::pod::{Node, Pod};
use gateway_userspace::capture::netns::Netns;
use gateway_userspace::ebpf::tables::KernelService;
use gateway_userspace::ebpf::{Datapath, PodEntry};
use gateway_userspace::snapshot::cluster::ClusterId;
use gateway_userspace::snapshot::frontend::{FailPolicy, Mode};
use gateway_userspace::telemetry::record::PodId;

use crate::fixture::{Client, Pins, connect, counter, turn, wait_for};

#[test]
fn a_connect_to_a_service_reaches_the_proxy_and_the_client_sees_what_it_dialled() {
    let Some(_turn) = turn() else { return };
    let node = Node::make("steer", 1, &[]).unwrap();
    let options = options(&node);
    let _pins = Pins(options.clone());
    let proxy = StandIn::start("proxy", Manner::Answer, &options).unwrap();
    let services = tables(&[
        ("10.96.0.1:80", Mode::L7, FailPolicy::Open, &[]),
        ("[fd96::1]:80", Mode::L7, FailPolicy::Open, &[]),
    ]);
    proxy.datapath.sync(&services.unwrap()).unwrap();
    let pod = node.pod(0);
    proxy.enroll(pod).unwrap();

    for (arguments, dialled, own) in [
        ("10.96.0.1:80", "10.96.0.1:80", pod.ip_v4.to_string()),
        ("[fd96::1]:80", "[fd96::1]:80", pod.ip_v6.to_string()),
        ("10.96.0.1:80 --mapped", "[::ffff:10.96.0.1]:80", format!("::ffff:{}", pod.ip_v4)),
    ] {
        let seen = connect(pod, arguments);
        let got = if arguments.contains("mapped") { "10.96.0.1:80" } else { dialled };
        assert_eq!(seen.answer(), format!("proxy got {got}"), "{arguments}");
        assert_eq!(seen.peers.keys().collect::<Vec<_>>(), [dialled], "getpeername of {arguments}");
        assert_eq!(seen.locals.keys().collect::<Vec<_>>(), [&own], "getsockname of {arguments}");
    }
    assert_eq!(counter(&proxy.datapath, "steered"), 3);
    let decisions = proxy.datapath.decisions();
    let dialled: Vec<String> = decisions.iter().map(|d| d.original.to_std().to_string()).collect();
    assert_eq!(dialled, ["10.96.0.1:80", "[fd96::1]:80", "10.96.0.1:80"]);
}

#[test]
fn what_is_not_a_pods_tcp_connect_to_a_service_is_left_alone() {
    let Some(_turn) = turn() else { return };
    let node = Node::make("alone", 2, &["10.96.0.1/32", "10.96.0.2/32"]).unwrap();
    for service in ["10.96.0.1:80", "10.96.0.2:80"] {
        node.serve(service, "direct").unwrap();
    }
    let options = options(&node);
    let _pins = Pins(options.clone());
    let proxy = StandIn::start("proxy", Manner::Answer, &options).unwrap();
    proxy
        .datapath
        .sync(
            &tables(&[
                ("10.96.0.1:80", Mode::L7, FailPolicy::Closed, &[]),
                ("10.96.0.2:80", Mode::Pass, FailPolicy::Closed, &[]),
            ])
            .unwrap(),
        )
        .unwrap();
    let (pod, stranger) = (node.pod(0), node.pod(1));
    proxy.enroll(pod).unwrap();
    let outsider = Pod { cgroup: node.cgroup().parent().unwrap().to_owned(), ..pod.clone() };

    assert_eq!(connect(pod, "10.96.0.1:80").answer(), "proxy got 10.96.0.1:80");
    let table = [
        (pod, "10.96.0.1:80 --device eth0", "untouched_bound_device"),
        (pod, "10.96.0.1:80 --mptcp", "untouched_mptcp"),
        (pod, "10.96.0.2:80", "untouched_pass"),
        (stranger, "10.96.0.1:80", "untouched_not_enrolled"),
    ];
    for (pod, arguments, reason) in table {
        let before = counter(&proxy.datapath, reason);
        assert_eq!(connect(pod, arguments).answer(), "direct", "{arguments}");
        assert!(counter(&proxy.datapath, reason) > before, "{arguments} does not count as {reason}");
    }
    // Another cgroup: no program sees it, so nothing is counted.
    let before = proxy.datapath.counters().unwrap();
    assert_eq!(connect(&outsider, "10.96.0.1:80").answer(), "direct");
    assert_eq!(proxy.datapath.counters().unwrap(), before);
    let udp = connect(pod, "10.96.0.1:80 --udp");
    assert_eq!(udp.peers.keys().collect::<Vec<_>>(), ["10.96.0.1:80"]);
    assert_eq!(counter(&proxy.datapath, "untouched_not_tcp"), 1);
    let refused = connect(pod, "10.77.0.1:9");
    assert_eq!(refused.errors.keys().collect::<Vec<_>>(), ["ECONNREFUSED"], "not a Service");
    assert_eq!(counter(&proxy.datapath, "untouched_not_service"), 1);
    // Known addresses are untouched once they are no Service's any more, and the pod is let go.
    proxy.datapath.sync(&tables(&[]).unwrap()).unwrap();
    assert_eq!(connect(pod, "10.96.0.1:80").answer(), "direct");
}

#[test]
fn a_pod_that_is_let_go_is_left_alone() {
    let Some(_turn) = turn() else { return };
    let node = Node::make("letgo", 1, &["10.96.0.1/32"]).unwrap();
    node.serve("10.96.0.1:80", "direct").unwrap();
    let options = options(&node);
    let _pins = Pins(options.clone());
    let proxy = StandIn::start("proxy", Manner::Answer, &options).unwrap();
    proxy.datapath.sync(&tables(&[("10.96.0.1:80", Mode::L7, FailPolicy::Closed, &[])]).unwrap()).unwrap();
    let cookie = proxy.enroll(node.pod(0)).unwrap();
    assert_eq!(connect(node.pod(0), "10.96.0.1:80").answer(), "proxy got 10.96.0.1:80");
    proxy.datapath.unenroll(cookie).unwrap();
    proxy.datapath.unenroll(cookie).unwrap();
    assert_eq!(connect(node.pod(0), "10.96.0.1:80").answer(), "direct");
    proxy.enroll(node.pod(0)).unwrap();
    assert_eq!(proxy.datapath.retain_pods(&[]).unwrap(), 1);
    assert_eq!(connect(node.pod(0), "10.96.0.1:80").answer(), "direct");
}

#[test]
fn a_connection_that_waits_for_accept_while_its_pod_is_let_go_still_gets_where_it_wanted_to() {
    let Some(_turn) = turn() else { return };
    let node = Node::make("late", 1, &[]).unwrap();
    let options = options(&node);
    let _pins = Pins(options.clone());
    let proxy = StandIn::start("proxy", Manner::Answer, &options).unwrap();
    proxy.datapath.sync(&tables(&[("10.96.0.1:80", Mode::L7, FailPolicy::Closed, &[])]).unwrap()).unwrap();
    let pod = node.pod(0);
    let netns = Netns::open(&pod.netns).unwrap();
    let (netns_cookie, listener) = (netns.cookie().unwrap(), netns.listen().unwrap().v4);
    let port = listener.local_addr().unwrap().port();
    proxy.datapath.tag_listener(listener.as_fd()).unwrap();
    let entry = PodEntry {
        netns_cookie,
        pod: PodId(1),
        port_v4: port,
        port_v6: 0,
        ip_v4: Some(pod.ip_v4),
        ip_v6: None,
    };
    proxy.datapath.enroll(&entry).unwrap();
    let client = Client::start(pod, "10.96.0.1:80");
    wait_for("the connect to be under way", || {
        let entries = Datapath::entries(&options.pin_root).unwrap();
        entries.contains(&(names::FLOWS, 1))
    });
    proxy.datapath.unenroll(netns_cookie).unwrap();
    listener.set_nonblocking(false).unwrap();
    let (mut stream, peer) = listener.accept().unwrap();
    let dialled = proxy.datapath.flows().take(netns_cookie, peer, port);
    writeln!(stream, "late got {}", dialled.unwrap()).unwrap();
    drop(stream);
    assert_eq!(client.finish().answer(), "late got 10.96.0.1:80");
}

#[test]
fn a_direct_dial_of_the_listener_has_no_destination() {
    let Some(_turn) = turn() else { return };
    let node = Node::make("dial", 1, &[]).unwrap();
    let options = options(&node);
    let _pins = Pins(options.clone());
    let proxy = StandIn::start("proxy", Manner::Answer, &options).unwrap();
    proxy.datapath.sync(&tables(&[("10.96.0.1:80", Mode::L7, FailPolicy::Closed, &[])]).unwrap()).unwrap();
    proxy.enroll(node.pod(0)).unwrap();
    connect(node.pod(0), "10.96.0.1:80");
    let listener = proxy.datapath.decisions()[0].actual.to_std();
    let seen = connect(node.pod(0), &listener.to_string());
    assert_eq!(seen.answer(), "", "the stand-in closes what was not steered");
    // Also on a socket that was steered before: what it dialled then is forgotten.
    let seen = connect(node.pod(0), &format!("10.96.0.1:80 --again {listener}"));
    assert_eq!(seen.answer(), "");
    assert_eq!(seen.peers.keys().collect::<Vec<_>>(), [&listener.to_string()]);
}

#[test]
fn in_mode_l4_the_kernel_spreads_connects_over_the_endpoints_and_the_client_sees_the_service() {
    let Some(_turn) = turn() else { return };
    let node = Node::make("l4", 1, &[]).unwrap();
    let ports = [8081, 8082, 8083];
    for port in ports {
        node.serve(&format!("10.77.0.1:{port}"), &format!("v4-{port}")).unwrap();
        node.serve(&format!("[fd77::1]:{port}"), &format!("v6-{port}")).unwrap();
    }
    let options = options(&node);
    let _pins = Pins(options.clone());
    let proxy = StandIn::start("proxy", Manner::Answer, &options).unwrap();
    let services = [
        (
            "10.96.0.1:80",
            Mode::L4,
            FailPolicy::Closed,
            &["10.77.0.1:8081", "10.77.0.1:8082", "10.77.0.1:8083"][..],
        ),
        (
            "[fd96::1]:80",
            Mode::L4,
            FailPolicy::Closed,
            &["[fd77::1]:8081", "[fd77::1]:8082", "[fd77::1]:8083"],
        ),
    ];
    proxy.datapath.sync(&tables(&services).unwrap()).unwrap();
    let pod = node.pod(0);
    proxy.enroll(pod).unwrap();
    for (arguments, dialled, family) in [
        ("10.96.0.1:80 --count 300", "10.96.0.1:80", "v4"),
        ("10.96.0.1:80 --count 300 --mapped", "[::ffff:10.96.0.1]:80", "v4"),
        ("[fd96::1]:80 --count 300", "[fd96::1]:80", "v6"),
    ] {
        let seen = connect(pod, arguments);
        assert!(seen.errors.is_empty(), "{seen:?}");
        assert_eq!(seen.peers.keys().collect::<Vec<_>>(), [dialled]);
        for port in ports {
            // Five standard deviations around a third of 300.
            let share = seen.answers.get(&format!("{family}-{port}")).copied().unwrap_or(0);
            assert!((60..=145).contains(&share), "{arguments}: {:?}", seen.answers);
        }
    }
    assert_eq!(counter(&proxy.datapath, "picked_l4"), 900);
    // One endpoint goes: from then on nobody is sent to it.
    let rest = KernelService { id: ClusterId(1), endpoints: vec!["10.77.0.1:8082".parse().unwrap()] };
    assert_eq!(proxy.datapath.sync_endpoints(&rest).unwrap().changed, 1);
    assert_eq!(connect(pod, "10.96.0.1:80 --count 50").answer(), "v4-8082");
    assert_eq!(connect(pod, "[fd96::1]:80 --count 50").answers.len(), 3, "the other Service is as it was");
}

#[test]
fn endpoints_that_change_all_the_time_never_fail_a_connect() {
    let Some(_turn) = turn() else { return };
    let node = Node::make("churn", 1, &[]).unwrap();
    for port in 8081..8085 {
        node.serve(&format!("10.77.0.1:{port}"), "served").unwrap();
    }
    let options = options(&node);
    let _pins = Pins(options.clone());
    let proxy = StandIn::start("proxy", Manner::Answer, &options).unwrap();
    proxy
        .datapath
        .sync(&tables(&[("10.96.0.1:80", Mode::L4, FailPolicy::Open, &["10.77.0.1:8081"])]).unwrap())
        .unwrap();
    proxy.enroll(node.pod(0)).unwrap();
    let client = Client::start(node.pod(0), "10.96.0.1:80 --count 2000 --until-eof");
    let endpoint = |n: usize| format!("10.77.0.1:{}", 8081 + n % 4).parse().unwrap();
    for round in 0..20_000 {
        let endpoints = (0..1 + round % 3).map(|n| endpoint(round + n)).collect();
        proxy.datapath.sync_endpoints(&KernelService { id: ClusterId(1), endpoints }).unwrap();
    }
    let seen = client.finish();
    assert_eq!(seen.answer(), "served", "{seen:?}");
    assert!(seen.ok >= 2000);
    eprintln!(
        "{} connects over 20,000 changes, {} torn reads",
        seen.ok,
        counter(&proxy.datapath, "torn_read")
    );
}
