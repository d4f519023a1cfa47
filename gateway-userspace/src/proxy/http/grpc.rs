//! Pure: what a gRPC client must be told in gRPC's own words.
//!
//! A refusal is a trailers-only response: HTTP 200 with `grpc-status` in its one header block.

use std::time::Duration;

use http::header::{CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::reason::Reason;

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
/// Digits that a `grpc-timeout` may have.
const TIMEOUT_DIGITS_MAX: usize = 8;

/// A gRPC status code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GrpcStatus(pub u16);

impl GrpcStatus {
    /// The client went away.
    pub const CANCELLED: Self = Self(1);
    /// Nothing better is known.
    pub const UNKNOWN: Self = Self(2);
    /// Time is up.
    pub const DEADLINE_EXCEEDED: Self = Self(4);
    /// Not allowed.
    pub const PERMISSION_DENIED: Self = Self(7);
    /// A limit of size or number.
    pub const RESOURCE_EXHAUSTED: Self = Self(8);
    /// No such service or method.
    pub const UNIMPLEMENTED: Self = Self(12);
    /// Something is broken.
    pub const INTERNAL: Self = Self(13);
    /// Not now; clients may repeat.
    pub const UNAVAILABLE: Self = Self(14);
}

/// True for a gRPC request or response, by its content type.
pub fn is_grpc(headers: &HeaderMap) -> bool {
    let Some(rest) = headers.get(CONTENT_TYPE).and_then(|v| v.as_bytes().strip_prefix(b"application/grpc"))
    else {
        return false;
    };
    matches!(rest.first(), None | Some(b'+' | b';'))
}

/// The status for a refusal. The HTTP statuses of `reason` as gRPC's http-grpc-status-mapping maps
/// them, except where a gRPC code says it better: a timeout is no invitation to repeat.
pub fn status_for(reason: Reason) -> GrpcStatus {
    match reason {
        Reason::ClientClosed => GrpcStatus::CANCELLED,
        Reason::UpstreamTimeout | Reason::ClientTimeout | Reason::IdleTimeout => {
            GrpcStatus::DEADLINE_EXCEEDED
        }
        Reason::TooLarge | Reason::ClientFlood => GrpcStatus::RESOURCE_EXHAUSTED,
        Reason::NoRoute => GrpcStatus::UNIMPLEMENTED,
        Reason::SelfCall => GrpcStatus::PERMISSION_DENIED,
        Reason::ClientProtocol | Reason::Loop => GrpcStatus::INTERNAL,
        Reason::InvalidBackend | Reason::UnsupportedFilter | Reason::Config => GrpcStatus::UNKNOWN,
        Reason::NoHealthyEndpoint
        | Reason::EndpointRefused
        | Reason::ConnectRefused
        | Reason::ConnectTimeout
        | Reason::ConnectFailed
        | Reason::UpstreamReset
        | Reason::UpstreamProtocol
        | Reason::UpstreamFlood
        | Reason::Overflow
        | Reason::RetryLimit
        | Reason::Draining
        | Reason::Overload => GrpcStatus::UNAVAILABLE,
    }
}

/// `grpc-status` of a response head (trailers-only) or of trailers.
pub fn status_of(headers: &HeaderMap) -> Option<u16> {
    headers.get(GRPC_STATUS)?.to_str().ok()?.parse().ok()
}

/// Makes `headers` those of a trailers-only response.
pub fn trailers_only(headers: &mut HeaderMap, status: GrpcStatus, message: &str) {
    headers.remove(CONTENT_LENGTH);
    headers.remove(TRANSFER_ENCODING);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(GRPC_STATUS, HeaderValue::from(status.0));
    if let Ok(message) = HeaderValue::from_str(&encode_message(message)) {
        headers.insert(GRPC_MESSAGE, message);
    }
}

/// Percent-encodes all but visible ASCII and blanks, and `%` itself.
fn encode_message(message: &str) -> String {
    const KEEP: &percent_encoding::AsciiSet = &percent_encoding::CONTROLS.add(b'%');
    percent_encoding::utf8_percent_encode(message, KEEP).to_string()
}

/// How long the client waits. `None` when it does not say, or not in the form of the protocol.
pub fn timeout(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(GRPC_TIMEOUT)?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > TIMEOUT_DIGITS_MAX || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let value: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(value * 3600)),
        "M" => Some(Duration::from_secs(value * 60)),
        "S" => Some(Duration::from_secs(value)),
        "m" => Some(Duration::from_millis(value)),
        "u" => Some(Duration::from_micros(value)),
        "n" => Some(Duration::from_nanos(value)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: &'static str, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())])
    }

    #[test]
    fn grpc_is_known_by_its_content_type() {
        for yes in ["application/grpc", "application/grpc+proto", "application/grpc;charset=utf-8"] {
            assert!(is_grpc(&with("content-type", yes)), "{yes}");
        }
        for no in ["application/grpc-web", "application/json", "application/grpcx", ""] {
            assert!(!is_grpc(&with("content-type", no)), "{no}");
        }
        assert!(!is_grpc(&HeaderMap::new()));
    }

    #[test]
    fn every_reason_has_a_status_and_only_passing_trouble_invites_a_repeat() {
        for reason in Reason::ALL {
            let status = status_for(reason);
            assert_ne!(status.0, 0);
            if status == GrpcStatus::UNAVAILABLE {
                assert!(reason.status().is_server_error(), "{reason}");
            }
        }
        assert_eq!(status_for(Reason::NoHealthyEndpoint), GrpcStatus::UNAVAILABLE);
        assert_eq!(status_for(Reason::NoRoute), GrpcStatus::UNIMPLEMENTED);
        assert_eq!(status_for(Reason::UpstreamTimeout), GrpcStatus::DEADLINE_EXCEEDED);
    }

    #[test]
    fn a_refusal_is_one_header_block_that_can_be_read_back() {
        let mut headers = with("content-length", "12");
        trailers_only(&mut headers, GrpcStatus::UNAVAILABLE, "100% gone\né");
        assert_eq!(headers["content-type"], "application/grpc");
        assert_eq!(headers["grpc-message"], "100%25 gone%0A%C3%A9");
        assert!(!headers.contains_key("content-length"));
        assert_eq!(status_of(&headers), Some(14));
    }

    #[test]
    fn a_timeout_is_read_in_each_unit_and_nonsense_is_not() {
        for (text, wanted) in [
            ("1H", Some(Duration::from_secs(3600))),
            ("2M", Some(Duration::from_secs(120))),
            ("3S", Some(Duration::from_secs(3))),
            ("99999999m", Some(Duration::from_millis(99_999_999))),
            ("5u", Some(Duration::from_micros(5))),
            ("6n", Some(Duration::from_nanos(6))),
            ("123456789S", None),
            ("S", None),
            ("", None),
            ("1", None),
            ("-1S", None),
            ("1.5S", None),
            ("1s", None),
        ] {
            assert_eq!(timeout(&with("grpc-timeout", text)), wanted, "{text}");
        }
    }
}
