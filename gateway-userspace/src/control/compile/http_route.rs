//! Pure: the rules of an HTTPRoute.

use std::time::Duration;

use http::Method;

use super::conditions::Problem;
use super::rule::{RouteContext, RouteRules, RuleSpec};
use super::value_match::{self, PatternSource};
use crate::control::config::http_route::{
    HttpPathMatch, HttpRoute, HttpRouteMatch, HttpRouteRetry, HttpRouteRule, PathMatchType,
};
use crate::snapshot::router::{Matcher, PathMatcher, RetryPolicy, Timeouts};

/// Compiles all rules.
pub(super) fn rules(route: &HttpRoute, context: &mut RouteContext<'_>) -> RouteRules {
    let mut rules = RouteRules::default();
    // The API's default is one rule that matches every path.
    let default = [HttpRouteRule::default()];
    for (index, rule) in route.spec.rules.as_deref().unwrap_or(&default).iter().enumerate() {
        let field = format!("spec.rules[{index}]");
        let timeouts = rule.timeouts.as_ref();
        let spec = RuleSpec {
            index,
            name: rule.name.as_deref(),
            filters: &rule.filters,
            backend_refs: &rule.backend_refs,
            timeouts: Timeouts {
                request: timeouts.and_then(|t| t.request).map(|d| d.0),
                backend_request: timeouts.and_then(|t| t.backend_request).map(|d| d.0),
            },
            retry: rule.retry.as_ref().map(|r| retry(r, context)),
            session_persistence: rule.session_persistence.is_some(),
            one_prefix: one_prefix(&rule.matches),
            matches: matches(&rule.matches, &field, &mut context.patterns()),
        };
        rules.add(context, spec);
    }
    rules
}

fn one_prefix(matches: &[HttpRouteMatch]) -> bool {
    match matches {
        [] => true,
        [only] => only.path.as_ref().is_none_or(|p| p.kind == PathMatchType::PathPrefix),
        _ => false,
    }
}

fn retry(spec: &HttpRouteRetry, context: &RouteContext<'_>) -> RetryPolicy {
    RetryPolicy {
        attempts: spec.attempts.unwrap_or(context.interned.retry_attempts),
        codes: spec.codes.iter().copied().filter(|code| (400..600).contains(code)).collect(),
        backoff: spec.backoff.map_or(context.interned.retry_backoff, |d: _| -> Duration { d.0 }),
    }
}

/// Any of these may hold; one bad match drops the rule, for the others would then get its requests.
fn matches(
    matches: &[HttpRouteMatch],
    field: &str,
    patterns: &mut PatternSource<'_>,
) -> Result<Vec<Matcher>, Problem> {
    if matches.is_empty() {
        return Ok(vec![Matcher::default()]);
    }
    let numbered = matches.iter().enumerate();
    numbered.map(|(index, m)| matcher(m, &format!("{field}.matches[{index}]"), patterns)).collect()
}

fn matcher(m: &HttpRouteMatch, field: &str, patterns: &mut PatternSource<'_>) -> Result<Matcher, Problem> {
    let method = m.method.as_deref().map(|text| {
        Method::from_bytes(text.as_bytes()).map_err(|_| {
            let message = format!("`{text}` is not a method");
            Problem::new("UnsupportedValue", format!("{field}.method"), message, "use GET, POST, ...")
        })
    });
    Ok(Matcher {
        path: m.path.as_ref().map(|p| path(p, field, patterns)).transpose()?.unwrap_or_default(),
        headers: value_match::headers(&m.headers, field, patterns)?,
        query: value_match::query(&m.query_params, field, patterns)?,
        method: method.transpose()?,
    })
}

fn path(spec: &HttpPathMatch, field: &str, patterns: &mut PatternSource<'_>) -> Result<PathMatcher, Problem> {
    let value = spec.value.as_deref().unwrap_or("/");
    let field = format!("{field}.path.value");
    if spec.kind == PathMatchType::RegularExpression {
        return patterns.get(value, &field).map(PathMatcher::Regex);
    }
    if !value.starts_with('/') {
        let message = format!("path `{value}` does not begin with /");
        return Err(Problem::new("UnsupportedValue", field, message, "begin it with /"));
    }
    match spec.kind {
        PathMatchType::Exact => Ok(PathMatcher::Exact(value.into())),
        PathMatchType::PathPrefix | PathMatchType::RegularExpression => Ok(PathMatcher::Prefix(value.into())),
    }
}
