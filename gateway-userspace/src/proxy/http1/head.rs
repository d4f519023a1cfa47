//! Pure: HTTP/1 message heads, read strictly. What two parsers could read differently is refused (RFC 9112 2.2, 3, 5).

use std::mem::MaybeUninit;

use bytes::{Buf, Bytes, BytesMut};
use http::header::CONNECTION;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, Version};
use http::{request, response};
use httparse::Header;

use super::framing::{self, BodyLength};
use super::names;

/// Fields that can be read at all; `HeadLimits::fields_max` above it has no effect.
pub const FIELDS_CAPACITY: usize = 256;
/// Longer methods are no method that anyone registered.
const METHOD_BYTES_MAX: usize = 32;
/// Fields that the gateway adds to most requests: a map that has no room for them grows at once.
const ADDED_FIELDS: usize = 5;
/// What a request line has besides method and target.
const LINE_REST_BYTES: usize = b"  HTTP/1.1\r\n".len();

/// How large a head may be.
#[derive(Debug, Clone, Copy)]
pub struct HeadLimits {
    /// The whole head, bytes.
    pub bytes_max: usize,
    /// The request target, bytes.
    pub target_bytes_max: usize,
    /// Header fields.
    pub fields_max: usize,
}

/// Why bytes are no head that has one meaning. The connection cannot be read any further.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// RFC 9112 2.2 lets a recipient be lenient here; peers that are not would see other lines.
    #[error("a line does not end with CR LF")]
    LineEnd,
    /// More than one empty line before it, or nothing else.
    #[error("the message begins with empty lines")]
    EmptyLine,
    /// Not `method SP target SP version`, or `version SP status [SP reason]`.
    #[error("the first line is malformed")]
    FirstLine,
    /// A header field that is not `name: value` in the allowed characters, or folded.
    #[error("a header field is malformed")]
    Field,
    /// The target has a character that no target has, or no known form.
    #[error("the request target is malformed")]
    Target,
    /// Neither HTTP/1.0 nor HTTP/1.1.
    #[error("the version is not supported")]
    Version,
    /// The target is over its limit.
    #[error("the request target is too long")]
    TargetTooLong,
    /// The head is over its limit.
    #[error("the head is too long")]
    TooLong,
    /// There are more fields than allowed.
    #[error("the head has too many fields")]
    TooManyFields,
    /// Two framings, or a length that is no number.
    #[error("the length of the body is ambiguous")]
    Length,
    /// Anything but `chunked`, once, in HTTP/1.1.
    #[error("the transfer coding is not supported")]
    TransferCoding,
}

impl Malformed {
    /// The status that tells a client.
    pub const fn status(self) -> StatusCode {
        match self {
            Self::Version => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            Self::TargetTooLong => StatusCode::URI_TOO_LONG,
            Self::TooLong | Self::TooManyFields => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::TransferCoding => StatusCode::NOT_IMPLEMENTED,
            Self::LineEnd | Self::EmptyLine | Self::FirstLine | Self::Field | Self::Target | Self::Length => {
                StatusCode::BAD_REQUEST
            }
        }
    }

    /// True when it says that something is too large.
    pub const fn is_size(self) -> bool {
        matches!(self, Self::TargetTooLong | Self::TooLong | Self::TooManyFields)
    }
}

/// A request head.
#[derive(Debug)]
pub struct RequestHead {
    /// Method, target, version and fields as they came.
    pub parts: request::Parts,
    /// What follows it.
    pub body: BodyLength,
    /// The client would send another request after this one.
    pub is_persistent: bool,
}

/// A response head.
#[derive(Debug)]
pub struct ResponseHead {
    /// Status, version and fields as they came.
    pub parts: response::Parts,
    /// What follows it.
    pub body: BodyLength,
    /// The endpoint would take another request after this one.
    pub is_persistent: bool,
}

/// How far the head that is coming in was looked at.
#[derive(Debug, Default)]
pub struct HeadReader {
    scanned: usize,
    /// The one empty line that may come first was there (RFC 9112 2.2).
    skipped: bool,
    /// The first line is complete.
    begun: bool,
}

impl HeadReader {
    /// Takes a request head from the front of `bytes`; `None` when it is not complete yet.
    ///
    /// # Errors
    /// When it never will be one. The connection is then of no more use.
    pub fn request(
        &mut self,
        bytes: &mut BytesMut,
        limits: &HeadLimits,
    ) -> Result<Option<RequestHead>, Malformed> {
        if !self.skipped && bytes.starts_with(b"\r\n") {
            bytes.advance(2);
            self.skipped = true;
        }
        let line_max = METHOD_BYTES_MAX + limits.target_bytes_max + LINE_REST_BYTES;
        if !self.begun && memchr::memchr(b'\n', &bytes[..bytes.len().min(line_max)]).is_none() {
            return if bytes.len() > line_max { Err(Malformed::TargetTooLong) } else { Ok(None) };
        }
        let Some(block) = self.block(bytes, limits, check_request_line)? else {
            return Ok(None);
        };
        parse_request(&block, limits).map(Some)
    }

    /// Takes a response head from the front of `bytes`; `None` when it is not complete yet. `to` is
    /// the method of the request that it answers.
    ///
    /// # Errors
    /// When it never will be one.
    pub fn response(
        &mut self,
        bytes: &mut BytesMut,
        limits: &HeadLimits,
        to: &Method,
    ) -> Result<Option<ResponseHead>, Malformed> {
        let Some(block) = self.block(bytes, limits, |_| Ok(()))? else {
            return Ok(None);
        };
        parse_response(&block, limits, to).map(Some)
    }

    /// The whole head with the empty line at its end, every line of it ended by CR LF.
    fn block(
        &mut self,
        bytes: &mut BytesMut,
        limits: &HeadLimits,
        check_first: fn(&[u8]) -> Result<(), Malformed>,
    ) -> Result<Option<Bytes>, Malformed> {
        while let Some(found) = memchr::memchr(b'\n', &bytes[self.scanned..]) {
            let at = self.scanned + found;
            if at == 0 || bytes[at - 1] != b'\r' {
                return Err(Malformed::LineEnd);
            }
            if at == 1 {
                return Err(Malformed::EmptyLine);
            }
            if !self.begun {
                check_first(&bytes[..at - 1])?;
                self.begun = true;
            }
            self.scanned = at + 1;
            if at + 1 > limits.bytes_max {
                return Err(Malformed::TooLong);
            }
            if bytes[at - 2] == b'\n' {
                *self = Self::default();
                return Ok(Some(bytes.split_to(at + 1).freeze()));
            }
        }
        self.scanned = bytes.len();
        if bytes.len() >= limits.bytes_max { Err(Malformed::TooLong) } else { Ok(None) }
    }
}

/// Refused before the rest of the head is waited for: a client of HTTP/0.9 sends none.
fn check_request_line(line: &[u8]) -> Result<(), Malformed> {
    match line {
        [.., b' ', b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'0' | b'1'] => Ok(()),
        [.., b' ', b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            Err(Malformed::Version)
        }
        _ => Err(Malformed::FirstLine),
    }
}

fn parse_request(block: &Bytes, limits: &HeadLimits) -> Result<RequestHead, Malformed> {
    let mut fields = [const { MaybeUninit::<Header<'_>>::uninit() }; FIELDS_CAPACITY];
    let mut parsed = httparse::Request::new(&mut []);
    let complete = parsed.parse_with_uninit_headers(block, &mut fields).map_err(malformed)?;
    if complete != httparse::Status::Complete(block.len()) {
        return Err(Malformed::FirstLine);
    }
    let (Some(method), Some(target)) = (parsed.method, parsed.path) else {
        return Err(Malformed::FirstLine);
    };
    if method.len() > METHOD_BYTES_MAX {
        return Err(Malformed::FirstLine);
    }
    if target.len() > limits.target_bytes_max {
        return Err(Malformed::TargetTooLong);
    }
    let mut parts = Request::new(()).into_parts().0;
    parts.method = Method::from_bytes(method.as_bytes()).map_err(|_| Malformed::FirstLine)?;
    parts.version = version(parsed.version);
    parts.uri = uri(block, target)?;
    parts.headers = header_map(block, parsed.headers, limits, ADDED_FIELDS)?;
    let body = framing::of_request(parts.version, &parts.headers)?;
    let is_persistent = is_persistent(parts.version, &parts.headers);
    Ok(RequestHead { parts, body, is_persistent })
}

fn parse_response(block: &Bytes, limits: &HeadLimits, to: &Method) -> Result<ResponseHead, Malformed> {
    let mut fields = [const { MaybeUninit::<Header<'_>>::uninit() }; FIELDS_CAPACITY];
    let mut parsed = httparse::Response::new(&mut []);
    let complete = httparse::ParserConfig::default()
        .parse_response_with_uninit_headers(&mut parsed, block, &mut fields)
        .map_err(malformed)?;
    if complete != httparse::Status::Complete(block.len()) {
        return Err(Malformed::FirstLine);
    }
    let mut parts = Response::new(()).into_parts().0;
    let status = parsed.code.ok_or(Malformed::FirstLine)?;
    parts.status = StatusCode::from_u16(status).map_err(|_| Malformed::FirstLine)?;
    parts.version = version(parsed.version);
    parts.headers = header_map(block, parsed.headers, limits, 0)?;
    let body = framing::of_response(to, parts.status, parts.version, &parts.headers)?;
    let is_persistent = is_persistent(parts.version, &parts.headers) && body != BodyLength::UntilClose;
    Ok(ResponseHead { parts, body, is_persistent })
}

fn malformed(error: httparse::Error) -> Malformed {
    match error {
        httparse::Error::TooManyHeaders => Malformed::TooManyFields,
        httparse::Error::HeaderName | httparse::Error::HeaderValue | httparse::Error::NewLine => {
            Malformed::Field
        }
        // Of requests it was looked at before: here it is a blank too many.
        httparse::Error::Version | httparse::Error::Status | httparse::Error::Token => Malformed::FirstLine,
    }
}

fn version(minor: Option<u8>) -> Version {
    if minor == Some(1) { Version::HTTP_11 } else { Version::HTTP_10 }
}

/// RFC 3986 has no `#` in a target and nothing outside of ASCII; what reads on cuts both off silently.
fn uri(block: &Bytes, target: &str) -> Result<Uri, Malformed> {
    if !target.bytes().all(|byte| matches!(byte, 0x21..=0x7e) && byte != b'#') {
        return Err(Malformed::Target);
    }
    let uri = Uri::from_maybe_shared(block.slice_ref(target.as_bytes())).map_err(|_| Malformed::Target)?;
    match uri.scheme_str() {
        None | Some("http" | "https") => Ok(uri),
        Some(_) => Err(Malformed::Target),
    }
}

fn header_map(
    block: &Bytes,
    fields: &[Header<'_>],
    limits: &HeadLimits,
    added: usize,
) -> Result<HeaderMap, Malformed> {
    if fields.len() > limits.fields_max {
        return Err(Malformed::TooManyFields);
    }
    let mut headers = HeaderMap::with_capacity(fields.len() + added);
    for field in fields {
        append(&mut headers, block, field)?;
    }
    Ok(headers)
}

/// Adds one field, whose value stays in `block`.
pub(super) fn append(headers: &mut HeaderMap, block: &Bytes, field: &Header<'_>) -> Result<(), Malformed> {
    let name = names::name(field.name.as_bytes()).map_err(|_| Malformed::Field)?;
    if framing::is_disguised(name.as_str()) {
        return Err(Malformed::Field);
    }
    let value = if field.value.is_empty() { Bytes::new() } else { block.slice_ref(field.value) };
    let value = HeaderValue::from_maybe_shared(value).map_err(|_| Malformed::Field)?;
    headers.try_append(name, value).map_err(|_| Malformed::TooManyFields)?;
    Ok(())
}

/// RFC 9112 9.3.
fn is_persistent(version: Version, headers: &HeaderMap) -> bool {
    let Some(first) = headers.get(CONNECTION) else {
        return version == Version::HTTP_11;
    };
    // Mostly there is one, and it is one word.
    if first.as_bytes().eq_ignore_ascii_case(b"close") {
        return false;
    }
    !has_option(headers, b"close") && (version == Version::HTTP_11 || has_option(headers, b"keep-alive"))
}

fn has_option(headers: &HeaderMap, wanted: &[u8]) -> bool {
    headers
        .get_all(CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .any(|option| option.trim_ascii().eq_ignore_ascii_case(wanted))
}
