//! Pure: from the version a client speaks to the one its endpoint speaks, and back.

use http::header::{CONNECTION, EXPECT, HOST, TE, TRAILER, UPGRADE};
use http::uri::{Authority, Parts, PathAndQuery, Scheme};
use http::{HeaderValue, Uri, Version, request, response};

use super::grpc;

/// Trailers of every gRPC response. HTTP/1 must announce what follows the body (RFC 9110 6.6.2).
const GRPC_TRAILERS: HeaderValue =
    HeaderValue::from_static("grpc-status, grpc-message, grpc-status-details-bin");

/// Makes `parts` the head of an HTTP/1.1 request. `fallback` names the host where the client, of
/// HTTP/1.0, did not.
pub fn to_http1(parts: &mut request::Parts, upgrade: Option<HeaderValue>, fallback: impl FnOnce() -> String) {
    parts.version = Version::HTTP_11;
    let mut uri = std::mem::take(&mut parts.uri).into_parts();
    if let Some(authority) = uri.authority.take() {
        if let Ok(host) = HeaderValue::from_str(authority.as_str()) {
            parts.headers.insert(HOST, host);
        }
    } else if !parts.headers.contains_key(HOST)
        && let Ok(host) = HeaderValue::try_from(fallback())
    {
        parts.headers.insert(HOST, host);
    }
    parts.uri = uri.path_and_query.take().map_or_else(Uri::default, Uri::from);
    // We ask for the body ourselves when it is wanted, and then it is on its way already.
    parts.headers.remove(EXPECT);
    if let Some(protocol) = upgrade {
        parts.headers.insert(UPGRADE, protocol);
        parts.headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    } else if parts.headers.contains_key(TE) {
        parts.headers.insert(CONNECTION, HeaderValue::from_static("te"));
    }
}

/// Makes `parts` the head of an HTTP/2 request. `None` when its target has no form there.
pub fn to_http2(parts: &mut request::Parts, fallback: impl FnOnce() -> String) -> Option<()> {
    parts.version = Version::HTTP_2;
    let uri = std::mem::take(&mut parts.uri).into_parts();
    let host = parts.headers.remove(HOST);
    let authority = match (uri.authority, host) {
        (Some(authority), _) => authority,
        (None, Some(host)) => Authority::from_maybe_shared(host_bytes(host)).ok()?,
        (None, None) => Authority::try_from(fallback()).ok()?,
    };
    let path = uri.path_and_query.unwrap_or_else(|| PathAndQuery::from_static("/"));
    let mut whole = Parts::default();
    whole.scheme = Some(Scheme::HTTP);
    whole.authority = Some(authority);
    whole.path_and_query = Some(path);
    parts.uri = Uri::from_parts(whole).ok()?;
    parts.headers.remove(EXPECT);
    Some(())
}

fn host_bytes(host: HeaderValue) -> bytes::Bytes {
    bytes::Bytes::from_owner(host)
}

/// Makes `parts` the head of a response to a client that speaks HTTP/1, or HTTP/2.
pub fn to_downstream(parts: &mut response::Parts, http1: bool) {
    super::headers::strip_hop_by_hop(&mut parts.headers);
    if !http1 {
        parts.version = Version::HTTP_2;
        return;
    }
    parts.version = Version::HTTP_11;
    if grpc::is_grpc(&parts.headers) && !parts.headers.contains_key(TRAILER) {
        parts.headers.insert(TRAILER, GRPC_TRAILERS);
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, Request, Version};

    use super::{to_http1, to_http2};

    fn parts(uri: &str, headers: &[(&'static str, &str)]) -> http::request::Parts {
        let mut request = Request::builder().uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn an_http2_head_becomes_an_http1_head_and_says_the_same() {
        let mut head =
            parts("http://cart.shop:8080/items?a=b", &[("te", "trailers"), ("expect", "100-continue")]);
        to_http1(&mut head, None, || unreachable!());
        assert_eq!((head.uri.to_string().as_str(), head.version), ("/items?a=b", Version::HTTP_11));
        assert_eq!(head.headers["host"], "cart.shop:8080");
        assert_eq!(head.headers["connection"], "te");
        assert!(!head.headers.contains_key("expect"));
    }

    #[test]
    fn an_http1_head_becomes_an_http2_head_and_says_the_same() {
        let mut head = parts("/items?a=b", &[("host", "cart.shop")]);
        to_http2(&mut head, || unreachable!()).unwrap();
        assert_eq!(
            (head.uri.to_string().as_str(), head.version),
            ("http://cart.shop/items?a=b", Version::HTTP_2)
        );
        assert!(!head.headers.contains_key("host"));
    }

    #[test]
    fn a_target_in_absolute_form_is_the_host() {
        let mut head = parts("http://real.example/x", &[("host", "other.example")]);
        to_http1(&mut head, None, || unreachable!());
        assert_eq!(
            (head.uri.to_string().as_str(), &head.headers["host"]),
            ("/x", &HeaderValue::from_static("real.example"))
        );
    }

    #[test]
    fn a_head_without_host_gets_the_one_that_was_dialled() {
        let mut head = parts("/x", &[]);
        to_http1(&mut head, Some(HeaderValue::from_static("websocket")), || "10.0.0.1:80".to_owned());
        assert_eq!(head.headers["host"], "10.0.0.1:80");
        assert_eq!(
            (&head.headers["connection"], &head.headers["upgrade"]),
            (&HeaderValue::from_static("upgrade"), &HeaderValue::from_static("websocket"))
        );
    }

    #[test]
    fn a_target_of_stars_stays_one_in_http1() {
        let mut head = parts("*", &[("host", "cart.shop")]);
        to_http1(&mut head, None, || unreachable!());
        assert_eq!(head.uri.to_string(), "*");
    }
}
