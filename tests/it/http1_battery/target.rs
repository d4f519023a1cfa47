//! Request targets: what no method has, and paths that have no single meaning.

use super::case::{BAD, Case, Seen, refused, served};

const MALFORMED: [(&str, &str); 22] = [
    ("no slash", "a"),
    ("a star", "*"),
    ("a star and more", "*/a"),
    ("a query alone", "?a"),
    ("a fragment", "/a#f"),
    ("a fragment behind a query", "/a?b#c"),
    ("a fragment alone", "#"),
    ("UTF-8", "/\u{e9}"),
    ("%00", "/a%00"),
    ("%0d%0a", "/a%0d%0aX:y"),
    ("%7f", "/a%7f"),
    ("%zz", "/a%zz"),
    ("% alone", "/a%"),
    ("%2 alone", "/a%2"),
    ("an encoded slash", "/a%2Fb"),
    ("an encoded backslash", "/a%5cb"),
    ("a backslash", "/a\\b"),
    ("a parameter on dots", "/a/..;x=y/b"),
    ("a NUL", "/a\0b"),
    ("DEL", "/a\x7fb"),
    ("a host and a port", "h:80"),
    ("a host", "h"),
];

pub(crate) fn cases() -> Vec<Case> {
    let line = |method: &str, target: &str| format!("{method} {target} HTTP/1.1\r\nHost: h\r\n\r\n");
    let mut all: Vec<Case> =
        MALFORMED.map(|(name, target)| refused(format!("target: {name}"), line("GET", target), BAD)).into();
    all.extend([
        refused("CONNECT", line("CONNECT", "h:80"), &[405]),
        refused("CONNECT of a path", line("CONNECT", "/"), &[400, 405]),
        refused("CONNECT without a port", line("CONNECT", "h"), &[400, 405]),
        refused("CONNECT in absolute form", line("CONNECT", "http://h/"), &[400, 405]),
        refused("POST of a star", line("POST", "*"), BAD),
        refused("OPTIONS of a star and more", line("OPTIONS", "*a"), BAD),
        refused("a target of 9 KB", line("GET", &format!("/{}", "a".repeat(9000))), &[414]),
        refused("a query of 9 KB", line("GET", &format!("/?{}", "a".repeat(9000))), &[414]),
        refused("a target of 30 KB", line("GET", &format!("/{}", "a".repeat(30_000))), &[414]),
        refused("a target of 66 KB", line("GET", &format!("/{}", "a".repeat(66_000))), &[414, 431]),
        served("dots", line("GET", "/x/../a/./b"), Seen::new("GET /a/b HTTP/1.1")),
        served("encoded dots", line("GET", "/x/%2e%2E/a"), Seen::new("GET /a HTTP/1.1")),
        served("dots above the root", line("GET", "/../../a"), Seen::new("GET /a HTTP/1.1")),
        served("slashes", line("GET", "//a///b"), Seen::new("GET /a/b HTTP/1.1")),
        served("a letter encoded", line("GET", "/%61%7e"), Seen::new("GET /a~ HTTP/1.1")),
        served("an escape in lower case", line("GET", "/%c3%a9"), Seen::new("GET /%C3%A9 HTTP/1.1")),
        served(
            "an escape of an escape",
            line("GET", "/%252e%252e/a"),
            Seen::new("GET /%252e%252e/a HTTP/1.1"),
        ),
        served("a parameter", line("GET", "/a;b=c"), Seen::new("GET /a;b=c HTTP/1.1")),
        served(
            "a query is as it is",
            line("GET", "/x/../a?b=../%2F%00//"),
            Seen::new("GET /a?b=../%2F%00// HTTP/1.1"),
        ),
        served("an empty query", line("GET", "/a?"), Seen::new("GET /a? HTTP/1.1")),
        served("OPTIONS of a path", line("OPTIONS", "/a"), Seen::new("OPTIONS /a HTTP/1.1")),
    ]);
    all
}
