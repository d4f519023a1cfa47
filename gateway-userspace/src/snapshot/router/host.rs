//! Pure: something per hostname, found most specific first.

use crate::persistent::HashedMap;

/// Values by hostname: exact ones, wildcards (`*.example.com`, any depth below) and one for any host.
#[derive(Debug, Clone)]
pub(super) struct HostIndex<T> {
    exact: HashedMap<Box<str>, T>,
    /// Keyed without `*.`.
    wildcard: HashedMap<Box<str>, T>,
    any: Option<T>,
}

impl<T> Default for HostIndex<T> {
    fn default() -> Self {
        Self { exact: HashedMap::default(), wildcard: HashedMap::default(), any: None }
    }
}

/// Where the value of a hostname is.
enum Place<'h> {
    Any,
    Wildcard(&'h str),
    Exact(&'h str),
}

impl<'h> Place<'h> {
    fn of(hostname: Option<&'h str>) -> Self {
        match hostname.map(|hostname| (hostname.strip_prefix("*."), hostname)) {
            None | Some((None, "*")) => Self::Any,
            Some((Some(suffix), _)) => Self::Wildcard(suffix),
            Some((None, exact)) => Self::Exact(exact),
        }
    }
}

impl<T: Default + Clone> HostIndex<T> {
    /// The value of a hostname, made when there is none.
    pub(super) fn slot(&mut self, hostname: Option<&str>) -> &mut T {
        match Place::of(hostname) {
            Place::Any => self.any.get_or_insert_default(),
            Place::Wildcard(suffix) => self.wildcard.slot(suffix),
            Place::Exact(exact) => self.exact.slot(exact),
        }
    }

    /// Takes the value of a hostname out.
    pub(super) fn remove(&mut self, hostname: Option<&str>) {
        match Place::of(hostname) {
            Place::Any => self.any = None,
            Place::Wildcard(suffix) => drop(self.wildcard.remove(suffix)),
            Place::Exact(exact) => drop(self.exact.remove(exact)),
        }
    }

    /// The value of exactly this hostname.
    pub(super) fn get(&self, hostname: Option<&str>) -> Option<&T> {
        match Place::of(hostname) {
            Place::Any => self.any.as_ref(),
            Place::Wildcard(suffix) => self.wildcard.get(suffix),
            Place::Exact(exact) => self.exact.get(exact),
        }
    }

    /// The values whose hostname matches `host`: exact, then the longest wildcard first, then any.
    pub(super) fn most_specific_first<'i>(&'i self, host: &str) -> impl Iterator<Item = &'i T> {
        let wildcards = (!self.wildcard.is_empty())
            .then(|| suffixes(host))
            .into_iter()
            .flatten()
            .filter_map(|suffix| self.wildcard.get(suffix));
        self.exact.get(host).into_iter().chain(wildcards).chain(&self.any)
    }
}

impl<T> HostIndex<T> {
    /// All values, in no order.
    pub(super) fn values(&self) -> impl Iterator<Item = &T> {
        self.exact.values().chain(self.wildcard.values()).chain(&self.any)
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
