//! Header fields: what is stripped is gone, what is kept is kept, and a trace is read as its grammar says.

use std::sync::LazyLock;

use gateway_userspace::proxy::http::headers;
use http::header::{CONNECTION, CONTENT_LENGTH, COOKIE, HOST, TE, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderName, Method, Uri, Version};
use regex::bytes::Regex;

use crate::fields;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// The bytes are field lines.
pub(crate) fn headers(data: &[u8]) {
    let given = fields::of_lines(data);
    trace(&given);
    check(&given);
    strip(given.clone());
    trailers(given.clone());
    cookies(given.clone());
    let mut map = given;
    let id = headers::ensure_request_id(&mut map, u128::from_le_bytes([7; 16])).to_vec();
    assert_eq!(map["x-request-id"].as_bytes(), id);
    assert!((1..=128).contains(&id.len()) && id.iter().all(u8::is_ascii_graphic), "{id:?}");
}

/// W3C Trace Context, level 1, section 3.2.2, as an expression.
fn trace(given: &HeaderMap) {
    static GRAMMAR: LazyLock<Option<Regex>> = LazyLock::new(|| {
        Regex::new("^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?s-u:(-.*)?)$").ok()
    });
    let mut values = given.get_all(TRACEPARENT).iter();
    let wanted = values.next().filter(|_| values.next().is_none()).and_then(|value| {
        let groups = GRAMMAR.as_ref()?.captures(value.as_bytes())?;
        let group = |index| groups.get(index).map_or(&b""[..], |group| group.as_bytes());
        let is_valid = group(1) != b"ff"
            && (group(1) != b"00" || group(5).is_empty())
            && group(2).iter().any(|digit| *digit != b'0')
            && group(3).iter().any(|digit| *digit != b'0');
        is_valid.then(|| String::from_utf8_lossy(group(2)).into_owned())
    });
    let read = headers::trace_context(given);
    let read = read.map(|trace| trace.trace_id.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
    assert_eq!(read, wanted, "{given:?}");
}

/// What passes has one framing.
fn check(given: &HeaderMap) {
    let uri = Uri::from_static("/");
    for version in [Version::HTTP_10, Version::HTTP_11] {
        if headers::check_request(version, &Method::POST, &uri, given).is_err() {
            continue;
        }
        let lengths: Vec<_> = given.get_all(CONTENT_LENGTH).iter().collect();
        let codings: Vec<_> = given.get_all(TRANSFER_ENCODING).iter().collect();
        assert!(lengths.is_empty() || codings.is_empty(), "{given:?}");
        assert!(lengths.iter().all(|length| *length == lengths[0]), "{given:?}");
        assert!(codings.len() <= 1 && (codings.is_empty() || version == Version::HTTP_11), "{given:?}");
    }
}

fn strip(mut map: HeaderMap) {
    let hosts = map.get_all(HOST).iter().count();
    headers::strip_hop_by_hop(&mut map);
    for name in [CONNECTION, TRANSFER_ENCODING, UPGRADE] {
        assert!(!map.contains_key(&name), "{name} is still there");
    }
    assert!(map.get_all(TE).iter().all(|value| value == "trailers"));
    assert_eq!(map.get_all(HOST).iter().count(), hosts, "a client took the host away");
    let once = map.clone();
    headers::strip_hop_by_hop(&mut map);
    assert_eq!(map, once);
}

fn trailers(mut map: HeaderMap) {
    headers::strip_trailers(&mut map);
    for name in [CONNECTION, CONTENT_LENGTH, COOKIE, HOST, TE, TRANSFER_ENCODING, UPGRADE] {
        assert!(!map.contains_key(&name), "{name} in trailers");
    }
}

fn cookies(mut map: HeaderMap) {
    let crumbs: Vec<Vec<u8>> = map.get_all(COOKIE).iter().map(|value| value.as_bytes().to_vec()).collect();
    headers::join_cookies(&mut map);
    let joined: Vec<&[u8]> = map.get_all(COOKIE).iter().map(|value| value.as_bytes()).collect();
    assert!(joined.len() <= 1);
    assert_eq!(joined.concat(), crumbs.join(&b"; "[..]));
}
