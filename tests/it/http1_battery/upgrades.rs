//! Requests that ask to switch to another protocol, and what comes behind them before the answer.

use super::case::{BAD, Case, Seen, Want, case, post, refused, served};

const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n";

fn switch(path: &str, fields: &str, rest: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: x\r\n{fields}\r\n{rest}")
}

fn switching(start: &'static str) -> Seen {
    Seen::new(start).and("connection: upgrade").and("upgrade: x")
}

pub(crate) fn cases() -> Vec<Case> {
    let five = "Content-Length: 5\r\n";
    let chunked = "Transfer-Encoding: chunked\r\n";
    let upgrade = "Connection: upgrade\r\nUpgrade: x\r\n";
    let root = || Seen::new("GET / HTTP/1.1");
    vec![
        refused("a switch with a body", post(&format!("{upgrade}{five}"), "hello"), BAD),
        refused("a switch with chunks", post(&format!("{upgrade}{chunked}"), "5\r\nhello\r\n0\r\n\r\n"), BAD),
        refused("a GET's switch with a body", switch("/", five, "hello"), BAD),
        case(
            "the backend agrees",
            switch("/switch", "", "early bytes"),
            Want::Switched(switching("GET /switch HTTP/1.1"), b"early bytes"),
        ),
        case(
            "the backend agrees, and what follows looks like a request",
            switch("/switch", "", SMUGGLED),
            Want::Switched(switching("GET /switch HTTP/1.1"), SMUGGLED.as_bytes()),
        ),
        case(
            "the backend does not agree: what follows is a request, or is not read",
            switch("/", "", "GET /next HTTP/1.1\r\nHost: h\r\n\r\n"),
            Want::ServedOrClosed(vec![switching("GET / HTTP/1.1"), Seen::new("GET /next HTTP/1.1")]),
        ),
        served(
            "a switch that the connection does not name",
            "GET / HTTP/1.1\r\nHost: h\r\nUpgrade: x\r\n\r\n",
            root(),
        ),
        served(
            "a connection that names no switch",
            "GET / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\n\r\n",
            root(),
        ),
        served(
            "a switch of HTTP/1.0",
            "GET / HTTP/1.0\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
            root(),
        ),
        served(
            "a switch to HTTP/2 is not offered",
            "GET / HTTP/1.1\r\nHost: h\r\nConnection: upgrade, http2-settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n\r\n",
            root(),
        ),
        served(
            "nor in a list",
            "GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: x, H2C\r\n\r\n",
            root(),
        ),
    ]
}
