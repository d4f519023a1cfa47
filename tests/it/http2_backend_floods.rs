//! Backends that flood their HTTP/2 connection: they are cut with a reason, and nobody else notices.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use gateway_tests::frames::{PREFACE, block, flag, frame, kind};

use crate::fixture::{Replica, Running, Site, route, service};

/// Rounds of a flood that nobody stops.
const MANY: u32 = 20_000;
const PUSH_PROMISE: u8 = 5;
/// `:status: 200` is entry 8 of the static table.
const OK: [u8; 1] = [0x88];

/// What a backend sends to a request on this stream: once, and then in each round.
struct Flood {
    name: &'static str,
    first: fn(u32) -> Vec<u8>,
    round: fn(u32, u32) -> Vec<u8>,
    /// The reasons that the client may be told; of none, it sees that its answer is cut off.
    reasons: &'static [&'static str],
}

const FLOOD: &[&str] = &["upstream_flood"];
const PROTOCOL: &[&str] = &["upstream_protocol"];
/// The stream is ended by one side or the other.
const RESET: &[&str] = &["upstream_protocol", "upstream_reset", "upstream_flood"];
const CUT: &[&str] = &[];

fn nothing(_: u32) -> Vec<u8> {
    Vec::new()
}

fn head(stream: u32) -> Vec<u8> {
    frame(kind::HEADERS, flag::END_HEADERS, stream, &OK)
}

fn of(name: &'static str, round: fn(u32, u32) -> Vec<u8>) -> Flood {
    Flood { name, first: nothing, round, reasons: FLOOD }
}

fn floods() -> Vec<Flood> {
    [floods_of_control_frames(), floods_of_messages(), games_with_windows()].into_iter().flatten().collect()
}

fn floods_of_control_frames() -> Vec<Flood> {
    vec![
        of("PING", |_, _| frame(kind::PING, 0, 0, b"12345678")),
        of("answers to no PING", |_, _| frame(kind::PING, flag::ACK, 0, b"12345678")),
        of("SETTINGS", |_, _| frame(kind::SETTINGS, 0, 0, &[])),
        of("PRIORITY", |stream, _| frame(kind::PRIORITY, 0, stream, &[0, 0, 0, 0, 1])),
        of("frames that nobody knows", |_, _| frame(kind::UNKNOWN, 0, 0, b"what?")),
        of("GOAWAY that lets the request go on", |_, _| {
            frame(kind::GOAWAY, 0, 0, &[0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0])
        }),
        Flood {
            reasons: RESET,
            ..of("resets", |stream, _| frame(kind::RST_STREAM, 0, stream, &[0, 0, 0, 8]))
        },
        Flood {
            reasons: PROTOCOL,
            ..of("resets of streams that nobody opened", |_, n| {
                frame(kind::RST_STREAM, 0, 2 * n + 10_001, &[0, 0, 0, 8])
            })
        },
        Flood {
            reasons: PROTOCOL,
            ..of("promises", |stream, n| {
                let promised = (2 * n + 2).to_be_bytes();
                frame(PUSH_PROMISE, flag::END_HEADERS, stream, &[&promised[..], &[0x82, 0x84, 0x86]].concat())
            })
        },
    ]
}

fn floods_of_messages() -> Vec<Flood> {
    vec![
        Flood {
            reasons: RESET,
            ..of("interim answers", |stream, _| {
                frame(kind::HEADERS, flag::END_HEADERS, stream, &block(&[(":status", "103"), ("link", "x")]))
            })
        },
        Flood {
            reasons: RESET,
            ..of("large interim answers", |stream, _| {
                let link = "v".repeat(12_000);
                frame(
                    kind::HEADERS,
                    flag::END_HEADERS,
                    stream,
                    &block(&[(":status", "103"), ("link", &link)]),
                )
            })
        },
        Flood {
            first: |stream| frame(kind::HEADERS, 0, stream, &OK),
            ..of("a head without end", |stream, _| {
                frame(kind::CONTINUATION, 0, stream, &block(&[("x-a", "b")]))
            })
        },
        Flood {
            first: |stream| [head(stream), frame(kind::HEADERS, flag::END_STREAM, stream, &[])].concat(),
            reasons: CUT,
            ..of("trailers without end", |stream, _| {
                frame(kind::CONTINUATION, 0, stream, &block(&[("x-a", "b")]))
            })
        },
        Flood {
            first: head,
            reasons: CUT,
            ..of("pieces of a body without a byte", |stream, _| frame(kind::DATA, 0, stream, &[]))
        },
        Flood {
            reasons: RESET,
            ..of("16 KiB that stand for 64 MiB", |stream, _| {
                let bomb = [&[0x40, 1, b'a', 0x7f, 0xa1, 0x1e][..], &[b'v'; 4000], &[0xbe; 12_000]].concat();
                frame(kind::HEADERS, flag::END_HEADERS, stream, &[&OK[..], &bomb].concat())
            })
        },
    ]
}

fn games_with_windows() -> Vec<Flood> {
    vec![
        of("a window that opens and closes", |_, n| {
            let size: u32 = if n.is_multiple_of(2) { 0 } else { 0x7fff_ffff };
            frame(kind::SETTINGS, 0, 0, &[&[0, 4][..], &size.to_be_bytes()].concat())
        }),
        of("window updates of the connection", |_, _| frame(kind::WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1])),
        of("window updates of the stream", |stream, _| frame(kind::WINDOW_UPDATE, 0, stream, &[0, 0, 0, 1])),
        Flood {
            reasons: RESET,
            ..of("window updates of too much", |stream, _| {
                frame(kind::WINDOW_UPDATE, 0, stream, &[0x7f, 0xff, 0xff, 0xff])
            })
        },
        Flood {
            reasons: RESET,
            ..of("window updates of nothing", |stream, _| frame(kind::WINDOW_UPDATE, 0, stream, &[0; 4]))
        },
    ]
}

/// Answers each request by the flood of the hour.
struct Hostile {
    port: u16,
    flood: Arc<Mutex<Option<Flood>>>,
    /// Rounds that the kernel took of the last flood, when that has ended.
    rounds: Arc<AtomicUsize>,
}

impl Hostile {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (flood, rounds) = (Arc::<Mutex<Option<Flood>>>::default(), Arc::<AtomicUsize>::default());
        let told = (Arc::clone(&flood), Arc::clone(&rounds));
        // Ends with the test's process.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let told = told.clone();
                std::thread::spawn(move || serve(stream, &told));
            }
        });
        Self { port, flood, rounds }
    }

    fn set(&self, flood: Option<Flood>) {
        *self.flood.lock().unwrap_or_else(PoisonError::into_inner) = flood;
    }
}

type Told = (Arc<Mutex<Option<Flood>>>, Arc<AtomicUsize>);

fn serve(mut stream: TcpStream, told: &Told) {
    let _ = stream.set_nodelay(true);
    let mut preface = [0; PREFACE.len()];
    if stream.read_exact(&mut preface).is_err()
        || stream.write_all(&frame(kind::SETTINGS, 0, 0, &[])).is_err()
    {
        return;
    }
    // One answer at a time: a frame of another between two of a head would be an error of its own.
    let writing = Arc::new(Mutex::new(stream.try_clone().unwrap()));
    let mut head = [0; 9];
    while stream.read_exact(&mut head).is_ok() {
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let mut payload = vec![0; length];
        if stream.read_exact(&mut payload).is_err() {
            return;
        }
        let id = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        if head[3] == kind::SETTINGS && head[4] & flag::ACK == 0 {
            let ack = frame(kind::SETTINGS, flag::ACK, 0, &[]);
            let _ = writing.lock().unwrap_or_else(PoisonError::into_inner).write_all(&ack);
        }
        if head[3] != kind::HEADERS {
            continue;
        }
        // Reading goes on meanwhile: who does not read is not answered either.
        let (writing, told) = (Arc::clone(&writing), told.clone());
        std::thread::spawn(move || {
            answer(&mut writing.lock().unwrap_or_else(PoisonError::into_inner), id, &told);
        });
    }
}

fn answer(stream: &mut TcpStream, id: u32, (flood, rounds): &Told) {
    let (first, round) = match &*flood.lock().unwrap_or_else(PoisonError::into_inner) {
        Some(flood) => (flood.first, flood.round),
        None => {
            let _ = stream.write_all(&frame(kind::HEADERS, flag::END_HEADERS | flag::END_STREAM, id, &OK));
            return;
        }
    };
    let _ = stream.write_all(&first(id));
    let sent = (0..MANY).take_while(|n| stream.write_all(&round(id, *n)).is_ok()).count();
    rounds.store(sent, Ordering::SeqCst);
}

#[test]
fn every_flood_of_a_backend_is_cut_with_its_reason_and_costs_neither_memory_nor_a_request_of_anyone_else() {
    let honest = Replica::start("honest");
    let hostile = Hostile::start();
    let site = Site::with_shop(&[&honest]);
    let hostile_route =
        service("flood", "kubernetes.io/h2c") + &route("flood", "path: {value: /flood}", "flood");
    site.write("flood.yaml", &hostile_route);
    site.endpoint_ports("flood", &[hostile.port]);
    let weir = site.start();
    site.wait_status("/", 200);
    site.wait_status("/flood", 200);
    let neighbour = Running::start(site.load_of("/"));
    for flood in floods() {
        let (name, reasons) = (flood.name, flood.reasons);
        hostile.rounds.store(usize::MAX, Ordering::SeqCst);
        hostile.set(Some(flood));
        let before = usize::try_from(weir.resident_own_kib().unwrap()).unwrap();
        let (peak, over) = (AtomicUsize::new(0), AtomicBool::new(false));
        let answer = std::thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Ordering::SeqCst) {
                    peak.fetch_max(
                        usize::try_from(weir.resident_own_kib().unwrap()).unwrap(),
                        Ordering::SeqCst,
                    );
                    std::thread::yield_now();
                }
            });
            let mut answer = site.get("/flood");
            // A few interim answers are passed on.
            while let Some((_, rest)) =
                answer.text.strip_prefix("HTTP/1.1 103").and_then(|t| t.split_once("\r\n\r\n"))
            {
                answer.text = rest.to_owned();
            }
            over.store(true, Ordering::SeqCst);
            answer
        });
        let status = answer.header("proxy-status").unwrap_or_default();
        if reasons.is_empty() {
            // Head and flood may come in one piece: then there is no answer yet that could be cut off.
            let is_refused = answer.status() == 502 && status.contains("upstream_flood");
            let is_cut = answer.status() == 200 && !answer.text.ends_with("0\r\n\r\n");
            assert!(is_refused || is_cut, "{name}: {answer:?}");
        } else {
            let is_told = reasons.iter().any(|reason| status.contains(reason));
            assert!(answer.status() == 502 && is_told, "{name}: {answer:?}");
        }
        hostile.set(None);
        site.wait_status("/flood", 200);
        let growth = peak.load(Ordering::SeqCst).saturating_sub(before);
        println!("{name}: {growth} KiB, {status}");
        assert!(growth <= 1024, "{name}: the gateway grew by {growth} KiB");
    }
    let tally = neighbour.finish();
    assert!(tally.failed == 0 && tally.ok > 100, "{tally:?}");
    let log = weir.errors();
    assert!(log.contains("floods its HTTP/2 connection"));
    assert!(log.lines().count() < 1000, "a flood of frames is a flood of lines: {}", log.lines().count());
}
