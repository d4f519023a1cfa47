//! Pure: HTTP/1 message heads as bytes.

use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, Method, StatusCode, Uri, Version};

use super::framing::BodyLength;

/// Appends a request head (RFC 9112 3). Framing fields are written by `body`, whatever `headers` say.
pub fn put_request(out: &mut Vec<u8>, method: &Method, uri: &Uri, headers: &HeaderMap, body: BodyLength) {
    out.extend_from_slice(method.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(uri.path().as_bytes());
    if let Some(query) = uri.query() {
        out.push(b'?');
        out.extend_from_slice(query.as_bytes());
    }
    out.extend_from_slice(b" HTTP/1.1\r\n");
    put_unframed(out, headers);
    let expects_body = [Method::POST, Method::PUT, Method::PATCH].contains(method);
    match body {
        BodyLength::Empty if expects_body => put_length(out, 0),
        BodyLength::Empty | BodyLength::UntilClose => {}
        BodyLength::Known(length) => put_length(out, length),
        BodyLength::Chunked => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
    }
    out.extend_from_slice(b"\r\n");
}

/// How a response head is written.
#[derive(Debug, Clone, Copy)]
pub struct ResponseManner {
    /// What the client speaks.
    pub version: Version,
    /// What follows.
    pub body: BodyLength,
    /// The length a body would have had, for heads that none follows (HEAD, 304).
    pub keeps_length: bool,
    /// The connection serves another request after this.
    pub is_persistent: bool,
}

/// Appends a response head (RFC 9112 4). Framing and `Connection` are written by `manner`; `date` when
/// `headers` have none (RFC 9110 6.6.1).
pub fn put_response(
    out: &mut Vec<u8>,
    status: StatusCode,
    headers: &HeaderMap,
    manner: &ResponseManner,
    date: impl FnOnce(&mut Vec<u8>),
) {
    put_status(out, status);
    let mut has_date = false;
    for (name, value) in headers {
        has_date |= *name == http::header::DATE;
        let is_framing = *name == TRANSFER_ENCODING || *name == CONNECTION;
        if is_framing || (*name == CONTENT_LENGTH && !manner.keeps_length) {
            continue;
        }
        put_field(out, name.as_str(), value.as_bytes());
    }
    if !has_date {
        date(out);
    }
    if status == StatusCode::SWITCHING_PROTOCOLS {
        out.extend_from_slice(b"connection: upgrade\r\n\r\n");
        return;
    }
    match manner.body {
        BodyLength::Empty if manner.keeps_length || is_lengthless(status) => {}
        BodyLength::Empty => put_length(out, 0),
        BodyLength::Known(length) => put_length(out, length),
        BodyLength::Chunked => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
        BodyLength::UntilClose => {}
    }
    if !manner.is_persistent {
        out.extend_from_slice(b"connection: close\r\n");
    } else if manner.version == Version::HTTP_10 {
        out.extend_from_slice(b"connection: keep-alive\r\n");
    }
    out.extend_from_slice(b"\r\n");
}

/// Appends the head of an interim answer, which nothing follows.
pub fn put_interim(out: &mut Vec<u8>, status: StatusCode, headers: &HeaderMap) {
    put_status(out, status);
    put_unframed(out, headers);
    out.extend_from_slice(b"\r\n");
}

fn put_status(out: &mut Vec<u8>, status: StatusCode) {
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(status.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(status.canonical_reason().unwrap_or_default().as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// Statuses whose head never has a length of zero to say (RFC 9110 8.6).
fn is_lengthless(status: StatusCode) -> bool {
    status.is_informational() || status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED
}

/// Appends all fields.
pub fn put_fields(out: &mut Vec<u8>, headers: &HeaderMap) {
    for (name, value) in headers {
        put_field(out, name.as_str(), value.as_bytes());
    }
}

fn put_unframed(out: &mut Vec<u8>, headers: &HeaderMap) {
    for (name, value) in headers {
        if *name != CONTENT_LENGTH && *name != TRANSFER_ENCODING {
            put_field(out, name.as_str(), value.as_bytes());
        }
    }
}

fn put_field(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.reserve(name.len() + value.len() + 4);
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

fn put_length(out: &mut Vec<u8>, length: u64) {
    out.extend_from_slice(b"content-length: ");
    out.extend_from_slice(itoa::Buffer::new().format(length).as_bytes());
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue, Method, Uri};

    use super::put_request;
    use crate::proxy::http1::framing::BodyLength;

    fn head(method: &Method, body: BodyLength, headers: &HeaderMap) -> String {
        let mut out = Vec::new();
        put_request(&mut out, method, &Uri::from_static("/x"), headers, body);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_body_is_announced_by_its_length_or_else_as_chunked() {
        let mut headers = HeaderMap::new();
        headers.insert("content-length", HeaderValue::from_static("5"));
        let sized = head(&Method::POST, BodyLength::Known(5), &headers);
        assert_eq!(sized, "POST /x HTTP/1.1\r\ncontent-length: 5\r\n\r\n");
        // Nobody looks for a body behind a GET that does not say so (RFC 9112 6.3).
        let streamed = head(&Method::GET, BodyLength::Chunked, &HeaderMap::new());
        assert_eq!(streamed, "GET /x HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n");
        assert_eq!(head(&Method::GET, BodyLength::Empty, &HeaderMap::new()), "GET /x HTTP/1.1\r\n\r\n");
    }
}
