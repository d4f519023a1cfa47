//! Pure: entries that share a path, best first.
//!
//! Many routes may share one path and differ only by the value of a header (one per tenant or per
//! version): those are found by that value, so that they need not all be looked at.

use std::collections::HashMap;

use http::HeaderName;
use rustc_hash::FxBuildHasher;

use super::matcher::with_value;
use super::{Matcher, RequestHead, ValueMatcher};

/// Fewer are looked at one by one.
const PIVOT_MIN: usize = 5;

/// Ranks of entries, rising.
#[derive(Debug, Default)]
pub(super) struct Candidates {
    /// Those that the pivot does not hold.
    ranks: Vec<u32>,
    pivot: Option<Box<Pivot>>,
}

/// Entries by the value that one header must have.
#[derive(Debug)]
struct Pivot {
    name: HeaderName,
    by_value: HashMap<Box<[u8]>, Vec<u32>, FxBuildHasher>,
}

impl Candidates {
    /// Adds a rank greater than all before.
    pub(super) fn push(&mut self, rank: usize) {
        self.ranks.push(u32::try_from(rank).unwrap_or(u32::MAX));
    }

    /// Builds the pivot over the header that most entries want an exact value of.
    pub(super) fn finish<'m>(&mut self, matcher_of: &impl Fn(usize) -> &'m Matcher) {
        if self.ranks.len() < PIVOT_MIN {
            return;
        }
        let exact_names = |rank: &u32| matcher_of(*rank as usize).headers.iter().filter_map(exact_name);
        let mut uses: HashMap<&HeaderName, usize, FxBuildHasher> = HashMap::default();
        for name in self.ranks.iter().flat_map(exact_names) {
            *uses.entry(name).or_default() += 1;
        }
        let most_used = uses.into_iter().max_by(|(a, m), (b, n)| m.cmp(n).then(b.as_str().cmp(a.as_str())));
        let Some((name, _)) = most_used.filter(|(_, uses)| *uses >= PIVOT_MIN) else {
            return;
        };
        let mut pivot = Pivot { name: name.clone(), by_value: HashMap::default() };
        self.ranks.retain(|rank| match exact_value(matcher_of(*rank as usize), &pivot.name) {
            Some(value) => {
                pivot.by_value.entry(value.as_bytes().into()).or_default().push(*rank);
                false
            }
            None => true,
        });
        self.pivot = Some(Box::new(pivot));
    }

    /// The first rank below `limit` for which `holds` is true.
    pub(super) fn first(
        &self,
        head: &RequestHead<'_>,
        limit: usize,
        holds: &mut impl FnMut(usize) -> bool,
    ) -> Option<usize> {
        let mut pivoted = self.pivot.as_ref().map_or(&[][..], |pivot| pivot.ranks(head)).iter().peekable();
        let mut others = self.ranks.iter().peekable();
        loop {
            let from_pivot = match (pivoted.peek(), others.peek()) {
                (Some(a), Some(b)) => a < b,
                (Some(_), None) => true,
                (None, Some(_)) => false,
                (None, None) => return None,
            };
            let rank = *(if from_pivot { pivoted.next() } else { others.next() })? as usize;
            if rank >= limit {
                return None;
            }
            if holds(rank) {
                return Some(rank);
            }
        }
    }
}

impl Pivot {
    /// Entries that want the value that the request has.
    fn ranks(&self, head: &RequestHead<'_>) -> &[u32] {
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
