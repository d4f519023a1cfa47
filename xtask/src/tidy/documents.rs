//! What the documents say about the code: the codemap is whole, and links lead somewhere.

use std::collections::BTreeSet;

use super::Finding;
use super::source::Source;
use crate::workspace;

/// Where the codemap is.
const CODEMAP: &str = "ARCHITECTURE.md";
/// Levels of folders that it shows.
const DEPTH_MAX: usize = 2;

/// Every folder below a crate's `src`, two levels deep, stands in the trees of the codemap.
pub(super) fn codemap(sources: &[Source], findings: &mut Vec<Finding>) {
    let map = sources.iter().find(|source| source.path == CODEMAP).map_or("", |source| source.text.as_str());
    let mapped = mapped(map);
    for folder in folders(sources.iter().map(|source| source.path.as_str())) {
        if !mapped.contains(&folder) {
            let says = format!("`{folder}` is not in the codemap");
            findings.push(Finding { path: CODEMAP.to_owned(), line: 0, says });
        }
    }
}

/// The folders of an indented tree: `proxy/` with `  http/` below it gives `proxy/` and `proxy/http/`.
fn mapped(map: &str) -> BTreeSet<String> {
    let is_folder = |word: &&str| {
        word.ends_with('/')
            && word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "_/".contains(c))
    };
    let mut above: Vec<(usize, String)> = Vec::new();
    let mut mapped = BTreeSet::new();
    for line in map.lines() {
        let indent = line.len() - line.trim_start().len();
        above.retain(|(outer, _)| *outer < indent);
        if let Some(word) = line.split_whitespace().find(is_folder) {
            let folder = format!("{}{word}", above.last().map_or("", |(_, path)| path.as_str()));
            mapped.insert(folder.clone());
            above.push((indent, folder));
        } else if indent == 0 && !line.is_empty() {
            above.clear();
        }
    }
    mapped
}

/// `gateway-userspace/src/proxy/http/body.rs` gives `proxy/` and `proxy/http/`; what is deeper is its parent's own matter.
fn folders<'a>(paths: impl Iterator<Item = &'a str>) -> BTreeSet<String> {
    let mut folders = BTreeSet::new();
    // A folder with a module's tests and nothing else is no part of the structure.
    for path in paths.filter(|path| path.ends_with(".rs") && !path.ends_with("/tests.rs")) {
        let Some((_, inner)) = path.split_once("/src/") else { continue };
        for (at, _) in inner.match_indices('/').take(DEPTH_MAX) {
            folders.insert(inner[..=at].to_owned());
        }
    }
    folders.retain(|folder| !folder.ends_with("/tests/"));
    folders
}

/// Relative links of Markdown files exist.
pub(super) fn links(source: &Source, findings: &mut Vec<Finding>) {
    if !source.path.ends_with(".md") {
        return;
    }
    let here = workspace::root().join(&source.path);
    for (index, line) in source.text.lines().enumerate() {
        for target in targets(line) {
            if here.parent().is_some_and(|dir| !dir.join(target).exists()) {
                let says = format!("the link to `{target}` leads nowhere");
                findings.push(Finding { path: source.path.clone(), line: index + 1, says });
            }
        }
    }
}

/// The files that a line links to: `[a](b.md#part)` gives `b.md`; addresses and parts of this file are left out.
fn targets(line: &str) -> Vec<&str> {
    let after = line.split("](").skip(1);
    let whole = after.filter_map(|rest| rest.split(')').next());
    let files = whole.filter(|target| !target.contains("://") && !target.starts_with('#'));
    files.filter_map(|target| target.split('#').next()).collect()
}

/// Blanks at line ends make differences that nobody sees.
pub(super) fn trailing_blanks(source: &Source, findings: &mut Vec<Finding>) {
    for (index, line) in source.text.lines().enumerate() {
        if line.ends_with([' ', '\t', '\r']) {
            let says = "the line ends with blanks".to_owned();
            findings.push(Finding { path: source.path.clone(), line: index + 1, says });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Source;
    use super::{codemap, folders, targets};

    #[test]
    fn every_folder_below_src_is_asked_for() {
        let paths = [
            "a/src/lib.rs",
            "a/src/proxy/http/body.rs",
            "a/src/proxy/http/body/tests/x.rs",
            "a/src/proxy/tcp/tests.rs",
        ];
        let expected = ["proxy/", "proxy/http/"];
        assert_eq!(folders(paths.into_iter()).into_iter().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_folder_that_the_codemap_forgets_is_found() {
        let file = |path: &str, text: &str| Source::new(path.to_owned(), text.to_owned());
        let sources = [
            file("ARCHITECTURE.md", "proxy/"),
            file("a/src/proxy/x.rs", ""),
            file("a/src/snapshot/y.rs", ""),
        ];
        let mut findings = Vec::new();
        codemap(&sources, &mut findings);
        assert_eq!(findings.len(), 1);
        assert!(findings[0].says.contains("snapshot/"));
    }

    #[test]
    fn only_links_to_files_are_followed() {
        let line = "[a](b.md#part) [c](https://example.org) [d](#here) ![e](f/g.svg)";
        assert_eq!(targets(line), ["b.md", "f/g.svg"]);
    }
}
