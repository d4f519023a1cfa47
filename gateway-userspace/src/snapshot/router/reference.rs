//! Pure: the slow matcher that tests compare the router with. It reads like the Gateway API and
//! shares no code with the index.

use std::cmp::Reverse;

use super::{Matcher, PathMatcher, RequestHead, RouteEntry, Section, ValueMatcher};
#[cfg(fuzzing)]
use super::{RouteMatch, Router};

/// The entry that serves `head`: `(section, entry)`.
pub(super) fn find(sections: &[Section], head: &RequestHead<'_>) -> Option<(usize, usize)> {
    // HTTP listener isolation: "requests SHOULD match at most one Listener", the most specific one.
    let listener = sections
        .iter()
        .filter(|section| hostname_matches(section.hostname.as_deref(), head.host))
        .map(|section| section.hostname.as_deref())
        .min_by_key(|hostname| hostname_rank(*hostname))?;
    sections
        .iter()
        .enumerate()
        .filter(|(_, section)| section.hostname.as_deref() == listener)
        .flat_map(|(s, section)| section.entries.iter().enumerate().map(move |(e, entry)| (s, e, entry)))
        .filter(|(_, _, entry)| hostname_matches(entry.hostname.as_deref(), head.host))
        .filter(|(_, _, entry)| matches(&entry.matcher, head))
        .min_by_key(|(s, e, entry)| (hostname_rank(entry.hostname.as_deref()), rank(entry), *s, *e))
        .map(|(s, e, _)| (s, e))
}

/// "Hostnames that are prefixed with a wildcard label (`*.`) are interpreted as a suffix match."
fn hostname_matches(hostname: Option<&str>, host: &str) -> bool {
    let Some(hostname) = hostname else {
        return true;
    };
    match hostname.strip_prefix('*') {
        Some(suffix) => host.ends_with(suffix) && host.len() > suffix.len(),
        None => hostname == host,
    }
}

/// Most characters in a matching non-wildcard hostname, then in a matching hostname.
fn hostname_rank(hostname: Option<&str>) -> (Reverse<usize>, Reverse<usize>) {
    let characters = hostname.map_or(0, |hostname| hostname.chars().count());
    let exact = if hostname.is_some_and(|hostname| !hostname.starts_with('*')) { characters } else { 0 };
    (Reverse(exact), Reverse(characters))
}

type Rank = (u8, Reverse<usize>, Reverse<usize>, bool, Reverse<usize>, Reverse<usize>);

fn rank(entry: &RouteEntry) -> Rank {
    let Matcher { path, headers, query, method } = &entry.matcher;
    let (kind, first, second) = if entry.rule.grpc { grpc_path_rank(path) } else { http_path_rank(path) };
    (kind, Reverse(first), Reverse(second), method.is_none(), Reverse(headers.len()), Reverse(query.len()))
}

/// "Exact" path match; then (implementation-specific) patterns; then "Prefix" path match with the
/// largest number of characters.
fn http_path_rank(path: &PathMatcher) -> (u8, usize, usize) {
    match path {
        PathMatcher::Exact(_) => (0, 0, 0),
        PathMatcher::Regex(pattern) => (1, pattern.as_str().chars().count(), 0),
        PathMatcher::Prefix(prefix) => (2, without_last_slash(prefix).chars().count(), 0),
    }
}

/// Characters in a matching service, then in a matching method.
fn grpc_path_rank(path: &PathMatcher) -> (u8, usize, usize) {
    let (service, method) = match path {
        PathMatcher::Exact(path) => path[1..].split_once('/').unwrap_or((&path[1..], "")),
        PathMatcher::Prefix(prefix) => (without_last_slash(prefix).trim_start_matches('/'), ""),
        PathMatcher::Regex(pattern) => ("", pattern.as_str()),
    };
    (0, service.chars().count(), method.chars().count())
}

fn without_last_slash(prefix: &str) -> &str {
    prefix.strip_suffix('/').unwrap_or(prefix)
}

fn matches(matcher: &Matcher, head: &RequestHead<'_>) -> bool {
    path_matches(&matcher.path, head.path)
        && matcher.method.as_ref().is_none_or(|method| method == head.method)
        && matcher.headers.iter().all(|(name, wanted)| {
            let values: Option<Vec<&str>> =
                head.headers.get_all(name).iter().map(|value| value.to_str().ok()).collect();
            values.is_some_and(|values| !values.is_empty() && value_matches(wanted, &values.join(",")))
        })
        && matcher.query.iter().all(|(name, wanted)| {
            let pairs = head.query.unwrap_or_default().split('&').map(|pair| {
                let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
                (form_decode(key), form_decode(value))
            });
            pairs
                .into_iter()
                .find(|(key, _)| *key == **name)
                .is_some_and(|(_, value)| value_matches(wanted, &value))
        })
}

/// A prefix matches "on a path element basis"; "a trailing slash in the prefix is ignored".
fn path_matches(path: &PathMatcher, requested: &str) -> bool {
    match path {
        PathMatcher::Exact(path) => requested == &**path,
        PathMatcher::Regex(pattern) => pattern.is_match(requested),
        PathMatcher::Prefix(prefix) => {
            let wanted: Vec<&str> = without_last_slash(prefix).split('/').collect();
            let given: Vec<&str> = requested.split('/').collect();
            given.starts_with(&wanted)
        }
    }
}

fn value_matches(wanted: &ValueMatcher, value: &str) -> bool {
    match wanted {
        ValueMatcher::Exact(exact) => **exact == *value,
        ValueMatcher::Regex(pattern) => pattern.is_match(value),
    }
}

fn form_decode(text: &str) -> String {
    let blanks = text.replace('+', " ");
    percent_encoding::percent_decode_str(&blanks).decode_utf8_lossy().into_owned()
}

#[cfg(fuzzing)]
impl Router {
    /// The rule that serves `head`, by the slow matcher.
    pub fn find_slowly<'r>(&'r self, head: &RequestHead<'_>) -> Option<RouteMatch<'r>> {
        let copy = |entry: &RouteEntry| {
            let RouteEntry { hostname, matcher, rule } = entry;
            RouteEntry { hostname: hostname.clone(), matcher: matcher.clone(), rule: rule.clone() }
        };
        let ranked = self.ranked();
        let of = |section: usize| ranked.iter().filter(move |(own, _)| *own == section);
        let sections = self.sections.iter().enumerate().map(|(number, hostname)| {
            let entries = of(number).map(|(_, ranked)| copy(&ranked.entry)).collect();
            Section { hostname: hostname.clone(), entries }
        });
        let (section, entry) = find(&sections.collect::<Vec<_>>(), head)?;
        let entry = &of(section).nth(entry)?.1.entry;
        Some(RouteMatch { rule: &entry.rule, prefix_len: entry.matcher.path.prefix_len() })
    }
}
