//! Pure: whether one match holds for a request.
//!
//! A header that comes more than once is one value, joined by commas (RFC 9110 5.3). Query
//! parameters are read as forms send them (`+` is a blank); the first of a name counts. A value
//! that is not UTF-8 matches no regular expression.

use http::header::{HeaderMap, HeaderName};
use smallvec::SmallVec;

use super::{Matcher, RequestHead, ValueMatcher};

/// Longest joined or decoded value that costs no allocation, bytes.
const VALUE_BYTES: usize = 128;

/// Why a match does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mismatch<'m> {
    Path,
    Method,
    Header(&'m HeaderName),
    Query(&'m str),
}

impl Matcher {
    /// True when all of it holds.
    pub(super) fn holds(&self, head: &RequestHead<'_>) -> bool {
        self.mismatch(head).is_none()
    }

    /// The first part that does not hold, cheapest first.
    pub(super) fn mismatch(&self, head: &RequestHead<'_>) -> Option<Mismatch<'_>> {
        if self.method.as_ref().is_some_and(|method| method != head.method) {
            return Some(Mismatch::Method);
        }
        if !self.path.holds(head.path) {
            return Some(Mismatch::Path);
        }
        for (name, wanted) in &self.headers {
            if !with_value(head.headers, name, |value| wanted.holds(value)).unwrap_or(false) {
                return Some(Mismatch::Header(name));
            }
        }
        for (name, wanted) in &self.query {
            if !query_value(head.query, name).is_some_and(|value| wanted.holds_encoded(value)) {
                return Some(Mismatch::Query(name));
            }
        }
        None
    }
}

impl ValueMatcher {
    fn holds(&self, value: &[u8]) -> bool {
        match self {
            Self::Exact(exact) => exact.as_bytes() == value,
            Self::Regex(pattern) => std::str::from_utf8(value).is_ok_and(|value| pattern.is_match(value)),
        }
    }

    fn holds_encoded(&self, value: &str) -> bool {
        match self {
            Self::Exact(exact) => decoded(value).eq(exact.bytes()),
            Self::Regex(_) => self.holds(&decoded(value).collect::<SmallVec<[u8; VALUE_BYTES]>>()),
        }
    }
}

/// Gives `then` the value of a header; `None` when the header is absent.
pub(super) fn with_value<R>(
    headers: &HeaderMap,
    name: &HeaderName,
    then: impl FnOnce(&[u8]) -> R,
) -> Option<R> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?;
    let Some(second) = values.next() else {
        return Some(then(first.as_bytes()));
    };
    let mut joined: SmallVec<[u8; VALUE_BYTES]> = SmallVec::from_slice(first.as_bytes());
    for value in std::iter::once(second).chain(values) {
        joined.push(b',');
        joined.extend_from_slice(value.as_bytes());
    }
    Some(then(&joined))
}

/// The value, still encoded, of the first parameter called `name`.
fn query_value<'q>(query: Option<&'q str>, name: &str) -> Option<&'q str> {
    query?
        .split('&')
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .find(|(key, _)| !key.is_empty() && decoded(key).eq(name.bytes()))
        .map(|(_, value)| value)
}

/// The bytes of a form-encoded text. A `%` that begins no escape stands for itself.
fn decoded(text: &str) -> impl Iterator<Item = u8> {
    let mut rest = text.as_bytes();
    std::iter::from_fn(move || {
        let (byte, after) = match rest {
            [] => return None,
            [b'%', high, low, after @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                (hex_value(*high) * 16 + hex_value(*low), after)
            }
            [b'+', after @ ..] => (b' ', after),
            [byte, after @ ..] => (*byte, after),
        };
        rest = after;
        Some(byte)
    })
}

const fn hex_value(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20) - b'a' + 10,
    }
}
