//! Pure: what the filters of a rule do, in words.

use http::{HeaderName, HeaderValue};

use crate::snapshot::filter::{Filter, HeaderModifier, PathModifier};

/// One line for each filter.
pub fn describe(filters: &[Filter]) -> Vec<String> {
    filters.iter().map(one).collect()
}

fn one(filter: &Filter) -> String {
    match filter {
        Filter::RequestHeaders(modifier) => format!("request headers: {}", modifier_words(modifier)),
        Filter::ResponseHeaders(modifier) => format!("response headers: {}", modifier_words(modifier)),
        Filter::Redirect(to) => {
            let mut words = vec![format!("redirect {}", to.status.as_u16())];
            words.extend(to.scheme.as_ref().map(|scheme| format!("scheme {scheme}")));
            words.extend(to.hostname.as_ref().map(|hostname| format!("host {hostname}")));
            words.extend(to.port.map(|port| format!("port {port}")));
            words.extend(to.path.as_ref().map(path_words));
            words.join(", ")
        }
        Filter::Rewrite(to) => {
            let host = to.hostname.as_ref().map(|hostname| format!("host {}", value(hostname)));
            let words: Vec<_> = host.into_iter().chain(to.path.as_ref().map(path_words)).collect();
            format!("rewrite {}", words.join(", "))
        }
        Filter::Unsupported(what) => format!("not supported: {what}"),
    }
}

fn path_words(modifier: &PathModifier) -> String {
    match modifier {
        PathModifier::ReplaceFull(path) => format!("path {path}"),
        PathModifier::ReplacePrefix(prefix) => format!("prefix {prefix}"),
    }
}

fn value(value: &HeaderValue) -> String {
    String::from_utf8_lossy(value.as_bytes()).into_owned()
}

/// Values of these are secrets more often than not.
fn is_secret(name: &HeaderName) -> bool {
    [http::header::AUTHORIZATION, http::header::COOKIE, http::header::SET_COOKIE].contains(name)
}

fn modifier_words(modifier: &HeaderModifier) -> String {
    let pair = |verb: &str, name: &HeaderName, v: &HeaderValue| {
        let shown = if is_secret(name) { "(hidden)".to_owned() } else { value(v) };
        format!("{verb} {name}={shown}")
    };
    let set = modifier.set.iter().map(|(name, value)| pair("set", name, value));
    let add = modifier.add.iter().map(|(name, value)| pair("add", name, value));
    let remove = modifier.remove.iter().map(|name| format!("remove {name}"));
    set.chain(add).chain(remove).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::filter::Rewrite;

    #[test]
    fn a_filter_is_one_line_and_keeps_secrets() {
        let headers = HeaderModifier {
            set: vec![(http::header::AUTHORIZATION, HeaderValue::from_static("Bearer x"))],
            add: vec![(HeaderName::from_static("x-a"), HeaderValue::from_static("1"))],
            remove: vec![HeaderName::from_static("x-b")],
        };
        let rewrite = Rewrite {
            hostname: Some(HeaderValue::from_static("inner")),
            path: Some(PathModifier::ReplacePrefix("/v2".into())),
        };
        let lines = describe(&[Filter::RequestHeaders(headers), Filter::Rewrite(rewrite)]);
        assert_eq!(
            lines,
            [
                "request headers: set authorization=(hidden), add x-a=1, remove x-b",
                "rewrite host inner, prefix /v2",
            ]
        );
    }
}
