//! Which host a request is for, when it does not say so once and plainly.

use super::case::{BAD, Case, HOST_DIALLED, Seen, Want, case, refused, served};

/// Values of `Host` that are no host with an optional port.
const MALFORMED: [&str; 38] = [
    "",
    " ",
    "h, evil",
    "h,evil",
    "h evil",
    "h\tevil",
    "h/x",
    "/h",
    "h@evil",
    "user:word@h",
    "@h",
    "h:99999",
    "h:65536",
    "h:80x",
    "h:x",
    "h:",
    "h:0",
    "h:-1",
    "h:+80",
    "h:80:80",
    "h: 80",
    ":80",
    "[::1",
    "::1",
    "[::1]x",
    "[::1]:x",
    "[g::]",
    "[]",
    "h%00",
    "h%2f",
    "h#f",
    "h?x",
    "h\\evil",
    "h\u{e9}",
    "a..b",
    ".",
    "\"h\"",
    "http://h",
];

/// Targets in absolute form that name no host plainly, or another scheme.
const TARGETS: [&str; 14] = [
    "http://u@h/",
    "http://u:p@h/",
    "http://h:99999/",
    "http://h:x/",
    "http://h:/",
    "http:///a",
    "http://",
    "http:/a",
    "http:a",
    "http://h,evil/",
    "http://h\\evil/",
    "http://[::1/",
    "ftp://h/",
    "https://h/",
];

pub(crate) fn cases() -> Vec<Case> {
    let root = || Seen::new("GET / HTTP/1.1");
    let mut all: Vec<Case> = MALFORMED
        .map(|host| refused(format!("host {host:?}"), format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"), BAD))
        .into();
    all.extend(TARGETS.map(|target| {
        let raw = format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n");
        refused(format!("target {target:?}"), raw, &[400, 421])
    }));
    let get = |target: &str, fields: &str| format!("GET {target} HTTP/1.1\r\n{fields}\r\n");
    all.extend([
        refused("no host", get("/", ""), BAD),
        refused("no host, but a target in absolute form", get("http://h/", ""), BAD),
        refused("two hosts", get("/", "Host: h\r\nHost: evil\r\n"), BAD),
        refused("the same host twice", get("/", "Host: h\r\nHost: h\r\n"), BAD),
        refused("a host of 300 letters", get("/", &format!("Host: {}\r\n", "a".repeat(300))), BAD),
        refused("a host with a blank before the colon", get("/", "Host : h\r\n"), BAD),
        served("a target in absolute form", get("http://h/", "Host: h\r\n"), root()),
        served(
            "a target in absolute form for another host",
            get("http://real/a", "Host: h\r\n"),
            Seen::new("GET /a HTTP/1.1").host("host: real"),
        ),
        served(
            "a target in absolute form with a port",
            get("http://real:8080/a", "Host: h\r\n"),
            Seen::new("GET /a HTTP/1.1").host("host: real:8080"),
        ),
        case(
            "a target in absolute form with a query and no path",
            get("http://real?a", "Host: h\r\n"),
            Want::Either(vec![Seen::new("GET /?a HTTP/1.1").host("host: real")], BAD),
        ),
        case(
            "a target in absolute form for a malformed host",
            get("http://real/a", "Host: h/evil\r\n"),
            Want::Either(vec![Seen::new("GET /a HTTP/1.1").host("host: real")], BAD),
        ),
        served("a host in capitals", get("/", "HOST: H.Example\r\n"), root().host("host: H.Example")),
        served("a host with a port", get("/", "Host: h:8080\r\n"), root().host("host: h:8080")),
        served("an address", get("/", "Host: [::1]:80\r\n"), root().host("host: [::1]:80")),
        served("a host with an underscore", get("/", "Host: my_shop\r\n"), root().host("host: my_shop")),
        served("HTTP/1.0 without host", "GET / HTTP/1.0\r\n\r\n", root().host(HOST_DIALLED)),
        refused("HTTP/1.0 with two hosts", "GET / HTTP/1.0\r\nHost: h\r\nHost: i\r\n\r\n", BAD),
    ]);
    all
}
