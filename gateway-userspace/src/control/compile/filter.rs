//! Pure: filters of rules and backends, from the API's shape to the proxy's.

use http::{HeaderName, HeaderValue, StatusCode};

use super::conditions::Problem;
use crate::control::config::filter::{
    FilterType, HeaderFilter, PathModifier as PathSpec, PathModifierType, RequestRedirect, RouteFilter,
    UrlRewrite,
};
use crate::snapshot::filter::{Filter, HeaderModifier, PathModifier, Redirect, Rewrite};

/// Where filters stand.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    /// In a GRPCRoute.
    pub(super) grpc: bool,
    /// At a backendRef.
    pub(super) backend: bool,
    /// In a rule with one match, a `PathPrefix`.
    pub(super) one_prefix: bool,
}

const UNSUPPORTED: &str = "UnsupportedValue";

/// The filters in order. One that cannot be applied becomes `Filter::Unsupported`, so that requests
/// are refused rather than served without it.
pub(super) fn compile(
    filters: &[RouteFilter],
    place: Place,
    field: &str,
    problems: &mut Vec<Problem>,
) -> Vec<Filter> {
    let mut compiled = Vec::with_capacity(filters.len());
    for (index, filter) in filters.iter().enumerate() {
        let field = format!("{field}.filters[{index}]");
        match one(filter, place, &field) {
            Ok(filter) => compiled.push(filter),
            Err(problem) => {
                compiled.push(Filter::Unsupported(problem.message.as_str().into()));
                problems.push(problem);
            }
        }
    }
    let has = |kind| filters.iter().any(|f| f.kind == kind);
    if has(FilterType::RequestRedirect) && has(FilterType::UrlRewrite) {
        let message = "RequestRedirect and URLRewrite cannot stand in one rule";
        compiled.push(Filter::Unsupported(message.into()));
        let field = format!("{field}.filters");
        problems.push(Problem::new("IncompatibleFilters", field, message, "remove one of them"));
    }
    compiled
}

fn one(filter: &RouteFilter, place: Place, field: &str) -> Result<Filter, Problem> {
    let missing = |name: &str| {
        let message = format!("a filter of type {} needs the field {name}", filter.kind.as_str());
        Problem::new(UNSUPPORTED, field, message, format!("add {name}"))
    };
    let unsupported = || {
        let message = format!("filter {} is not supported here by this version", filter.kind.as_str());
        Problem::new(UNSUPPORTED, field, message, "remove it; until then requests of this rule get 500")
    };
    match filter.kind {
        FilterType::RequestHeaderModifier => {
            let spec = filter.request_header_modifier.as_ref();
            let spec = spec.ok_or_else(|| missing("requestHeaderModifier"))?;
            headers(spec, &format!("{field}.requestHeaderModifier")).map(Filter::RequestHeaders)
        }
        FilterType::ResponseHeaderModifier => {
            let spec = filter.response_header_modifier.as_ref();
            let spec = spec.ok_or_else(|| missing("responseHeaderModifier"))?;
            headers(spec, &format!("{field}.responseHeaderModifier")).map(Filter::ResponseHeaders)
        }
        FilterType::RequestRedirect if !place.grpc && !place.backend => {
            let spec = filter.request_redirect.as_ref().ok_or_else(|| missing("requestRedirect"))?;
            redirect(spec, place, &format!("{field}.requestRedirect")).map(Filter::Redirect)
        }
        FilterType::UrlRewrite if !place.grpc => {
            let spec = filter.url_rewrite.as_ref().ok_or_else(|| missing("urlRewrite"))?;
            rewrite(spec, place, &format!("{field}.urlRewrite")).map(Filter::Rewrite)
        }
        FilterType::RequestRedirect
        | FilterType::UrlRewrite
        | FilterType::RequestMirror
        | FilterType::Cors
        | FilterType::ExternalAuth
        | FilterType::ExtensionRef => Err(unsupported()),
    }
}

fn headers(spec: &HeaderFilter, field: &str) -> Result<HeaderModifier, Problem> {
    let name = |text: &str, field: &str| {
        HeaderName::from_bytes(text.as_bytes()).map_err(|_| {
            let message = format!("`{text}` is not a header name");
            Problem::new(UNSUPPORTED, field, message, "use a header name of RFC 9110")
        })
    };
    let pairs = |list: &[crate::control::config::filter::Header], what: &str| {
        let pair = |(index, header): (usize, &crate::control::config::filter::Header)| {
            let field = format!("{field}.{what}[{index}]");
            let value = HeaderValue::from_str(&header.value).map_err(|_| {
                let message = format!("the value of `{}` has bytes that no header may have", header.name);
                Problem::new(UNSUPPORTED, field.as_str(), message, "remove line breaks and control bytes")
            })?;
            Ok((name(&header.name, &field)?, value))
        };
        list.iter().enumerate().map(pair).collect::<Result<Vec<_>, Problem>>()
    };
    let removed = |(index, text): (usize, &String)| name(text, &format!("{field}.remove[{index}]"));
    Ok(HeaderModifier {
        set: pairs(&spec.set, "set")?,
        add: pairs(&spec.add, "add")?,
        remove: spec.remove.iter().enumerate().map(removed).collect::<Result<_, _>>()?,
    })
}

fn redirect(spec: &RequestRedirect, place: Place, field: &str) -> Result<Redirect, Problem> {
    let scheme = spec.scheme.as_deref();
    if let Some(other) = scheme.filter(|s| !matches!(*s, "http" | "https")) {
        let message = format!("scheme `{other}` is not supported");
        return Err(Problem::new(UNSUPPORTED, format!("{field}.scheme"), message, "use http or https"));
    }
    let code = spec.status_code.unwrap_or(302);
    let status =
        matches!(code, 301 | 302 | 303 | 307 | 308).then(|| StatusCode::from_u16(code).ok()).flatten();
    let Some(status) = status else {
        let message = format!("status code {code} is no redirect");
        let fix = "use 301, 302, 303, 307 or 308";
        return Err(Problem::new(UNSUPPORTED, format!("{field}.statusCode"), message, fix));
    };
    Ok(Redirect {
        scheme: scheme.map(Into::into),
        hostname: spec.hostname.as_deref().map(Into::into),
        port: spec.port,
        path: spec.path.as_ref().map(|p| path(p, place, field)).transpose()?,
        status,
    })
}

fn rewrite(spec: &UrlRewrite, place: Place, field: &str) -> Result<Rewrite, Problem> {
    let hostname = spec.hostname.as_deref().map(|host| {
        HeaderValue::from_str(host).map_err(|_| {
            let message = format!("`{host}` is not a hostname");
            Problem::new(UNSUPPORTED, format!("{field}.hostname"), message, "use a DNS name")
        })
    });
    Ok(Rewrite {
        hostname: hostname.transpose()?,
        path: spec.path.as_ref().map(|p| path(p, place, field)).transpose()?,
    })
}

fn path(spec: &PathSpec, place: Place, field: &str) -> Result<PathModifier, Problem> {
    let field = format!("{field}.path");
    let missing = |name: &str| {
        Problem::new(
            UNSUPPORTED,
            field.as_str(),
            format!("the field {name} is missing"),
            format!("add {name}"),
        )
    };
    match spec.kind {
        PathModifierType::ReplaceFullPath => {
            let full = spec.replace_full_path.as_deref().ok_or_else(|| missing("replaceFullPath"))?;
            Ok(PathModifier::ReplaceFull(full.into()))
        }
        PathModifierType::ReplacePrefixMatch if !place.one_prefix => {
            let message = "ReplacePrefixMatch needs a rule with exactly one match, by PathPrefix";
            Err(Problem::new(UNSUPPORTED, field.as_str(), message, "split the rule, or use ReplaceFullPath"))
        }
        PathModifierType::ReplacePrefixMatch => {
            let prefix = spec.replace_prefix_match.as_deref().ok_or_else(|| missing("replacePrefixMatch"))?;
            Ok(PathModifier::ReplacePrefix(prefix.into()))
        }
    }
}
