//! Pure: hostnames, labels and paths as the Gateway API allows them.

/// A DNS label: a-z, 0-9 and `-` inside; with dots, a name of several.
pub(super) fn is_label(text: &str) -> bool {
    let label = |part: &str| {
        let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        !part.is_empty() && part.bytes().all(inner) && !part.starts_with('-') && !part.ends_with('-')
    };
    text.len() <= 253 && text.split('.').all(label)
}

/// RFC 1123, perhaps with a `*.` before it; an IP address is no hostname.
pub(super) fn is_hostname(text: &str, wildcard: bool) -> bool {
    let name = if wildcard { text.strip_prefix("*.").unwrap_or(text) } else { text };
    is_label(&name.to_ascii_lowercase()) && name.parse::<std::net::IpAddr>().is_err()
}

/// An absolute path with nothing that a normal form would take away.
pub(super) fn is_path(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    let bad = ["//", "/./", "/../", "%2f", "#"];
    text.starts_with('/')
        && !bad.iter().any(|b| lower.contains(b))
        && !lower.ends_with("/.")
        && !lower.ends_with("/..")
}

#[cfg(test)]
mod tests {
    use super::{is_hostname, is_path};

    #[test]
    fn hostnames_are_those_of_the_api() {
        for good in ["a.com", "*.a.com", "a", "x-1.a.com", "A.com"] {
            assert!(is_hostname(good, true), "{good}");
        }
        for bad in ["", "*", "a*.com", "*.*.com", "-a.com", "a..com", "1.2.3.4", "a_b.com", "a.com:80"] {
            assert!(!is_hostname(bad, true), "{bad}");
        }
        assert!(!is_hostname("*.a.com", false));
    }

    #[test]
    fn paths_are_those_of_the_api() {
        for good in ["/", "/a", "/a/b/", "/a%20b", "/.a"] {
            assert!(is_path(good), "{good}");
        }
        for bad in ["", "a", "/a//b", "/a/../b", "/a/..", "/a%2Fb", "/a#b", "/./a"] {
            assert!(!is_path(bad), "{bad}");
        }
    }
}
