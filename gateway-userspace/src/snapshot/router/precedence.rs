//! Pure: which of two matches comes first when both hold.

use std::cmp::Reverse;

use super::{PathMatcher, RouteEntry};

/// Compares less when it comes first. Hostnames are compared before, and age of the route after.
///
/// For an HTTPRoute: exact path, regular expression, longest prefix, then a method, most headers, most
/// query parameters. For a GRPCRoute: most characters of the service, then of the method, then
/// most headers; a service alone is a prefix, a method alone a regular expression.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Precedence {
    path: PathClass,
    characters: Reverse<usize>,
    without_method: bool,
    headers: Reverse<usize>,
    queries: Reverse<usize>,
}

/// Kinds of path match, first in precedence first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum PathClass {
    Exact,
    Regex,
    Prefix,
    /// A regular expression of a GRPCRoute: it names no whole service.
    GrpcRegex,
    /// The prefix `/`, which says nothing.
    Root,
}

impl Precedence {
    pub(super) fn of(entry: &RouteEntry) -> Self {
        let matcher = &entry.matcher;
        let text = match &matcher.path {
            PathMatcher::Exact(path) => path,
            PathMatcher::Prefix(path) => path.trim_end_matches('/'),
            PathMatcher::Regex(pattern) => pattern.as_str(),
        };
        Self {
            path: PathClass::of(&matcher.path, entry.rule.grpc),
            characters: Reverse(text.chars().count()),
            without_method: matcher.method.is_none(),
            headers: Reverse(matcher.headers.len()),
            queries: Reverse(matcher.query.len()),
        }
    }
}

impl PathClass {
    fn of(path: &PathMatcher, grpc: bool) -> Self {
        match path {
            PathMatcher::Exact(_) => Self::Exact,
            PathMatcher::Regex(_) if grpc => Self::GrpcRegex,
            PathMatcher::Regex(_) => Self::Regex,
            PathMatcher::Prefix(prefix) if prefix.trim_end_matches('/').is_empty() => Self::Root,
            PathMatcher::Prefix(_) => Self::Prefix,
        }
    }
}
