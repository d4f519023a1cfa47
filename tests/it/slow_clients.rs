//! Clients that take their time: the dishonest ones are told and cut off, the honest ones are served.

use std::net::SocketAddr;
use std::time::Duration;

use gateway_tests::proxy::{DataPlane, Setup};
use gateway_tests::recorder::{Recorder, Reply, Standing, Then};
use gateway_tests::wait::wait_for;
use gateway_userspace::limits::Limits;

use crate::raw_client::RawClient;

const LONGEST: Duration = Duration::from_secs(10);
/// Between two pieces of what is sent slowly.
const PIECE: Duration = Duration::from_millis(20);
/// Stands for each of the limits on time.
const SOON: Duration = Duration::from_millis(300);
/// What a connection may not be held for: far beyond every limit above.
const MANY_PIECES: usize = 400;

const HEAD: &str = "POST /upload HTTP/1.1\r\nHost: h\r\n";

/// Limits that pass within a test.
fn limits() -> Limits {
    Limits {
        detect_timeout: SOON,
        request_head_timeout: SOON,
        idle_timeout: SOON,
        http2_idle_timeout: SOON,
        http2_ping_interval: SOON,
        http2_ping_timeout: SOON,
        body_rate_grace: SOON,
        response_stall_timeout: SOON,
        ..Limits::default()
    }
}

struct World {
    recorder: Recorder,
    data_plane: DataPlane,
}

impl World {
    fn new() -> Self {
        let recorder = Recorder::start(|request| match request.target() {
            "/large" => {
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", 64 << 20);
                Reply { bytes: [head.as_bytes(), &vec![b'x'; 64 << 20]].concat(), then: Then::Keep }
            }
            _ => Reply::ok(),
        });
        let recorder = recorder.unwrap();
        let setup = Setup { limits: limits(), endpoints: vec![recorder.address], ..Setup::default() };
        let data_plane = DataPlane::start(setup).unwrap();
        Self { recorder, data_plane }
    }

    fn addresses(&self) -> [SocketAddr; 2] {
        [self.data_plane.gateway, self.data_plane.pod]
    }
}

/// What a client sends at once, and then piece by piece without end.
struct Probe {
    name: &'static str,
    first: String,
    then: &'static str,
    /// What it is told, one of these; 0 when there is nobody to tell.
    statuses: &'static [u16],
    /// A backend has seen its head, and sees that there will be no more.
    reaches_backend: bool,
}

fn probes() -> Vec<Probe> {
    let row = |name, first: &str, then, statuses| Probe {
        name,
        first: first.to_owned(),
        then,
        statuses,
        reaches_backend: first.starts_with(HEAD) && first.contains("\r\n\r\n"),
    };
    let chunked = format!("{HEAD}Transfer-Encoding: chunked\r\n\r\n");
    let sized = format!("{HEAD}Content-Length: 1000000\r\n\r\n");
    const NOBODY: &[u16] = &[0];
    const LATE: &[u16] = &[408];
    vec![
        row("silent", "", "", NOBODY),
        row("one letter", "G", "", NOBODY),
        row("half of a preface", "PRI * HTT", "", NOBODY),
        row("a preface and nothing", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "", NOBODY),
        row("a request line", "GET / HTTP/1.1\r\n", "", LATE),
        row("a head without its end", "GET / HTTP/1.1\r\nHost: h\r\n", "", LATE),
        row("a head letter by letter", "GET / HTTP/1.1\r\nHost: h\r\nX: ", "a", LATE),
        row("a head field by field", "GET / HTTP/1.1\r\nHost: h\r\n", "X: a\r\n", LATE),
        row("a body of which nothing comes", &sized, "", LATE),
        row("a body letter by letter", &sized, "x", LATE),
        row("chunks of which none comes", &chunked, "", LATE),
        row("chunks letter by letter", &chunked, "1\r\nx\r\n", LATE),
        row("a chunk size digit by digit", &format!("{chunked}0"), "", LATE),
    ]
}

#[test]
fn who_holds_a_connection_with_next_to_nothing_is_told_and_cut_off_however_often_it_sends_a_letter() {
    let world = World::new();
    let mut failures = Vec::new();
    for probe in probes() {
        for address in world.addresses() {
            world.recorder.clear().unwrap();
            let mut client = RawClient::connect(address);
            client.send(probe.first.as_bytes());
            let pieces = (0..MANY_PIECES).take_while(|_| {
                client.send(probe.then.as_bytes());
                !client.ends_within(PIECE)
            });
            let pieces = pieces.count();
            let status = client.response().map_or(0, |answer| answer.status());
            let heard = world.recorder.heard().unwrap();
            let has_reached = !heard.is_empty();
            let is_whole = heard.iter().any(|conversation| !conversation.requests.is_empty());
            if pieces == MANY_PIECES
                || !probe.statuses.contains(&status)
                || has_reached != probe.reaches_backend
                || is_whole
            {
                failures.push(format!(
                    "{}: {status} after {pieces} pieces, the backend saw {heard:?}",
                    probe.name
                ));
            }
            let is_over = || {
                let heard = world.recorder.heard().ok()?;
                heard.iter().all(|conversation| conversation.standing != Standing::Open).then_some(())
            };
            if wait_for("the backend's connection ends", LONGEST, is_over).is_err() {
                failures.push(format!("{}: the backend's connection stays open", probe.name));
            }
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn a_connection_without_a_next_request_is_closed_without_an_answer() {
    let world = World::new();
    for address in world.addresses() {
        let mut client = RawClient::connect(address);
        client.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n");
        assert_eq!(client.response().unwrap().status(), 200);
        assert!(client.ends() && client.bytes.is_empty(), "{:?}", client.bytes);
    }
}

#[test]
fn who_reads_nothing_of_an_answer_is_cut_off_and_so_is_the_answer() {
    let world = World::new();
    for address in world.addresses() {
        let mut client = RawClient::connect(address);
        client.send(b"GET /large HTTP/1.1\r\nHost: h\r\n\r\n");
        let is_cut = || (world.data_plane.open() == 0).then_some(());
        wait_for("a connection", LONGEST, || (world.data_plane.open() == 1).then_some(())).unwrap();
        wait_for("its end", LONGEST, is_cut).unwrap();
        assert!(client.response().is_none());
    }
}

#[test]
fn an_honest_upload_of_some_bytes_at_a_time_is_served() {
    let world = World::new();
    for address in world.addresses() {
        let mut client = RawClient::connect(address);
        let pieces = 100;
        client.send(format!("{HEAD}Content-Length: {}\r\n\r\n", pieces * 20).as_bytes());
        for _ in 0..pieces {
            assert!(!client.ends_within(PIECE), "{:?}", client.bytes);
            client.send(&[b'x'; 20]);
        }
        assert_eq!(client.response().unwrap().status(), 200);
    }
}
