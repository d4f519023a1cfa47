//! Pure: hostnames of listeners and routes, and what two of them have in common.

use std::collections::BTreeSet;

/// True when all that `host` (exact or wildcard) matches is matched by `pattern` too. A wildcard
/// `*.example.com` matches any depth, and not `example.com`.
fn covers(pattern: &str, host: &str) -> bool {
    match pattern.strip_prefix('*') {
        Some(suffix) => host.strip_prefix('*').unwrap_or(host).ends_with(suffix),
        None => pattern == host,
    }
}

/// What both match, `None` when nothing.
pub(super) fn intersection<'a>(a: &'a str, b: &'a str) -> Option<&'a str> {
    if covers(a, b) {
        Some(b)
    } else if covers(b, a) {
        Some(a)
    } else {
        None
    }
}

/// Lower case, and an empty one is none at all.
pub(super) fn normal(hostname: Option<&str>) -> Option<String> {
    hostname.filter(|h| !h.is_empty()).map(str::to_ascii_lowercase)
}

/// The hostnames under which a route with `route` hostnames serves at a listener: those both have in
/// common, `[None]` for every host, empty when there is no such host.
pub(super) fn serve_at(listener: Option<&str>, route: &[String]) -> Vec<Option<String>> {
    let route = route.iter().map(|h| h.to_ascii_lowercase());
    match (listener, route.len()) {
        (listener, 0) => vec![listener.map(str::to_owned)],
        (None, _) => route.map(Some).collect(),
        (Some(listener), _) => {
            let mut hosts: Vec<Option<String>> = Vec::new();
            for host in route {
                let Some(common) = intersection(listener, &host) else { continue };
                let common = Some(common.to_owned());
                if !hosts.contains(&common) {
                    hosts.push(common);
                }
            }
            hosts
        }
    }
}

/// True when some host is matched by both lists, as `serve_at` gives them.
pub(super) fn overlap(a: &BTreeSet<Option<String>>, b: &[Option<String>]) -> bool {
    a.iter().any(|a| {
        b.iter().any(|b| match (a, b) {
            (Some(a), Some(b)) => intersection(a, b).is_some(),
            _ => true,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::{intersection, serve_at};

    #[test]
    fn a_wildcard_covers_any_depth_but_not_the_bare_domain() {
        assert_eq!(intersection("*.example.com", "a.example.com"), Some("a.example.com"));
        assert_eq!(intersection("a.b.example.com", "*.example.com"), Some("a.b.example.com"));
        assert_eq!(intersection("*.example.com", "*.a.example.com"), Some("*.a.example.com"));
        assert_eq!(intersection("*.example.com", "*.example.com"), Some("*.example.com"));
        assert_eq!(intersection("*.example.com", "example.com"), None);
        assert_eq!(intersection("*.example.com", "badexample.com"), None);
        assert_eq!(intersection("*.example.com", "*.com"), Some("*.example.com"));
        assert_eq!(intersection("a.com", "b.com"), None);
        assert_eq!(intersection("a.com", "a.com"), Some("a.com"));
    }

    #[test]
    fn a_route_without_hostnames_serves_those_of_its_listener() {
        assert_eq!(serve_at(Some("a.com"), &[]), [Some("a.com".to_owned())]);
        assert_eq!(serve_at(None, &[]), [None]);
        assert_eq!(serve_at(None, &["A.com".to_owned()]), [Some("a.com".to_owned())]);
        assert_eq!(serve_at(Some("b.com"), &["a.com".to_owned()]), []);
    }
}
