//! Two ways to say where a body ends, and lengths that are no number.

use super::case::{BAD, CODING, Case, Seen, Want, case, get, post, refused, served};

const TE: &str = "Transfer-Encoding: chunked\r\n";
const CL: &str = "Content-Length: 5\r\n";
const EMPTY: &str = "0\r\n\r\n";
const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n";

/// What stands behind `Transfer-Encoding` and is not one `chunked`.
const CODINGS: [&str; 24] = [
    " identity, chunked",
    " gzip, chunked",
    " chunked, chunked",
    " chunked, identity",
    " chunked, gzip",
    " identity",
    " gzip",
    " xchunked",
    " chunkedx",
    " chunked x",
    " \"chunked\"",
    " 'chunked'",
    " chunked,",
    " ,chunked",
    " chunked;q=1",
    " chunked;",
    " chun ked",
    " \x0bchunked",
    " chunked\x0b",
    " \x0cchunked",
    "",
    " ",
    " chunk",
    " \u{a0}chunked",
];

const LENGTHS: [&str; 20] = [
    " +5",
    " -5",
    " -0",
    " 0x5",
    " 5_0",
    " 5e0",
    " 5.0",
    " 5;",
    " 5,",
    " ,5",
    " 5 5",
    " 5, 6",
    "",
    " ",
    " five",
    " \"5\"",
    " 18446744073709551616",
    " 18446744073709551621",
    " 99999999999999999999999999999999",
    " \u{ff15}",
];

pub(crate) fn cases() -> Vec<Case> {
    let mut all = both_ways();
    all.extend(CODINGS.map(|coding| {
        let raw = post(&format!("Transfer-Encoding:{coding}\r\n"), EMPTY);
        refused(format!("transfer-encoding{coding:?}"), raw, CODING)
    }));
    all.extend(LENGTHS.map(|length| {
        let raw = post(&format!("Content-Length:{length}\r\n"), "12345");
        refused(format!("content-length{length:?}"), raw, BAD)
    }));
    all.extend(odd_codings());
    all.extend(honest());
    all
}

fn both_ways() -> Vec<Case> {
    let row = |name: &str, fields: &str| refused(name, post(fields, &format!("{EMPTY}{SMUGGLED}")), CODING);
    vec![
        row("length, then coding", &format!("{CL}{TE}")),
        row("coding, then length", &format!("{TE}{CL}")),
        row("length of nothing, then coding", &format!("Content-Length: 0\r\n{TE}")),
        row("length, coding identity", &format!("{CL}Transfer-Encoding: identity\r\n")),
        row("length, coding of unknown name", &format!("{CL}Transfer-Encoding: x\r\n")),
        row("length, empty coding", &format!("{CL}Transfer-Encoding:\r\n")),
        row("length, coding with a space before the colon", &format!("{CL}Transfer-Encoding : chunked\r\n")),
        row("length, coding with a tab before the colon", &format!("{CL}Transfer-Encoding\t: chunked\r\n")),
        row("length, coding behind a space", &format!("{CL} Transfer-Encoding: chunked\r\n")),
        row("length, coding behind a bare CR", &format!("{CL}X: y\rTransfer-Encoding: chunked\r\n")),
        row("length, coding behind a bare LF", &format!("{CL}X: y\nTransfer-Encoding: chunked\r\n")),
        row("coding in a folded line", &format!("{CL}Transfer-Encoding:\r\n chunked\r\n")),
        row("two codings in two lines", &format!("{TE}{TE}")),
        row("chunked, then identity in two lines", &format!("{TE}Transfer-Encoding: identity\r\n")),
        row("identity, then chunked in two lines", &format!("Transfer-Encoding: identity\r\n{TE}")),
        row("chunked and an empty one in two lines", &format!("{TE}Transfer-Encoding:\r\n")),
        row("two different lengths", "Content-Length: 5\r\nContent-Length: 6\r\n"),
        row("two lengths, one of them empty", "Content-Length: 5\r\nContent-Length:\r\n"),
        row("a length with an underscore", "Content_Length: 5\r\n"),
        row("a length with an underscore beside one", &format!("{CL}Content_Length: 6\r\n")),
        row("a coding with an underscore", &format!("{CL}Transfer_Encoding: chunked\r\n")),
        row("a length that is a NUL too long", "Content-Length: 5\0\r\n"),
        row("a length behind a space before the colon", "Content-Length : 5\r\n"),
        row("a length in a folded line", "Content-Length:\r\n 5\r\n"),
    ]
}

fn odd_codings() -> Vec<Case> {
    let old = |fields: &str| format!("POST / HTTP/1.0\r\nHost: h\r\n{fields}\r\n{EMPTY}");
    let twice = vec![Seen::new("POST / HTTP/1.1").body("12345")];
    vec![
        refused("HTTP/1.0 with a coding", old(TE), CODING),
        refused(
            "HTTP/1.0 with a coding and keep-alive",
            old(&format!("Connection: keep-alive\r\n{TE}")),
            CODING,
        ),
        refused("HTTP/1.0 with length and coding", old(&format!("{CL}{TE}")), CODING),
        refused("GET with length and coding", get(&format!("{CL}{TE}")) + EMPTY, CODING),
        case("the same length twice", post(&format!("{CL}{CL}"), "12345"), Want::Either(twice.clone(), BAD)),
        case(
            "a list of the same length",
            post("Content-Length: 5, 5\r\n", "12345"),
            Want::Either(twice.clone(), BAD),
        ),
        case(
            "a length with zeros before it",
            post("Content-Length: 0005\r\n", "12345"),
            Want::Either(twice, BAD),
        ),
        Case { finishes: true, ..case("a body shorter than its length", post(CL, "1234"), Want::Broken) },
        Case {
            finishes: true,
            ..case("a GET's body shorter than its length", get(CL) + "1234", Want::Broken)
        },
    ]
}

fn honest() -> Vec<Case> {
    let hello = Seen::new("POST / HTTP/1.1").body("hello");
    vec![
        served("a length", post(CL, "hello"), hello.clone()),
        served("a length of nothing", post("Content-Length: 0\r\n", ""), Seen::new("POST / HTTP/1.1")),
        served("no body", post("", ""), Seen::new("POST / HTTP/1.1")),
        served("a GET with a body", get(CL) + "hello", Seen::new("GET / HTTP/1.1").body("hello")),
        served("chunks", post(TE, "5\r\nhello\r\n0\r\n\r\n"), hello.clone()),
        served(
            "chunks by a name in capitals",
            post("TRANSFER-ENCODING: CHUNKED\r\n", "5\r\nhello\r\n0\r\n\r\n"),
            hello.clone(),
        ),
        served("blanks around values", post("Content-Length: \t 5 \t \r\n", "hello"), hello.clone()),
        served("no blank before a value", post("Content-Length:5\r\n", "hello"), hello),
        served(
            "HTTP/1.0 with a length",
            "POST / HTTP/1.0\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello",
            Seen::new("POST / HTTP/1.1").body("hello"),
        ),
    ]
}
