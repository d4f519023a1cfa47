//! Pure: header and query-parameter matches.

use http::HeaderName;

use super::conditions::Problem;
use super::pattern::Patterns;
use crate::control::config::route::{NamedMatch, ValueMatchType};
use crate::snapshot::router::ValueMatcher;

/// Bounds for patterns.
pub(super) struct PatternSource<'a> {
    pub(super) patterns: &'a mut Patterns,
    pub(super) bytes_max: usize,
}

impl PatternSource<'_> {
    pub(super) fn get(&mut self, pattern: &str, field: &str) -> Result<regex::Regex, Problem> {
        self.patterns.get(pattern, self.bytes_max).map_err(|message| {
            Problem::new(
                "UnsupportedValue",
                field,
                message,
                "write a shorter or simpler pattern (crate regex syntax)",
            )
        })
    }
}

fn value(m: &NamedMatch, field: &str, patterns: &mut PatternSource<'_>) -> Result<ValueMatcher, Problem> {
    match m.kind {
        ValueMatchType::Exact => Ok(ValueMatcher::Exact(m.value.as_str().into())),
        ValueMatchType::RegularExpression => patterns.get(&m.value, field).map(ValueMatcher::Regex),
    }
}

/// Of entries with the same name, whatever its case, only the first counts, as the API says.
pub(super) fn headers(
    matches: &[NamedMatch],
    field: &str,
    patterns: &mut PatternSource<'_>,
) -> Result<Vec<(HeaderName, ValueMatcher)>, Problem> {
    let mut compiled: Vec<(HeaderName, ValueMatcher)> = Vec::with_capacity(matches.len());
    for (index, m) in matches.iter().enumerate() {
        let field = format!("{field}.headers[{index}]");
        let Ok(name) = HeaderName::from_bytes(m.name.as_bytes()) else {
            let message = format!("`{}` is not a header name", m.name);
            return Err(Problem::new("UnsupportedValue", field, message, "use a header name of RFC 9110"));
        };
        if !compiled.iter().any(|(known, _)| *known == name) {
            compiled.push((name, value(m, &field, patterns)?));
        }
    }
    Ok(compiled)
}

/// Of entries with the same name only the first counts.
pub(super) fn query(
    matches: &[NamedMatch],
    field: &str,
    patterns: &mut PatternSource<'_>,
) -> Result<Vec<(Box<str>, ValueMatcher)>, Problem> {
    let mut compiled: Vec<(Box<str>, ValueMatcher)> = Vec::with_capacity(matches.len());
    for (index, m) in matches.iter().enumerate() {
        let field = format!("{field}.queryParams[{index}]");
        if !compiled.iter().any(|(known, _)| **known == *m.name) {
            compiled.push((m.name.as_str().into(), value(m, &field, patterns)?));
        }
    }
    Ok(compiled)
}
