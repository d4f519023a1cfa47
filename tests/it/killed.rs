//! kill -9: what was in flight is lost, and nothing else.

use std::net::TcpStream;
use std::time::Duration;

use gateway_tests::load::{Connects, Load, Until, connect_only};
use gateway_tests::wait::wait_for;
use gateway_tests::weir::{Options, Weir};
use tokio::sync::oneshot;

use crate::fixture::{LONGEST, Replica, Running, Site, runtime, wait_requests};

const KILLS: u64 = 5;

#[test]
fn five_kills_and_starts_under_load_refuse_no_connect_and_lose_only_what_was_in_flight() {
    let one = Replica::start("one");
    let site = Site::with_shop(&[&one]);
    let mut weir = site.start();
    let address = site.address();
    let (stop, stopped) = oneshot::channel::<()>();
    let connecting = std::thread::spawn(move || -> Connects {
        let told = async { drop(stopped.await) };
        runtime().block_on(connect_only(address, Some(500), Until::Told, told))
    });
    let load = Running::start(Load { keep_alive: false, ..site.load_of("/") });
    for kill in 0..KILLS {
        wait_requests(&weir, 50.0);
        weir.kill().unwrap();
        weir = Weir::start(Options { name: format!("again-{kill}"), ..site.options() }).unwrap();
    }
    wait_requests(&weir, 50.0);
    drop(stop);
    let connects = connecting.join().unwrap();
    assert_eq!((connects.refused, connects.failed), (0, 0), "{connects:?}");
    let (connections, tally) = (site.load_of("/").connections as u64, load.finish());
    assert!(tally.failed <= KILLS * connections, "{tally:?}");
    assert!(!tally.errors.contains_key("connect_refused"), "{tally:?}");
}

#[test]
fn a_gateway_that_is_not_started_again_leaves_its_ports_and_no_process() {
    let one = Replica::start("one");
    let site = Site::with_shop(&[&one]);
    let mut weir = site.start();
    let held = weir.options().admin_socket.with_extension("sock.held");
    wait_for("the holder is there", LONGEST, || held.exists().then_some(())).unwrap();
    weir.kill().unwrap();
    wait_for("the holder is gone", LONGEST, || (!held.exists()).then_some(())).unwrap();
    wait_for("connects are refused", Duration::from_secs(10), || TcpStream::connect(site.address()).err())
        .unwrap();
}
