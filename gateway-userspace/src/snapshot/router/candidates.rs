//! Pure: entries that share a path, best first.
//!
//! Many routes may share one path and differ only by the value of a header (one per tenant or per
//! version): those are found by that value, so that they need not all be looked at.

use std::collections::HashMap;
use std::sync::Arc;

use http::HeaderName;
use rustc_hash::FxBuildHasher;

use super::matcher::with_value;
use super::rank::RankedEntry;
use super::{Matcher, RequestHead, ValueMatcher};

/// Fewer are looked at one by one.
const PIVOT_MIN: usize = 5;

/// Entries by rank; a change makes a new list.
#[derive(Debug, Clone, Default)]
pub(super) struct Candidates(Option<Arc<List>>);

#[derive(Debug)]
struct List {
    /// Those that the pivot does not hold.
    entries: Box<[Arc<RankedEntry>]>,
    pivot: Option<Pivot>,
}

/// Entries by the value that one header must have.
#[derive(Debug)]
struct Pivot {
    name: HeaderName,
    by_value: HashMap<Box<[u8]>, Vec<Arc<RankedEntry>>, FxBuildHasher>,
}

impl Candidates {
    /// True when there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// All of them, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<RankedEntry>> {
        let lists = self.0.iter();
        lists.flat_map(|list| {
            let pivoted = list.pivot.iter().flat_map(|pivot| pivot.by_value.values().flatten());
            list.entries.iter().chain(pivoted)
        })
    }

    /// The same without some and with others.
    pub(super) fn change(&mut self, removed: &[&Arc<RankedEntry>], added: &[&Arc<RankedEntry>]) {
        let mut gone: Vec<_> = removed.iter().map(|entry| &entry.rank).collect();
        gone.sort();
        let is_removed = |entry: &Arc<RankedEntry>| gone.binary_search(&&entry.rank).is_ok();
        let kept = self.iter().filter(|entry| !is_removed(entry)).cloned();
        let mut entries: Vec<_> = kept.chain(added.iter().copied().cloned()).collect();
        entries.sort_by(|a, b| a.rank.cmp(&b.rank));
        self.0 = (!entries.is_empty()).then(|| Arc::new(List::new(entries)));
    }

    /// The first one before `limit` for which `holds` is true.
    pub(super) fn first<'c>(
        &'c self,
        head: &RequestHead<'_>,
        limit: Option<&RankedEntry>,
        holds: &mut impl FnMut(&RankedEntry) -> bool,
    ) -> Option<&'c RankedEntry> {
        let list = self.0.as_deref()?;
        let mut pivoted = list.pivot.as_ref().map_or(&[][..], |pivot| pivot.entries(head)).iter().peekable();
        let mut others = list.entries.iter().peekable();
        loop {
            let from_pivot = match (pivoted.peek(), others.peek()) {
                (Some(a), Some(b)) => a.rank < b.rank,
                (Some(_), None) => true,
                (None, Some(_)) => false,
                (None, None) => return None,
            };
            let entry = if from_pivot { pivoted.next() } else { others.next() }?;
            if limit.is_some_and(|limit| entry.rank >= limit.rank) {
                return None;
            }
            if holds(entry) {
                return Some(entry);
            }
        }
    }
}

impl List {
    /// With a pivot over the header that most entries want an exact value of.
    fn new(entries: Vec<Arc<RankedEntry>>) -> Self {
        let Some(name) = pivot_of(&entries) else {
            return Self { entries: entries.into(), pivot: None };
        };
        let mut pivot = Pivot { name, by_value: HashMap::default() };
        let mut others = Vec::new();
        for entry in entries {
            match exact_value(&entry.entry.matcher, &pivot.name) {
                Some(value) => pivot.by_value.entry(value.as_bytes().into()).or_default().push(entry),
                None => others.push(entry),
            }
        }
        Self { entries: others.into(), pivot: Some(pivot) }
    }
}

/// The header that most entries want an exact value of, where that is enough of them.
fn pivot_of(entries: &[Arc<RankedEntry>]) -> Option<HeaderName> {
    if entries.len() < PIVOT_MIN {
        return None;
    }
    let mut uses: HashMap<&HeaderName, usize, FxBuildHasher> = HashMap::default();
    for name in entries.iter().flat_map(|entry| entry.entry.matcher.headers.iter().filter_map(exact_name)) {
        *uses.entry(name).or_default() += 1;
    }
    let most_used = uses.into_iter().max_by(|(a, m), (b, n)| m.cmp(n).then(b.as_str().cmp(a.as_str())));
    most_used.filter(|(_, uses)| *uses >= PIVOT_MIN).map(|(name, _)| name.clone())
}

impl Pivot {
    /// Entries that want the value that the request has.
    fn entries(&self, head: &RequestHead<'_>) -> &[Arc<RankedEntry>] {
        with_value(head.headers, &self.name, |value| self.by_value.get(value))
            .flatten()
            .map_or(&[], Vec::as_slice)
    }
}

fn exact_name((name, value): &(HeaderName, ValueMatcher)) -> Option<&HeaderName> {
    matches!(value, ValueMatcher::Exact(_)).then_some(name)
}

fn exact_value<'m>(matcher: &'m Matcher, name: &HeaderName) -> Option<&'m str> {
    matcher.headers.iter().find_map(|(n, value)| match value {
        ValueMatcher::Exact(value) if n == name => Some(&**value),
        ValueMatcher::Exact(_) | ValueMatcher::Regex(_) => None,
    })
}
