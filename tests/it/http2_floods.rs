//! HTTP/2 clients that flood, and honest ones that look like it: who is cut, when, and who never notices.

use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicUsize, Ordering};

use bytes::Bytes;
use gateway_tests::echo;
use gateway_tests::frames::{Client, block, flag, frame, get, kind, post, request_fields};
use gateway_tests::wait::wait_for;
use gateway_tests::weir::Weir;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::sync::oneshot;

use crate::fixture::{LONGEST, Running, Site, free_port, route, runtime, service};

/// RFC 9113 7.
const ENHANCE_YOUR_CALM: u32 = 11;
const PROTOCOL_ERROR: u32 = 1;
const CANCEL: [u8; 4] = [0, 0, 0, 8];
/// Sent to see what becomes of memory and of others.
const MANY: u32 = 20_000;

/// A backend that never answers `/hold`, and counts who is left waiting.
struct Holding {
    port: u16,
    held: Arc<AtomicUsize>,
    holding: Arc<AtomicUsize>,
    _end: oneshot::Sender<()>,
}

/// A request that waits. Goes when the gateway gives it up.
struct Held(Arc<AtomicUsize>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Holding {
    fn start() -> Self {
        let port = free_port();
        let (held, holding) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let (end, ended) = oneshot::channel::<()>();
        let counts = (Arc::clone(&held), Arc::clone(&holding));
        std::thread::spawn(move || {
            runtime().block_on(async {
                let listener = echo::listen(port).unwrap();
                tokio::select! {
                    () = Self::accept(&listener, counts) => {}
                    _ = ended => {}
                }
            });
        });
        Self { port, held, holding, _end: end }
    }

    async fn accept(listener: &tokio::net::TcpListener, counts: (Arc<AtomicUsize>, Arc<AtomicUsize>)) {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let counts = counts.clone();
            let service = service_fn(move |request: Request<Incoming>| {
                let (held, holding) = counts.clone();
                async move {
                    if request.uri().path() == "/hold" {
                        held.fetch_add(1, Ordering::SeqCst);
                        holding.fetch_add(1, Ordering::SeqCst);
                        let _held = Held(holding);
                        // Who does not read does not see that nobody is there any more.
                        if request.into_body().collect().await.is_ok() {
                            std::future::pending::<()>().await;
                        }
                    }
                    Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"fine"))))
                }
            });
            tokio::spawn(async move {
                let server = auto::Builder::new(TokioExecutor::new());
                let _ = server.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    }

    fn held(&self) -> usize {
        self.held.load(Ordering::SeqCst)
    }

    /// Waits until this many requests have come that wait.
    fn wait_held(&self, count: usize) {
        let is_held = || (self.held() >= count).then_some(());
        wait_for("the requests are with the backend", LONGEST, is_held).unwrap();
    }

    /// Waits until nobody is left waiting.
    fn wait_free(&self, what: &str) {
        let free = || (self.holding.load(Ordering::SeqCst) == 0).then_some(());
        wait_for(&format!("the backend is free of {what}"), LONGEST, free).unwrap();
    }
}

/// A way to flood.
struct Flood {
    name: &'static str,
    /// Sent once, before, and leads to so many requests.
    first: Vec<u8>,
    first_requests: usize,
    /// The frames of one round, by its number.
    round: fn(u32) -> Vec<u8>,
    /// So many rounds are always borne, and so many never.
    borne: Range<u32>,
    /// The code of the GOAWAY.
    code: u32,
    /// Requests that may have reached the backend.
    requests_max: usize,
}

fn stream(round: u32) -> u32 {
    2 * round + 1
}

/// A request that is held, and then something.
fn hold_and(round: u32, kind: u8, payload: &[u8]) -> Vec<u8> {
    [get(stream(round), "/hold"), frame(kind, 0, stream(round), payload)].concat()
}

fn malformed(round: u32, fields: &[(&str, &str)]) -> Vec<u8> {
    let fields = [&request_fields("GET", "/hold"), fields].concat();
    frame(kind::HEADERS, flag::END_HEADERS | flag::END_STREAM, stream(round), &block(&fields))
}

/// Of frames that lead to nothing.
fn control(name: &'static str, round: fn(u32) -> Vec<u8>) -> Flood {
    Flood {
        name,
        first: Vec::new(),
        first_requests: 0,
        round,
        borne: 900..1001,
        code: ENHANCE_YOUR_CALM,
        requests_max: 0,
    }
}

/// Of requests that are ended one way or the other.
fn streams(name: &'static str, round: fn(u32) -> Vec<u8>) -> Flood {
    Flood { borne: 50..200, requests_max: 200, ..control(name, round) }
}

fn floods() -> Vec<Flood> {
    [floods_of_streams(), floods_of_messages(), floods_of_control_frames()].into_iter().flatten().collect()
}

fn floods_of_streams() -> Vec<Flood> {
    vec![
        streams("requests, reset at once", |n| hold_and(n, kind::RST_STREAM, &CANCEL)),
        Flood {
            // Ends the connection as it is.
            borne: 0..2,
            code: PROTOCOL_ERROR,
            ..streams("requests, and a window update of nothing", |n| {
                hold_and(n, kind::WINDOW_UPDATE, &[0; 4])
            })
        },
        streams("requests, and a window update of too much", |n| {
            hold_and(n, kind::WINDOW_UPDATE, &[0x7f, 0xff, 0xff, 0xff])
        }),
        streams("requests that depend on themselves", |n| {
            hold_and(n, kind::PRIORITY, &[stream(n).to_be_bytes().as_slice(), &[1]].concat())
        }),
        Flood {
            // So does this.
            borne: 0..2,
            code: PROTOCOL_ERROR,
            ..streams("bodies behind their end", |n| hold_and(n, kind::DATA, b"x"))
        },
        Flood {
            borne: 0..2,
            code: PROTOCOL_ERROR,
            requests_max: 0,
            ..streams("names in upper case", |n| malformed(n, &[("X-A", "b")]))
        },
        Flood {
            requests_max: 0,
            ..streams("fields of a connection", |n| malformed(n, &[("connection", "close")]))
        },
        Flood {
            requests_max: 0,
            ..streams("bodies shorter than said", |n| malformed(n, &[("content-length", "5")]))
        },
        Flood {
            first: (0..100).flat_map(|n| get(stream(n), "/hold")).collect(),
            first_requests: 100,
            borne: 600..1101,
            requests_max: 100,
            ..control("streams above the limit", |n| get(stream(n + 100), "/hold"))
        },
    ]
}

fn floods_of_messages() -> Vec<Flood> {
    let open_block = frame(kind::HEADERS, 0, 1, &block(&request_fields("GET", "/hold")));
    let continuation = |first| Flood { first, borne: 1..17, ..control("", |_| Vec::new()) };
    vec![
        Flood {
            name: "header blocks without end",
            round: |_| frame(kind::CONTINUATION, 0, 1, &block(&[("x-a", "b")])),
            ..continuation(open_block.clone())
        },
        Flood {
            name: "header blocks that get no longer",
            round: |_| frame(kind::CONTINUATION, 0, 1, &[]),
            ..continuation(open_block)
        },
        Flood {
            borne: 0..2,
            requests_max: 0,
            ..streams("16 KiB that stand for 64 MiB", |n| {
                // One entry of 4,000 bytes for the table, and then its index again and again.
                let bomb = [&[0x40, 1, b'a', 0x7f, 0xa1, 0x1e][..], &[b'v'; 4000], &[0xbe; 12_000]].concat();
                let block = [block(&request_fields("GET", "/hold")), bomb].concat();
                frame(kind::HEADERS, flag::END_HEADERS | flag::END_STREAM, stream(n), &block)
            })
        },
        Flood {
            first: post(1, "/hold"),
            first_requests: 1,
            borne: 50..201,
            requests_max: 1,
            ..control("pieces of a body without a byte", |_| frame(kind::DATA, 0, 1, &[]))
        },
    ]
}

fn floods_of_control_frames() -> Vec<Flood> {
    vec![
        control("PING", |_| frame(kind::PING, 0, 0, b"12345678")),
        control("answers to no PING", |_| frame(kind::PING, flag::ACK, 0, b"12345678")),
        control("SETTINGS", |_| frame(kind::SETTINGS, 0, 0, &[])),
        control("window updates of the connection", |_| frame(kind::WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1])),
        Flood {
            first: get(1, "/hold"),
            first_requests: 1,
            requests_max: 1,
            ..control("window updates of a stream", |_| frame(kind::WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]))
        },
        control("PRIORITY", |_| frame(kind::PRIORITY, 0, 1, &[0, 0, 0, 0, 1])),
        control("frames that nobody knows", |_| frame(kind::UNKNOWN, 0, 0, b"what?")),
        Flood {
            first: [get(1, "/hold"), frame(kind::RST_STREAM, 0, 1, &CANCEL)].concat(),
            requests_max: 1,
            ..control("resets of a stream that is gone", |_| frame(kind::RST_STREAM, 0, 1, &CANCEL))
        },
    ]
}

struct World {
    backend: Holding,
    site: Site,
    weir: Weir,
}

impl World {
    fn start(protocol: &str) -> Self {
        let backend = Holding::start();
        let site = Site::new();
        site.write("shop.yaml", &(service("shop", protocol) + &route("shop", "path: {value: /}", "shop")));
        site.endpoint_ports("shop", &[backend.port]);
        let weir = site.start();
        site.wait_status("/", 200);
        Self { backend, site, weir }
    }

    /// A client of its own: floods of others do not count as its own.
    fn client(&self) -> Client {
        static NEXT: AtomicU16 = AtomicU16::new(1);
        let [third, last] = NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        Client::connect_as(Ipv4Addr::new(127, 1, third, last), self.site.address()).unwrap()
    }

    /// As many rounds as are borne, then as many as are not.
    fn check_bounds(&self, flood: &Flood) {
        let name = flood.name;
        if flood.borne.start > 1 {
            let mut client = self.client();
            let held = self.backend.held() + flood.first_requests;
            client.send(&flood.first).unwrap();
            self.backend.wait_held(held);
            client.flood((0..flood.borne.start).map(flood.round));
            client.ping(LONGEST).unwrap_or_else(|error| panic!("{name}: cut too early: {error:#}"));
        }
        self.backend.wait_free(name);
        // What is under way of the first client is not to be counted as the second's.
        self.site.wait_status("/", 200);
        let mut client = self.client();
        let before = self.backend.held();
        client.send(&flood.first).unwrap();
        self.backend.wait_held(before + flood.first_requests);
        client.flood((0..flood.borne.end).map(flood.round));
        let seen = client
            .wait("the end", LONGEST, |seen| seen.closed)
            .unwrap_or_else(|error| panic!("{name}: {error:#}"));
        let code = seen.goaway.as_ref().map(|(code, _)| *code);
        assert_eq!(code, Some(flood.code), "{name}: {} resets", seen.resets.len());
        self.backend.wait_free(name);
        // What was on its way to the backend before this has come, too.
        self.site.wait_status("/", 200);
        let requests = self.backend.held() - before;
        assert!(requests <= flood.requests_max, "{name}: {requests} requests reached the backend");
    }

    /// As many rounds as go, and what that does to the gateway and to others.
    fn check_damage(&self, flood: &Flood) {
        let name = flood.name;
        let resident = || self.weir.resident_own_kib().unwrap();
        let mut client = self.client();
        let held = self.backend.held() + flood.first_requests;
        client.send(&flood.first).unwrap();
        self.backend.wait_held(held);
        let (before, peak, over) = (resident(), AtomicUsize::new(0), AtomicBool::new(false));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Ordering::SeqCst) {
                    peak.fetch_max(usize::try_from(resident()).unwrap(), Ordering::SeqCst);
                    std::thread::yield_now();
                }
            });
            client.flood((0..MANY).map(flood.round));
            let _ = client.wait("the end", LONGEST, |seen| seen.closed).unwrap();
            over.store(true, Ordering::SeqCst);
        });
        self.backend.wait_free(name);
        let growth = peak.load(Ordering::SeqCst).saturating_sub(usize::try_from(before).unwrap());
        println!("{name}: {growth} KiB");
        assert!(growth <= 1024, "{name}: the gateway grew by {growth} KiB");
    }
}

#[test]
fn every_flood_is_cut_within_its_bound_and_its_work_given_up() {
    for protocol in ["http", "kubernetes.io/h2c"] {
        let world = World::start(protocol);
        for flood in floods() {
            world.check_bounds(&flood);
        }
        let cut = world.weir.metric("weir_rejected_total", "client_flood").unwrap();
        assert!(cut >= 15.0, "{cut} connections were counted as floods");
        assert!(world.weir.errors().contains("floods its connection"));
    }
}

#[test]
fn no_flood_costs_memory_or_a_request_of_anyone_else() {
    let world = World::start("http");
    let neighbour = Running::start(world.site.load_of("/"));
    // What a request takes, and gives back, is taken before the first flood.
    for flood in floods().iter().filter(|flood| flood.requests_max >= 100) {
        world.check_bounds(flood);
    }
    for flood in floods() {
        world.check_damage(&flood);
    }
    let tally = neighbour.finish();
    assert!(tally.failed == 0 && tally.ok > 100, "{tally:?}");
}

#[test]
fn who_is_reset_happy_on_one_connection_after_the_other_is_cut_on_each_and_may_still_ask() {
    let world = World::start("http");
    // Fewer than one connection may have, on each.
    let resets: Vec<u8> = (0..90).flat_map(|n| hold_and(n, kind::RST_STREAM, &CANCEL)).collect();
    let is_cut = || {
        let mut client = Client::connect(world.site.address()).unwrap();
        // It may be gone already.
        let _ = client.send(&resets);
        let _ = client.ping(LONGEST);
        client.seen().goaway.map(|(code, _)| code) == Some(ENHANCE_YOUR_CALM)
    };
    let borne = (0..100).take_while(|_| !is_cut()).count();
    assert!((5..=12).contains(&borne), "{borne} connections of 90 resets each were borne");
    assert!((0..10).filter(|_| is_cut()).count() >= 5, "it pays, whatever connection it is on");
    world.backend.wait_free("resets");
    // Others behind its address are served.
    for round in 0..10 {
        let mut client = Client::connect(world.site.address()).unwrap();
        client.send(&get(1, "/")).unwrap();
        let seen = client.wait("an answer", LONGEST, |seen| seen.closed || seen.ended == [1]).unwrap();
        assert_eq!(seen.ended, [1], "{round}: {seen:?}");
    }
    assert!(world.weir.errors().contains("one connection after the other"));
}

/// A request whose header block is so long, in frames of 16 KiB.
fn long_head(stream: u32, bytes: usize) -> Vec<u8> {
    let value = "v".repeat(1000);
    let fields: Vec<_> =
        request_fields("GET", "/").into_iter().chain((0..bytes / 1000).map(|_| ("x-a", &*value))).collect();
    let block = block(&fields);
    let mut pieces = block.chunks(16 * 1024).peekable();
    let mut frames = Vec::new();
    let (mut kind, mut flags) = (kind::HEADERS, flag::END_STREAM);
    while let Some(piece) = pieces.next() {
        flags |= if pieces.peek().is_none() { flag::END_HEADERS } else { 0 };
        frames.extend(frame(kind, flags, stream, piece));
        (kind, flags) = (kind::CONTINUATION, 0);
    }
    frames
}

#[test]
fn heads_are_served_up_to_their_limit_refused_above_it_and_cut_far_above() {
    let world = World::start("http");
    let mut client = world.client();
    // `:status: 200` is entry 8 of the static table, 431 is none of it.
    for (round, bytes, served) in
        [(0, 20_000, true), (1, 40_000, false), (2, 60_000, false), (3, 20_000, true)]
    {
        client.send(&long_head(stream(round), bytes)).unwrap();
        let answered =
            |seen: &gateway_tests::frames::Seen| seen.closed || seen.answers.len() > round as usize;
        let seen = client.wait("an answer", LONGEST, answered).unwrap();
        assert_eq!(seen.answers.last().map(|(_, first)| *first == 0x88), Some(served), "{bytes}: {seen:?}");
    }
    let _ = client.send(&long_head(stream(4), 400_000));
    let seen = client.wait("the end", LONGEST, |seen| seen.closed).unwrap();
    assert!(seen.goaway.is_some_and(|(code, _)| code != 0));
}

/// A frame of four bytes for a stream.
fn room(stream: u32, bytes: u32) -> Vec<u8> {
    frame(kind::WINDOW_UPDATE, 0, stream, &bytes.to_be_bytes())
}

#[test]
fn who_asks_much_and_takes_all_of_it_is_never_cut() {
    let world = World::start("http");
    let mut client = world.client();
    // Each answer is acknowledged by two window updates and a PING, and every third request given up.
    for round in 0..3000_u32 {
        let mut frames =
            [get(stream(round), "/"), frame(kind::PRIORITY, 0, stream(round), &[0, 0, 0, 0, 1])].concat();
        if round % 3 == 0 {
            frames.extend(frame(kind::RST_STREAM, 0, stream(round), &CANCEL));
        }
        client.send(&frames).unwrap();
        if round % 3 != 0 {
            let ended =
                |seen: &gateway_tests::frames::Seen| seen.closed || seen.ended.contains(&stream(round));
            let seen = client.wait("an answer", LONGEST, ended).unwrap();
            assert!(!seen.closed, "cut after {round} requests: {:?}", seen.goaway);
            client.send(&[room(0, 4), frame(kind::PING, 0, 0, b"bdp-ping")].concat()).unwrap();
        }
    }
    let seen = client.ping(LONGEST).unwrap();
    assert_eq!(seen.goaway, None);
}

#[test]
fn five_hundred_requests_at_once_are_served_or_refused_and_the_connection_lives() {
    let world = World::start("http");
    let mut client = world.client();
    client.send(&(0..500).flat_map(|round| get(stream(round), "/")).collect::<Vec<u8>>()).unwrap();
    let seen = client
        .wait("500 answers", LONGEST, |seen| seen.closed || seen.ended.len() + seen.resets.len() == 500)
        .unwrap();
    assert!(!seen.closed && seen.ended.len() >= 100, "{seen:?}");
    assert!(
        seen.resets.iter().all(|(_, code)| *code == 7),
        "refused, so that they can be repeated: {seen:?}"
    );
    client.ping(LONGEST).unwrap();
}

#[test]
fn requests_that_only_frames_can_say_are_refused_too() {
    let world = World::start("http");
    let mut client = world.client();
    let whole = flag::END_HEADERS | flag::END_STREAM;
    let before = world.backend.held();
    let bad: [&[(&str, &str)]; 4] = [
        &[(":method", "GET"), (":scheme", "http"), (":authority", "shop.test"), (":path", "*")],
        &[(":method", "GET"), (":scheme", "http"), (":path", "/hold")],
        &[(":method", "GET"), (":scheme", "http"), (":path", "/hold"), ("host", "a"), ("host", "b")],
        &[(":method", "GET"), (":scheme", "http"), (":authority", "u@shop.test"), (":path", "/hold")],
    ];
    for (round, fields) in (0..).zip(bad) {
        client.send(&frame(kind::HEADERS, whole, stream(round), &block(fields))).unwrap();
        let seen = client
            .wait("an answer", LONGEST, |seen| seen.closed || seen.ended.contains(&stream(round)))
            .unwrap();
        // `:status: 400` is entry 12 of the static table (RFC 7541 appendix A).
        assert_eq!(seen.answers.last(), Some(&(stream(round), 0x8c)), "{fields:?}: {seen:?}");
    }
    assert_eq!(world.backend.held(), before);
    let bad = frame(kind::HEADERS, whole, 1, &block(&request_fields("GET", "/hold")));
    client.send(&bad).unwrap();
    let seen = client.wait("the end", LONGEST, |seen| seen.closed).unwrap();
    assert_eq!(seen.goaway.map(|(code, _)| code), Some(PROTOCOL_ERROR), "a stream is opened once");
}
