//! Chunked bodies that are not, and what may stand around chunks.

use super::case::{Case, Seen, Want, case, post, served};

const TE: &str = "Transfer-Encoding: chunked\r\n";

/// Each is refused, and nothing that follows it is a request.
const BROKEN: [(&str, &str); 41] = [
    ("bare LF behind the size", "3\nabc\r\n0\r\n\r\n"),
    ("bare LF behind the data", "3\r\nabc\n0\r\n\r\n"),
    ("bare CR behind the size", "3\rabc\r\n0\r\n\r\n"),
    ("bare CR behind the data", "3\r\nabc\r0\r\n\r\n"),
    ("CR CR LF behind the size", "3\r\r\nabc\r\n0\r\n\r\n"),
    ("CR CR LF behind the data", "3\r\nabc\r\r\n0\r\n\r\n"),
    ("nothing behind the data", "3\r\nabc0\r\n\r\n"),
    ("a chunk longer than its size", "3\r\nabcd\r\n0\r\n\r\n"),
    ("a chunk shorter than its size", "3\r\nab\r\n0\r\n\r\n"),
    ("no size", "\r\nabc\r\n0\r\n\r\n"),
    ("a size of letters", "xyz\r\nabc\r\n0\r\n\r\n"),
    ("a size with 0x", "0x3\r\nabc\r\n0\r\n\r\n"),
    ("a size with a plus", "+3\r\nabc\r\n0\r\n\r\n"),
    ("a size with a minus", "-3\r\nabc\r\n0\r\n\r\n"),
    ("a size with an underscore", "1_0\r\n0123456789abcdef\r\n0\r\n\r\n"),
    ("a size with a comma", "3,\r\nabc\r\n0\r\n\r\n"),
    ("a size with a letter behind it", "3g\r\nabc\r\n0\r\n\r\n"),
    ("a size behind a blank", " 3\r\nabc\r\n0\r\n\r\n"),
    ("a size behind a tab", "\t3\r\nabc\r\n0\r\n\r\n"),
    ("a size with a NUL behind it", "3\0\r\nabc\r\n0\r\n\r\n"),
    ("a size in quotes", "\"3\"\r\nabc\r\n0\r\n\r\n"),
    ("two sizes", "3 3\r\nabc\r\n0\r\n\r\n"),
    ("a size of 2^64", "10000000000000000\r\nabc\r\n0\r\n\r\n"),
    ("a size of 2^64 + 3", "10000000000000003\r\nabc\r\n0\r\n\r\n"),
    ("a size of 2^68 - 1", "fffffffffffffffff\r\nabc\r\n0\r\n\r\n"),
    ("a NUL in an extension", "3;a\0b\r\nabc\r\n0\r\n\r\n"),
    ("a control in an extension", "3;a=\x01\r\nabc\r\n0\r\n\r\n"),
    ("a bare LF in an extension", "3;a\nb\r\nabc\r\n0\r\n\r\n"),
    ("a bare CR in an extension", "3;a\rb\r\nabc\r\n0\r\n\r\n"),
    ("a bare LF behind an extension", "3;a=b\nabc\r\n0\r\n\r\n"),
    ("the last chunk ends in LF", "3\r\nabc\r\n0\n\r\n"),
    ("the body ends in LF", "3\r\nabc\r\n0\r\n\n"),
    ("the body ends in two LFs", "3\r\nabc\r\n0\n\n"),
    ("the body ends in CR and more", "3\r\nabc\r\n0\r\n\rX"),
    ("a trailer ends in LF", "3\r\nabc\r\n0\r\nx: y\n\r\n"),
    ("a trailer without colon", "3\r\nabc\r\n0\r\nxy\r\n\r\n"),
    ("a trailer with a NUL", "3\r\nabc\r\n0\r\nx: a\0b\r\n\r\n"),
    ("a trailer with a bare CR", "3\r\nabc\r\n0\r\nx: a\rb\r\n\r\n"),
    ("a trailer with a blank before the colon", "3\r\nabc\r\n0\r\nx : y\r\n\r\n"),
    ("a folded trailer", "3\r\nabc\r\n0\r\nx: y\r\n z\r\n\r\n"),
    ("a trailer without name", "3\r\nabc\r\n0\r\n: y\r\n\r\n"),
];

const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n";

pub(crate) fn cases() -> Vec<Case> {
    let broken = BROKEN.map(|(name, body)| {
        case(format!("chunks: {name}"), post(TE, &format!("{body}{SMUGGLED}")), Want::Broken)
    });
    let mut all: Vec<Case> = broken.into();
    all.extend(late());
    all.extend(large());
    all.extend(honest());
    all
}

/// The head and some of the body have gone on when it breaks.
fn late() -> Vec<Case> {
    let row = |name: &str, second: &str| Case {
        name: name.to_owned(),
        writes: vec![post(TE, "3\r\nabc\r\n").into(), second.into()],
        finishes: true,
        want: Want::Broken,
    };
    vec![
        row("late chunks: no size", "zz\r\n"),
        row("late chunks: bare LF behind the last one", "0\n\n"),
        row("late chunks: the end is missing", ""),
        row("late chunks: the end of a chunk is missing", "5\r\nab"),
        row("late chunks: the end of the body is missing", "0\r\n"),
        row("late chunks: the end of the trailers is missing", "0\r\nx: y\r\n"),
    ]
}

fn large() -> Vec<Case> {
    let row = |name: &str, body: String| case(name, post(TE, &body), Want::Broken);
    let fields: String = (0..101).map(|n| format!("x-{n}: y\r\n")).collect();
    vec![
        row("an extension of 20 KB", format!("3;a={}\r\nabc\r\n0\r\n\r\n", "x".repeat(20_000))),
        row("an extension of 300 bytes", format!("3;a={}\r\nabc\r\n0\r\n\r\n", "x".repeat(300))),
        row(
            "an extension of 20 KB on the last chunk",
            format!("3\r\nabc\r\n0;a={}\r\n\r\n", "x".repeat(20_000)),
        ),
        row("a size of 1000 digits", format!("{}3\r\nabc\r\n0\r\n\r\n", "0".repeat(1000))),
        row("extensions of 200 bytes on each of 1000 chunks", {
            let chunk = format!("1;a={}\r\nx\r\n", "x".repeat(200));
            chunk.repeat(1000) + "0\r\n\r\n"
        }),
        row("trailers of 40 KB", format!("0\r\nx: {}\r\n\r\n", "y".repeat(40_000))),
        row("101 trailers", format!("0\r\n{fields}\r\n")),
    ]
}

fn honest() -> Vec<Case> {
    let abc = || Seen::new("POST / HTTP/1.1").body("abc");
    let row = |name: &str, body: &str, seen| served(format!("chunks: {name}"), post(TE, body), seen);
    let many = "1\r\nx\r\n".repeat(2000) + "0\r\n\r\n";
    vec![
        row("an extension", "3;a=b\r\nabc\r\n0\r\n\r\n", abc()),
        row("an extension in quotes", "3;a=\"b c\"\r\nabc\r\n0;last\r\n\r\n", abc()),
        row(
            "a size in capitals",
            "A\r\n0123456789\r\n0\r\n\r\n",
            Seen::new("POST / HTTP/1.1").body("0123456789"),
        ),
        row("a size with zeros before it", "003\r\nabc\r\n000\r\n\r\n", abc()),
        row("no chunk", "0\r\n\r\n", Seen::new("POST / HTTP/1.1")),
        row("many chunks", &many, Seen::new("POST / HTTP/1.1").body("x".repeat(2000))),
        row("a trailer that nobody knows", "3\r\nabc\r\n0\r\nx-sum: 1\r\n\r\n", abc()),
        row("a trailer that is a length", "3\r\nabc\r\n0\r\nContent-Length: 9\r\n\r\n", abc()),
        row("a trailer that is a coding", "3\r\nabc\r\n0\r\nTransfer-Encoding: gzip\r\n\r\n", abc()),
        row("a trailer that is a host", "3\r\nabc\r\n0\r\nHost: evil\r\n\r\n", abc()),
        row(
            "a trailer that is a credential",
            "3\r\nabc\r\n0\r\nAuthorization: x\r\nCookie: y\r\n\r\n",
            abc(),
        ),
        row("a trailer that says whence", "3\r\nabc\r\n0\r\nX-Forwarded-For: 127.0.0.1\r\n\r\n", abc()),
    ]
}
