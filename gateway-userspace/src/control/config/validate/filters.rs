//! Pure: filters that the schemas of the Gateway API refuse.

use super::Checker;
use crate::control::config::filter::{FilterType, PathModifier, PathModifierType, RouteFilter};

/// Checks the filters at `field`, a rule or backendRef.
pub(super) fn filters(check: &mut Checker, filters: &[RouteFilter], field: &str) {
    check.at_most(16, filters.len(), &format!("{field}.filters"));
    for (index, filter) in filters.iter().enumerate() {
        let field = format!("{field}.filters[{index}]");
        one_field(check, filter, &field);
        if let Some(redirect) = &filter.request_redirect {
            let field = format!("{field}.requestRedirect");
            check.port(redirect.port, &format!("{field}.port"));
            check.hostname(redirect.hostname.as_deref(), false, &format!("{field}.hostname"));
            path(check, redirect.path.as_ref(), &field);
        }
        if let Some(rewrite) = &filter.url_rewrite {
            let field = format!("{field}.urlRewrite");
            check.hostname(rewrite.hostname.as_deref(), false, &format!("{field}.hostname"));
            path(check, rewrite.path.as_ref(), &field);
        }
    }
    for kind in [
        FilterType::RequestHeaderModifier,
        FilterType::ResponseHeaderModifier,
        FilterType::RequestRedirect,
        FilterType::UrlRewrite,
    ] {
        let times = filters.iter().filter(|f| f.kind == kind).count();
        let message = format!("filter {} is there {times} times", kind.as_str());
        check.require(times <= 1, &format!("{field}.filters"), message, "merge them into one");
    }
}

/// The field of the filter's type must be there, and no other one.
fn one_field(check: &mut Checker, filter: &RouteFilter, field: &str) {
    let fields = [
        (
            FilterType::RequestHeaderModifier,
            "requestHeaderModifier",
            filter.request_header_modifier.is_some(),
        ),
        (
            FilterType::ResponseHeaderModifier,
            "responseHeaderModifier",
            filter.response_header_modifier.is_some(),
        ),
        (FilterType::RequestRedirect, "requestRedirect", filter.request_redirect.is_some()),
        (FilterType::UrlRewrite, "urlRewrite", filter.url_rewrite.is_some()),
        (FilterType::RequestMirror, "requestMirror", filter.request_mirror.is_some()),
        (FilterType::Cors, "cors", filter.cors.is_some()),
        (FilterType::ExternalAuth, "externalAuth", filter.external_auth.is_some()),
        (FilterType::ExtensionRef, "extensionRef", filter.extension_ref.is_some()),
    ];
    for (kind, name, there) in fields {
        let wanted = kind == filter.kind;
        let word = if wanted { "needs" } else { "cannot have" };
        let message = format!("a filter of type {} {word} the field {name}", filter.kind.as_str());
        let fix = if wanted { format!("add {name}") } else { format!("remove {name} or change type") };
        check.require(wanted == there, field, message, fix);
    }
}

fn path(check: &mut Checker, path: Option<&PathModifier>, field: &str) {
    let Some(path) = path else { return };
    let (name, there) = match path.kind {
        PathModifierType::ReplaceFullPath => ("replaceFullPath", path.replace_full_path.is_some()),
        PathModifierType::ReplacePrefixMatch => ("replacePrefixMatch", path.replace_prefix_match.is_some()),
    };
    check.require(
        there,
        &format!("{field}.path"),
        format!("the field {name} is missing"),
        format!("add {name}"),
    );
}
