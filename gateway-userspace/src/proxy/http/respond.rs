//! Weir's own answers: the only place, with `reason.rs`, that knows statuses.

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_TYPE, LOCATION, RETRY_AFTER};
use http::{HeaderName, HeaderValue, Response, StatusCode, Version};

use super::body::ResponseBody;
use super::grpc;
use super::headers::HeadError;
use crate::proxy::http1::head::Malformed;
use crate::proxy::recorder::Recorder;
use crate::reason::Reason;

const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");

/// Seconds: overload is looked at ten times in it.
const RETRY_AFTER_OVERLOAD: HeaderValue = HeaderValue::from_static("1");

/// The answer to bytes that begin no HTTP, for a client that may speak it all the same.
pub const NOT_HTTP: &[u8] = b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain; charset=utf-8\r\n\
    content-length: 22\r\nconnection: close\r\n\
    proxy-status: weir; error=http_request_error; details=\"client_protocol\"\r\n\r\nweir: client_protocol\n";

/// Why a request is answered by Weir itself.
#[derive(Debug, Clone, PartialEq)]
pub enum Refusal {
    /// It cannot be served.
    Reason(Reason),
    /// Its head cannot be taken for one meaning only; an HTTP/1 connection is closed after it.
    Head(HeadError),
    /// Its HTTP/1 bytes are no request of one meaning.
    Malformed(Malformed),
    /// Its path has no normal form.
    Path,
    /// It has more header fields than `Limits::header_fields_max`.
    HeaderFields,
    /// Its target is longer than `Limits::target_bytes_max`.
    TargetLength,
    /// A filter of its route redirects it.
    Redirect {
        /// 301, 302, 303, 307 or 308.
        status: StatusCode,
        /// Absolute.
        location: HeaderValue,
    },
}

impl From<Reason> for Refusal {
    fn from(reason: Reason) -> Self {
        Self::Reason(reason)
    }
}

impl From<HeadError> for Refusal {
    fn from(error: HeadError) -> Self {
        Self::Head(error)
    }
}

/// How the client wants to be told.
#[derive(Debug, Clone, Copy)]
pub struct Manner {
    /// Refusals are gRPC statuses.
    pub grpc: bool,
    /// The answer has no body (HEAD).
    pub without_body: bool,
    /// HTTP/1: the connection can be closed by a header.
    pub http1: bool,
}

impl Refusal {
    fn reason(&self) -> Option<Reason> {
        match self {
            Self::Reason(reason) => Some(*reason),
            Self::Malformed(malformed) if malformed.is_size() => Some(Reason::TooLarge),
            Self::Head(_) | Self::Path | Self::Malformed(_) => Some(Reason::ClientProtocol),
            Self::HeaderFields | Self::TargetLength => Some(Reason::TooLarge),
            Self::Redirect { .. } => None,
        }
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::Reason(reason) => reason.status(),
            Self::Head(error) => error.status(),
            Self::Malformed(malformed) => malformed.status(),
            Self::Path => StatusCode::BAD_REQUEST,
            Self::HeaderFields => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::TargetLength => StatusCode::URI_TOO_LONG,
            Self::Redirect { status, .. } => *status,
        }
    }

    fn text(&self) -> String {
        match self {
            Self::Reason(reason) => format!("weir: {reason}\n"),
            Self::Head(error) => format!("weir: {error}\n"),
            Self::Malformed(malformed) => format!("weir: {malformed}\n"),
            Self::Path => "weir: the path of the request has no single meaning\n".to_owned(),
            Self::HeaderFields => "weir: the request has too many header fields\n".to_owned(),
            Self::TargetLength => "weir: the target of the request is too long\n".to_owned(),
            Self::Redirect { .. } => String::new(),
        }
    }

    /// What follows on the connection could be another request's bytes, or not.
    fn closes(&self) -> bool {
        match self {
            Self::Head(_) | Self::Malformed(_) | Self::Path | Self::HeaderFields | Self::TargetLength => true,
            Self::Reason(reason) => *reason == Reason::ClientProtocol,
            Self::Redirect { .. } => false,
        }
    }
}

/// The answer for `refusal`.
pub fn refuse(refusal: Refusal, manner: Manner, mut recorder: Box<Recorder>) -> Response<ResponseBody> {
    let mut head = Response::new(()).into_parts().0;
    let text = refusal.text();
    head.status = refusal.status();
    if let Some(reason) = refusal.reason() {
        recorder.fail(reason);
        head.headers.insert(PROXY_STATUS, proxy_status(reason));
        if reason == Reason::Overload {
            head.headers.insert(RETRY_AFTER, RETRY_AFTER_OVERLOAD);
        }
    }
    if manner.http1 {
        head.version = Version::HTTP_11;
        if refusal.closes() {
            head.headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
    }
    let mut body = Bytes::new();
    match (refusal.reason(), refusal) {
        (Some(reason), _) if manner.grpc => {
            let status = grpc::status_for(reason);
            head.status = StatusCode::OK;
            recorder.record.grpc_status = Some(status.0);
            grpc::trailers_only(&mut head.headers, status, text.trim_end());
        }
        (_, Refusal::Redirect { location, .. }) => {
            head.headers.insert(LOCATION, location);
        }
        _ => {
            head.headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
            body = Bytes::from(text);
        }
    }
    recorder.record.status = Some(head.status);
    if manner.without_body {
        body.clear();
    }
    Response::from_parts(head, ResponseBody::text(body, recorder))
}

/// RFC 9209: who answered, the registered error type, and Weir's own word for it.
fn proxy_status(reason: Reason) -> HeaderValue {
    let text = format!("weir; error={}; details=\"{}\"", reason.proxy_error(), reason.as_str());
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static("weir"))
}

#[cfg(test)]
mod tests {
    use super::{NOT_HTTP, proxy_status};
    use crate::reason::Reason;

    #[test]
    fn what_is_no_request_is_answered_as_a_request_is() {
        let reason = Reason::ClientProtocol;
        let (head, body) = std::str::from_utf8(NOT_HTTP).unwrap().split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with(&format!("HTTP/1.1 {}\r\n", reason.status())), "{head}");
        assert_eq!(body, format!("weir: {reason}\n"));
        assert!(head.contains(&format!("\r\ncontent-length: {}\r\n", body.len())), "{head}");
        assert!(head.ends_with(proxy_status(reason).to_str().unwrap()), "{head}");
    }

    #[test]
    fn proxy_status_names_weir_the_registered_type_and_the_reason() {
        let value = proxy_status(Reason::NoHealthyEndpoint);
        assert_eq!(value, "weir; error=destination_unavailable; details=\"no_healthy_endpoint\"");
        assert!(Reason::ALL.iter().all(|reason| proxy_status(*reason).to_str().unwrap().len() > 10));
    }
}
