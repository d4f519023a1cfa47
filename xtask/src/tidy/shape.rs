//! What a file looks like: its first line, its length, its name, and what must not be left in it.

use super::source::{Source, has_word};
use super::{Finding, allowed};

/// Lines that ship, comments included, in one file.
pub(super) const LINES_MAX: usize = 600;

fn report(source: &Source, line: usize, says: impl Into<String>, findings: &mut Vec<Finding>) {
    findings.push(Finding { path: source.path.clone(), line, says: says.into() });
}

/// `//! What this file is for.`, before anything else. The `tests.rs` of a module is introduced by that module.
pub(super) fn first_sentence(source: &Source, findings: &mut Vec<Finding>) {
    if !source.is_rust() || source.path.ends_with("/tests.rs") {
        return;
    }
    let paragraph: Vec<&str> = source
        .text
        .lines()
        .map_while(|line| line.strip_prefix("//!"))
        .map(str::trim)
        .take_while(|line| !line.is_empty())
        .collect();
    match paragraph.last() {
        None => report(source, 1, "does not begin with `//!` and a sentence", findings),
        Some(last) if !last.ends_with(['.', ':', '?', '`']) => {
            report(source, paragraph.len(), "the first paragraph is not a sentence: it has no end", findings);
        }
        Some(_) => {}
    }
}

/// A file that grows past the limit holds more than one concept.
pub(super) fn length(source: &Source, findings: &mut Vec<Finding>) {
    let lines = source.production_lines();
    let excepted = allowed::LONG.iter().any(|(path, _)| *path == source.path);
    if source.is_rust() && lines > LINES_MAX && !excepted {
        report(source, 0, format!("{lines} lines that ship, and the limit is {LINES_MAX}"), findings);
    }
}

/// A name that says nothing collects everything.
pub(super) fn names(source: &Source, findings: &mut Vec<Finding>) {
    const BANNED: [&str; 9] =
        ["util", "utils", "common", "helper", "helpers", "manager", "types", "misc", "consts"];
    let Some(path) = source.path.strip_suffix(".rs") else { return };
    if let Some(name) = path.split('/').find(|name| BANNED.contains(name)) {
        report(source, 0, format!("`{name}` does not say what is in it"), findings);
    }
}

/// A test that is not run is no test.
pub(super) fn ignored_tests(source: &Source, findings: &mut Vec<Finding>) {
    for (index, _) in source.code.lines().enumerate().filter(|(_, code)| code.contains("#[ignore")) {
        report(source, index + 1, "an ignored test: let it run, or say at run time why it cannot", findings);
    }
}

/// A test waits for a condition with a deadline, never for time to pass. Where time is paused, none does.
pub(super) fn sleeping_tests(source: &Source, findings: &mut Vec<Finding>) {
    /// A loop that looks again and again names its deadline at most so many lines before it sleeps.
    const DEADLINE_LINES: usize = 4;
    if allowed::SLEEP.iter().any(|(path, _)| *path == source.path) {
        return;
    }
    let (mut paused, mut deadline) = (false, 0);
    for (line, code) in source.tests() {
        if code.contains("test]") || code.contains("::test(") {
            paused = code.contains("start_paused = true");
        }
        if code.contains("deadline") {
            deadline = line;
        }
        let looks_again = deadline > 0 && line - deadline <= DEADLINE_LINES;
        if code.contains("sleep(") && !paused && !looks_again {
            report(source, line, "a test sleeps: wait for what it waits for", findings);
        }
    }
}

/// No promise of later work stays in the tree.
pub(super) fn leftovers(source: &Source, findings: &mut Vec<Finding>) {
    // In halves, so that this file may name them.
    const WORDS: [&str; 3] = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];
    const MACROS: [&str; 2] = ["todo!", "unimplemented!"];
    for (index, line) in source.text.lines().enumerate() {
        if let Some(word) = WORDS.iter().find(|word| has_word(line, word)) {
            report(source, index + 1, format!("`{word}`: do it, or file an issue"), findings);
        }
    }
    for (index, line) in source.code.lines().enumerate() {
        if let Some(name) = MACROS.iter().find(|name| has_word(line, name)) {
            report(source, index + 1, format!("`{name}`: do it, or leave it out"), findings);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::findings;

    #[test]
    fn a_file_begins_with_a_sentence() {
        let lines = |text: &str| findings(super::first_sentence, "a.rs", text);
        assert_eq!(lines("//! A thing.\n//!\n//! More\nfn a() {}\n"), [] as [usize; 0]);
        assert_eq!(lines("//! A thing that\n//! spans lines.\n"), [] as [usize; 0]);
        assert_eq!(lines("#![no_std]\n//! A thing.\n"), [1]);
        assert_eq!(lines("//! A thing\nfn a() {}\n"), [1]);
    }

    #[test]
    fn only_lines_that_ship_count() {
        let long = format!("//! A.\n{}", "fn a() {}\n".repeat(super::LINES_MAX));
        assert_eq!(findings(super::length, "x/src/a.rs", &long), [0]);
        assert_eq!(findings(super::length, "tests/it/a.rs", &long), [] as [usize; 0]);
        let tested =
            format!("//! A.\n#[cfg(test)]\nmod tests {{\n{}}}\n", "fn a() {}\n".repeat(super::LINES_MAX));
        assert_eq!(findings(super::length, "x/src/a.rs", &tested), [] as [usize; 0]);
    }

    #[test]
    fn names_that_say_nothing_are_refused() {
        assert_eq!(findings(super::names, "x/src/util.rs", ""), [0]);
        assert_eq!(findings(super::names, "x/src/types/a.rs", ""), [0]);
        assert_eq!(findings(super::names, "gateway-common/src/lib.rs", ""), [] as [usize; 0]);
    }

    #[test]
    fn tests_neither_sleep_nor_are_ignored() {
        let text = "//! A.\nfn a() { std::thread::sleep(x); }\n#[cfg(test)]\nmod tests {\n    #[ignore]\n    fn b() { thread::sleep(x); }\n}\n";
        assert_eq!(findings(super::sleeping_tests, "x/src/a.rs", text), [6]);
        assert_eq!(findings(super::ignored_tests, "x/src/a.rs", text), [5]);
        let paused = "//! A.\n#[tokio::test(start_paused = true)]\nasync fn a() { sleep(x) }\n#[test]\nfn b() { sleep(x) }\n";
        assert_eq!(findings(super::sleeping_tests, "tests/it/a.rs", paused), [5]);
        let waits = "//! A.\nfn a() {\n    while !b() {\n        assert!(now() < deadline);\n        sleep(x);\n    }\n}\n";
        assert_eq!(findings(super::sleeping_tests, "tests/it/a.rs", waits), [] as [usize; 0]);
    }

    #[test]
    fn promises_are_found_in_comments_too() {
        let text = format!("// {}: later\nfn a() {{ todo!() }}\n", concat!("TO", "DO"));
        assert_eq!(findings(super::leftovers, "x/src/a.rs", &text), [1, 2]);
        assert_eq!(findings(super::leftovers, "README.md", "what todo! is"), [] as [usize; 0]);
    }
}
