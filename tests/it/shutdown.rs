//! SIGTERM: what is in flight finishes, nothing new comes in.

use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use gateway_tests::load::Load;
use gateway_tests::wait::wait_for;
use gateway_tests::weir::{Options, Weir};
use nix::sys::signal::Signal;

use crate::fixture::{LONGEST, Replica, Running, Site, exchange, read_answer, wait_requests};

const REQUEST: &str = "GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n";

/// Sends a request, and waits until it is on its way to the replica.
fn in_flight(site: &Site, weir: &Weir) -> TcpStream {
    let mut stream = site.connect();
    stream.write_all(REQUEST.as_bytes()).unwrap();
    wait_for("the request is on its way", LONGEST, || {
        (weir.metric("weir_upstream_connections", "").unwrap() > 0.0).then_some(())
    })
    .unwrap();
    stream
}

/// Waits until it takes no new connection.
fn wait_refused(site: &Site) {
    wait_for("new connections are refused", LONGEST, || TcpStream::connect(site.address()).err()).unwrap();
}

#[test]
fn a_request_in_flight_finishes_while_new_connections_are_refused_and_the_exit_code_is_0() {
    let slow = Replica::start_slow("slow", Duration::from_secs(2));
    let site = Site::with_shop(&[&slow]);
    let mut weir = site.start();
    let mut stream = in_flight(&site, &weir);
    weir.signal(Signal::SIGTERM).unwrap();
    wait_refused(&site);
    let ready = weir.get("/readyz");
    assert!(!matches!(ready, Ok((200, _))), "{ready:?}");
    let answer = read_answer(&mut stream);
    assert_eq!((answer.status(), answer.replica()), (200, "slow"), "{answer:?}");
    assert_eq!(answer.header("connection"), Some("close"), "{answer:?}");
    assert_eq!(weir.wait(LONGEST).unwrap().code(), Some(0), "{}", weir.errors());
}

#[test]
fn a_connection_that_was_idle_gets_one_more_answer_and_is_told_that_it_is_the_last() {
    let slow = Replica::start_slow("slow", Duration::from_secs(1));
    let site = Site::with_shop(&[&slow]);
    let mut weir = site.start();
    let mut idle = site.connect();
    let first = exchange(&mut idle, REQUEST);
    assert_eq!((first.status(), first.header("connection")), (200, None), "{first:?}");
    let mut stream = in_flight(&site, &weir);
    weir.signal(Signal::SIGTERM).unwrap();
    wait_refused(&site);
    let last = exchange(&mut idle, REQUEST);
    assert_eq!((last.status(), last.header("connection")), (200, Some("close")), "{last:?}");
    assert_eq!(read_answer(&mut stream).status(), 200);
    assert_eq!(weir.wait(LONGEST).unwrap().code(), Some(0), "{}", weir.errors());
}

#[test]
fn a_gateway_with_nothing_in_flight_ends_at_once_and_leaves_no_socket_behind() {
    let one = Replica::start("one");
    let site = Site::with_shop(&[&one]);
    let mut weir = site.start();
    assert_eq!(site.get("/").status(), 200);
    weir.signal(Signal::SIGTERM).unwrap();
    assert_eq!(weir.wait(LONGEST).unwrap().code(), Some(0), "{}", weir.errors());
    assert!(!weir.options().admin_socket.exists());
}

#[test]
fn a_shutdown_under_load_leaves_no_request_that_was_served_without_its_answer() {
    for http2 in [false, true] {
        let one = Replica::start("one");
        let site = Site::with_shop(&[&one]);
        let mut weir = site.start();
        let load = Running::start(Load { http2, ..site.load_of("/") });
        wait_requests(&weir, 200.0);
        weir.signal(Signal::SIGTERM).unwrap();
        assert_eq!(weir.wait(LONGEST).unwrap().code(), Some(0), "{}", weir.errors());
        let tally = load.finish();
        // Connections that nobody had accepted yet are refused or reset: there is no successor.
        assert_eq!(weir.access_log().lines().count() as u64, tally.ok, "HTTP/2 {http2}: {tally:?}");
        assert!(tally.ok >= 200, "{tally:?}");
    }
}

#[test]
fn a_gateway_is_replaced_under_load_without_a_failed_request() {
    for http2 in [false, true] {
        let one = Replica::start("one");
        let site = Site::with_shop(&[&one]);
        let mut weir = site.start();
        let load = Running::start(Load { http2, ..site.load_of("/") });
        let mut served = 0;
        for generation in 0..3 {
            wait_requests(&weir, 100.0);
            let options = Options { name: format!("next-{generation}"), ..site.options() };
            let next = Weir::start(options.with(["--takeover"])).unwrap();
            assert_eq!(weir.wait(LONGEST).unwrap().code(), Some(0), "{}", weir.errors());
            served += weir.access_log().lines().count();
            weir = next;
        }
        wait_requests(&weir, 100.0);
        let tally = load.finish();
        assert_eq!(tally.failed, 0, "HTTP/2 {http2}: {tally:?}");
        weir.signal(Signal::SIGTERM).unwrap();
        weir.wait(LONGEST).unwrap();
        served += weir.access_log().lines().count();
        // What a client sends again after a GOAWAY was not served before.
        assert_eq!(served as u64, tally.ok, "HTTP/2 {http2}: {tally:?}");
    }
}

#[test]
fn a_next_gateway_that_is_told_to_end_while_it_starts_ends_and_the_one_before_goes_on() {
    let one = Replica::start("one");
    let site = Site::with_shop(&[&one]);
    let mut weir = site.start();
    let load = Running::start(site.load_of("/"));
    for generation in 0..5 {
        let options = Options { name: format!("next-{generation}"), ..site.options() };
        let mut next = Weir::spawn(options.with(["--takeover"])).unwrap();
        // Before that, the signal ends any process.
        wait_for("it minds SIGTERM", LONGEST, || next.minds(Signal::SIGTERM).then_some(())).unwrap();
        next.signal(Signal::SIGTERM).unwrap();
        assert_eq!(next.wait(LONGEST).unwrap().code(), Some(0), "{}", next.errors());
        if next.errors().contains("taken over") {
            // It was faster than the signal, and nobody is left.
            weir.wait(LONGEST).unwrap();
            weir = site.start();
        }
        assert!(matches!(weir.get("/readyz"), Ok((200, _))), "{}", weir.errors());
    }
    wait_requests(&weir, 100.0);
    let next = Options { name: "last".to_owned(), ..site.options() };
    let _next = Weir::start(next.with(["--takeover"])).unwrap();
    assert_eq!(weir.wait(LONGEST).unwrap().code(), Some(0), "{}", weir.errors());
    load.finish();
}
