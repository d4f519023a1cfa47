//! One file as the rules see it: its text, its code without comments and strings, and its production part.

/// A file of the project.
#[derive(Debug)]
pub(super) struct Source {
    /// Relative to the root, with `/`.
    pub(super) path: String,
    pub(super) text: String,
    /// The text with comments, strings and characters blanked; the same lines. Empty when not Rust.
    pub(super) code: String,
    /// From this line on (counted from 0) only tests follow.
    tests_from: usize,
}

impl Source {
    pub(super) fn new(path: String, text: String) -> Self {
        let code = if path.ends_with(".rs") { blank(&text) } else { String::new() };
        let tests_from = if is_test_path(&path) { 0 } else { inline_tests(&code) };
        Self { path, text, code, tests_from }
    }

    pub(super) fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// The lines of code that ship, numbered from 1, comments and strings blanked.
    pub(super) fn production(&self) -> impl Iterator<Item = (usize, &str)> {
        self.numbered().take(self.tests_from)
    }

    /// The lines of code that test.
    pub(super) fn tests(&self) -> impl Iterator<Item = (usize, &str)> {
        self.numbered().skip(self.tests_from)
    }

    /// Lines that ship, comments included.
    pub(super) fn production_lines(&self) -> usize {
        self.text.lines().count().min(self.tests_from)
    }

    fn numbered(&self) -> impl Iterator<Item = (usize, &str)> {
        self.code.lines().enumerate().map(|(index, line)| (index + 1, line))
    }

    /// The path below `gateway-userspace/src/`, if it is there.
    pub(super) fn in_gateway(&self) -> Option<&str> {
        self.path.strip_prefix("gateway-userspace/src/")
    }
}

/// True for files that are tests as a whole: the `tests` crate, and `tests.rs` or `tests/` beside a module.
fn is_test_path(path: &str) -> bool {
    path.starts_with("tests/") || path.contains("/tests/") || path.ends_with("/tests.rs")
}

/// The line (from 0) where the inline test module begins; the number of lines if there is none.
fn inline_tests(code: &str) -> usize {
    let lines: Vec<&str> = code.lines().collect();
    let opens = |line: &str| line.starts_with("mod tests {") || line.starts_with("pub(crate) mod tests {");
    let begins = |index: &usize| {
        lines[*index] == "#[cfg(test)]" && lines[index + 1..].iter().take(3).any(|l| opens(l))
    };
    (0..lines.len()).find(begins).unwrap_or(lines.len())
}

/// True when `code` has `word` with no letter, digit or underscore beside it.
pub(super) fn has_word(code: &str, word: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(word).any(|(at, _)| {
        let before = code[..at].chars().next_back().is_some_and(is_part);
        let after = code[at + word.len()..].chars().next().is_some_and(is_part);
        !before && !after
    })
}

/// The modules that are named directly below `crate::`, with their lines: `use crate::{a, b::c}` gives `a` and `b`.
pub(super) fn crate_paths(code: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let line = code[..at].matches('\n').count() + 1;
        let rest = &code[at + "crate::".len()..];
        let Some(group) = rest.strip_prefix('{') else {
            found.push((line, first_word(rest)));
            continue;
        };
        let mut depth = 0;
        let mut item = String::new();
        for c in group.chars() {
            match c {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => found.push((line, first_word(&std::mem::take(&mut item)))),
                _ if depth == 0 => item.push(c),
                _ => {}
            }
        }
        found.push((line, first_word(&item)));
    }
    found.retain(|(_, name)| !name.is_empty());
    found
}

fn first_word(text: &str) -> String {
    text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

/// Blanks comments, strings and characters; lines and all other code stay where they are.
fn blank(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let end = skipped(&chars, at);
        if end == at {
            out.push(chars[at]);
            at += 1;
        } else {
            out.extend(chars[at..end].iter().map(|c| if *c == '\n' { '\n' } else { ' ' }));
            at = end;
        }
    }
    out.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}

/// The end of the comment, string or character that begins at `at`; `at` itself if none does.
fn skipped(chars: &[char], at: usize) -> usize {
    let next = |offset: usize| chars.get(at + offset).copied().unwrap_or('\0');
    let before = at.checked_sub(1).map_or('\0', |index| chars[index]);
    let in_word = before.is_alphanumeric() || before == '_';
    match chars[at] {
        '/' if next(1) == '/' => line_end(chars, at),
        '/' if next(1) == '*' => comment_end(chars, at),
        '"' => string_end(chars, at + 1),
        'r' if !in_word || before == 'b' || before == 'c' => raw_string_end(chars, at),
        '\'' => char_end(chars, at),
        _ => at,
    }
}

fn line_end(chars: &[char], at: usize) -> usize {
    chars[at..].iter().position(|c| *c == '\n').map_or(chars.len(), |length| at + length)
}

fn comment_end(chars: &[char], at: usize) -> usize {
    let mut depth = 0;
    let mut index = at;
    while index + 1 < chars.len() {
        match (chars[index], chars[index + 1]) {
            ('/', '*') => (depth, index) = (depth + 1, index + 2),
            ('*', '/') if depth == 1 => return index + 2,
            ('*', '/') => (depth, index) = (depth - 1, index + 2),
            _ => index += 1,
        }
    }
    chars.len()
}

fn string_end(chars: &[char], mut at: usize) -> usize {
    while at < chars.len() {
        match chars[at] {
            '\\' => at += 2,
            '"' => return at + 1,
            _ => at += 1,
        }
    }
    chars.len()
}

/// `r"…"` and `r#"…"#`; `at` itself when it is something else, such as a word or a raw identifier.
fn raw_string_end(chars: &[char], at: usize) -> usize {
    let hashes = chars[at + 1..].iter().take_while(|c| **c == '#').count();
    let body = at + 1 + hashes;
    if chars.get(body) != Some(&'"') {
        return at;
    }
    let closes = |index: usize| {
        chars[index] == '"' && chars[index + 1..].iter().take(hashes).filter(|c| **c == '#').count() == hashes
    };
    (body + 1..chars.len()).find(|index| closes(*index)).map_or(chars.len(), |index| index + 1 + hashes)
}

/// `'x'` and `'\n'`; `at` itself for a lifetime.
fn char_end(chars: &[char], at: usize) -> usize {
    match chars.get(at + 1) {
        Some('\\') => {
            let close = chars[(at + 3).min(chars.len())..].iter().position(|c| *c == '\'');
            close.map_or(at, |length| at + 3 + length + 1)
        }
        Some(_) if chars.get(at + 2) == Some(&'\'') => at + 3,
        _ => at,
    }
}

#[cfg(test)]
mod tests {
    use super::{Source, blank, crate_paths, has_word};

    #[test]
    fn comments_strings_and_characters_are_blanked_and_code_is_kept() {
        let cases = [
            ("let a = 1; // unsafe", "let a = 1;"),
            ("a /* x /* y */ z */ b", "a                   b"),
            (r#"f("unsafe \" more", x)"#, "f(                , x)"),
            (r###"f(r#"a " b"#, x)"###, "f(          , x)"),
            ("m('\"', 'a', '\\n', '\\'')", "m(   ,    ,     ,     )"),
            ("fn f<'a>(x: &'a str) {}", "fn f<'a>(x: &'a str) {}"),
            ("bar(r#type, br\"x\")", "bar(r#type, b    )"),
            ("\"two\nlines\" x", "\n       x"),
        ];
        for (text, code) in cases {
            assert_eq!(blank(text), code, "{text}");
        }
    }

    #[test]
    fn the_inline_test_module_is_not_production() {
        let text = "//! A.\nfn a() {}\n\n#[cfg(test)]\nmod tests {\n    fn b() {}\n}\n";
        let source = Source::new("x/src/a.rs".to_owned(), text.to_owned());
        assert_eq!(source.production_lines(), 3);
        assert_eq!(source.tests().map(|(line, _)| line).collect::<Vec<_>>(), [4, 5, 6, 7]);
        let sibling =
            Source::new("x/src/a.rs".to_owned(), "//! A.\n#[cfg(test)]\nmod tests;\nfn a() {}\n".to_owned());
        assert_eq!(sibling.production_lines(), 4);
        for path in ["tests/it/main.rs", "x/src/a/tests.rs", "x/src/a/tests/more.rs"] {
            assert_eq!(Source::new(path.to_owned(), text.to_owned()).production_lines(), 0, "{path}");
        }
    }

    #[test]
    fn words_are_found_whole() {
        assert!(has_word("use aya::Pod", "aya"));
        assert!(!has_word("use aya_ebpf::x", "aya"));
        assert!(!has_word("Himalaya::x", "aya"));
    }

    #[test]
    fn modules_below_the_crate_are_found_in_paths_and_groups() {
        let code = "use crate::snapshot::{a, b};\nuse crate::{\n    proxy::http, control as c,\n    x::{y, z},\n};\nfn f(a: crate::reason::R) {}";
        let names: Vec<_> = crate_paths(code).into_iter().map(|(_, name)| name).collect();
        assert_eq!(names, ["snapshot", "proxy", "control", "x", "reason"]);
    }
}
