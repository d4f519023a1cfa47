//! Pure: something per hostname, found most specific first.

use std::collections::HashMap;

use rustc_hash::FxBuildHasher;

/// Values by hostname: exact ones, wildcards (`*.example.com`, any depth below) and one for any host.
#[derive(Debug)]
pub(super) struct HostIndex<T> {
    exact: HashMap<Box<str>, T, FxBuildHasher>,
    /// Keyed without `*.`.
    wildcard: HashMap<Box<str>, T, FxBuildHasher>,
    any: Option<T>,
}

impl<T> Default for HostIndex<T> {
    fn default() -> Self {
        Self { exact: HashMap::default(), wildcard: HashMap::default(), any: None }
    }
}

impl<T: Default> HostIndex<T> {
    /// The value of a hostname, made when there is none.
    pub(super) fn slot(&mut self, hostname: Option<&str>) -> &mut T {
        match hostname.map(|hostname| (hostname.strip_prefix("*."), hostname)) {
            None | Some((None, "*")) => self.any.get_or_insert_default(),
            Some((Some(suffix), _)) => self.wildcard.entry(suffix.into()).or_default(),
            Some((None, exact)) => self.exact.entry(exact.into()).or_default(),
        }
    }
}

impl<T> HostIndex<T> {
    /// The values whose hostname matches `host`: exact, then the longest wildcard first, then any.
    pub(super) fn most_specific_first<'i>(&'i self, host: &str) -> impl Iterator<Item = &'i T> {
        let wildcards = (!self.wildcard.is_empty())
            .then(|| suffixes(host))
            .into_iter()
            .flatten()
            .filter_map(|suffix| self.wildcard.get(suffix));
        self.exact.get(host).into_iter().chain(wildcards).chain(&self.any)
    }

    /// Visits all values, in no order.
    pub(super) fn for_each(&mut self, visit: &mut impl FnMut(&mut T)) {
        self.exact.values_mut().chain(self.wildcard.values_mut()).chain(&mut self.any).for_each(visit);
    }
}

/// What follows each dot that has a label before it, longest first.
fn suffixes(host: &str) -> impl Iterator<Item = &str> {
    memchr::memchr_iter(b'.', host.as_bytes()).filter(|dot| *dot > 0).map(|dot| &host[dot + 1..])
}

/// True when a route's or listener's hostname covers `host`.
pub(super) fn covers(hostname: Option<&str>, host: &str) -> bool {
    match hostname {
        None | Some("*") => true,
        Some(hostname) => match hostname.strip_prefix("*.") {
            Some(suffix) => suffixes(host).any(|s| s == suffix),
            None => hostname == host,
        },
    }
}
