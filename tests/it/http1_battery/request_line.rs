//! Request lines: blanks, methods and versions; and openings that are none.

use super::case::{BAD, BAD_OR_NOTHING, Case, Seen, refused, served};

/// What stands before `Host: h`.
const LINES: [(&str, &str); 28] = [
    ("two blanks before the target", "GET  / HTTP/1.1"),
    ("two blanks behind the target", "GET /  HTTP/1.1"),
    ("a blank at the end", "GET / HTTP/1.1 "),
    ("a tab at the end", "GET / HTTP/1.1\t"),
    ("a tab before the target", "GET\t/ HTTP/1.1"),
    ("a tab behind the target", "GET /\tHTTP/1.1"),
    ("a vertical tab behind the target", "GET /\x0bHTTP/1.1"),
    ("a form feed behind the target", "GET /\x0cHTTP/1.1"),
    ("a bare CR behind the target", "GET /\rHTTP/1.1"),
    ("a CR too many", "GET / HTTP/1.1\r"),
    ("a NUL at the end", "GET / HTTP/1.1\0"),
    ("a blank in the target", "GET /a b HTTP/1.1"),
    ("no version", "GET /"),
    ("no version, but a blank", "GET / "),
    ("no target", "GET HTTP/1.1"),
    ("no target, but its blanks", "GET  HTTP/1.1"),
    ("version http/1.1", "GET / http/1.1"),
    ("version HTTP/1", "GET / HTTP/1"),
    ("version HTTP/1.", "GET / HTTP/1."),
    ("version HTTP/.1", "GET / HTTP/.1"),
    ("version HTTP/1.10", "GET / HTTP/1.10"),
    ("version HTTP/01.1", "GET / HTTP/01.1"),
    ("version HTTP/1,1", "GET / HTTP/1,1"),
    ("version HTTP /1.1", "GET / HTTP /1.1"),
    ("version HTTP/ 1.1", "GET / HTTP/ 1.1"),
    ("version XHTTP/1.1", "GET / XHTTP/1.1"),
    ("version HTTPS/1.1", "GET / HTTPS/1.1"),
    ("version HTTP/1.1x", "GET / HTTP/1.1x"),
];

/// Versions that are not served.
const VERSIONS: [&str; 8] =
    ["HTTP/0.9", "HTTP/1.2", "HTTP/1.9", "HTTP/2.0", "HTTP/2", "HTTP/3.0", "HTTP/9.9", "HTTP/11.1"];

/// What begins no request.
const OPENINGS: [(&str, &[u8]); 16] = [
    ("a blank", b" GET / HTTP/1.1\r\nHost: h\r\n\r\n"),
    ("a tab", b"\tGET / HTTP/1.1\r\nHost: h\r\n\r\n"),
    ("a bare LF", b"\nGET / HTTP/1.1\r\nHost: h\r\n\r\n"),
    ("a bare CR", b"\rGET / HTTP/1.1\r\nHost: h\r\n\r\n"),
    ("two empty lines", b"\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n"),
    ("no method", b" / HTTP/1.1\r\nHost: h\r\n\r\n"),
    ("a slash", b"/ HTTP/1.1\r\nHost: h\r\n\r\n"),
    ("a bracket in the method", b"G(T / HTTP/1.1\r\nHost: h\r\n\r\n"),
    ("a NUL in the method", b"G\0T / HTTP/1.1\r\nHost: h\r\n\r\n"),
    ("a NUL", b"\0GET / HTTP/1.1\r\nHost: h\r\n\r\n"),
    ("a byte outside of ASCII in the method", b"G\xc9T / HTTP/1.1\r\nHost: h\r\n\r\n"),
    ("a colon in the method", b"GET: / HTTP/1.1\r\nHost: h\r\n\r\n"),
    ("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03garbage"),
    ("PRI without the preface", b"PRI * HTTP/2.0\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n"),
    ("PRI in HTTP/1.1", b"PRI / HTTP/1.1\r\nHost: h\r\n\r\n"),
    ("PROXY", b"PROXY TCP4 127.0.0.1 127.0.0.1 1 2\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n"),
];

pub(crate) fn cases() -> Vec<Case> {
    let raw = |line: &str| format!("{line}\r\nHost: h\r\n\r\n");
    let mut all: Vec<Case> =
        LINES.map(|(name, line)| refused(format!("request line: {name}"), raw(line), BAD)).into();
    all.extend(
        VERSIONS.map(|version| {
            refused(format!("version {version}"), raw(&format!("GET / {version}")), &[400, 505])
        }),
    );
    all.extend(OPENINGS.map(|(name, raw)| refused(format!("begins with {name}"), raw, BAD_OR_NOTHING)));
    all.extend([
        refused("HTTP/0.9", "GET /\r\n", BAD),
        refused("a method of 1000 letters", raw(&format!("{} / HTTP/1.1", "A".repeat(1000))), &[0, 400, 501]),
        served(
            "an empty line before the request",
            "\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n",
            Seen::new("GET / HTTP/1.1"),
        ),
        served("a method of one's own", raw("BREW / HTTP/1.1"), Seen::new("BREW / HTTP/1.1")),
        served("a method in small letters", raw("get / HTTP/1.1"), Seen::new("get / HTTP/1.1")),
        served("HTTP/1.0", raw("GET / HTTP/1.0"), Seen::new("GET / HTTP/1.1")),
        served("HEAD", raw("HEAD / HTTP/1.1"), Seen::new("HEAD / HTTP/1.1")),
    ]);
    all
}
