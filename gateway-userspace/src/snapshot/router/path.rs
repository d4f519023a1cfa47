//! Pure: the entries of one hostname by their paths.
//!
//! Exact paths are hashed whole. Prefixes hang in a tree of path segments, and so do regular
//! expressions, by the whole segments that every path they match begins with. A request walks down
//! its own segments as far as the tree goes, and then looks back up.

use std::sync::Arc;

use regex_syntax::hir::{Hir, HirKind, Look};
use smallvec::SmallVec;

use super::candidates::Candidates;
use super::rank::RankedEntry;
use super::{PathMatcher, RequestHead};
use crate::persistent::HashedMap;

/// Segments of a path that cost no allocation.
const SEGMENTS: usize = 16;

/// Entries by path.
#[derive(Debug, Clone, Default)]
pub(super) struct PathIndex {
    exact: HashedMap<Box<str>, Candidates>,
    /// The tree of segments.
    root: Node,
}

#[derive(Debug, Clone, Default)]
struct Node {
    children: HashedMap<Box<str>, Arc<Node>>,
    /// Prefixes that end here.
    prefixes: Candidates,
    /// Regular expressions whose literal segments end here.
    regexes: Candidates,
    /// Those of GRPCRoutes, which come after prefixes.
    grpc_regexes: Candidates,
}

/// Where entries are that share a path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place<'e> {
    Exact(&'e str),
    /// Without the slash at its end.
    Prefix(&'e str),
    /// The whole segments that every path of the pattern begins with.
    Regex {
        literal: String,
        grpc: bool,
    },
}

impl<'e> Place<'e> {
    pub(super) fn of(path: &'e PathMatcher, grpc: bool) -> Self {
        match path {
            PathMatcher::Exact(path) => Self::Exact(path),
            PathMatcher::Prefix(prefix) => Self::Prefix(prefix.trim_end_matches('/')),
            PathMatcher::Regex(pattern) => {
                let mut literal = literal_head(pattern.as_str());
                literal.truncate(literal.rfind('/').unwrap_or(0));
                Self::Regex { literal, grpc }
            }
        }
    }
}

impl PathIndex {
    /// Takes entries of one place out and others in.
    pub(super) fn change(
        &mut self,
        place: &Place<'_>,
        removed: &[&Arc<RankedEntry>],
        added: &[&Arc<RankedEntry>],
    ) {
        match place {
            Place::Exact(path) => {
                let candidates = self.exact.slot(*path);
                candidates.change(removed, added);
                if candidates.is_empty() {
                    self.exact.remove(*path);
                }
            }
            Place::Prefix(prefix) => {
                self.root.change(&mut segments(prefix), &mut |node| node.prefixes.change(removed, added));
            }
            Place::Regex { literal, grpc: false } => {
                self.root.change(&mut segments(literal), &mut |node| node.regexes.change(removed, added));
            }
            Place::Regex { literal, grpc: true } => {
                let mut change = |node: &mut Node| node.grpc_regexes.change(removed, added);
                self.root.change(&mut segments(literal), &mut change);
            }
        }
    }

    /// True when there is no entry.
    pub(super) fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.root.is_empty()
    }

    /// Adds all entries to `all`, in no order.
    pub(super) fn collect<'i>(&'i self, all: &mut Vec<&'i Arc<RankedEntry>>) {
        all.extend(self.exact.values().flat_map(Candidates::iter));
        let mut pending = vec![&self.root];
        while let Some(node) = pending.pop() {
            for candidates in [&node.prefixes, &node.regexes, &node.grpc_regexes] {
                all.extend(candidates.iter());
            }
            pending.extend(node.children.values().map(|child| &**child));
        }
    }

    /// The first entry whose path matches and for which `holds` is true. `holds` looks at the whole
    /// matcher; the path too: comparing it once more costs less than keeping two kinds of check.
    pub(super) fn find(
        &self,
        head: &RequestHead<'_>,
        mut holds: impl FnMut(&RankedEntry) -> bool,
    ) -> Option<&RankedEntry> {
        if let Some(found) = self.exact.get(head.path).and_then(|c| c.first(head, None, &mut holds)) {
            return Some(found);
        }
        let way = self.walk(head.path);
        let below_root = way.get(1..).unwrap_or_default();
        best_of(&way, |node| &node.regexes, head, &mut holds)
            .or_else(|| below_root.iter().rev().find_map(|node| node.prefixes.first(head, None, &mut holds)))
            .or_else(|| best_of(&way, |node| &node.grpc_regexes, head, &mut holds))
            .or_else(|| self.root.prefixes.first(head, None, &mut holds))
    }

    /// The nodes on the way of `path`, from the root as far as the tree goes.
    fn walk(&self, path: &str) -> SmallVec<[&Node; SEGMENTS]> {
        let mut way = SmallVec::new();
        let mut node = &self.root;
        way.push(node);
        for segment in segments(path) {
            let Some(child) = node.children.get(segment) else { break };
            node = child;
            way.push(node);
        }
        way
    }
}

/// Patterns of several nodes may match; the best rank counts, not the deepest node.
fn best_of<'i>(
    way: &[&'i Node],
    of: impl Fn(&'i Node) -> &'i Candidates,
    head: &RequestHead<'_>,
    holds: &mut impl FnMut(&RankedEntry) -> bool,
) -> Option<&'i RankedEntry> {
    way.iter().rev().fold(None, |best, node| of(node).first(head, best, holds).or(best))
}

impl Node {
    fn is_empty(&self) -> bool {
        let own = [&self.prefixes, &self.regexes, &self.grpc_regexes];
        self.children.is_empty() && own.into_iter().all(Candidates::is_empty)
    }

    /// Changes the node at the end of `path`; nodes are made on the way there, and gone when empty.
    /// As deep as a path has segments: a path match is at most 1024 bytes long.
    fn change<'p>(&mut self, path: &mut impl Iterator<Item = &'p str>, change: &mut impl FnMut(&mut Self)) {
        let Some(segment) = path.next() else { return change(self) };
        let child = Arc::make_mut(self.children.slot(segment));
        child.change(path, change);
        if child.is_empty() {
            self.children.remove(segment);
        }
    }
}

impl PathMatcher {
    /// Length in bytes of the matched prefix, without the slash at its end.
    pub(super) fn prefix_len(&self) -> usize {
        match self {
            Self::Prefix(prefix) => prefix.trim_end_matches('/').len(),
            Self::Exact(_) | Self::Regex(_) => 0,
        }
    }

    /// True when it matches a path in normal form.
    pub(super) fn holds(&self, path: &str) -> bool {
        match self {
            Self::Exact(exact) => path == &**exact,
            Self::Prefix(prefix) => path
                .strip_prefix(prefix.trim_end_matches('/'))
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/')),
            Self::Regex(pattern) => pattern.is_match(path),
        }
    }
}

/// What stands after each slash.
fn segments(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').skip(1)
}

/// The text that each match of an anchored pattern begins with; empty when there is none.
fn literal_head(pattern: &str) -> String {
    let mut head = LiteralHead::default();
    if let Ok(parsed) = regex_syntax::parse(pattern) {
        head.read(&parsed);
    }
    match String::from_utf8(head.literal) {
        Ok(literal) => literal,
        Err(error) => {
            String::from_utf8_lossy(&error.as_bytes()[..error.utf8_error().valid_up_to()]).into_owned()
        }
    }
}

#[derive(Debug, Default)]
struct LiteralHead {
    anchored: bool,
    literal: Vec<u8>,
}

impl LiteralHead {
    /// Reads on while the pattern is literal; false when it ceases to be.
    fn read(&mut self, pattern: &Hir) -> bool {
        match pattern.kind() {
            HirKind::Empty => true,
            HirKind::Look(Look::Start) => {
                self.anchored = true;
                true
            }
            HirKind::Literal(literal) if self.anchored => {
                self.literal.extend_from_slice(&literal.0);
                true
            }
            HirKind::Capture(capture) => self.read(&capture.sub),
            HirKind::Concat(parts) => parts.iter().all(|part| self.read(part)),
            HirKind::Literal(_)
            | HirKind::Look(_)
            | HirKind::Class(_)
            | HirKind::Repetition(_)
            | HirKind::Alternation(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::literal_head;

    #[test]
    fn the_literal_head_of_a_pattern_is_what_every_match_begins_with() {
        for (pattern, wanted) in [
            ("^(?:/users/[0-9]+)$", "/users/"),
            ("^(?:/a/b)$", "/a/b"),
            ("^(?:/a\\.b/c+)$", "/a.b/"),
            ("^(?:/ab?)$", "/a"),
            ("^(?:/(api)/v[12])$", "/api/v"),
            ("^(?:/a|/b)$", ""),
            ("^(?:/x/y|z)$", ""),
            ("^(?:/x/y)|(?:/b)$", ""),
            ("^(?i:/a/b)$", "/"),
            ("^(?:.*/a)$", ""),
            ("/a/b", ""),
            ("(?m)^/a/b$", ""),
            ("^(?:/é/[ab])$", "/é/"),
        ] {
            assert_eq!(literal_head(pattern), wanted, "{pattern}");
        }
    }
}
