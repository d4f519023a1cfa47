//! Pure: applies the filters of a rule to a request and to its response.

use http::header::HOST;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, request, response};

use crate::reason::Reason;
use crate::snapshot::filter::{Filter, HeaderModifier, PathModifier, Redirect, Rewrite};

/// What filters need to know of a request besides itself.
#[derive(Debug, Clone, Copy)]
pub struct FilterContext<'a> {
    /// Length of the matched path prefix, from `RouteMatch`.
    pub prefix_len: usize,
    /// `http` or `https`, as the client spoke to us.
    pub scheme: &'a str,
    /// Port of the listener, or the Service port that was dialled.
    pub listener_port: u16,
    /// Host of the request without port.
    pub host: &'a str,
}

/// What becomes of the request.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// It goes on, changed or not.
    Continue,
    /// It is answered with this status and `Location`.
    Redirect {
        /// 301, 302, 303, 307 or 308.
        status: StatusCode,
        /// Absolute.
        location: HeaderValue,
    },
    /// It is refused.
    Refuse(Reason),
}

/// Applies `filters` in their order; the first that answers ends it.
pub fn on_request(filters: &[Filter], parts: &mut request::Parts, context: &FilterContext<'_>) -> Outcome {
    for filter in filters {
        match filter {
            Filter::RequestHeaders(modifier) => modify(&mut parts.headers, modifier),
            Filter::ResponseHeaders(_) => {}
            Filter::Redirect(to) => {
                return match location(to, &parts.uri, context) {
                    Some(location) => Outcome::Redirect { status: to.status, location },
                    None => Outcome::Refuse(Reason::Config),
                };
            }
            Filter::Rewrite(to) => {
                if rewrite(to, parts, context.prefix_len).is_none() {
                    return Outcome::Refuse(Reason::Config);
                }
            }
            Filter::Unsupported(_) => return Outcome::Refuse(Reason::UnsupportedFilter),
        }
    }
    Outcome::Continue
}

/// Applies `filters` to the response, in their order.
pub fn on_response(filters: &[Filter], parts: &mut response::Parts) {
    for filter in filters {
        match filter {
            Filter::ResponseHeaders(modifier) => modify(&mut parts.headers, modifier),
            Filter::RequestHeaders(_) | Filter::Redirect(_) | Filter::Rewrite(_) | Filter::Unsupported(_) => {
            }
        }
    }
}

fn modify(headers: &mut HeaderMap, modifier: &HeaderModifier) {
    let cloned = |(name, value): &(HeaderName, HeaderValue)| (name.clone(), value.clone());
    for (name, value) in modifier.set.iter().map(cloned) {
        headers.insert(name, value);
    }
    for (name, value) in modifier.add.iter().map(cloned) {
        headers.append(name, value);
    }
    for name in &modifier.remove {
        headers.remove(name);
    }
}

/// `None` when the parts of the configuration make no valid URI together.
fn rewrite(to: &Rewrite, parts: &mut request::Parts, prefix_len: usize) -> Option<()> {
    if to.path.is_none() && to.hostname.is_none() {
        return Some(());
    }
    let mut uri = std::mem::take(&mut parts.uri).into_parts();
    if let Some(modifier) = &to.path {
        let old = uri.path_and_query.as_ref();
        let mut new = modified_path(modifier, old.map_or("/", PathAndQuery::path), prefix_len);
        if let Some(query) = old.and_then(PathAndQuery::query) {
            new.push('?');
            new.push_str(query);
        }
        uri.path_and_query = Some(PathAndQuery::try_from(new).ok()?);
    }
    if let Some(hostname) = &to.hostname {
        if uri.authority.is_some() {
            uri.authority = Some(Authority::try_from(hostname.as_bytes()).ok()?);
        }
        parts.headers.insert(HOST, hostname.clone());
    }
    parts.uri = Uri::from_parts(uri).ok()?;
    Some(())
}

/// HTTPPathModifier. A slash at the end of the replacement counts only when nothing follows it.
fn modified_path(modifier: &PathModifier, path: &str, prefix_len: usize) -> String {
    let replaced = match modifier {
        PathModifier::ReplaceFull(full) => full.to_string(),
        PathModifier::ReplacePrefix(prefix) => match path.get(prefix_len..).unwrap_or_default() {
            "" => prefix.to_string(),
            rest => format!("{}{rest}", prefix.trim_end_matches('/')),
        },
    };
    if replaced.starts_with('/') { replaced } else { format!("/{replaced}") }
}

/// HTTPRequestRedirectFilter: what the filter does not say is the request's.
fn location(to: &Redirect, uri: &Uri, context: &FilterContext<'_>) -> Option<HeaderValue> {
    let scheme = to.scheme.as_deref().unwrap_or(context.scheme);
    let host = to.hostname.as_deref().unwrap_or(context.host);
    let known = well_known_port(scheme);
    let port = match (to.port, &to.scheme) {
        (Some(port), _) => port,
        (None, Some(_)) => known.unwrap_or(context.listener_port),
        (None, None) => context.listener_port,
    };
    let mut text = format!("{scheme}://{host}");
    if known != Some(port) {
        text.push(':');
        text.push_str(itoa::Buffer::new().format(port));
    }
    match &to.path {
        Some(modifier) => text.push_str(&modified_path(modifier, uri.path(), context.prefix_len)),
        None => text.push_str(uri.path()),
    }
    if let Some(query) = uri.query() {
        text.push('?');
        text.push_str(query);
    }
    HeaderValue::try_from(text).ok()
}

fn well_known_port(scheme: &str) -> Option<u16> {
    if scheme.eq_ignore_ascii_case(Scheme::HTTP.as_str()) {
        Some(80)
    } else if scheme.eq_ignore_ascii_case(Scheme::HTTPS.as_str()) {
        Some(443)
    } else {
        None
    }
}

#[cfg(test)]
mod tests;
