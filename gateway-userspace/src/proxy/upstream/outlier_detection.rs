//! Pure: takes an endpoint that keeps failing out of rotation for a while.
//!
//! Consecutive failures eject; each ejection in a row lasts twice as long as the one before. When
//! one ends, the first failure ejects again unless a success came before it. An ejection is forgiven
//! when the longest ejection has passed since. How many endpoints may be out at once is the panic
//! rule's matter (`balance`).

use std::time::Duration;

use crate::limits::Limits;

/// Milliseconds since the process began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Millis(pub u64);

impl Millis {
    fn after(self, wait: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)))
    }
}

/// When to eject, and for how long.
#[derive(Debug, Clone, Copy)]
pub struct OutlierPolicy {
    /// Consecutive failures that eject; 0 never does.
    pub consecutive: u32,
    /// The first ejection.
    pub ejection: Duration,
    /// The longest.
    pub ejection_max: Duration,
}

impl From<&Limits> for OutlierPolicy {
    fn from(limits: &Limits) -> Self {
        Self {
            consecutive: limits.outlier_consecutive,
            ejection: limits.outlier_ejection,
            ejection_max: limits.outlier_ejection_max,
        }
    }
}

/// What is known of one endpoint. Starts in good standing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Outlier {
    failures: u32,
    /// Ejections in a row.
    ejections: u32,
    /// End of the last ejection.
    until: Millis,
    /// False when a success has ended the ejection before its time.
    out: bool,
}

impl Outlier {
    /// The endpoint answered. This ends an ejection too: traffic that the panic rule let through
    /// has shown that it serves again.
    pub fn success(&mut self) {
        self.failures = 0;
        self.out = false;
    }

    /// The endpoint refused, reset or did not answer. Gives the length of the ejection that this
    /// starts, if it does. Failures of an endpoint that is out already do not prolong it.
    pub fn failure(&mut self, now: Millis, policy: &OutlierPolicy) -> Option<Duration> {
        if policy.consecutive == 0 || self.is_ejected(now) {
            return None;
        }
        self.failures = self.failures.saturating_add(1);
        if self.failures < policy.consecutive {
            return None;
        }
        if self.until.after(policy.ejection_max) < now {
            self.ejections = 0;
        }
        let factor = 1u32.checked_shl(self.ejections).unwrap_or(u32::MAX);
        let length = policy.ejection.saturating_mul(factor).min(policy.ejection_max);
        self.ejections = self.ejections.saturating_add(1);
        self.until = now.after(length);
        self.out = true;
        Some(length)
    }

    /// True while no new attempt should go there.
    pub fn is_ejected(&self, now: Millis) -> bool {
        self.out && now < self.until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: OutlierPolicy = OutlierPolicy {
        consecutive: 3,
        ejection: Duration::from_secs(5),
        ejection_max: Duration::from_secs(60),
    };

    fn fail(outlier: &mut Outlier, times: u32, now: Millis) -> Vec<Duration> {
        (0..times).filter_map(|_| outlier.failure(now, &POLICY)).collect()
    }

    #[test]
    fn consecutive_failures_eject_and_time_brings_back() {
        let mut outlier = Outlier::default();
        assert!(fail(&mut outlier, 2, Millis(100)).is_empty());
        assert!(!outlier.is_ejected(Millis(100)));
        assert_eq!(outlier.failure(Millis(100), &POLICY), Some(Duration::from_secs(5)));
        assert!(outlier.is_ejected(Millis(100)) && outlier.is_ejected(Millis(5_099)));
        assert!(!outlier.is_ejected(Millis(5_100)));
    }

    #[test]
    fn a_success_between_failures_starts_the_count_afresh() {
        let mut outlier = Outlier::default();
        for _ in 0..10 {
            assert!(fail(&mut outlier, 2, Millis(0)).is_empty());
            outlier.success();
        }
    }

    #[test]
    fn many_failures_at_once_eject_once() {
        let mut outlier = Outlier::default();
        assert_eq!(fail(&mut outlier, 500, Millis(0)), [Duration::from_secs(5)]);
    }

    #[test]
    fn a_failure_right_after_an_ejection_ejects_again_for_twice_as_long_up_to_the_longest() {
        let mut outlier = Outlier::default();
        let mut now = Millis(0);
        let mut lengths = fail(&mut outlier, 3, now);
        for _ in 0..40 {
            now = outlier.until;
            lengths.extend(outlier.failure(now, &POLICY));
        }
        let seconds: Vec<u64> = lengths.iter().map(Duration::as_secs).collect();
        assert_eq!(seconds[..6], [5, 10, 20, 40, 60, 60]);
        assert_eq!(seconds[40], 60);
    }

    #[test]
    fn an_endpoint_that_answers_again_is_back_at_once() {
        let mut outlier = Outlier::default();
        fail(&mut outlier, 3, Millis(0));
        outlier.success();
        assert!(!outlier.is_ejected(Millis(1)));
    }

    #[test]
    fn a_long_good_time_forgives_earlier_ejections_and_a_short_one_does_not() {
        let mut outlier = Outlier::default();
        fail(&mut outlier, 3, Millis(0));
        let end = outlier.until;
        assert!(outlier.failure(end, &POLICY).is_some_and(|length| length.as_secs() == 10));
        let end = outlier.until;
        outlier.success();
        let mut flapping = outlier;
        assert_eq!(fail(&mut flapping, 3, end), [Duration::from_secs(20)]);
        assert_eq!(fail(&mut outlier, 3, Millis(end.0 + 60_001)), [Duration::from_secs(5)]);
    }

    #[test]
    fn no_threshold_means_no_ejection() {
        let policy = OutlierPolicy { consecutive: 0, ..POLICY };
        let mut outlier = Outlier::default();
        assert!((0..100).all(|_| outlier.failure(Millis(0), &policy).is_none()));
    }
}
