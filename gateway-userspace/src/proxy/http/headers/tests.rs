use proptest::prelude::*;

use super::*;

pub(super) fn map(fields: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
    }
    headers
}

pub(super) fn names(headers: &HeaderMap) -> Vec<&str> {
    let mut names: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
    names.sort_unstable();
    names
}

fn check(
    version: Version,
    method: Method,
    target: &str,
    fields: &[(&'static str, &str)],
) -> Result<(), HeadError> {
    check_request(version, &method, &target.parse().unwrap(), &map(fields))
}

#[test]
fn ambiguous_framing_is_refused() {
    let post = |fields: &[(&'static str, &str)]| check(Version::HTTP_11, Method::POST, "/", fields);
    let (length, coding) = ("content-length", "transfer-encoding");
    assert_eq!(post(&[(length, "3")]), Ok(()));
    assert_eq!(post(&[(length, "3"), (length, "3")]), Ok(()));
    assert_eq!(post(&[(coding, "Chunked")]), Ok(()));
    assert_eq!(post(&[(length, "3"), (coding, "chunked")]), Err(HeadError::Length));
    assert_eq!(post(&[(length, "3"), (length, "4")]), Err(HeadError::Length));
    for bad in ["+1", "-1", "0x1", "1_0", "", "1, 2", "1 1"] {
        assert_eq!(post(&[(length, bad)]), Err(HeadError::Length), "{bad:?}");
    }
    for bad in ["identity", "gzip, chunked", "chunked, chunked", "xchunked", "\"chunked\"", "chunked,", ""] {
        assert_eq!(post(&[(coding, bad)]), Err(HeadError::TransferEncoding), "{bad:?}");
    }
    assert_eq!(post(&[(coding, "chunked"), (coding, "chunked")]), Err(HeadError::TransferEncoding));
    for version in [Version::HTTP_10, Version::HTTP_2] {
        let refused = check(version, Method::POST, "/", &[(coding, "chunked")]);
        assert_eq!(refused, Err(HeadError::TransferEncoding), "{version:?}");
    }
}

#[test]
fn targets_and_expectations_that_do_not_fit_are_refused() {
    let get = |target, fields: &[(&'static str, &str)]| check(Version::HTTP_11, Method::GET, target, fields);
    assert_eq!(get("/", &[("expect", "100-Continue")]), Ok(()));
    assert_eq!(get("http://h/a", &[]), Ok(()));
    assert_eq!(get("/", &[("expect", "tea")]), Err(HeadError::Expectation));
    assert_eq!(get("/", &[("expect", "100-continue"), ("expect", "tea")]), Err(HeadError::Expectation));
    assert_eq!(get("https://h/a", &[]), Err(HeadError::Scheme));
    let switch = [("connection", "upgrade"), ("upgrade", "x"), ("content-length", "0")];
    assert_eq!(get("/", &switch), Ok(()));
    assert_eq!(get("/", &[switch[0], switch[1], ("content-length", "5")]), Err(HeadError::UpgradeBody));
    assert_eq!(
        get("/", &[switch[0], switch[1], ("transfer-encoding", "chunked")]),
        Err(HeadError::UpgradeBody)
    );
    assert_eq!(get("*", &[]), Err(HeadError::Target));
    assert_eq!(get("/", &[("content_length", "3")]), Err(HeadError::Shadow));
    assert_eq!(get("/", &[("transfer_encoding", "chunked")]), Err(HeadError::Shadow));
    assert_eq!(get("/", &[("content_type", "text/plain"), ("x_content_length", "3")]), Ok(()));
    assert_eq!(check(Version::HTTP_11, Method::OPTIONS, "*", &[]), Ok(()));
    assert_eq!(check(Version::HTTP_11, Method::CONNECT, "h:80", &[]), Err(HeadError::Connect));
    assert_eq!(HeadError::Connect.status(), StatusCode::METHOD_NOT_ALLOWED);
}

#[test]
fn hop_by_hop_fields_go_and_te_trailers_stays() {
    let mut headers = map(&[
        ("connection", "close, X-Mine"),
        ("connection", "x-other,upgrade"),
        ("x-mine", "1"),
        ("x-other", "1"),
        ("keep-alive", "5"),
        ("proxy-connection", "x"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "x"),
        ("te", "gzip"),
        ("te", "deflate, Trailers"),
        ("accept", "*/*"),
    ]);
    assert_eq!(upgrade(&headers).unwrap(), "x");
    strip_hop_by_hop(&mut headers);
    assert_eq!(names(&headers), ["accept", "te"]);
    assert_eq!(headers["te"], "trailers");
    let mut headers = map(&[("te", "gzip")]);
    strip_hop_by_hop(&mut headers);
    assert!(headers.is_empty());
}

#[test]
fn nobody_nominates_away_what_others_rely_on() {
    let kept = [
        "authorization",
        "content-length",
        "cookie",
        "grpc-timeout",
        "host",
        "x-forwarded-for",
        "x-request-id",
    ];
    let mut headers = map(&[("connection", &kept.join(", "))]);
    for name in kept {
        headers.insert(name, HeaderValue::from_static("1"));
    }
    strip_hop_by_hop(&mut headers);
    assert_eq!(names(&headers), kept);
}

#[test]
fn an_upgrade_counts_only_when_the_connection_header_names_it() {
    assert_eq!(upgrade(&map(&[("upgrade", "websocket")])), None);
    assert_eq!(upgrade(&map(&[("connection", "upgrade")])), None);
    let asked = map(&[("connection", "keep-alive, Upgrade"), ("upgrade", "websocket")]);
    assert_eq!(upgrade(&asked).unwrap(), "websocket");
    assert_eq!(upgrade(&map(&[("connection", "upgrade"), ("upgrade", "h2c")])), None);
    assert_eq!(upgrade(&map(&[("connection", "upgrade"), ("upgrade", "x"), ("upgrade", "y, H2C")])), None);
}

#[test]
fn trailers_carry_no_framing_routing_or_credentials() {
    let mut trailers = map(&[
        ("grpc-status", "0"),
        ("x-checksum", "1"),
        ("content-length", "3"),
        ("transfer-encoding", "chunked"),
        ("host", "evil"),
        ("authorization", "x"),
        ("x-forwarded-for", "127.0.0.1"),
        ("set-cookie", "a=b"),
    ]);
    strip_trailers(&mut trailers);
    assert_eq!(names(&trailers), ["grpc-status", "x-checksum"]);
}

#[test]
fn a_request_has_no_trailers_but_those_that_are_known() {
    let mut trailers = map(&[
        ("grpc-status", "0"),
        ("content-digest", "sha-256=:x:"),
        ("x-amz-checksum-crc32c", "1"),
        ("authorization", "x"),
        ("x-user", "admin"),
        ("content-length", "3"),
    ]);
    strip_request_trailers(&mut trailers);
    assert_eq!(names(&trailers), ["content-digest", "grpc-status", "x-amz-checksum-crc32c"]);
}

#[test]
fn blanks_around_a_value_are_refused_in_http2_where_no_parser_has_taken_them_off() {
    for value in [" a", "a ", "\ta", "a\t", " "] {
        let refused = check(Version::HTTP_2, Method::GET, "/", &[("x-a", value)]);
        assert_eq!(refused, Err(HeadError::Blank), "{value:?}");
    }
    assert_eq!(check(Version::HTTP_2, Method::GET, "/", &[("x-a", "a b"), ("x-b", "")]), Ok(()));
}

#[test]
fn split_cookies_become_one() {
    let mut headers = map(&[("cookie", "a=1"), ("cookie", "b=2"), ("cookie", "c=3")]);
    join_cookies(&mut headers);
    assert_eq!(headers.get_all("cookie").iter().collect::<Vec<_>>(), ["a=1; b=2; c=3"]);
}

#[test]
fn a_harmless_request_id_is_kept_and_any_other_replaced() {
    let mut headers = map(&[("x-request-id", "abc-123")]);
    assert_eq!(ensure_request_id(&mut headers, 1), b"abc-123");
    for bad in ["", &"a".repeat(129), "a b", "a\"b", "<x>"] {
        let mut headers = map(&[("x-request-id", bad)]);
        assert_eq!(ensure_request_id(&mut headers, u128::MAX), b"ffffffff-ffff-4fff-bfff-ffffffffffff");
        assert_eq!(headers["x-request-id"], "ffffffff-ffff-4fff-bfff-ffffffffffff");
    }
    let mut headers = HeaderMap::new();
    let id = ensure_request_id(&mut headers, 0x0123_4567_89ab_cdef_0123_4567_89ab_cdef);
    assert_eq!(id, b"01234567-89ab-4def-8123-456789abcdef");
}

#[test]
fn a_valid_traceparent_is_read_and_an_invalid_one_is_not() {
    let read = |value: &str| trace_context(&map(&[("traceparent", value)]));
    let context = read("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01").unwrap();
    assert_eq!((context.trace_id[0], context.trace_id[15], context.parent_id[7]), (0x4b, 0x36, 0xb7));
    assert!(context.sampled);
    assert!(!read("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00").unwrap().sampled);
    assert!(read("01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more").is_some());
    for bad in [
        "",
        "00",
        "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
        "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
        "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
    ] {
        assert_eq!(read(bad), None, "{bad}");
    }
    let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    assert_eq!(trace_context(&map(&[("traceparent", good), ("traceparent", good)])), None);
}

proptest! {
    #[test]
    fn no_header_makes_it_panic(
        fields in prop::collection::vec((prop::sample::select(vec![
            "connection", "te", "cookie", "upgrade", "traceparent", "x-request-id", "content-length",
            "transfer-encoding", "x-forwarded-for",
        ]), prop::collection::vec(32u8..=255, 0..60)), 0..8),
    ) {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            if let Ok(value) = HeaderValue::from_bytes(&value) {
                headers.append(name, value);
            }
        }
        let _ = check_request(Version::HTTP_11, &Method::GET, &Uri::from_static("/"), &headers);
        let _ = (upgrade(&headers), trace_context(&headers));
        ensure_request_id(&mut headers, 5);
        join_cookies(&mut headers);
        strip_hop_by_hop(&mut headers);
        strip_request_trailers(&mut headers.clone());
        strip_trailers(&mut headers);
        prop_assert!(!headers.contains_key("connection") && !headers.contains_key("upgrade"));
    }
}
