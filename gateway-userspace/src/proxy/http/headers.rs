//! Pure: what a gateway checks and changes in the headers of every message.
//!
//! Nothing here copies a header map; most messages pass with a few look-ups and no allocation.

pub mod authority;
pub mod forwarded;

use bytes::Bytes;
use http::header::Entry;
use http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, COOKIE, EXPECT,
    FORWARDED, HOST, PROXY_AUTHORIZATION, SET_COOKIE, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use http::uri::{PathAndQuery, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, Version};
use smallvec::SmallVec;

use crate::proxy::http1::framing;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Longest `x-request-id` that is passed on, bytes.
const REQUEST_ID_BYTES_MAX: usize = 128;

/// Why a request head is refused. Always `Reason::ClientProtocol`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// RFC 9112 3.2 and RFC 9113 8.3.1 want exactly one.
    #[error("the request names no host, or more than one")]
    Host,
    /// Not a host and an optional port.
    #[error("the host of the request is malformed")]
    Authority,
    /// `Content-Length` and `Transfer-Encoding`, or two different lengths, or no number.
    #[error("the length of the request body is ambiguous")]
    Length,
    /// Anything but `chunked`, once, in HTTP/1.1.
    #[error("the transfer coding of the request is not supported")]
    TransferEncoding,
    /// Anything but `100-continue`.
    #[error("the expectation of the request cannot be met")]
    Expectation,
    /// `*` is for OPTIONS only, and a target needs a path.
    #[error("the request target does not fit its method")]
    Target,
    /// What follows the head could be its body, or already speak the next protocol.
    #[error("a request that asks to switch protocols has a body")]
    UpgradeBody,
    /// Weir opens no tunnels.
    #[error("CONNECT is not allowed")]
    Connect,
    /// `Content_Length`: for CGI and its heirs that is the length.
    #[error("the request has a header field that some servers take for another")]
    Shadow,
    /// HTTP/2 has no blanks around values (RFC 9113 8.2.1): where they go, two servers read two values.
    #[error("the value of a header field begins or ends with a blank")]
    Blank,
    /// Something else is asked for than is served here (RFC 9110 7.4).
    #[error("the scheme of the request is not that of the connection")]
    Scheme,
}

impl HeadError {
    /// The status to answer with.
    pub const fn status(self) -> StatusCode {
        match self {
            Self::TransferEncoding => StatusCode::NOT_IMPLEMENTED,
            Self::Expectation => StatusCode::EXPECTATION_FAILED,
            Self::Connect => StatusCode::METHOD_NOT_ALLOWED,
            Self::Scheme => StatusCode::MISDIRECTED_REQUEST,
            Self::Host | Self::Authority | Self::Length | Self::Target => StatusCode::BAD_REQUEST,
            Self::Shadow | Self::Blank | Self::UpgradeBody => StatusCode::BAD_REQUEST,
        }
    }
}

/// Checks what the parsers of HTTP/1 and HTTP/2 leave to a gateway: framing that two servers could
/// read in two ways (RFC 9112 6.3), targets, expectations. The host has a check of its own,
/// `authority::of_request`.
pub fn check_request(
    version: Version,
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
) -> Result<(), HeadError> {
    if method == Method::CONNECT {
        return Err(HeadError::Connect);
    }
    let path = uri.path_and_query().map(PathAndQuery::path);
    if !(path.is_some_and(|path| path.starts_with('/')) || (path == Some("*") && method == Method::OPTIONS)) {
        return Err(HeadError::Target);
    }
    // An HTTP/1 client that names a scheme asks a proxy for it, and this is none for others.
    if version <= Version::HTTP_11 && uri.scheme().is_some_and(|scheme| *scheme != Scheme::HTTP) {
        return Err(HeadError::Scheme);
    }
    check_framing(version, headers)?;
    if headers.keys().any(|name| framing::is_disguised(name.as_str())) {
        return Err(HeadError::Shadow);
    }
    if version >= Version::HTTP_2 && headers.values().any(has_blank_end) {
        return Err(HeadError::Blank);
    }
    let is_not_zero = |length: &HeaderValue| length.as_bytes().iter().any(|digit| *digit != b'0');
    let has_body =
        headers.contains_key(TRANSFER_ENCODING) || headers.get(CONTENT_LENGTH).is_some_and(is_not_zero);
    if has_body && version == Version::HTTP_11 && upgrade(headers).is_some() {
        return Err(HeadError::UpgradeBody);
    }
    let is_met = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"100-continue");
    if headers.get_all(EXPECT).iter().all(is_met) { Ok(()) } else { Err(HeadError::Expectation) }
}

fn has_blank_end(value: &HeaderValue) -> bool {
    let is_blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    is_blank(value.as_bytes().first()) || is_blank(value.as_bytes().last())
}

fn check_framing(version: Version, headers: &HeaderMap) -> Result<(), HeadError> {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    if let Some(coding) = codings.next() {
        if headers.contains_key(CONTENT_LENGTH) {
            return Err(HeadError::Length);
        }
        let supported = version == Version::HTTP_11 && coding.as_bytes().eq_ignore_ascii_case(b"chunked");
        if !supported || codings.next().is_some() {
            return Err(HeadError::TransferEncoding);
        }
    }
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let Some(length) = lengths.next() else {
        return Ok(());
    };
    let is_number = !length.is_empty() && length.as_bytes().iter().all(u8::is_ascii_digit);
    if is_number && lengths.all(|other| other == length) { Ok(()) } else { Err(HeadError::Length) }
}

/// The protocol that the client asks to switch to (RFC 9110 7.8). Ask before `strip_hop_by_hop`. A
/// switch to HTTP/2, which RFC 9113 has given up, is not offered: requests behind it would pass by the
/// routes.
pub fn upgrade(headers: &HeaderMap) -> Option<HeaderValue> {
    let value = headers.get(UPGRADE)?;
    let is_http2 = |protocol: &[u8]| protocol.trim_ascii().eq_ignore_ascii_case(b"h2c");
    if headers.get_all(UPGRADE).iter().any(|v| v.as_bytes().split(|byte| *byte == b',').any(is_http2)) {
        return None;
    }
    connection_options(headers).any(|option| option.eq_ignore_ascii_case(b"upgrade")).then(|| value.clone())
}

fn connection_options(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    headers
        .get_all(CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
}

/// Removes what belongs to one connection only (RFC 9110 7.6.1), and what `Connection` nominates.
/// `te: trailers` stays: gRPC servers want it. Of the nominated fields, those that others act upon
/// are kept: a client must not be able to take them out on the way (RFC 9110 11.7, 7.6.1).
pub fn strip_hop_by_hop(headers: &mut HeaderMap) {
    if headers.contains_key(CONNECTION) {
        let nominated: SmallVec<[HeaderName; 4]> = connection_options(headers)
            .filter(|option| !is_plain_option(option))
            .filter_map(|option| HeaderName::from_bytes(option).ok())
            .filter(|name| !is_end_to_end(name))
            .collect();
        for name in nominated {
            headers.remove(name);
        }
        headers.remove(CONNECTION);
    }
    for name in [KEEP_ALIVE, PROXY_CONNECTION, TRANSFER_ENCODING, UPGRADE] {
        headers.remove(name);
    }
    strip_te(headers);
}

fn is_plain_option(option: &[u8]) -> bool {
    [&b"keep-alive"[..], b"close", b"upgrade", b"te"].iter().any(|known| option.eq_ignore_ascii_case(known))
}

/// Fields that no `Connection` header can make hop-by-hop.
fn is_end_to_end(name: &HeaderName) -> bool {
    [HOST, AUTHORIZATION, COOKIE, CONTENT_LENGTH, CONTENT_TYPE, CONTENT_ENCODING, FORWARDED, X_REAL_IP, TE]
        .contains(name)
        || [X_REQUEST_ID, TRACEPARENT].contains(name)
        || ["x-forwarded-", "grpc-"].iter().any(|prefix| name.as_str().starts_with(prefix))
}

fn strip_te(headers: &mut HeaderMap) {
    if !headers.contains_key(TE) {
        return;
    }
    let trailers = headers
        .get_all(TE)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .any(|coding| coding.trim_ascii().eq_ignore_ascii_case(b"trailers"));
    if trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    } else {
        headers.remove(TE);
    }
}

/// Removes from trailers what must not stand there (RFC 9110 6.5.1): framing, routing, credentials
/// and what describes the body.
pub fn strip_trailers(trailers: &mut HeaderMap) {
    strip_hop_by_hop(trailers);
    for name in [HOST, CONTENT_LENGTH, CONTENT_TYPE, CONTENT_ENCODING, CONTENT_RANGE, TE, TRAILER, EXPECT] {
        trailers.remove(name);
    }
    for name in [AUTHORIZATION, PROXY_AUTHORIZATION, COOKIE, SET_COOKIE, FORWARDED, X_REAL_IP] {
        trailers.remove(name);
    }
    for name in [X_FORWARDED_FOR, X_FORWARDED_PROTO, X_FORWARDED_HOST, X_REQUEST_ID, TRACEPARENT] {
        trailers.remove(name);
    }
}

/// Removes from a request's trailers all but what is known to be meant for there. Some servers read
/// trailers as if they were headers, and a gateway has looked at the headers only.
pub fn strip_request_trailers(trailers: &mut HeaderMap) {
    const KEPT: [&str; 8] = [
        "content-digest",
        "content-md5",
        "digest",
        "etag",
        "repr-digest",
        "server-timing",
        "signature",
        "signature-input",
    ];
    const KEPT_FAMILIES: [&str; 3] = ["grpc-", "x-amz-checksum-", "x-checksum-"];
    let is_kept = |name: &HeaderName| {
        KEPT.contains(&name.as_str()) || KEPT_FAMILIES.iter().any(|prefix| name.as_str().starts_with(prefix))
    };
    let others: SmallVec<[HeaderName; 4]> = trailers.keys().filter(|name| !is_kept(name)).cloned().collect();
    for name in others {
        trailers.remove(name);
    }
}

/// Joins `Cookie` fields that HTTP/2 lets a client split (RFC 9113 8.2.3).
pub fn join_cookies(headers: &mut HeaderMap) {
    let mut crumbs = headers.get_all(COOKIE).iter();
    let (Some(first), Some(second)) = (crumbs.next(), crumbs.next()) else {
        return;
    };
    let mut joined = first.as_bytes().to_vec();
    for crumb in std::iter::once(second).chain(crumbs) {
        joined.extend_from_slice(b"; ");
        joined.extend_from_slice(crumb.as_bytes());
    }
    if let Ok(joined) = HeaderValue::from_maybe_shared(Bytes::from(joined)) {
        headers.insert(COOKIE, joined);
    }
}

/// The request's id: what the client sent when that is short and harmless, else a new one, which
/// `random` makes (a version 4 UUID). Either way the request then carries it.
pub fn ensure_request_id(headers: &mut HeaderMap, random: u128) -> &[u8] {
    let id = match headers.entry(X_REQUEST_ID) {
        Entry::Occupied(mut entry) => {
            if !is_request_id(entry.get().as_bytes()) {
                entry.insert(new_request_id(random));
            }
            entry.into_mut()
        }
        Entry::Vacant(entry) => entry.insert(new_request_id(random)),
    };
    id.as_bytes()
}

fn is_request_id(value: &[u8]) -> bool {
    (1..=REQUEST_ID_BYTES_MAX).contains(&value.len())
        && value.iter().all(|b| {
            b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':' | b'=' | b'+' | b'/' | b'@')
        })
}

/// RFC 9562 5.4.
fn new_request_id(random: u128) -> HeaderValue {
    let bits = (random & !(0xf << 76) & !(0x3 << 62)) | (0x4 << 76) | (0x2 << 62);
    let mut text = [b'-'; 36];
    let digits = text.iter_mut().enumerate().filter(|(index, _)| !matches!(index, 8 | 13 | 18 | 23));
    for ((_, digit), shift) in digits.zip((0..128).step_by(4).rev()) {
        *digit = b"0123456789abcdef"[(bits >> shift) as usize & 0xf];
    }
    HeaderValue::from_bytes(&text).unwrap_or(HeaderValue::from_static("unknown"))
}

/// W3C Trace Context, as far as a gateway reads it; the headers themselves pass untouched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceContext {
    /// Not zero.
    pub trace_id: [u8; 16],
    /// Not zero.
    pub parent_id: [u8; 8],
    /// The caller records this trace.
    pub sampled: bool,
}

/// The trace that the request belongs to; `None` without a valid `traceparent`, or with two.
pub fn trace_context(headers: &HeaderMap) -> Option<TraceContext> {
    let mut values = headers.get_all(TRACEPARENT).iter();
    let (value, None) = (values.next()?.as_bytes(), values.next()) else {
        return None;
    };
    let mut fields = value.split(|byte| *byte == b'-');
    let [version] = hex_bytes(fields.next()?)?;
    let trace_id = hex_bytes(fields.next()?)?;
    let parent_id = hex_bytes(fields.next()?)?;
    let [flags] = hex_bytes(fields.next()?)?;
    let is_valid = version != 0xff
        && (version != 0 || fields.next().is_none())
        && trace_id != [0; 16]
        && parent_id != [0; 8];
    is_valid.then_some(TraceContext { trace_id, parent_id, sampled: flags & 1 == 1 })
}

/// Lower-case hexadecimal, as the specification wants it.
fn hex_bytes<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    if text.len() != 2 * N {
        return None;
    }
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        *byte = digit(pair[0])? * 16 + digit(pair[1])?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests;
