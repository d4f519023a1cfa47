//! Pure: where the body of an HTTP/1 message ends, when that can be read in one way only (RFC 9112 6.3).

use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Version};

use super::head::Malformed;

/// How the end of a body is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyLength {
    /// There is no body.
    Empty,
    /// That many bytes, at least one.
    Known(u64),
    /// The chunked coding says.
    Chunked,
    /// The connection's end. Responses only.
    UntilClose,
}

/// The body that follows a request head.
///
/// # Errors
/// When two servers could see it end in different places.
pub fn of_request(version: Version, headers: &HeaderMap) -> Result<BodyLength, Malformed> {
    Ok(declared(version, headers)?.unwrap_or(BodyLength::Empty))
}

/// The body that follows a response head. `to` is the method that it answers.
///
/// # Errors
/// When it could be read in two ways.
pub fn of_response(
    to: &Method,
    status: StatusCode,
    version: Version,
    headers: &HeaderMap,
) -> Result<BodyLength, Malformed> {
    let declared = declared(version, headers)?;
    let is_bodyless = to == Method::HEAD
        || status.is_informational()
        || status == StatusCode::NO_CONTENT
        || status == StatusCode::NOT_MODIFIED;
    Ok(if is_bodyless { BodyLength::Empty } else { declared.unwrap_or(BodyLength::UntilClose) })
}

fn declared(version: Version, headers: &HeaderMap) -> Result<Option<BodyLength>, Malformed> {
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let length = lengths.next();
    if lengths.next().is_some() {
        return Err(Malformed::Length);
    }
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    if let Some(coding) = codings.next() {
        if length.is_some() || version != Version::HTTP_11 {
            return Err(Malformed::Length);
        }
        if codings.next().is_some() || !coding.as_bytes().eq_ignore_ascii_case(b"chunked") {
            return Err(Malformed::TransferCoding);
        }
        return Ok(Some(BodyLength::Chunked));
    }
    length.map(parse_length).transpose()
}

fn parse_length(value: &HeaderValue) -> Result<BodyLength, Malformed> {
    let digits = value.as_bytes();
    if digits.is_empty() {
        return Err(Malformed::Length);
    }
    let mut length: u64 = 0;
    for digit in digits {
        if !digit.is_ascii_digit() {
            return Err(Malformed::Length);
        }
        length = length
            .checked_mul(10)
            .and_then(|length| length.checked_add(u64::from(digit - b'0')))
            .ok_or(Malformed::Length)?;
    }
    Ok(if length == 0 { BodyLength::Empty } else { BodyLength::Known(length) })
}

/// A name that servers which make environment variables of headers (RFC 3875 4.1.18) would take for a
/// framing header.
pub fn is_disguised(name: &str) -> bool {
    matches!(name.len(), 14 | 17)
        && name.bytes().any(|byte| byte == b'_')
        && ["content-length", "transfer-encoding"].iter().any(|known| {
            known.len() == name.len()
                && known.bytes().zip(name.bytes()).all(|(a, b)| a == b || (a == b'-' && b == b'_'))
        })
}
