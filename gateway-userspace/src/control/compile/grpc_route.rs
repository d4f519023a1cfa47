//! Pure: the rules of a GRPCRoute: a method match becomes a match of the path `/service/method`.

use super::conditions::Problem;
use super::rule::{RouteContext, RouteRules, RuleSpec};
use super::value_match::{self, PatternSource};
use crate::control::config::grpc_route::{GrpcMethodMatch, GrpcRoute, GrpcRouteMatch};
use crate::control::config::route::ValueMatchType;
use crate::snapshot::router::{Matcher, PathMatcher, Timeouts};

/// Any name of a service or method.
const ANY: &str = "[^/]+";

/// Compiles all rules.
pub(super) fn rules(route: &GrpcRoute, context: &mut RouteContext<'_>) -> RouteRules {
    let mut rules = RouteRules::default();
    for (index, rule) in route.spec.rules.iter().enumerate() {
        let field = format!("spec.rules[{index}]");
        let spec = RuleSpec {
            index,
            name: rule.name.as_deref(),
            filters: &rule.filters,
            backend_refs: &rule.backend_refs,
            timeouts: Timeouts::default(),
            retry: None,
            session_persistence: rule.session_persistence.is_some(),
            one_prefix: false,
            matches: matches(&rule.matches, &field, &mut context.patterns()),
        };
        rules.add(context, spec);
    }
    rules
}

fn matches(
    matches: &[GrpcRouteMatch],
    field: &str,
    patterns: &mut PatternSource<'_>,
) -> Result<Vec<Matcher>, Problem> {
    if matches.is_empty() {
        return Ok(vec![Matcher::default()]);
    }
    let matcher = |(index, m): (usize, &GrpcRouteMatch)| {
        let field = format!("{field}.matches[{index}]");
        Ok(Matcher {
            path: m.method.as_ref().map(|m| method(m, &field, patterns)).transpose()?.unwrap_or_default(),
            headers: value_match::headers(&m.headers, &field, patterns)?,
            ..Matcher::default()
        })
    };
    matches.iter().enumerate().map(matcher).collect()
}

fn method(
    spec: &GrpcMethodMatch,
    field: &str,
    patterns: &mut PatternSource<'_>,
) -> Result<PathMatcher, Problem> {
    let set = |text: &Option<String>| text.clone().filter(|t| !t.is_empty());
    let field = format!("{field}.method");
    match (spec.kind, set(&spec.service), set(&spec.method)) {
        (_, None, None) => Ok(PathMatcher::default()),
        (ValueMatchType::Exact, Some(service), Some(method)) => {
            Ok(PathMatcher::Exact(format!("/{service}/{method}").into()))
        }
        (ValueMatchType::Exact, Some(service), None) => Ok(PathMatcher::Prefix(format!("/{service}").into())),
        (ValueMatchType::Exact, None, Some(method)) => {
            patterns.get(&format!("/{ANY}/{}", regex::escape(&method)), &field).map(PathMatcher::Regex)
        }
        (ValueMatchType::RegularExpression, service, method) => {
            // Alone first, so that `a)|(b` does not become valid between our parentheses.
            for pattern in service.iter().chain(&method) {
                patterns.get(pattern, &field)?;
            }
            let service = service.as_deref().unwrap_or(ANY);
            let method = method.as_deref().unwrap_or(ANY);
            patterns.get(&format!("/(?:{service})/(?:{method})"), &field).map(PathMatcher::Regex)
        }
    }
}
