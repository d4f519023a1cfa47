//! Hosts: clean, read back as the same, and one to a request.

use gateway_userspace::proxy::http::headers::authority::{Authority, of_request, parse};
use http::header::HOST;
use http::{HeaderMap, HeaderValue, Uri, Version};

/// The first line is a target, each further line is a `Host`.
pub(crate) fn authority(data: &[u8]) {
    let mut lines = data.split(|byte| *byte == b'\n');
    let first = lines.next().unwrap_or_default();
    if let Ok(text) = std::str::from_utf8(first)
        && let Ok(authority) = parse(text)
    {
        assert_clean(&authority);
        let port = authority.port.map(|port| format!(":{port}")).unwrap_or_default();
        assert_eq!(parse(&format!("{}{port}", authority.host)), Ok(authority.clone()), "{text:?}");
        assert_eq!(parse(&text.to_ascii_uppercase()), Ok(authority.clone()), "{text:?}");
    }
    let Ok(uri) = Uri::try_from(first) else { return };
    let hosts: HeaderMap =
        lines.filter_map(|line| Some((HOST, HeaderValue::from_bytes(line).ok()?))).collect();
    for version in [Version::HTTP_10, Version::HTTP_11, Version::HTTP_2] {
        let Ok(authority) = of_request(version, &uri, &hosts) else { continue };
        assert!(hosts.get_all(HOST).iter().count() <= 1, "two hosts");
        if authority.host.is_empty() {
            assert!(version == Version::HTTP_10 && uri.authority().is_none() && hosts.is_empty());
        } else {
            assert_clean(&authority);
        }
    }
}

fn assert_clean(authority: &Authority<'_>) {
    let host = &*authority.host;
    let is_clean = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.~[]:".contains(&b);
    assert!(!host.is_empty() && host.bytes().all(is_clean), "{host:?}");
    assert!(!host.ends_with('.') && !host.starts_with('.') && !host.contains(".."), "{host:?}");
    assert_eq!(host.contains(':'), host.starts_with('['), "{host:?}");
    assert_ne!(authority.port, Some(0));
}
