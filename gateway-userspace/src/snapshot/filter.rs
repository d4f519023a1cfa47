//! Pure: filters as data, resolved at compile into a flat list per rule, in the order they apply.

use http::{HeaderName, HeaderValue, StatusCode};

/// One filter. A match on this lists every variant, also those that do nothing in a phase.
#[derive(Debug, Clone, PartialEq)]
pub enum Filter {
    /// Changes request headers.
    RequestHeaders(HeaderModifier),
    /// Changes response headers.
    ResponseHeaders(HeaderModifier),
    /// Answers with a redirect.
    Redirect(Redirect),
    /// Changes host and path before the request goes on.
    Rewrite(Rewrite),
    /// The rule asked for something this version cannot do: every request of it is refused, with
    /// `Reason::UnsupportedFilter`, as the Gateway API demands.
    Unsupported(Box<str>),
}

/// HTTPHeaderFilter: `set`, then `add`, then `remove`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct HeaderModifier {
    /// Replaces all values of the header.
    pub set: Vec<(HeaderName, HeaderValue)>,
    /// Appends a value.
    pub add: Vec<(HeaderName, HeaderValue)>,
    /// Removes all values.
    pub remove: Vec<HeaderName>,
}

/// HTTPPathModifier.
#[derive(Debug, Clone, PartialEq)]
pub enum PathModifier {
    /// The whole path becomes this.
    ReplaceFull(Box<str>),
    /// The matched prefix becomes this; needs the matched `PathPrefix` of the rule's match.
    ReplacePrefix(Box<str>),
}

/// HTTPRequestRedirectFilter.
#[derive(Debug, Clone, PartialEq)]
pub struct Redirect {
    /// `http` or `https`; the request's when absent.
    pub scheme: Option<Box<str>>,
    /// The request's when absent.
    pub hostname: Option<Box<str>>,
    /// Port; when absent that of the scheme, or the listener's if the scheme is not changed.
    pub port: Option<u16>,
    /// The request's when absent.
    pub path: Option<PathModifier>,
    /// 301, 302, 303, 307 or 308.
    pub status: StatusCode,
}

/// HTTPURLRewriteFilter.
#[derive(Debug, Clone, PartialEq)]
pub struct Rewrite {
    /// New host for the upstream request.
    pub hostname: Option<HeaderValue>,
    /// New path.
    pub path: Option<PathModifier>,
}
