//! Pure: when flows of pods that were let go are forgotten.
//!
//! A listener still accepts for a moment what was on its way to it, and needs the flows for that. What nobody has
//! accepted by then leads nowhere.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Flows are kept for so long after their pod was let go. Longer than `Limits::late_accept_timeout`.
pub(super) const FLOWS_KEPT: Duration = Duration::from_secs(1);

/// Pods that were let go, by the cookie of their namespace, and when.
#[derive(Debug, Default)]
pub(super) struct LetGo(BTreeMap<u64, Instant>);

impl LetGo {
    /// A pod is captured no longer.
    pub(super) fn note(&mut self, netns_cookie: u64, now: Instant) {
        self.0.insert(netns_cookie, now);
    }

    /// Pods whose flows are to be forgotten now; they are told once. One of them may be captured again.
    pub(super) fn due(&mut self, now: Instant) -> Vec<u64> {
        let is_due = |_: &u64, since: &mut Instant| now.saturating_duration_since(*since) >= FLOWS_KEPT;
        self.0.extract_if(.., is_due).map(|(cookie, _)| cookie).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flows_of_a_pod_that_was_let_go_are_forgotten_once_and_not_before_late_accepts_are_over() {
        let (mut pods, now) = (LetGo::default(), Instant::now());
        pods.note(1, now);
        pods.note(2, now + FLOWS_KEPT / 2);
        assert!(pods.due(now + FLOWS_KEPT / 2).is_empty());
        assert_eq!(pods.due(now + FLOWS_KEPT), [1]);
        assert_eq!(pods.due(now + 2 * FLOWS_KEPT), [2]);
        assert!(pods.due(now + 3 * FLOWS_KEPT).is_empty());
    }

    #[test]
    fn late_accepts_are_over_by_then() {
        assert!(crate::limits::Limits::default().late_accept_timeout < FLOWS_KEPT);
    }
}
