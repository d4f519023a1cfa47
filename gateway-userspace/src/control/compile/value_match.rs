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
    pub(super) bytes_left: &'a mut usize,
}

impl PatternSource<'_> {
    pub(super) fn get(&mut self, pattern: &str, field: &str) -> Result<regex::Regex, Problem> {
        let problem = |message, remedy| Problem::new("UnsupportedValue", field, message, remedy);
        let compiled = self.patterns.get(pattern, self.bytes_max);
        let compiled = compiled
            .map_err(|message| problem(message, "write a shorter or simpler pattern (crate regex syntax)"))?;
        *self.bytes_left = self.bytes_left.checked_sub(compiled.bytes).ok_or_else(|| {
            let message = "the regular expressions of this route need too many bytes when compiled";
            problem(message.to_owned(), "spread its rules over several routes, or write simpler patterns")
        })?;
        Ok(compiled.regex)
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

#[cfg(test)]
mod tests {
    use super::{PatternSource, Patterns};

    #[test]
    fn the_patterns_of_a_route_are_bounded_together() {
        let mut patterns = Patterns::default();
        let mut bytes_left = 1024 * 1024;
        let mut compile = |number: usize| {
            let mut source =
                PatternSource { patterns: &mut patterns, bytes_max: 65_536, bytes_left: &mut bytes_left };
            source.get(&format!("/v{number}/[0-9]+"), "spec.rules[0]").is_ok()
        };
        let compiled = (0..1000).take_while(|number| compile(*number)).count();
        assert!((16..1000).contains(&compiled), "{compiled}");
    }
}
