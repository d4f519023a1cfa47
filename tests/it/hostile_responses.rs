//! What a backend answers that two readers could read in two ways: the client is told, or sees that a
//! body was cut off, and no byte of it becomes the answer to another request.

use std::fmt::Write as _;
use std::net::SocketAddr;

use gateway_tests::message::Message;
use gateway_tests::proxy::{DataPlane, Setup};
use gateway_tests::recorder::{Recorder, Reply, Then};

use crate::raw_client::RawClient;

/// What the client sees.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Want {
    /// 502 with the reason.
    Refused,
    /// No whole answer: what there is of it visibly does not come to its end.
    Cut,
    /// This status and this body.
    Clean(u16, &'static str),
    /// Clean or refused.
    Either(u16, &'static str),
}

use Want::{Clean, Cut, Either, Refused};

/// A response as it is sent; it closes the connection after those that have no end of their own.
type Row = (&'static str, &'static str, Want);

const STATUS_LINES: [Row; 22] = [
    ("no HTTP", "SSH-2.0-OpenSSH\r\n", Refused),
    ("binary", "\x15\x03\x01\0\x02\x02\x0a", Refused),
    ("a body alone", "hello", Refused),
    ("nothing", "", Refused),
    ("an empty line", "\r\n", Refused),
    ("no status", "HTTP/1.1\r\n\r\n", Refused),
    ("no status, but a blank", "HTTP/1.1 \r\n\r\n", Refused),
    ("a status of two digits", "HTTP/1.1 20 OK\r\ncontent-length: 0\r\n\r\n", Refused),
    ("a status of four digits", "HTTP/1.1 2000 OK\r\ncontent-length: 0\r\n\r\n", Refused),
    ("a status of letters", "HTTP/1.1 abc OK\r\ncontent-length: 0\r\n\r\n", Refused),
    ("status 000", "HTTP/1.1 000 OK\r\ncontent-length: 0\r\n\r\n", Refused),
    ("status 099", "HTTP/1.1 099 OK\r\ncontent-length: 0\r\n\r\n", Refused),
    ("a negative status", "HTTP/1.1 -200 OK\r\ncontent-length: 0\r\n\r\n", Refused),
    ("two blanks before the status", "HTTP/1.1  200 OK\r\ncontent-length: 0\r\n\r\n", Refused),
    ("small letters", "http/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", Refused),
    ("HTTP/2.0", "HTTP/2.0 200 OK\r\ncontent-length: 0\r\n\r\n", Refused),
    ("HTTP/0.9", "HTTP/0.9 200 OK\r\ncontent-length: 0\r\n\r\n", Refused),
    ("another protocol", "ICY 200 OK\r\ncontent-length: 0\r\n\r\n", Refused),
    ("NUL in the reason", "HTTP/1.1 200 O\0K\r\ncontent-length: 0\r\n\r\n", Refused),
    ("a bare CR in the reason", "HTTP/1.1 200 O\rK\r\ncontent-length: 0\r\n\r\n", Refused),
    ("a bare LF behind the status", "HTTP/1.1 200 OK\ncontent-length: 0\r\n\r\n", Refused),
    ("bytes before it", "xHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", Refused),
];

const FIELDS: [Row; 17] = [
    (
        "a length and chunks",
        "content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\nSMUGGLED",
        Refused,
    ),
    (
        "chunks and a length",
        "transfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\nSMUGGLED",
        Refused,
    ),
    ("two lengths", "content-length: 5\r\ncontent-length: 8\r\n\r\nSMUGGLED", Refused),
    ("a list of lengths", "content-length: 5, 8\r\n\r\nSMUGGLED", Refused),
    ("a length with a plus", "content-length: +5\r\n\r\nhello", Refused),
    ("a negative length", "content-length: -1\r\n\r\nhello", Refused),
    ("a length of 2^64", "content-length: 18446744073709551616\r\n\r\nhello", Refused),
    ("a coding of another name", "transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n", Refused),
    ("two codings", "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", Refused),
    ("a folded field", "x: a\r\n b\r\ncontent-length: 0\r\n\r\n", Refused),
    ("a bare LF", "x: a\ny: b\r\ncontent-length: 0\r\n\r\n", Refused),
    ("a bare CR", "x: a\rSet-Cookie: b\r\ncontent-length: 0\r\n\r\n", Refused),
    ("a NUL", "x: a\0b\r\ncontent-length: 0\r\n\r\n", Refused),
    ("a blank before a colon", "content-length : 5\r\n\r\nhello", Refused),
    ("no colon", "hello\r\ncontent-length: 0\r\n\r\n", Refused),
    ("no name", ": a\r\ncontent-length: 0\r\n\r\n", Refused),
    ("an end in LF LF", "content-length: 0\n\n", Refused),
];

const BODIES: [Row; 13] = [
    ("shorter than its length", "content-length: 50\r\n\r\nhello", Cut),
    ("no chunk size", "transfer-encoding: chunked\r\n\r\nhello\r\n", Cut),
    ("a chunk size with 0x", "transfer-encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n", Cut),
    ("a bare LF behind a chunk size", "transfer-encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n", Cut),
    ("a bare LF behind a chunk", "transfer-encoding: chunked\r\n\r\n5\r\nhello\n0\r\n\r\n", Cut),
    ("a chunk longer than its size", "transfer-encoding: chunked\r\n\r\n4\r\nhello\r\n0\r\n\r\n", Cut),
    (
        "a chunk size over 2^64",
        "transfer-encoding: chunked\r\n\r\n10000000000000005\r\nhello\r\n0\r\n\r\n",
        Cut,
    ),
    ("NUL in a chunk extension", "transfer-encoding: chunked\r\n\r\n5;\0\r\nhello\r\n0\r\n\r\n", Cut),
    ("chunks without end", "transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n", Cut),
    ("chunks without the last line", "transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n", Cut),
    ("a last chunk that ends in LF", "transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\nHTTP", Cut),
    ("a malformed trailer", "transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nx\r\n\r\n", Cut),
    ("up to the end of the connection", "x: y\r\n\r\nhello", Clean(200, "hello")),
];

/// Whole responses on a connection that is kept, with more behind them or more than there may be.
const KEPT: [Row; 12] = [
    ("bytes behind a length", "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokSMUGGLED", Clean(200, "ok")),
    (
        "a response behind a length",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\nSMUGGLED",
        Clean(200, "ok"),
    ),
    (
        "a response behind chunks",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\nSMUGGLED",
        Clean(200, "ok"),
    ),
    ("204 with a body", "HTTP/1.1 204 No\r\ncontent-length: 8\r\n\r\nSMUGGLED", Either(204, "")),
    (
        "204 with chunks",
        "HTTP/1.1 204 No\r\ntransfer-encoding: chunked\r\n\r\n8\r\nSMUGGLED\r\n0\r\n\r\n",
        Either(204, ""),
    ),
    (
        "204 with a response behind it",
        "HTTP/1.1 204 No\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\nSMUGGLED",
        Either(204, ""),
    ),
    ("304 with a body", "HTTP/1.1 304 No\r\ncontent-length: 8\r\n\r\nSMUGGLED", Either(304, "")),
    (
        "101 that nobody asked for",
        "HTTP/1.1 101 X\r\nconnection: upgrade\r\nupgrade: x\r\n\r\nSMUGGLED",
        Refused,
    ),
    (
        "one interim response",
        "HTTP/1.1 103 Hints\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
        Clean(200, "ok"),
    ),
    (
        "an interim response that nobody asked for",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
        Clean(200, "ok"),
    ),
    (
        "an interim response with a length",
        "HTTP/1.1 103 Hints\r\ncontent-length: 8\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
        Either(200, "ok"),
    ),
    ("HTTP/1.0 with a length", "HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok", Clean(200, "ok")),
];

struct Case {
    name: String,
    method: &'static str,
    reply: Reply,
    want: Want,
}

fn cases() -> Vec<Case> {
    let closing = |name: &str, text: String, want| Case {
        name: name.to_owned(),
        method: "GET",
        reply: Reply { bytes: text.into(), then: Then::Close },
        want,
    };
    let mut all: Vec<Case> = Vec::new();
    all.extend(STATUS_LINES.map(|(name, text, want)| closing(name, text.to_owned(), want)));
    let fields = FIELDS.into_iter().chain(BODIES);
    all.extend(fields.map(|(name, text, want)| closing(name, format!("HTTP/1.1 200 OK\r\n{text}"), want)));
    all.extend(KEPT.map(|(name, text, want)| Case {
        reply: Reply { bytes: text.into(), then: Then::Keep },
        ..closing(name, String::new(), want)
    }));
    let head = |field: &str| format!("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n{field}\r\n");
    all.push(closing("a field of 100 KB", head(&format!("x: {}\r\n", "y".repeat(100_000))), Refused));
    all.push(closing("a field of 2 MB", head(&format!("x: {}\r\n", "y".repeat(2_000_000))), Refused));
    all.push(closing("1000 fields", head(&"x: y\r\n".repeat(1000)), Refused));
    let hints = "HTTP/1.1 103 Hints\r\nlink: x\r\n\r\n".repeat(2000);
    all.push(closing("2000 interim responses", hints + &head(""), Refused));
    all.push(closing("a head without end", "HTTP/1.1 200 OK\r\nx: y\r\n".to_owned(), Refused));
    all.push(Case {
        method: "HEAD",
        reply: Reply {
            bytes: b"HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\nSMUGGLED".to_vec(),
            then: Then::Keep,
        },
        ..closing("HEAD with a body", String::new(), Clean(200, ""))
    });
    all.push(Case {
        reply: Reply {
            bytes: b"HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\nhello".to_vec(),
            then: Then::Reset,
        },
        ..closing("a reset in the body", String::new(), Cut)
    });
    all
}

#[test]
fn what_a_backend_answers_has_one_meaning_or_is_refused_or_visibly_cut_and_never_anothers_answer() {
    let cases = cases();
    let replies: Vec<Reply> = cases.iter().map(|case| case.reply.clone()).collect();
    let recorder = Recorder::start(move |request| {
        let number = request.target().strip_prefix("/case/").and_then(|number| number.parse::<usize>().ok());
        number.map_or_else(Reply::ok, |number| replies[number].clone())
    });
    let recorder = recorder.unwrap();
    let setup = Setup { endpoints: vec![recorder.address], ..Setup::default() };
    let data_plane = DataPlane::start(setup).unwrap();
    let mut failures = String::new();
    for (number, case) in cases.iter().enumerate() {
        for address in [data_plane.gateway, data_plane.pod] {
            let ingress = if address == data_plane.pod { "pod" } else { "gateway" };
            if let Err(why) = check(address, number, case) {
                let _ = writeln!(failures, "{} ({ingress}): {why}", case.name);
            }
        }
    }
    let count = failures.lines().count();
    assert!(failures.is_empty(), "{count} of {} fail:\n{failures}", 2 * cases.len());
}

fn check(address: SocketAddr, number: usize, case: &Case) -> Result<(), String> {
    let mut client = RawClient::connect(address);
    client.to_head = case.method == "HEAD";
    client.send(format!("{} /case/{number} HTTP/1.1\r\nHost: h\r\n\r\n", case.method).as_bytes());
    let answer = client.response();
    let seen =
        answer.as_ref().map(|answer| (answer.status(), String::from_utf8_lossy(&answer.body).into_owned()));
    let is_refused = answer.as_ref().is_some_and(says_why);
    let is_clean = |status, body: &str| seen == Some((status, body.to_owned()));
    let is_right = match case.want {
        Refused => is_refused,
        Cut => seen.is_none() || is_refused,
        Clean(status, body) => is_clean(status, body),
        Either(status, body) => is_refused || is_clean(status, body),
    };
    if !is_right {
        return Err(format!("the client saw {answer:?} and {:?}", String::from_utf8_lossy(&client.bytes)));
    }
    if answer.is_some() {
        after(&mut client)?;
    } else if !client.ends() {
        return Err("the connection is left open".into());
    }
    (0..2).try_for_each(|_| after(&mut RawClient::connect(address)))
}

fn says_why(answer: &Message) -> bool {
    let reason = answer.field("proxy-status").unwrap_or_default();
    answer.status() == 502
        && ["upstream_protocol", "upstream_reset"].iter().any(|known| reason.contains(known))
}

/// The next request gets its own answer, if the connection still takes one.
fn after(client: &mut RawClient) -> Result<(), String> {
    client.to_head = false;
    client.send(b"GET /after HTTP/1.1\r\nHost: h\r\n\r\n");
    match client.response() {
        Some(answer) if (answer.status(), &answer.body[..]) == (200, b"ok") => Ok(()),
        None if client.bytes.is_empty() => Ok(()),
        other => Err(format!("and then {other:?} and {:?}", String::from_utf8_lossy(&client.bytes))),
    }
}
