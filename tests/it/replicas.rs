//! Replicas come and go under load.

use std::time::Duration;

use gateway_tests::wait::wait_for;
use gateway_tests::weir::Weir;

use crate::fixture::{LONGEST, Replica, Site, wait_requests};

const NAMES: [&str; 3] = ["one", "two", "three"];

fn ports(replicas: &[Option<Replica>]) -> Vec<u16> {
    replicas.iter().flatten().map(|replica| replica.port).collect()
}

/// Waits until these ports, and no other, are the endpoints of `shop`.
fn wait_endpoints(weir: &Weir, all: &[u16], ports: &[u16]) {
    wait_for("the endpoints are in force", LONGEST, || {
        let (_, clusters) = weir.get("/clusters").ok()?;
        let shown = |port: &u16| clusters.contains(&format!("127.0.0.1:{port}"));
        all.iter().all(|port| shown(port) == ports.contains(port)).then_some(())
    })
    .unwrap();
}

#[test]
fn one_hundred_replica_restarts_announced_in_the_yaml_fail_no_request() {
    let mut replicas = NAMES.map(|name| Some(Replica::start(name)));
    let all = ports(&replicas);
    let site = Site::with_shop(&[]);
    site.endpoint_ports("shop", &all);
    let weir = site.start();
    let load = site.load("/");
    for restart in 0..100 {
        let place = restart % NAMES.len();
        let leaving = replicas[place].take().unwrap();
        let staying = ports(&replicas);
        site.endpoint_ports("shop", &staying);
        wait_endpoints(&weir, &all, &staying);
        let port = leaving.port;
        leaving.end();
        replicas[place] = Some(Replica::start_at(port, NAMES[place], Duration::ZERO));
        site.endpoint_ports("shop", &all);
        wait_endpoints(&weir, &all, &all);
    }
    let tally = load.finish();
    assert_eq!((tally.failed, tally.replicas.len()), (0, 3), "{tally:?}");
}

#[test]
fn replicas_killed_without_notice_fail_no_get() {
    let mut replicas = NAMES.map(|name| Some(Replica::start(name)));
    let site = Site::with_shop(&[]);
    site.endpoint_ports("shop", &ports(&replicas));
    let weir = site.start();
    let load = site.load("/");
    for kill in 0..9 {
        let place = kill % NAMES.len();
        wait_requests(&weir, 100.0);
        let killed = replicas[place].take().unwrap();
        let port = killed.port;
        killed.kill();
        wait_requests(&weir, 100.0);
        replicas[place] = Some(Replica::start_at(port, NAMES[place], Duration::ZERO));
    }
    let tally = load.finish();
    assert_eq!((tally.failed, tally.replicas.len()), (0, 3), "{tally:?}");
}
