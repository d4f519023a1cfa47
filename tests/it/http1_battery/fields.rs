//! Lines of fields: their ends, their names, their values, and fields that are for one connection only.

use super::case::{BAD, Case, Seen, get, post, refused, served};

/// Field lines that no two servers need read alike.
const BROKEN: [(&str, &str); 28] = [
    ("bare LF behind a field", "X: y\nA: b\r\n"),
    ("bare LF behind the last field", "X: y\n"),
    ("bare CR in a value", "X: a\rb\r\n"),
    ("bare CR in a value before a field", "X: a\rEvil: b\r\n"),
    ("CR CR LF", "X: y\r\r\n"),
    ("NUL in a value", "X: a\0b\r\n"),
    ("0x01 in a value", "X: a\x01b\r\n"),
    ("ESC in a value", "X: a\x1b[31m\r\n"),
    ("vertical tab in a value", "X: a\x0bb\r\n"),
    ("form feed in a value", "X: a\x0cb\r\n"),
    ("DEL in a value", "X: a\x7fb\r\n"),
    ("folded with a blank", "X: a\r\n b\r\n"),
    ("folded with a tab", "X: a\r\n\tb\r\n"),
    ("folded with nothing", "X: a\r\n \r\n"),
    ("no colon", "X\r\n"),
    ("no colon, with a value", "X y\r\n"),
    ("no name", ": y\r\n"),
    ("a blank before the colon", "X : y\r\n"),
    ("a tab before the colon", "X\t: y\r\n"),
    ("a blank in the name", "X Y: z\r\n"),
    ("NUL in the name", "X\0Y: z\r\n"),
    ("NUL before the name", "\0X: z\r\n"),
    ("a bracket in the name", "X(Y): z\r\n"),
    ("a slash in the name", "X/Y: z\r\n"),
    ("a quote in the name", "\"X\": z\r\n"),
    ("a letter outside of ASCII in the name", "X\u{e9}: z\r\n"),
    ("a brace in the name", "{X}: z\r\n"),
    ("a bare CR in the name", "X\rY: z\r\n"),
];

pub(crate) fn cases() -> Vec<Case> {
    let broken = BROKEN.map(|(name, fields)| refused(format!("fields: {name}"), get(fields), BAD));
    let mut all: Vec<Case> = broken.into();
    all.extend(ends_of_lines());
    all.extend(expectations());
    all.extend(of_one_connection());
    all.extend(whence());
    all
}

fn ends_of_lines() -> Vec<Case> {
    vec![
        refused("all lines end in LF", "GET / HTTP/1.1\nHost: h\n\n", BAD),
        refused("the request line ends in LF", "GET / HTTP/1.1\nHost: h\r\n\r\n", BAD),
        refused("the head ends in LF", "GET / HTTP/1.1\r\nHost: h\r\n\n", BAD),
        refused("the head ends in LF LF", "GET / HTTP/1.1\r\nHost: h\n\n", BAD),
        refused("the first field is folded", "GET / HTTP/1.1\r\n X: y\r\nHost: h\r\n\r\n", BAD),
        refused("the first field is folded with a tab", "GET / HTTP/1.1\r\n\tX: y\r\nHost: h\r\n\r\n", BAD),
        refused("a field begins with a vertical tab", "GET / HTTP/1.1\r\n\x0bX: y\r\nHost: h\r\n\r\n", BAD),
        refused("the host is folded", "GET / HTTP/1.1\r\nHost:\r\n h\r\n\r\n", BAD),
    ]
}

fn expectations() -> Vec<Case> {
    const FAILED: &[u16] = &[417];
    let five = "Content-Length: 5\r\n";
    let expect = |value: &str| post(&format!("Expect: {value}\r\n{five}"), "hello");
    vec![
        refused("another expectation", expect("tea"), FAILED),
        refused("two expectations", expect("100-continue, tea"), FAILED),
        refused("an expectation with a parameter", expect("100-continue; x=y"), FAILED),
        refused("an expectation of nothing", get("Expect: \r\n"), FAILED),
        refused("two lines of expectations", get("Expect: 100-continue\r\nExpect: tea\r\n"), FAILED),
        served("an expectation", expect("100-continue"), Seen::new("POST / HTTP/1.1").body("hello")),
        served(
            "an expectation in capitals",
            expect("100-CONTINUE"),
            Seen::new("POST / HTTP/1.1").body("hello"),
        ),
        served("an expectation without a body", get("Expect: 100-continue\r\n"), Seen::new("GET / HTTP/1.1")),
    ]
}

fn of_one_connection() -> Vec<Case> {
    let root = || Seen::new("GET / HTTP/1.1");
    vec![
        served(
            "nominated fields go, credentials stay",
            get("Connection: close, X-Auth, Authorization\r\nX-Auth: a\r\nAuthorization: b\r\nX-Kept: c\r\n"),
            root().and("authorization: b").and("x-kept: c"),
        ),
        served(
            "nobody nominates the host or a length away",
            post("Connection: host, content-length, cookie\r\nContent-Length: 5\r\nCookie: a=b\r\n", "hello"),
            Seen::new("POST / HTTP/1.1").and("cookie: a=b").body("hello"),
        ),
        served(
            "nobody nominates whence away",
            get("Connection: x-forwarded-for, x-forwarded-host\r\n"),
            root(),
        ),
        served("keep-alive goes", get("Connection: keep-alive\r\nKeep-Alive: timeout=5\r\n"), root()),
        served("proxy-connection goes", get("Proxy-Connection: keep-alive\r\n"), root()),
        served("codings of the connection go", get("TE: gzip;q=1\r\nConnection: te\r\n"), root()),
        served(
            "trailers are wanted",
            get("TE: gzip, trailers\r\nConnection: te\r\n"),
            root().and("te: trailers").and("connection: te"),
        ),
        served("an empty nomination", get("Connection: ,, ,\r\n"), root()),
        served("an empty value", get("X:\r\n"), root().and("x: ")),
        served("a tab in a value", get("X: a\tb\r\n"), root().and("x: a\tb")),
        served("letters outside of ASCII in a value", get("X: \u{e9}\r\n"), root().and("x: \u{e9}")),
        served("two lines of one name", get("X: a\r\nX: b\r\n"), root().and("x: a").and("x: b")),
    ]
}

fn whence() -> Vec<Case> {
    let root = || Seen::new("GET / HTTP/1.1");
    vec![
        served(
            "the client says whence",
            get("X-Forwarded-For: 10.0.0.1\r\nX-Real-IP: 10.0.0.1\r\nForwarded: for=10.0.0.1\r\n"),
            root()
                .and_from_pods("x-forwarded-for: 10.0.0.1")
                .and_from_pods("x-real-ip: 10.0.0.1")
                .and_from_pods("forwarded: for=10.0.0.1"),
        ),
        served(
            "the client says whence with underscores",
            get("X_Forwarded_For: 10.0.0.1\r\nX_Real_IP: 10.0.0.1\r\n"),
            root().and_from_pods("x_forwarded_for: 10.0.0.1").and_from_pods("x_real_ip: 10.0.0.1"),
        ),
        served("the client says who it is", get("X-Weir-Identity: admin\r\n"), root()),
        served(
            "the client says what Envoy says",
            get("X-Envoy-Internal: true\r\n"),
            root().and_from_pods("x-envoy-internal: true"),
        ),
    ]
}
