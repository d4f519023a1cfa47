//! Pure: from a request's host, path, method, headers and query to the rule that serves it.
//!
//! Precedence is the Gateway API's (HTTPRouteRule and GRPCRouteRule, "matches"). Where the API leaves
//! it open: a regular expression comes after an exact path and before every prefix, the longer
//! pattern first; and a request that no rule of the most specific route hostname matches goes on to
//! the rules of less specific ones, because the API wants a 404 only when no attached rule matches.
//! Between listeners there is no such way on (`Section`).
//!
//! Indexed: the cost of `find` does not grow with the number of routes. Hosts and paths are found by
//! hashes of the request's own labels and segments, and routes that differ only by the value of a
//! header by a hash of that value. Looked at one by one are only entries that no request can tell
//! apart by these: patterns that begin with no literal path segment, and matches of one path that
//! differ by method, query or a header pattern.

mod candidates;
mod explain;
mod host;
mod matcher;
mod path;
mod precedence;
mod rank;
#[cfg(any(test, fuzzing))]
mod reference;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Method};

use super::cluster::Cluster;
use super::filter::Filter;
use crate::reason::Reason;
use host::HostIndex;
use path::{PathIndex, Place};
pub use rank::{RankedEntry, RouteAge};

/// A small number for a rule, stable over snapshots while its name exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RuleId(pub u32);

/// What a rule of an HTTPRoute or GRPCRoute does with the requests it gets.
#[derive(Debug)]
pub struct Rule {
    /// Number for metrics and log records.
    pub id: RuleId,
    /// `namespace/route/rule` where rule is its name or its index: the label `http_route`.
    pub name: Arc<str>,
    /// True for a rule of a GRPCRoute: refusals are answered as gRPC statuses.
    pub grpc: bool,
    /// Applied in order to every request of the rule.
    pub filters: Vec<Filter>,
    /// Where requests go.
    pub backends: WeightedBackends,
    /// Limits on time.
    pub timeouts: Timeouts,
    /// Whether and how attempts are repeated; `None` means Weir's default for safe cases only.
    pub retry: Option<RetryPolicy>,
}

/// HTTPRouteTimeouts (GEP-1742). `None` means Weir's default, `Some(ZERO)` none at all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Timeouts {
    /// From the whole request's arrival to the whole response's end, retries included.
    pub request: Option<Duration>,
    /// One attempt to a backend.
    pub backend_request: Option<Duration>,
}

/// HTTPRouteRetry (GEP-1731).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Repeats after the first attempt.
    pub attempts: u32,
    /// Response status codes that are repeated.
    pub codes: Vec<u16>,
    /// Least wait before a repeat.
    pub backoff: Duration,
}

/// Backends with their cumulated weights, for a choice in O(log n).
#[derive(Debug, Default)]
pub struct WeightedBackends {
    backends: Vec<Backend>,
    /// Sum of the weights up to and with each backend.
    cumulated: Vec<u64>,
}

/// One backendRef of a rule.
#[derive(Debug)]
pub struct Backend {
    /// Share, 0 to 1,000,000.
    pub weight: u32,
    /// The Service port, or why there is none: that share of requests gets a 500.
    pub cluster: Result<Arc<Cluster>, Reason>,
    /// Applied after the rule's filters.
    pub filters: Vec<Filter>,
}

impl WeightedBackends {
    /// Backends in the order of the rule.
    pub fn new(backends: Vec<Backend>) -> Self {
        let cumulated = backends
            .iter()
            .scan(0u64, |sum, b| {
                *sum += u64::from(b.weight);
                Some(*sum)
            })
            .collect();
        Self { backends, cumulated }
    }

    /// In the order of the rule.
    pub fn iter(&self) -> std::slice::Iter<'_, Backend> {
        self.backends.iter()
    }

    /// The backend for `random`, a uniform number; `None` when there is no weight at all.
    pub fn pick(&self, random: u64) -> Option<&Backend> {
        let total = *self.cumulated.last()?;
        if total == 0 {
            return None;
        }
        let point = random % total;
        self.backends.get(self.cumulated.partition_point(|sum| *sum <= point))
    }
}

/// What the router looks at. `host` is lower case, without port; `path` in its normal form.
#[derive(Debug, Clone, Copy)]
pub struct RequestHead<'a> {
    /// Host without port.
    pub host: &'a str,
    /// Path without query.
    pub path: &'a str,
    /// Query without `?`.
    pub query: Option<&'a str>,
    /// Method.
    pub method: &'a Method,
    /// Headers.
    pub headers: &'a HeaderMap,
}

/// The rule for a request, and what of its path was matched.
#[derive(Debug, Clone)]
pub struct RouteMatch<'a> {
    /// The rule.
    pub rule: &'a Arc<Rule>,
    /// Length in bytes of the matched `PathPrefix` (without trailing slash), for `ReplacePrefix`.
    pub prefix_len: usize,
}

/// The routes of one listener hostname (or of a Service, with `hostname: None`). A request goes to
/// the section with the most specific hostname and to no other (HTTP listener isolation).
#[derive(Debug, Default)]
pub struct Section {
    /// Lower case; `*.example.com` is a wildcard of any depth; `None` matches every host.
    pub hostname: Option<Box<str>>,
    /// In order of precedence for ties: oldest route first, then by `namespace/name`, then by
    /// position of rule and match.
    pub entries: Vec<RouteEntry>,
}

/// One match of one rule under one hostname of its route.
#[derive(Debug)]
pub struct RouteEntry {
    /// Hostname of the route, already intersected with the section's; `None` matches every host.
    pub hostname: Option<Box<str>>,
    /// All of it must hold.
    pub matcher: Matcher,
    /// What then serves the request.
    pub rule: Arc<Rule>,
}

/// HTTPRouteMatch, or GRPCRouteMatch turned into one: service and method are the path.
#[derive(Debug, Clone, Default)]
pub struct Matcher {
    /// Default: prefix `/`.
    pub path: PathMatcher,
    /// All must hold.
    pub headers: Vec<(http::HeaderName, ValueMatcher)>,
    /// All must hold; the first value of a name counts.
    pub query: Vec<(Box<str>, ValueMatcher)>,
    /// Any, when absent.
    pub method: Option<Method>,
}

/// HTTPPathMatch.
#[derive(Debug, Clone)]
pub enum PathMatcher {
    /// The whole path.
    Exact(Box<str>),
    /// Whole path elements: `/a` matches `/a` and `/a/b`, not `/ab`. A trailing `/` is ignored.
    Prefix(Box<str>),
    /// The whole path, anchored at both ends. Linear time (crate `regex`), size-limited.
    Regex(regex::Regex),
}

impl Default for PathMatcher {
    fn default() -> Self {
        Self::Prefix("/".into())
    }
}

/// HTTPHeaderMatch and HTTPQueryParamMatch.
#[derive(Debug, Clone)]
pub enum ValueMatcher {
    /// The whole value.
    Exact(Box<str>),
    /// Anchored at both ends.
    Regex(regex::Regex),
}

/// Finds the rule for a request. Cheap to clone; a change of some entries costs the size of the lists
/// that they are in.
#[derive(Debug, Clone, Default)]
pub struct Router {
    /// Hostnames of the sections, in the order given.
    sections: Arc<[Option<Box<str>>]>,
    /// By listener hostname, then by route hostname, then by path.
    index: HostIndex<SectionIndex>,
}

/// The entries of one section.
type SectionIndex = Arc<HostIndex<Arc<PathIndex>>>;

/// Entries that share a hostname and a path: what goes and what comes.
type Shared<'e> = (Vec<&'e Arc<RankedEntry>>, Vec<&'e Arc<RankedEntry>>);

impl Router {
    /// Builds the index over `sections`.
    pub fn new(sections: Vec<Section>) -> Self {
        let mut router = Self::of_hostnames(sections.iter().map(|s| s.hostname.clone()).collect());
        let age = Arc::default();
        let mut positions = 0..;
        for Section { hostname, entries } in sections {
            let ranked = entries.into_iter().zip(&mut positions).map(|(e, n)| RankedEntry::new(e, &age, n));
            router.change(hostname.as_deref(), &[], &ranked.collect::<Vec<_>>());
        }
        router
    }

    /// One without entries. A section without routes still takes the requests for its hostname.
    pub fn of_hostnames(hostnames: Vec<Option<Box<str>>>) -> Self {
        let mut index = HostIndex::default();
        for hostname in &hostnames {
            index.slot(hostname.as_deref());
        }
        Self { sections: hostnames.into(), index }
    }

    /// Takes entries out of the section with that hostname, and others in.
    pub fn change(
        &mut self,
        section: Option<&str>,
        removed: &[Arc<RankedEntry>],
        added: &[Arc<RankedEntry>],
    ) {
        let mut shared: BTreeMap<(Option<&str>, Place<'_>), Shared<'_>> = BTreeMap::new();
        for entry in removed {
            shared.entry(place_of(&entry.entry)).or_default().0.push(entry);
        }
        for entry in added {
            shared.entry(place_of(&entry.entry)).or_default().1.push(entry);
        }
        let hosts = Arc::make_mut(self.index.slot(section));
        for ((hostname, place), (removed, added)) in shared {
            let paths = Arc::make_mut(hosts.slot(hostname));
            paths.change(&place, &removed, &added);
            if paths.is_empty() {
                hosts.remove(hostname);
            }
        }
    }

    /// The rule that serves `head`, or `None` (404, `Reason::NoRoute`).
    pub fn find<'r>(&'r self, head: &RequestHead<'_>) -> Option<RouteMatch<'r>> {
        let entry = &self.search(head, &mut 0)?.entry;
        Some(RouteMatch { rule: &entry.rule, prefix_len: entry.matcher.path.prefix_len() })
    }

    /// Each entry, best precedence first. Sorts all of them.
    pub fn entries(&self) -> impl Iterator<Item = &RouteEntry> {
        self.ranked().into_iter().map(|(_, ranked)| &ranked.entry)
    }

    /// The rule of each entry: a rule with several matches or hostnames comes several times.
    pub fn rules(&self) -> impl Iterator<Item = &Arc<Rule>> {
        self.entries().map(|entry| &entry.rule)
    }

    /// Each entry with the number of its section, best precedence first.
    fn ranked(&self) -> Vec<(usize, &Arc<RankedEntry>)> {
        let mut all = Vec::new();
        for (number, hostname) in self.sections.iter().enumerate() {
            if self.sections.iter().take(number).any(|earlier| earlier == hostname) {
                continue;
            }
            let mut entries = Vec::new();
            let hosts = self.index.get(hostname.as_deref()).into_iter();
            hosts.flat_map(|hosts| hosts.values()).for_each(|paths| paths.collect(&mut entries));
            all.extend(entries.into_iter().map(|entry| (number, entry)));
        }
        all.sort_by(|(s, a), (t, b)| {
            a.rank.precedence.cmp(&b.rank.precedence).then(s.cmp(t)).then(a.rank.cmp(&b.rank))
        });
        all
    }

    /// The entry that serves `head`. `examined` counts the entries looked at.
    fn search(&self, head: &RequestHead<'_>, examined: &mut usize) -> Option<&RankedEntry> {
        let section = self.index.most_specific_first(head.host).next()?;
        section.most_specific_first(head.host).find_map(|paths| {
            paths.find(head, |ranked| {
                *examined += 1;
                ranked.entry.matcher.holds(head)
            })
        })
    }
}

/// The hostname and path that an entry is found by.
fn place_of(entry: &RouteEntry) -> (Option<&str>, Place<'_>) {
    (entry.hostname.as_deref(), Place::of(&entry.matcher.path, entry.rule.grpc))
}

#[cfg(test)]
mod tests;
