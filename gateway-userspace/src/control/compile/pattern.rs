//! Pure: regular expressions of routes, bounded and compiled once each.

use std::collections::HashMap;

use regex::{Regex, RegexBuilder};
use rustc_hash::FxBuildHasher;

use crate::limits::PATTERNS_KEPT_MAX;

/// What a pattern remembers while it matches, bytes per worker. Less makes it slower, not wrong.
const DFA_BYTES_MAX: usize = 64 * 1024;

/// What a pattern is said to take, bytes: the least of these, or the limit of one pattern, that it fits
/// into. How much exactly is not to be known.
const SIZES: [usize; 2] = [4 * 1024, 16 * 1024];

/// Patterns compiled so far: those of routes that share one share it in memory too.
#[derive(Debug, Default)]
pub(super) struct Patterns {
    known: HashMap<String, Result<Compiled, String>, FxBuildHasher>,
}

/// A pattern and about how much it takes, bytes.
#[derive(Debug, Clone)]
pub(super) struct Compiled {
    pub(super) regex: Regex,
    pub(super) bytes: usize,
}

impl Patterns {
    /// Forgets all when they are many: some may have no route any more.
    pub(super) fn bound(&mut self) {
        if self.known.len() > PATTERNS_KEPT_MAX {
            self.known.clear();
        }
    }

    /// A pattern anchored at both ends, of at most `bytes_max` bytes when compiled. Linear in time
    /// whatever it says; the error is for humans.
    pub(super) fn get(&mut self, pattern: &str, bytes_max: usize) -> Result<Compiled, String> {
        if let Some(known) = self.known.get(pattern) {
            return known.clone();
        }
        let sizes = SIZES.into_iter().filter(|size| *size < bytes_max);
        let small =
            sizes.filter_map(|bytes| Some(Compiled { regex: build(pattern, bytes).ok()?, bytes })).next();
        let built = small
            .map_or_else(|| build(pattern, bytes_max).map(|regex| Compiled { regex, bytes: bytes_max }), Ok);
        self.known.insert(pattern.to_owned(), built.clone());
        built
    }
}

fn build(pattern: &str, bytes_max: usize) -> Result<Regex, String> {
    let one = |text: &str| {
        RegexBuilder::new(text).size_limit(bytes_max).dfa_size_limit(DFA_BYTES_MAX).build().map_err(|e| {
            match e {
                regex::Error::CompiledTooBig(_) => {
                    format!("`{pattern}` needs more than {bytes_max} bytes when compiled")
                }
                // The message repeats the pattern over several lines; its last line says what is wrong.
                other => {
                    let text = other.to_string();
                    let last = text.lines().last().unwrap_or_default();
                    format!("`{pattern}` is no regular expression: {}", last.trim_start_matches("error: "))
                }
            }
        })
    };
    // Alone first: `a)|(b` is only valid between the parentheses that anchor it.
    one(pattern)?;
    one(&format!("^(?:{pattern})$"))
}

#[cfg(test)]
mod tests {
    use super::{Compiled, Patterns};

    #[test]
    fn patterns_are_anchored_and_bounded() {
        let mut patterns = Patterns::default();
        let Compiled { regex, bytes } = patterns.get("/v[0-9]|/w", 65_536).unwrap();
        assert_eq!(bytes, 4096);
        assert!(regex.is_match("/v1") && regex.is_match("/w"));
        assert!(!regex.is_match("/v12") && !regex.is_match("x/w"));
        assert!(patterns.get("a)|(b", 65_536).unwrap_err().contains("unopened"));
        assert!(patterns.get("(((a{100}){100}){100})", 65_536).unwrap_err().contains("65536 bytes"));
        assert!(patterns.get("(", 65_536).unwrap_err().contains("unclosed"));
    }

    #[test]
    fn the_worst_patterns_are_refused_or_linear_in_the_path() {
        let path = format!("/{}!", "a".repeat(8 * 1024));
        let twice = format!("/{}!", "a".repeat(16 * 1024));
        for pattern in [
            "/(a+)+$".to_owned(),
            "/(a|aa)+$".to_owned(),
            "/(.*a){20}".to_owned(),
            "/(a*)*(a*)*(a*)*b".to_owned(),
            "/.*.*.*.*.*.*.*.*x".to_owned(),
            "/(a?){100}a{100}".to_owned(),
            "/[a-z]*[a-y]*[a-x]*[a-w]*!?y".to_owned(),
            r"/\p{L}{1000}".to_owned(),
            r"/(\w+\s?)*x".to_owned(),
            "/a{0,60000}".to_owned(),
            (0..10_000).map(|n| format!("/x{n}")).collect::<Vec<_>>().join("|"),
            "(".repeat(300) + "a" + &")".repeat(300),
            "/".to_owned() + &"(a|".repeat(200) + "b" + &")".repeat(200),
        ] {
            let mut patterns = Patterns::default();
            // What is too large is refused; what is not is answered for in a time that grows with the path only.
            if let Ok(Compiled { regex, bytes }) = patterns.get(&pattern, 65_536) {
                assert!(bytes <= 65_536);
                regex.is_match(&path);
                regex.is_match(&twice);
            }
        }
    }
}
