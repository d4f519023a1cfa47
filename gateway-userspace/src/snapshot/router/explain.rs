//! Pure: why a request goes where it goes, in words.

use std::sync::Arc;

use super::host::covers;
use super::matcher::Mismatch;
use super::{PathMatcher, RankedEntry, RequestHead, RouteEntry, Router};
use crate::limits::EXPLAIN_VERDICTS_MAX;

/// How near an entry came; the nearest are told first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Verdict<'r> {
    Serves,
    Outranked,
    Header(&'r str),
    Query(&'r str),
    Method,
    Path,
    Hostname,
    Listener,
}

impl Router {
    /// Rules and what became of each for `head`: first the one that serves it, then those that came
    /// near, at most `EXPLAIN_VERDICTS_MAX`. A rule comes once per match.
    pub fn explain(&self, head: &RequestHead<'_>) -> Vec<(Arc<str>, String)> {
        let chosen = self.search(head, &mut 0);
        let section = self.section_of(head.host);
        let ranked = self.ranked();
        let judged = ranked.iter().map(|(own, entry)| self.judge(*own, entry, head, chosen, section));
        let mut verdicts: Vec<(Verdict<'_>, usize)> = judged.zip(0..).collect();
        if verdicts.len() > EXPLAIN_VERDICTS_MAX {
            verdicts.select_nth_unstable(EXPLAIN_VERDICTS_MAX);
            verdicts.truncate(EXPLAIN_VERDICTS_MAX);
        }
        verdicts.sort_unstable();
        let told = verdicts.into_iter().filter_map(|(verdict, rank)| {
            let (own, ranked) = ranked.get(rank)?;
            Some((Arc::clone(&ranked.entry.rule.name), self.describe(verdict, *own, &ranked.entry, section)))
        });
        told.collect()
    }

    /// Hostname of the section that takes requests for `host`.
    fn section_of(&self, host: &str) -> Option<Option<&str>> {
        self.sections
            .iter()
            .map(Option::as_deref)
            .filter(|hostname| covers(*hostname, host))
            .max_by_key(|hostname| hostname.map(|name| (!name.starts_with('*'), name.len())))
    }

    fn judge<'r>(
        &'r self,
        own_section: usize,
        ranked: &'r RankedEntry,
        head: &RequestHead<'_>,
        chosen: Option<&RankedEntry>,
        section: Option<Option<&str>>,
    ) -> Verdict<'r> {
        if chosen.is_some_and(|chosen| std::ptr::eq(chosen, ranked)) {
            return Verdict::Serves;
        }
        if section != Some(self.sections[own_section].as_deref()) {
            return Verdict::Listener;
        }
        if !covers(ranked.entry.hostname.as_deref(), head.host) {
            return Verdict::Hostname;
        }
        match ranked.entry.matcher.mismatch(head) {
            None => Verdict::Outranked,
            Some(Mismatch::Path) => Verdict::Path,
            // A method is compared first because that is cheap; a wrong path says more.
            Some(Mismatch::Method) if !ranked.entry.matcher.path.holds(head.path) => Verdict::Path,
            Some(Mismatch::Method) => Verdict::Method,
            Some(Mismatch::Header(name)) => Verdict::Header(name.as_str()),
            Some(Mismatch::Query(name)) => Verdict::Query(name),
        }
    }

    fn describe(
        &self,
        verdict: Verdict<'_>,
        own_section: usize,
        entry: &RouteEntry,
        section: Option<Option<&str>>,
    ) -> String {
        let RouteEntry { hostname, matcher, .. } = entry;
        match verdict {
            Verdict::Serves => format!("serves the request: {}", describe_path(&matcher.path)),
            Verdict::Outranked => {
                format!("matches too, but another match comes first: {}", describe_path(&matcher.path))
            }
            Verdict::Header(name) => format!("header `{name}` does not match"),
            Verdict::Query(name) => format!("query parameter `{name}` does not match"),
            Verdict::Method => match &matcher.method {
                Some(method) => format!("only for method {method}"),
                None => "the method does not match".to_owned(),
            },
            Verdict::Path => format!("{} does not match", describe_path(&matcher.path)),
            Verdict::Hostname => {
                format!("hostname `{}` does not match", hostname.as_deref().unwrap_or("*"))
            }
            Verdict::Listener => {
                let own = self.sections[own_section].as_deref().unwrap_or("*");
                match section {
                    Some(other) => format!(
                        "attached to the listener for `{own}`, but the listener for `{}` takes this host",
                        other.unwrap_or("*")
                    ),
                    None => format!("attached to the listener for `{own}`, which does not take this host"),
                }
            }
        }
    }
}

fn describe_path(path: &PathMatcher) -> String {
    match path {
        PathMatcher::Exact(path) => format!("exact path `{path}`"),
        PathMatcher::Prefix(path) => format!("path prefix `{path}`"),
        PathMatcher::Regex(pattern) => format!("path pattern `{pattern}`"),
    }
}
