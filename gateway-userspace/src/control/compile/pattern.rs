//! Pure: regular expressions of routes, bounded and compiled once each.

use std::collections::HashMap;

use regex::{Regex, RegexBuilder};
use rustc_hash::FxBuildHasher;

/// Patterns compiled so far in this compile.
#[derive(Debug, Default)]
pub(super) struct Patterns {
    known: HashMap<String, Result<Regex, String>, FxBuildHasher>,
}

impl Patterns {
    /// A pattern anchored at both ends, of at most `bytes_max` bytes when compiled. Linear in time
    /// whatever it says; the error is for humans.
    pub(super) fn get(&mut self, pattern: &str, bytes_max: usize) -> Result<Regex, String> {
        if let Some(known) = self.known.get(pattern) {
            return known.clone();
        }
        let built = build(pattern, bytes_max);
        self.known.insert(pattern.to_owned(), built.clone());
        built
    }
}

fn build(pattern: &str, bytes_max: usize) -> Result<Regex, String> {
    let one = |text: &str| {
        RegexBuilder::new(text).size_limit(bytes_max).dfa_size_limit(bytes_max).build().map_err(|e| match e {
            regex::Error::CompiledTooBig(_) => {
                format!("`{pattern}` needs more than {bytes_max} bytes when compiled")
            }
            // The message repeats the pattern over several lines; its last line says what is wrong.
            other => {
                let text = other.to_string();
                let last = text.lines().last().unwrap_or_default();
                format!("`{pattern}` is no regular expression: {}", last.trim_start_matches("error: "))
            }
        })
    };
    // Alone first: `a)|(b` is only valid between the parentheses that anchor it.
    one(pattern)?;
    one(&format!("^(?:{pattern})$"))
}

#[cfg(test)]
mod tests {
    use super::Patterns;

    #[test]
    fn patterns_are_anchored_and_bounded() {
        let mut patterns = Patterns::default();
        let regex = patterns.get("/v[0-9]|/w", 65_536).unwrap();
        assert!(regex.is_match("/v1") && regex.is_match("/w"));
        assert!(!regex.is_match("/v12") && !regex.is_match("x/w"));
        assert!(patterns.get("a)|(b", 65_536).unwrap_err().contains("unopened"));
        assert!(patterns.get("(((a{100}){100}){100})", 65_536).unwrap_err().contains("65536 bytes"));
        assert!(patterns.get("(", 65_536).unwrap_err().contains("unclosed"));
    }
}
