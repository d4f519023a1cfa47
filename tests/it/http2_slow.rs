//! HTTP/2 clients that take their time: who is told to go and when, and who is waited for.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use gateway_tests::frames::{Client, PREFACE, block, flag, frame, get, kind, request_fields};
use gateway_tests::proxy::{DataPlane, Setup};
use gateway_tests::wait::wait_for;
use gateway_userspace::limits::Limits;
use gateway_userspace::reason::Reason;

use crate::fixture::LONGEST;

/// What passes soon, in tests.
const SOON: Duration = Duration::from_millis(300);
/// RFC 9113 7.
const NO_ERROR: u32 = 0;
const PROTOCOL_ERROR: u32 = 1;
const CANCEL: u32 = 8;
/// RFC 9113 6.9.1.
const WINDOW_MAX: u32 = 0x7fff_ffff;

/// A backend whose answers never end, by one thread a connection.
fn endless() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            std::thread::spawn(move || pour(&mut stream.unwrap()));
        }
    });
    address
}

/// Reads a request's head, and pours.
fn pour(stream: &mut TcpStream) {
    let _ = stream.read(&mut [0; 4096]);
    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000000\r\n\r\n");
    while stream.write_all(&[b'x'; 16 * 1024]).is_ok() {}
}

fn start(limits: Limits) -> DataPlane {
    DataPlane::start(Setup { limits, endpoints: vec![endless()], ..Setup::default() }).unwrap()
}

/// One way to dawdle.
struct Slow {
    name: &'static str,
    /// All that is ever sent.
    sent: Vec<u8>,
    limits: Limits,
    /// The code of the GOAWAY, when there can be one.
    code: Option<u32>,
    /// What is counted.
    reason: Option<Reason>,
}

fn slow() -> Vec<Slow> {
    let opening = [PREFACE, &frame(kind::SETTINGS, 0, 0, &[])].concat();
    let request = frame(kind::HEADERS, flag::END_HEADERS, 1, &block(&request_fields("GET", "/")));
    let open_block = frame(kind::HEADERS, flag::END_STREAM, 1, &block(&request_fields("GET", "/")));
    let then = |more: &[u8]| [&opening, more].concat();
    let begins = || Limits { detect_timeout: SOON, ..Limits::default() };
    let heads = || Limits { request_head_timeout: SOON, ..Limits::default() };
    let row = |name, sent: &[u8], limits: Limits, code| Slow {
        name,
        sent: sent.to_vec(),
        limits,
        code,
        reason: Some(Reason::ClientTimeout),
    };
    vec![
        row("nothing", b"", begins(), None),
        row("the begin of a preface", b"PRI ", begins(), None),
        row("a preface and nothing more", PREFACE, begins(), Some(PROTOCOL_ERROR)),
        row("a preface and half a head", &opening[..PREFACE.len() + 5], begins(), Some(PROTOCOL_ERROR)),
        row("half a head", &then(&request[..5]), heads(), Some(PROTOCOL_ERROR)),
        row("half a header block", &then(&request[..20]), heads(), Some(PROTOCOL_ERROR)),
        row("a header block that waits for more", &then(&open_block), heads(), Some(PROTOCOL_ERROR)),
        row(
            "no answer to a PING",
            &opening,
            Limits { http2_ping_interval: SOON, http2_ping_timeout: SOON, ..Limits::default() },
            None,
        ),
        Slow {
            reason: None,
            ..row(
                "no request",
                &opening,
                Limits { http2_idle_timeout: SOON, request_head_timeout: SOON, ..Limits::default() },
                Some(NO_ERROR),
            )
        },
    ]
}

#[test]
fn who_says_nothing_or_half_of_it_is_told_to_go_in_time() {
    std::thread::scope(|scope| {
        for row in slow() {
            scope.spawn(move || check(row));
        }
    });
}

fn check(row: Slow) {
    let name = row.name;
    let plane = start(row.limits);
    for address in [plane.gateway, plane.pod] {
        let mut client = Client::connect_silent(address).unwrap();
        client.send(&row.sent).unwrap();
        let seen = client
            .wait("the end", LONGEST, |seen| seen.closed)
            .unwrap_or_else(|error| panic!("{name}: {error:#}"));
        assert_eq!(seen.goaway.map(|(code, _)| code), row.code, "{name}");
        wait_for("it is counted as closed", LONGEST, || (plane.open() == 0).then_some(())).unwrap();
        assert_eq!(plane.rejected(), Vec::from_iter(row.reason), "{name}");
    }
}

#[test]
fn a_client_without_requests_that_answers_is_kept() {
    let limits = Limits { http2_ping_interval: SOON / 3, http2_ping_timeout: SOON, ..Limits::default() };
    let plane = start(limits);
    let mut client = Client::connect(plane.gateway).unwrap();
    for count in 1..8 {
        let seen = client.wait("a PING", LONGEST, |seen| seen.closed || seen.pings >= count).unwrap();
        assert!(!seen.closed, "closed after {} PINGs: {:?}", seen.pings, plane.rejected());
        // The payload is the codec's own; what counts is that something comes.
        client
            .send(&frame(kind::PING, flag::ACK, 0, &[0x3b, 0x7c, 0xdb, 0x7a, 0x0b, 0x87, 0x16, 0xb4]))
            .unwrap();
    }
}

#[test]
fn an_answer_that_its_client_makes_no_room_for_is_reset_and_its_connection_lives() {
    let limits = Limits { response_stall_timeout: SOON, ..Limits::default() };
    let plane = start(limits);
    let mut client = Client::connect(plane.gateway).unwrap();
    client.send(&get(1, "/")).unwrap();
    let seen = client.wait("a reset", LONGEST, |seen| seen.closed || !seen.resets.is_empty()).unwrap();
    assert_eq!((seen.resets, seen.data, seen.goaway), (vec![(1, CANCEL)], 65_535, None));
    client.ping(LONGEST).unwrap();
    let record = wait_for("a record", LONGEST, || plane.records().pop()).unwrap();
    assert_eq!((record.reason, record.bytes_sent), (Some(Reason::ClientTimeout), record.bytes_sent));
    assert!(record.bytes_sent < 200_000, "{} bytes were taken from the endpoint", record.bytes_sent);
}

#[test]
fn an_answer_that_its_client_takes_byte_by_byte_is_reset_too() {
    let limits = Limits { response_stall_timeout: SOON, ..Limits::default() };
    let plane = start(limits);
    let mut client = Client::connect(plane.gateway).unwrap();
    client.send(&get(1, "/")).unwrap();
    let full = client.wait("a full window", LONGEST, |seen| seen.closed || seen.data == 65_535).unwrap();
    assert!(!full.closed);
    let mut more = 0;
    let reset = wait_for("a reset", LONGEST, || {
        more += 1;
        let room = [0, 1].map(|stream| frame(kind::WINDOW_UPDATE, 0, stream, &[0, 0, 0, 1])).concat();
        let sent = client.send(&room);
        // The next byte of room comes when this one was used, and a moment later: that is no flood.
        let _ = client.wait("a byte", LONGEST, |seen| !seen.resets.is_empty() || seen.data >= 65_535 + more);
        (sent.is_err() || !client.seen().resets.is_empty()).then_some(())
    });
    reset.unwrap();
    assert_eq!(client.seen().resets, [(1, CANCEL)]);
    client.ping(LONGEST).unwrap();
}

#[test]
fn a_client_that_reads_nothing_at_all_is_cut_off() {
    let limits = Limits { response_stall_timeout: SOON, ..Limits::default() };
    let plane = start(limits);
    let mut stream = TcpStream::connect(plane.gateway).unwrap();
    // All the room in the world, and nobody who reads.
    let settings = [&[0, 4][..], &WINDOW_MAX.to_be_bytes()].concat();
    let room = (WINDOW_MAX - 65_535).to_be_bytes();
    let opening = [
        PREFACE,
        &frame(kind::SETTINGS, 0, 0, &settings),
        &frame(kind::WINDOW_UPDATE, 0, 0, &room),
        &get(1, "/"),
    ];
    stream.write_all(&opening.concat()).unwrap();
    wait_for("it is cut", LONGEST, || (plane.open() == 0 && !plane.rejected().is_empty()).then_some(()))
        .unwrap();
    let record = wait_for("a record", LONGEST, || plane.records().pop()).unwrap();
    assert!(record.reason.is_some());
}

/// A frame that may be right, or be wrong in any way.
fn any_frame(rng: &mut fastrand::Rng) -> Vec<u8> {
    let stream = rng.u32(0..12);
    match rng.u8(0..6) {
        0 => get(stream, "/"),
        1 => frame(kind::HEADERS, rng.u8(..), stream, &block(&request_fields("POST", "/"))),
        2 => frame(kind::WINDOW_UPDATE, 0, stream, &rng.u32(..).to_be_bytes()),
        3 => frame(kind::RST_STREAM, 0, stream, &rng.u32(0..14).to_be_bytes()),
        _ => {
            let payload: Vec<u8> = (0..rng.usize(0..40)).map(|_| rng.u8(..)).collect();
            frame(rng.u8(0..12), rng.u8(..), stream, &payload)
        }
    }
}

#[test]
fn whatever_frames_come_the_gateway_forgets_them_and_serves_the_next_client() {
    let plane = start(Limits::default());
    let mut rng = fastrand::Rng::with_seed(7);
    for _ in 0..300 {
        let mut client = Client::connect(plane.gateway).unwrap();
        let frames: Vec<u8> = (0..rng.usize(1..30)).flat_map(|_| any_frame(&mut rng)).collect();
        let (now, later) = frames.split_at(rng.usize(0..=frames.len()));
        // It may be over at any point.
        let _ = client.send(now);
        let _ = client.send(later);
    }
    wait_for("all are forgotten", LONGEST, || (plane.open() == 0).then_some(())).unwrap();
    let mut client = Client::connect(plane.gateway).unwrap();
    client.send(&get(1, "/")).unwrap();
    client.wait("an answer", LONGEST, |seen| seen.data > 0).unwrap();
}
