//! Heads that are too large, and the largest that are not.

use super::case::{Case, Seen, get, refused, served};

const LARGE: &[u16] = &[431];

pub(crate) fn cases() -> Vec<Case> {
    let fields = |number: usize| (1..number).map(|n| format!("x-{n}: y\r\n")).collect::<String>();
    let value = |bytes: usize| format!("x-large: {}\r\n", "a".repeat(bytes));
    let mut largest = Seen::new("GET / HTTP/1.1");
    let text: &'static str = Box::leak(format!("x-large: {}", "a".repeat(31_000)).into_boxed_str());
    largest.fields.push(text);
    let mut most = Seen::new("GET / HTTP/1.1");
    most.fields.extend((1..95).map(|n| &*Box::leak(format!("x-{n}: y").into_boxed_str())));
    vec![
        refused("a field of 33 KB", get(&value(33_000)), LARGE),
        refused("a field of 60 KB", get(&value(60_000)), LARGE),
        refused("a field of 500 KB", get(&value(500_000)), LARGE),
        refused("fields of 40 KB in all", get(&format!("x: {}\r\n", "a".repeat(490)).repeat(80)), LARGE),
        refused("a name of 40 KB", get(&format!("{}: x\r\n", "a".repeat(40_000))), &[400, 431]),
        refused("a head that does not end", format!("GET / HTTP/1.1\r\nHost: h\r\n{}", fields(8000)), LARGE),
        refused("101 fields", get(&fields(101)), LARGE),
        refused("1001 fields", get(&fields(1001)), LARGE),
        refused("a request line that does not end", format!("GET /{}", "a".repeat(70_000)), &[414, 431]),
        served("a field of 31 KB", get(&value(31_000)), largest),
        served("95 fields", get(&fields(95)), most),
    ]
}
