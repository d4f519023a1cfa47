//! Pure: which host a request is for, when it says so in exactly one way.

use std::borrow::Cow;
use std::net::Ipv6Addr;

use http::header::HOST;
use http::{HeaderMap, HeaderValue, Uri, Version};

use super::HeadError;

/// Longest host (RFC 1035 names have 253 bytes, IPv6 literals fewer).
const HOST_BYTES_MAX: usize = 253;

/// Host and port of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authority<'a> {
    /// Lower case, without port and without the dot at the end; IPv6 in brackets. Empty only for
    /// HTTP/1.0 without `Host`.
    pub host: Cow<'a, str>,
    /// As the client sent it; the scheme's when absent.
    pub port: Option<u16>,
}

/// The host that the request is for. A target in absolute form counts more than `Host` in HTTP/1
/// (RFC 9112 3.2.2); in HTTP/2 the two must agree (RFC 9113 8.3.1).
pub fn of_request<'a>(
    version: Version,
    uri: &'a Uri,
    headers: &'a HeaderMap,
) -> Result<Authority<'a>, HeadError> {
    let mut hosts = headers.get_all(HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err(HeadError::Host);
    }
    let target = uri.authority().map(|authority| parse(authority.as_str())).transpose()?;
    let named = host.map(parse_value).transpose()?;
    match (target, named) {
        (Some(target), Some(named)) if version >= Version::HTTP_2 && target != named => Err(HeadError::Host),
        (None, None) if version <= Version::HTTP_10 => Ok(Authority { host: Cow::Borrowed(""), port: None }),
        (Some(target), Some(_)) => Ok(target),
        (Some(authority), None) | (None, Some(authority)) => {
            let needs_host = version == Version::HTTP_11 && host.is_none();
            if needs_host { Err(HeadError::Host) } else { Ok(authority) }
        }
        (None, None) => Err(HeadError::Host),
    }
}

fn parse_value(value: &HeaderValue) -> Result<Authority<'_>, HeadError> {
    parse(value.to_str().map_err(|_| HeadError::Authority)?)
}

/// `host`, `host:port`, `[v6]` or `[v6]:port`. No userinfo, no list, no escapes.
pub fn parse(text: &str) -> Result<Authority<'_>, HeadError> {
    let (host, port) = match text.rfind(':') {
        Some(colon) if !text[colon..].contains(']') => (&text[..colon], Some(&text[colon + 1..])),
        _ => (text, None),
    };
    let port = port.map(parse_port).transpose()?;
    let host = match host.strip_prefix('[') {
        Some(literal) => {
            let address = literal.strip_suffix(']').ok_or(HeadError::Authority)?;
            address.parse::<Ipv6Addr>().map_err(|_| HeadError::Authority)?;
            host
        }
        None => check_name(host.strip_suffix('.').unwrap_or(host))?,
    };
    let host = if host.bytes().any(|b| b.is_ascii_uppercase()) {
        Cow::Owned(host.to_ascii_lowercase())
    } else {
        Cow::Borrowed(host)
    };
    Ok(Authority { host, port })
}

fn parse_port(digits: &str) -> Result<u16, HeadError> {
    match digits.parse() {
        Ok(port) if port != 0 && digits.bytes().all(|b| b.is_ascii_digit()) => Ok(port),
        _ => Err(HeadError::Authority),
    }
}

fn check_name(host: &str) -> Result<&str, HeadError> {
    let is_name = (1..=HOST_BYTES_MAX).contains(&host.len())
        && host.split('.').all(|label| !label.is_empty())
        && host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'~'));
    if is_name { Ok(host) } else { Err(HeadError::Authority) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(text: &str) -> Option<(String, Option<u16>)> {
        parse(text).ok().map(|a| (a.host.into_owned(), a.port))
    }

    fn request(version: Version, target: &'static str, hosts: &[&'static str]) -> Result<String, HeadError> {
        let uri = Uri::from_static(target);
        let mut headers = HeaderMap::new();
        for host in hosts {
            headers.append(HOST, HeaderValue::from_static(host));
        }
        of_request(version, &uri, &headers).map(|a| a.host.into_owned())
    }

    #[test]
    fn a_host_is_lower_case_without_port_or_last_dot() {
        let name = |host: &str, port| Some((host.to_owned(), port));
        assert_eq!(parsed("Shop.Example:8080"), name("shop.example", Some(8080)));
        assert_eq!(parsed("shop.example."), name("shop.example", None));
        assert_eq!(parsed("10.0.0.1:80"), name("10.0.0.1", Some(80)));
        assert_eq!(parsed("[::1]"), name("[::1]", None));
        assert_eq!(parsed("[FD00::1]:443"), name("[fd00::1]", Some(443)));
        assert_eq!(parsed("my_svc"), name("my_svc", None));
    }

    #[test]
    fn what_is_not_one_host_is_refused() {
        let long = "a".repeat(254);
        for text in [
            "", ".", "h, evil", "h/x", "h evil", "h@evil", "u:p@h", "h:99999", "h:80x", "h:", "h:0", "h:+80",
            "::1", "[::1", "[::1]x", "[g::]", "[]", "a..b", "h%41", "h#", "h?", "h\\", "hé", ":80", &long,
        ] {
            assert_eq!(parsed(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_request_names_its_host_exactly_once() {
        let shop = Ok("shop.example".to_owned());
        let (v10, v11, v2) = (Version::HTTP_10, Version::HTTP_11, Version::HTTP_2);
        assert_eq!(request(v11, "/", &["Shop.example:80"]), shop);
        assert_eq!(request(v11, "/", &[]), Err(HeadError::Host));
        assert_eq!(request(v11, "/", &["a", "a"]), Err(HeadError::Host));
        assert_eq!(request(v11, "/", &["a,b"]), Err(HeadError::Authority));
        assert_eq!(request(v11, "http://shop.example/", &["other"]), shop);
        assert_eq!(request(v11, "http://shop.example/", &[]), Err(HeadError::Host));
        assert_eq!(request(v11, "http://u@shop.example/", &["a"]), Err(HeadError::Authority));
        assert_eq!(request(v10, "/", &[]), Ok(String::new()));
        assert_eq!(request(v10, "/", &["shop.example"]), shop);
        assert_eq!(request(v2, "http://shop.example/", &[]), shop);
        assert_eq!(request(v2, "http://shop.example/", &["SHOP.example"]), shop);
        assert_eq!(request(v2, "http://shop.example/", &["evil"]), Err(HeadError::Host));
        assert_eq!(request(v2, "/", &["shop.example"]), shop);
        assert_eq!(request(v2, "/", &[]), Err(HeadError::Host));
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_or_refused_and_a_host_is_clean(text in "\\PC{0,40}|[a-zA-Z0-9.:\\[\\]@,_-]{0,40}") {
            if let Ok(authority) = parse(&text) {
                let clean = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.~[]:".contains(&b);
                prop_assert!(authority.host.bytes().all(clean));
                prop_assert!(!authority.host.ends_with('.') && !authority.host.is_empty());
            }
        }
    }
}
