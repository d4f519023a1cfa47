//! Pure: the entries of one hostname by their paths.
//!
//! Exact paths are hashed whole. Prefixes hang in a tree of path segments, and so do regular
//! expressions, by the whole segments that every path they match begins with. A request walks down
//! its own segments as far as the tree goes, and then looks back up.

use std::collections::HashMap;

use regex_syntax::hir::{Hir, HirKind, Look};
use rustc_hash::FxBuildHasher;

use super::candidates::Candidates;
use super::{Matcher, PathMatcher, RequestHead};

/// The root of the tree.
const ROOT: usize = 0;

/// Entries by path.
#[derive(Debug)]
pub(super) struct PathIndex {
    exact: HashMap<Box<str>, Candidates, FxBuildHasher>,
    /// Segment tree; `ROOT` comes first.
    nodes: Vec<Node>,
}

#[derive(Debug, Default)]
struct Node {
    parent: usize,
    children: HashMap<Box<str>, usize, FxBuildHasher>,
    /// Prefixes that end here.
    prefixes: Candidates,
    /// Regular expressions whose literal segments end here.
    regexes: Candidates,
    /// Those of GRPCRoutes, which come after prefixes.
    grpc_regexes: Candidates,
}

impl Default for PathIndex {
    fn default() -> Self {
        Self { exact: HashMap::default(), nodes: vec![Node::default()] }
    }
}

impl PathIndex {
    /// Adds an entry. Ranks must come in rising order.
    pub(super) fn insert(&mut self, rank: usize, path: &PathMatcher, grpc: bool) {
        let candidates = match path {
            PathMatcher::Exact(path) => self.exact.entry(path.clone()).or_default(),
            PathMatcher::Prefix(prefix) => {
                let node = self.node_of(segments(prefix.trim_end_matches('/')));
                &mut self.nodes[node].prefixes
            }
            PathMatcher::Regex(pattern) => {
                let literal = literal_head(pattern.as_str());
                let whole = literal.rfind('/').map_or("", |end| &literal[..end]);
                let node = self.node_of(segments(whole));
                let node = &mut self.nodes[node];
                if grpc { &mut node.grpc_regexes } else { &mut node.regexes }
            }
        };
        candidates.push(rank);
    }

    /// To be called once, after the last `insert`.
    pub(super) fn finish<'m>(&mut self, matcher_of: &impl Fn(usize) -> &'m Matcher) {
        for candidates in self.exact.values_mut() {
            candidates.finish(matcher_of);
        }
        for node in &mut self.nodes {
            for candidates in [&mut node.prefixes, &mut node.regexes, &mut node.grpc_regexes] {
                candidates.finish(matcher_of);
            }
        }
    }

    /// The best rank whose path matches and for which `holds` is true. `holds` looks at the whole
    /// matcher; the path too: comparing it once more costs less than keeping two kinds of check.
    pub(super) fn find(&self, head: &RequestHead<'_>, mut holds: impl FnMut(usize) -> bool) -> Option<usize> {
        if let Some(rank) = self.exact.get(head.path).and_then(|c| c.first(head, usize::MAX, &mut holds)) {
            return Some(rank);
        }
        let deepest = self.walk(head.path);
        self.best_of(deepest, |node| &node.regexes, head, &mut holds)
            .or_else(|| {
                self.upwards(deepest)
                    .take_while(|node| *node != ROOT)
                    .find_map(|node| self.nodes[node].prefixes.first(head, usize::MAX, &mut holds))
            })
            .or_else(|| self.best_of(deepest, |node| &node.grpc_regexes, head, &mut holds))
            .or_else(|| self.nodes[ROOT].prefixes.first(head, usize::MAX, &mut holds))
    }

    /// Patterns of several nodes may match; the best rank counts, not the deepest node.
    fn best_of(
        &self,
        deepest: usize,
        of: impl Fn(&Node) -> &Candidates,
        head: &RequestHead<'_>,
        holds: &mut impl FnMut(usize) -> bool,
    ) -> Option<usize> {
        self.upwards(deepest).fold(None, |best, node| {
            of(&self.nodes[node]).first(head, best.unwrap_or(usize::MAX), holds).or(best)
        })
    }

    /// The last node on the way of `path`.
    fn walk(&self, path: &str) -> usize {
        let mut node = ROOT;
        for segment in segments(path) {
            match self.nodes[node].children.get(segment) {
                Some(child) => node = *child,
                None => break,
            }
        }
        node
    }

    fn upwards(&self, from: usize) -> impl Iterator<Item = usize> {
        std::iter::successors(Some(from), |node| (*node != ROOT).then(|| self.nodes[*node].parent))
    }

    fn node_of<'p>(&mut self, path: impl Iterator<Item = &'p str>) -> usize {
        path.fold(ROOT, |parent, segment| {
            if let Some(child) = self.nodes[parent].children.get(segment) {
                return *child;
            }
            let child = self.nodes.len();
            self.nodes[parent].children.insert(segment.into(), child);
            self.nodes.push(Node { parent, ..Node::default() });
            child
        })
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
