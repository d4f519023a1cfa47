//! Pure: a file's text as YAML documents.
//!
//! Each is parsed by itself: one that is broken breaks no other, and one that did not change need not
//! be parsed again. YAML forbids `---` and `...` at the start of a line anywhere inside a document,
//! so lines are all there is to look at.

use std::hash::{DefaultHasher, Hash, Hasher};

/// One document of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Document<'a> {
    /// Its text, without the separators.
    pub(super) text: &'a str,
    /// Lines of the file before it.
    pub(super) lines_before: u32,
}

impl Document<'_> {
    /// The same for the same text.
    pub(super) fn fingerprint(&self) -> (u64, usize) {
        let mut hasher = DefaultHasher::new();
        self.text.hash(&mut hasher);
        (hasher.finish(), self.text.len())
    }
}

fn is_marker(line: &str, marker: &str) -> bool {
    line.strip_prefix(marker).is_some_and(|rest| rest.is_empty() || rest.starts_with(char::is_whitespace))
}

/// All documents that hold more than blanks and comments.
pub(super) fn split(text: &str) -> Vec<Document<'_>> {
    let mut documents = Vec::new();
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let (mut start, mut start_line, mut offset) = (0, 0, 0);
    let mut push = |from: usize, to: usize, lines_before: u32| {
        if let Some(part) = text.get(from..to).filter(|p| has_content(p)) {
            documents.push(Document { text: part, lines_before });
        }
    };
    for (number, line) in (0u32..).zip(text.split_inclusive('\n')) {
        let bare = line.trim_end_matches(['\n', '\r']);
        if is_marker(bare, "---") {
            push(start, offset, start_line);
            // What follows the marker on its line belongs to the document: `--- {a: b}`, `--- |`.
            start = offset + 3;
            start_line = number;
        } else if is_marker(bare, "...") {
            push(start, offset, start_line);
            start = offset + line.len();
            start_line = number + 1;
        }
        offset += line.len();
    }
    push(start, offset, start_line);
    documents
}

fn has_content(text: &str) -> bool {
    text.lines().any(|line| {
        let line = line.trim();
        !line.is_empty() && !line.starts_with('#') && !line.starts_with('%')
    })
}

#[cfg(test)]
mod tests {
    use super::split;

    fn parts(text: &str) -> Vec<(&str, u32)> {
        split(text).into_iter().map(|d| (d.text.trim(), d.lines_before)).collect()
    }

    #[test]
    fn documents_are_split_at_markers_and_know_their_lines() {
        assert_eq!(parts("a: 1\n---\nb: 2\n---\n# c\n---\nd: 3\n"), [("a: 1", 0), ("b: 2", 1), ("d: 3", 5)]);
        assert_eq!(parts("---\na: 1\n...\nb: 2\n"), [("a: 1", 0), ("b: 2", 3)]);
        assert_eq!(parts("--- {a: 1}\r\n---\r\nb: 2\r\n"), [("{a: 1}", 0), ("b: 2", 1)]);
        assert_eq!(parts("a: |\n  ---\n  x\nb: ----\n"), [("a: |\n  ---\n  x\nb: ----", 0)]);
        assert_eq!(parts(""), []);
    }
}
