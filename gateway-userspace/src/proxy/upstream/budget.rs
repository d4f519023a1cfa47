//! Pure: how many repeats a cluster may have, so that retries never make an outage worse.

use super::outlier_detection::Millis;

const BUCKETS: usize = 10;
const BUCKET_MILLIS: u64 = 1_000;

#[derive(Debug, Clone, Copy, Default)]
struct Bucket {
    requests: u32,
    retries: u32,
}

/// Counts requests and repeats of one cluster over the last ten seconds, in buckets of one.
#[derive(Debug, Clone)]
pub struct RetryBudget {
    percent: u32,
    min_per_second: u32,
    buckets: [Bucket; BUCKETS],
    /// Number of the newest bucket, counted since the process began.
    newest: u64,
    /// Sum of the buckets.
    total: Bucket,
}

impl RetryBudget {
    /// Repeats may be `percent` of the requests of the last ten seconds, and `min_per_second` more.
    pub fn new(percent: u32, min_per_second: u32) -> Self {
        Self {
            percent,
            min_per_second,
            buckets: [Bucket::default(); BUCKETS],
            newest: 0,
            total: Bucket::default(),
        }
    }

    /// A request (not a repeat) has begun.
    pub fn request(&mut self, now: Millis) {
        let bucket = self.advance(now);
        bucket.requests = bucket.requests.saturating_add(1);
        self.total.requests = self.total.requests.saturating_add(1);
    }

    /// Takes one repeat out of the budget, if there is one.
    pub fn try_retry(&mut self, now: Millis) -> bool {
        self.advance(now);
        let share = u64::from(self.total.requests) * u64::from(self.percent) / 100;
        let floor = u64::from(self.min_per_second) * BUCKETS as u64;
        if u64::from(self.total.retries) >= share + floor {
            return false;
        }
        let bucket = self.advance(now);
        bucket.retries = bucket.retries.saturating_add(1);
        self.total.retries = self.total.retries.saturating_add(1);
        true
    }

    /// The bucket of `now`; those that have passed out of the window are emptied first. A clock
    /// that stands a little behind counts into the newest bucket.
    fn advance(&mut self, now: Millis) -> &mut Bucket {
        let current = (now.0 / BUCKET_MILLIS).max(self.newest);
        let steps = (current - self.newest).min(BUCKETS as u64);
        for step in 0..steps {
            let passed = std::mem::take(&mut self.buckets[Self::slot(current - step)]);
            self.total.requests = self.total.requests.saturating_sub(passed.requests);
            self.total.retries = self.total.retries.saturating_sub(passed.retries);
        }
        self.newest = current;
        &mut self.buckets[Self::slot(current)]
    }

    fn slot(number: u64) -> usize {
        usize::try_from(number % BUCKETS as u64).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn allowed(budget: &mut RetryBudget, now: Millis) -> usize {
        std::iter::from_fn(|| budget.try_retry(now).then_some(())).take(10_000).count()
    }

    #[test]
    fn a_quiet_cluster_may_repeat_the_minimum() {
        assert_eq!(allowed(&mut RetryBudget::new(20, 10), Millis(0)), 100);
        assert_eq!(allowed(&mut RetryBudget::new(20, 0), Millis(0)), 0);
    }

    #[test]
    fn a_busy_cluster_may_repeat_a_share_of_its_requests() {
        let mut budget = RetryBudget::new(20, 0);
        for i in 0..1_000 {
            budget.request(Millis(i));
        }
        assert_eq!(allowed(&mut budget, Millis(1_000)), 200);
        assert!(!budget.try_retry(Millis(1_001)));
    }

    #[test]
    fn what_is_older_than_the_window_is_forgotten() {
        let mut budget = RetryBudget::new(20, 1);
        for _ in 0..1_000 {
            budget.request(Millis(500));
        }
        assert_eq!(allowed(&mut budget, Millis(9_999)), 210);
        assert_eq!(allowed(&mut budget, Millis(10_000)), 0);
        assert_eq!(allowed(&mut budget, Millis(19_999)), 10);
        assert_eq!(allowed(&mut budget, Millis(1_000_000_000)), 10);
    }

    #[test]
    fn a_clock_that_steps_back_breaks_nothing() {
        let mut budget = RetryBudget::new(100, 0);
        budget.request(Millis(50_000));
        assert!(budget.try_retry(Millis(49_000)));
        assert!(!budget.try_retry(Millis(50_000)));
    }

    proptest! {
        #[test]
        fn the_running_total_is_the_sum_of_the_buckets(
            steps in prop::collection::vec((0u64..4_000, any::<bool>()), 1..300),
        ) {
            let mut budget = RetryBudget::new(50, 1);
            let mut now = 0;
            for (wait, retry) in steps {
                now += wait;
                if retry {
                    budget.try_retry(Millis(now));
                } else {
                    budget.request(Millis(now));
                }
                let requests: u32 = budget.buckets.iter().map(|b| b.requests).sum();
                let retries: u32 = budget.buckets.iter().map(|b| b.retries).sum();
                prop_assert_eq!((requests, retries), (budget.total.requests, budget.total.retries));
            }
        }
    }
}
