//! Messages from pieces of the grammar, some of them odd or damaged, for tests of what reads them.

use proptest::prelude::*;

/// How many of so many pieces of a kind are odd, of 12. Most is found where a message is odd in one way.
#[derive(Debug, Clone, Copy, Default)]
struct Oddness {
    line: u32,
    fields: u32,
    framing: u32,
    body: u32,
}

const ODDNESS: [Oddness; 5] = [
    Oddness { line: 3, fields: 0, framing: 0, body: 0 },
    Oddness { line: 0, fields: 2, framing: 0, body: 0 },
    Oddness { line: 0, fields: 0, framing: 5, body: 0 },
    Oddness { line: 0, fields: 0, framing: 0, body: 3 },
    Oddness { line: 1, fields: 1, framing: 1, body: 1 },
];

/// One of these, and sometimes an odd one.
fn pick(
    odd_of_12: u32,
    good: &'static [&'static str],
    odd: &'static [&'static str],
) -> impl Strategy<Value = Vec<u8>> {
    (0..12u32, prop::sample::select(good), prop::sample::select(odd))
        .prop_map(move |(dice, good, odd)| if dice < odd_of_12 { odd } else { good }.as_bytes().to_vec())
}

fn line_end(odd_of_12: u32) -> impl Strategy<Value = Vec<u8>> {
    pick(odd_of_12.div_ceil(2), &["\r\n"], &["\n", "\r", "\r\r\n", "\n\r", "", " \r\n", "\0\r\n"])
}

fn joined(parts: Vec<Vec<u8>>) -> Vec<u8> {
    parts.concat()
}

fn request_line(odd: u32) -> impl Strategy<Value = Vec<u8>> {
    let method = pick(
        odd,
        &["GET", "POST", "PUT", "OPTIONS", "M-SEARCH", "x"],
        &[
            "",
            "G ET",
            "GE\tT",
            "get:",
            "CONNECT",
            "PRI",
            "\u{e9}",
            "ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFG",
            "G\0T",
        ],
    );
    let blank = || pick(odd, &[" "], &["", "  ", "\t", " \t", "\u{a0}"]);
    let target = pick(
        odd,
        &["/", "/a/b?c=d", "/%2e%zz", "*", "http://shop.example/x?y", "https://a", "/a//b/../c;d"],
        &[
            "",
            "a",
            "//h/x",
            "http:///x",
            "ftp://h/",
            "HTTP://h/",
            "h:80",
            "http://u@h/",
            "/a#b",
            "/a\\b",
            "/\u{e9}",
            "/a\x7f",
            "/{x}|<y>\"^`",
            "http://[::1]:80/",
            "http://h:99999/",
            "/a\tb",
            "?x",
            "http://h?x",
            "mailto:a@b",
        ],
    );
    let version = pick(
        odd,
        &["HTTP/1.1", "HTTP/1.1", "HTTP/1.0"],
        &[
            "HTTP/1.2",
            "HTTP/2.0",
            "http/1.1",
            "HTTP/1.",
            "HTTP/1.11",
            "HTTP/1.1 ",
            "HTTP /1.1",
            "",
            "HTTP/01.1",
        ],
    );
    (method, blank(), target, blank(), version, line_end(odd))
        .prop_map(|(a, b, c, d, e, f)| joined(vec![a, b, c, d, e, f]))
}

fn field(odd: u32) -> impl Strategy<Value = Vec<u8>> {
    let name = pick(
        odd,
        &["X-A", "Via", "Connection", "Accept", "X-B"],
        &[
            "Host",
            "x_b",
            "",
            " X",
            "X ",
            "X\t",
            "X\0",
            "X(",
            "\u{e9}",
            "Content_Length",
            "TRANSFER_ENCODING",
            "\tX",
        ],
    );
    let colon = pick(odd, &[": ", ":", ":\t "], &[" :", "", "::", ": \r\n ", ":\r\n\t"]);
    let value = pick(
        odd,
        &["shop.example", "", "a, b", "close", "keep-alive", "Keep-Alive, Upgrade", "  x\t ", "\u{e9}"],
        &["a\0b", "a\x0bb", "a\rb", "a\nb", "a\x7fb", "\r\n folded", "close,", ",CLOSE"],
    );
    (name, colon, value, line_end(odd)).prop_map(|(a, b, c, d)| joined(vec![a, b, c, d]))
}

/// A field that says where the body ends, good or not.
fn framing_field(odd: u32) -> impl Strategy<Value = Vec<u8>> {
    let length = pick(
        odd,
        &["0", "1", "5", "5", "0005"],
        &[
            "",
            "+5",
            "-1",
            "5,5",
            "5, 5",
            "0x5",
            "5 5",
            "18446744073709551615",
            "18446744073709551616",
            "5\t6",
            "٥",
        ],
    );
    let length = (length, line_end(odd)).prop_map(|(a, b)| joined(vec![b"Content-Length: ".to_vec(), a, b]));
    let coding = pick(
        odd,
        &["chunked", "Chunked", "chunked \t"],
        &[
            "",
            "gzip",
            "gzip, chunked",
            "chunked, chunked",
            "xchunked",
            "chunked;q=1",
            "\"chunked\"",
            ", chunked",
            "chunked,",
        ],
    );
    let coding =
        (coding, line_end(odd)).prop_map(|(a, b)| joined(vec![b"transfer-Encoding:".to_vec(), a, b]));
    prop_oneof![length, coding]
}

fn chunks(odd: u32) -> impl Strategy<Value = Vec<u8>> {
    let sized = prop::sample::select(vec![
        ("5", "hello"),
        ("05", "hello"),
        ("a", "helloworld"),
        ("A", "helloworld"),
        ("1", "h"),
    ]);
    let chunk = (
        sized,
        pick(odd, &["", ""], &[" ", "\t", "h", "x", "_0", "0", "00000000000000000"]),
        pick(odd, &["", "", ";a=b", ";a=\"c;d\"", ";"], &[" ;a", "; \u{1}", ";\n", ";\r", ";a\0", ";\u{7f}"]),
        line_end(odd),
        pick(odd, &[""], &["x", "\r", "\n"]),
        line_end(odd),
        pick(odd, &[""], &[" ", "0x", "+", "-", "\r\n"]),
    )
        .prop_map(|((size, data), a, b, c, d, e, before)| {
            joined(vec![before, size.into(), a, b, c, data.into(), d, e])
        });
    let end = pick(
        odd,
        &["0\r\n\r\n", "0;x\r\n\r\n", "000\r\nX-T: 1\r\ny:\r\n\r\n"],
        &[
            "0\r\n",
            "0\n\n",
            "0\r\n\n",
            "0\r\nX T: 1\r\n\r\n",
            "00000000000000000\r\n\r\n",
            "0\r\nX: 1\n\r\n",
            "0\r\n X: 1\r\n\r\n",
            "0\r\nContent_Length: 1\r\n\r\n",
            "0 \r\n\r\n",
            "0\r\n:\r\n\r\n",
        ],
    );
    (prop::collection::vec(chunk, 0..4), end).prop_map(|(chunks, end)| [chunks.concat(), end].concat())
}

/// Fields that say where the body ends, and a body that ends there; or fields that contradict each other.
fn framed(odd: Oddness) -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
    let none = Just((Vec::new(), Vec::new()));
    let length = Just((b"Content-Length: 5\r\n".to_vec(), b"hello".to_vec()));
    let chunked = chunks(odd.body).prop_map(|chunks| (b"Transfer-Encoding: chunked\r\n".to_vec(), chunks));
    let good = prop_oneof![1 => none, 1 => length, 3 => chunked];
    let fields = prop::collection::vec(framing_field(odd.framing), 0..3).prop_map(|fields| fields.concat());
    (good, fields, 0..12u32).prop_map(move |((good, body), fields, dice)| match dice {
        _ if dice >= odd.framing => (good, body),
        _ if dice % 2 == 0 => (fields, body),
        _ => ([good, fields].concat(), body),
    })
}

/// A blank line, what follows the body.
const AFTER: (&[&str], &[&str]) = (&["", "GET / HTTP/1.1\r\n"], &["\r\n", "\0"]);

/// A request, mostly good.
pub(crate) fn any_request() -> impl Strategy<Value = Vec<u8>> {
    prop::sample::select(&ODDNESS[..]).prop_flat_map(request)
}

/// An answer, mostly good.
pub(crate) fn any_answer() -> impl Strategy<Value = Vec<u8>> {
    prop::sample::select(&ODDNESS[..]).prop_flat_map(answer)
}

/// A request, and the beginning of what follows it.
fn request(odd: Oddness) -> impl Strategy<Value = Vec<u8>> {
    (
        pick(odd.line, &["", "\r\n"], &["\n", "\r\n\r\n", " ", "\r"]),
        request_line(odd.line),
        prop::collection::vec(field(odd.fields), 0..4),
        framed(odd),
        prop::collection::vec(field(odd.fields), 0..2),
        line_end(odd.fields),
        pick(odd.body, AFTER.0, AFTER.1),
    )
        .prop_map(|(a, b, c, (d, body), e, f, after)| {
            joined(vec![a, b, c.concat(), d, e.concat(), f, body, after])
        })
}

/// An answer, and the beginning of what follows it.
fn answer(odd: Oddness) -> impl Strategy<Value = Vec<u8>> {
    let line = pick(
        odd.line,
        &[
            "HTTP/1.1 200 OK",
            "HTTP/1.1 404 ",
            "HTTP/1.0 200 OK",
            "HTTP/1.1 204 No Content",
            "HTTP/1.1 304 Not Modified",
        ],
        &[
            "HTTP/1.1 200",
            "HTTP/1.1  200 OK",
            "HTTP/1.1 20 OK",
            "HTTP/1.1 2000 OK",
            "HTTP/1.1 099 X",
            "HTTP/1.1 999 X",
            "HTTP/2 200 OK",
            "HTTP/1.1 200 O\tK",
            "HTTP/1.1 200 O\0K",
            "HTTP/1.1 200 \u{e9}",
            "HTTP/1.1\t200 OK",
            "ICY 200 OK",
            "HTTP/1.1 100 Continue",
            "HTTP/1.1 101 Switching Protocols",
            "HTTP/1.1 +20 OK",
            "HTTP/1.1 200\tOK",
            "",
        ],
    );
    (
        pick(odd.line, &[""], &["\r\n", "\n", " "]),
        line,
        line_end(odd.line),
        prop::collection::vec(field(odd.fields), 0..3),
        framed(odd),
        line_end(odd.fields),
        pick(odd.body, AFTER.0, AFTER.1),
    )
        .prop_map(|(a, b, c, d, (e, body), f, after)| joined(vec![a, b, c, d.concat(), e, f, body, after]))
}

/// Bytes that mean something somewhere.
const SPICE: &[u8] = b"\r\n\t :;,/?#%\0\x0b\x7f\x80\xff0aG\"\\";

/// Where, how, and with what.
pub(crate) type Damage = Vec<(prop::sample::Index, u8, prop::sample::Index)>;

/// The bytes with so much damage.
pub(crate) fn damaged(mut bytes: Vec<u8>, damage: &Damage) -> Vec<u8> {
    for (place, how, spice) in damage {
        let at = place.index(bytes.len() + 1);
        let spice = SPICE[spice.index(SPICE.len())];
        match how {
            0 => bytes.insert(at, spice),
            1 if at < bytes.len() => bytes[at] = spice,
            2 if at < bytes.len() => drop(bytes.remove(at)),
            _ => bytes.truncate(at),
        }
    }
    bytes
}

/// Some damage.
pub(crate) fn any_damage() -> impl Strategy<Value = Damage> {
    prop::collection::vec((any::<prop::sample::Index>(), 0u8..4, any::<prop::sample::Index>()), 1..4)
}
