//! A load balancer in front says in a PROXY protocol header for whom it speaks.

use std::io::{Read, Write};

use gateway_tests::wait::wait_for;
use gateway_tests::weir::Weir;

use crate::fixture::{Answer, LONGEST, Replica, Site};

const GET: &[u8] = b"GET /who HTTP/1.1\r\nHost: shop.test\r\nConnection: close\r\n\r\n";
/// 192.0.2.7:4711 to 198.51.100.1:443, and a TLV that means nothing here.
const BINARY: &[u8] =
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x10\xc0\x00\x02\x07\xc6\x33\x64\x01\x12\x67\x01\xbb\x04\x00\x01\x00";
/// The sender checks for itself whether the gateway lives.
const LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00";

/// A gateway that believes headers of these peers.
fn start(site: &Site, peers: &str) -> Weir {
    let options = site.options().with(["--proxy-protocol-from", peers]);
    Weir::start(options).unwrap()
}

/// What comes back for pieces that are sent one by one.
fn ask(site: &Site, pieces: &[&[u8]]) -> Answer {
    let mut stream = site.connect();
    stream.set_nodelay(true).unwrap();
    for piece in pieces {
        // The gateway may have refused the connection by now.
        let _ = stream.write_all(piece);
    }
    let mut text = Vec::new();
    let _ = stream.read_to_end(&mut text);
    Answer { text: String::from_utf8_lossy(&text).into_owned() }
}

fn wait_refused(weir: &Weir, reason: &str, times: f64) {
    wait_for("the refusals are counted", LONGEST, || {
        let label = format!("reason=\"{reason}\"");
        (weir.metric("weir_rejected_total", &label).unwrap() == times).then_some(())
    })
    .unwrap();
}

#[test]
fn the_client_is_who_the_load_balancer_says_in_the_request_and_in_the_log() {
    let one = Replica::start("one");
    let site = Site::with_shop(&[&one]);
    let weir = start(&site, "127.0.0.0/8");
    let line: &[u8] = b"PROXY TCP6 2001:db8::7 2001:db8::1 4712 443\r\n";
    for (header, client) in [(BINARY, "192.0.2.7"), (line, "2001:db8::7")] {
        let answer = ask(&site, &[&[header, GET].concat()]);
        assert_eq!(answer.facts()["headers"]["x-forwarded-for"], client, "{answer:?}");
        let logged = format!("\"client.address\":\"{client}\"");
        wait_for("the log says who", LONGEST, || weir.access_log().contains(&logged).then_some(())).unwrap();
    }
}

#[test]
fn a_header_may_arrive_byte_by_byte_and_what_follows_it_is_the_clients() {
    let one = Replica::start("one");
    let site = Site::with_shop(&[&one]);
    let _weir = start(&site, "127.0.0.1/32");
    let bytes = [BINARY, GET].concat();
    let answer = ask(&site, &bytes.chunks(1).collect::<Vec<_>>());
    assert_eq!(answer.facts()["headers"]["x-forwarded-for"], "192.0.2.7", "{answer:?}");
}

#[test]
fn a_load_balancer_that_speaks_for_itself_is_its_own_client() {
    let one = Replica::start("one");
    let site = Site::with_shop(&[&one]);
    let _weir = start(&site, "127.0.0.1/32");
    for header in [LOCAL, b"PROXY UNKNOWN\r\n"] {
        let answer = ask(&site, &[header, GET]);
        assert_eq!(answer.facts()["headers"]["x-forwarded-for"], "127.0.0.1", "{answer:?}");
    }
}

#[test]
fn a_listed_peer_has_to_send_a_header_and_a_right_one() {
    let one = Replica::start("one");
    let site = Site::with_shop(&[&one]);
    let weir = start(&site, "127.0.0.1/32");
    let mut too_long = BINARY.to_vec();
    too_long[15] = 0x11;
    let broken: [&[u8]; 5] =
        [b"", b"PROXY TCP4 1.2.3.4 1.2.3.4 1 99999\r\n", b"PROXY UNKNOWN\n", &BINARY[..20], &too_long];
    for header in broken {
        let answer = ask(&site, &[&[header, GET].concat()]);
        assert_eq!(answer.status(), 0, "{answer:?}");
    }
    wait_refused(&weir, "client_protocol", 5.0);
}

#[test]
fn a_header_of_anyone_else_is_not_believed() {
    let one = Replica::start("one");
    let site = Site::with_shop(&[&one]);
    let weir = start(&site, "192.0.2.0/24");
    let answer = ask(&site, &[b"PROXY TCP4 192.0.2.7 1.2.3.4 1 2\r\n", GET]);
    assert!(!answer.text.contains("x-forwarded-for"), "{answer:?}");
    let answer = ask(&site, &[BINARY, GET]);
    assert!(answer.status() != 200 && !answer.text.contains("x-forwarded-for"), "{answer:?}");
    assert!(!weir.access_log().contains("192.0.2.7"), "{}", weir.access_log());
    assert_eq!(ask(&site, &[GET]).facts()["headers"]["x-forwarded-for"], "127.0.0.1");
}
