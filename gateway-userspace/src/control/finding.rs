//! Pure: all findings of the moment, in the order in which a reader wants them, by who found them.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::sync::Arc;

use serde::Serialize;

use super::config::meta::ObjectKey;
use super::config::resources::ObjectId;
use super::diagnostic::Diagnostic;
use crate::persistent::OrderedMap;

/// Who found something: what it finds next time replaces what it found.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Finder {
    /// The Service as a destination.
    Service(ObjectKey),
    /// All classes and Gateways.
    Gateways,
    /// The Service as pods dial it.
    Frontend(ObjectKey),
    /// The route.
    Route(ObjectId),
    /// Statuses of Gateways.
    Statuses,
    /// The endpoints of a Service.
    Endpoints(ObjectKey),
    /// Whoever reads objects.
    Provider,
}

/// Findings by file, line and code. Cheap to clone; a change costs the findings of one finder.
#[derive(Debug, Clone, Default)]
pub struct Findings {
    all: OrderedMap<Key, Arc<Diagnostic>>,
    by_finder: OrderedMap<Finder, Arc<[Arc<Diagnostic>]>>,
}

/// A finding in its order: by file, line and code, then by finder.
#[derive(Debug, Clone)]
struct Key {
    finding: Arc<Diagnostic>,
    finder: Finder,
    number: usize,
}

impl Key {
    fn order(&self) -> impl Ord + '_ {
        let Diagnostic { file, line, code, .. } = &*self.finding;
        (file, line, code, &self.finder, self.number)
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Key {}

impl Ord for Key {
    fn cmp(&self, other: &Self) -> Ordering {
        self.order().cmp(&other.order())
    }
}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Findings {
    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Diagnostic> {
        self.all.values().map(|finding| &**finding)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// True when there is none.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Those that `old` has not.
    pub fn new_since<'f>(&'f self, old: &'f Self) -> impl Iterator<Item = &'f Diagnostic> {
        let changes = self.all.changes_since(&old.all, |a, b| a == b);
        // What is found again, by another finder or in another order, is not new.
        let gone: HashSet<String> = changes.iter().filter_map(|(_, was, _)| was.map(|f| text(f))).collect();
        let come = changes.into_iter().filter_map(|(_, _, is)| is.map(|finding| &**finding));
        come.filter(move |finding| !gone.contains(&text(finding)))
    }

    /// Replaces what `finder` found.
    pub(super) fn set(&mut self, finder: Finder, found: &[Diagnostic]) {
        let old = self.by_finder.get(&finder).map_or(&[][..], |old| &old[..]);
        if old.iter().map(|finding| &**finding).eq(found) {
            return;
        }
        let key = |(number, finding)| Key { finding: Arc::clone(finding), finder: finder.clone(), number };
        for gone in old.iter().enumerate().map(key) {
            self.all.remove(&gone);
        }
        let found: Arc<[Arc<Diagnostic>]> = found.iter().cloned().map(Arc::new).collect();
        for new in found.iter().enumerate().map(key) {
            self.all.insert(new.clone(), new.finding);
        }
        if found.is_empty() {
            self.by_finder.remove(&finder);
        } else {
            self.by_finder.insert(finder, found);
        }
    }
}

/// All that a reader sees of a finding.
fn text(finding: &Diagnostic) -> String {
    format!("{finding:?}")
}

impl PartialEq for Findings {
    fn eq(&self, other: &Self) -> bool {
        self.all == other.all
    }
}

impl Serialize for Findings {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

#[cfg(test)]
mod tests {
    use super::{Finder, Findings};
    use crate::control::diagnostic::{Code, Diagnostic, Severity};

    fn finding(file: &str, line: u32) -> Diagnostic {
        Diagnostic::at(Severity::Warning, Code::NoEndpoints, file, Some((line, 1)))
    }

    #[test]
    fn findings_are_in_the_order_of_files_and_each_finder_replaces_its_own() {
        let mut findings = Findings::default();
        findings.set(Finder::Provider, &[finding("b", 1), finding("a", 2)]);
        findings.set(Finder::Gateways, &[finding("a", 1), finding("a", 2)]);
        let before = findings.clone();
        let lines =
            |f: &Findings| f.iter().filter_map(|f| Some((f.file.clone()?, f.line?))).collect::<Vec<_>>();
        let place = |file: &str, line| (file.to_owned(), line);
        assert_eq!(lines(&findings), [place("a", 1), place("a", 2), place("a", 2), place("b", 1)]);
        findings.set(Finder::Provider, &[finding("a", 2), finding("c", 1)]);
        assert_eq!(lines(&findings), [place("a", 1), place("a", 2), place("a", 2), place("c", 1)]);
        let new: Vec<_> = findings.new_since(&before).map(|f| f.file.clone()).collect();
        assert_eq!(new, [Some("c".to_owned())]);
        findings.set(Finder::Provider, &[]);
        findings.set(Finder::Gateways, &[]);
        assert!(findings.is_empty() && findings == Findings::default());
    }
}
