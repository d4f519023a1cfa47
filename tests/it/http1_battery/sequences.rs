//! Several requests on one connection, and requests in pieces.

use super::case::{Case, Seen, Want, case, get, post, served};

const HELLO: &str =
    "POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";

pub(crate) fn cases() -> Vec<Case> {
    let root = || Seen::new("GET / HTTP/1.1");
    let hello = || Seen::new("POST /echo HTTP/1.1").body("hello");
    let bytes = |raw: &str| raw.bytes().map(|byte| vec![byte]).collect();
    let pieces =
        |name: &str, raw: &str, wanted| Case { writes: bytes(raw), ..case(name, "", Want::Served(wanted)) };
    let five = "Content-Length: 5\r\n";
    vec![
        case("100 requests at once", get("").repeat(100), Want::Served(vec![root(); 100])),
        case(
            "bodies and none in turn",
            (HELLO.to_owned() + &get("")).repeat(5),
            Want::Served(vec![[hello(), root()]; 5].concat()),
        ),
        case(
            "an empty line between requests",
            format!("{}\r\n{}", get(""), get("")),
            Want::Served(vec![root(); 2]),
        ),
        case(
            "a GET's body is not a request",
            get("Content-Length: 33\r\n") + "GET /smuggled HTTP/1.1\r\nHost: h\r\n" + &get(""),
            Want::Either(vec![root().body("GET /smuggled HTTP/1.1\r\nHost: h\r\n"), root()], &[400]),
        ),
        case(
            "nothing behind a request that says it is the last",
            get("Connection: close\r\n") + "GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n",
            Want::Served(vec![root()]),
        ),
        case(
            "nothing behind a request of HTTP/1.0",
            "GET / HTTP/1.0\r\nHost: h\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n",
            Want::Served(vec![root()]),
        ),
        case(
            "HTTP/1.0 that goes on",
            "GET / HTTP/1.0\r\nHost: h\r\nConnection: keep-alive\r\n\r\n".repeat(2),
            Want::Served(vec![root(); 2]),
        ),
        pieces("byte by byte", &get("X: y\r\n"), vec![root().and("x: y")]),
        pieces("chunks byte by byte", &HELLO.repeat(2), vec![hello(), hello()]),
        pieces(
            "a length byte by byte",
            &post(five, "hello"),
            vec![Seen::new("POST / HTTP/1.1").body("hello")],
        ),
        Case { finishes: true, ..served("the client sends no more and waits", get(""), root()) },
        served(
            "a body of 1 MB",
            post("Content-Length: 1000000\r\n", &"x".repeat(1_000_000)),
            Seen::new("POST / HTTP/1.1").body("x".repeat(1_000_000)),
        ),
    ]
}
