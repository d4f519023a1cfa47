//! Pure: a histogram of durations that one thread writes and any thread reads.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds in seconds, as scraped: OpenTelemetry's advice for HTTP durations, and three below
/// its first, where calls inside a cluster live.
pub const BOUNDS_SECONDS: [f64; 17] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];

/// The same bounds in nanoseconds, so that recording compares integers.
const BOUNDS_NANOS: [u64; BOUNDS_SECONDS.len()] = {
    let mut nanos = [0; BOUNDS_SECONDS.len()];
    let mut i = 0;
    while i < nanos.len() {
        // A tenth of a millisecond divides every bound.
        nanos[i] = (BOUNDS_SECONDS[i] * 10_000.0 + 0.5) as u64 * 100_000;
        i += 1;
    }
    nanos
};

/// Adds to a counter that only the calling thread writes: no locked instruction.
pub(crate) fn add_owned(counter: &AtomicU64, n: u64) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
}

/// Counts per bucket. `record` is for the one thread that owns it.
#[derive(Debug, Default)]
pub struct Histogram {
    /// The last one is for everything above the highest bound.
    buckets: [AtomicU64; BOUNDS_SECONDS.len() + 1],
    sum_nanos: AtomicU64,
}

impl Histogram {
    /// Counts one duration. A bucket's bound belongs to the bucket.
    pub fn record(&self, duration: Duration) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let bucket = BOUNDS_NANOS.partition_point(|bound| *bound < nanos);
        add_owned(&self.buckets[bucket], 1);
        add_owned(&self.sum_nanos, nanos);
    }

    /// Durations counted so far.
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|b| b.load(Ordering::Relaxed)).sum()
    }
}

/// Histograms of several threads, added up.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Totals {
    buckets: [u64; BOUNDS_SECONDS.len() + 1],
    sum_nanos: u64,
}

impl Totals {
    /// Adds one thread's counts.
    pub fn add(&mut self, histogram: &Histogram) {
        for (total, bucket) in self.buckets.iter_mut().zip(&histogram.buckets) {
            *total += bucket.load(Ordering::Relaxed);
        }
        self.sum_nanos = self.sum_nanos.wrapping_add(histogram.sum_nanos.load(Ordering::Relaxed));
    }

    /// Adds other totals.
    pub fn merge(&mut self, other: &Self) {
        for (total, bucket) in self.buckets.iter_mut().zip(other.buckets) {
            *total += bucket;
        }
        self.sum_nanos = self.sum_nanos.wrapping_add(other.sum_nanos);
    }

    /// Durations counted.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// Sum of the durations, seconds.
    pub fn sum_seconds(&self) -> f64 {
        Duration::from_nanos(self.sum_nanos).as_secs_f64()
    }

    /// Each upper bound in seconds with the count at or below it; the last bound is infinite.
    pub fn cumulated(&self) -> impl Iterator<Item = (f64, u64)> {
        let bounds = BOUNDS_SECONDS.into_iter().chain([f64::INFINITY]);
        bounds.zip(self.buckets.iter().scan(0, |sum, n| {
            *sum += n;
            Some(*sum)
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_counts_in_the_first_bucket_whose_bound_it_does_not_exceed() {
        let histogram = Histogram::default();
        for micros in [1, 500, 501, 10_000_000, 10_000_001, u64::MAX / 1000] {
            histogram.record(Duration::from_micros(micros));
        }
        let mut totals = Totals::default();
        totals.add(&histogram);
        let cumulated: Vec<_> = totals.cumulated().collect();
        assert_eq!(cumulated[0], (0.0005, 2));
        assert_eq!(cumulated[1], (0.001, 3));
        assert_eq!(cumulated[16], (10.0, 4));
        assert_eq!(cumulated[17], (f64::INFINITY, 6));
        assert_eq!(totals.count(), 6);
    }

    #[test]
    fn the_integer_bounds_are_the_scraped_bounds() {
        for (nanos, seconds) in BOUNDS_NANOS.iter().zip(BOUNDS_SECONDS) {
            assert_eq!(Duration::from_nanos(*nanos), Duration::from_secs_f64(seconds));
        }
    }

    #[test]
    fn totals_are_the_sum_over_threads() {
        let (a, b) = (Histogram::default(), Histogram::default());
        a.record(Duration::from_millis(2));
        b.record(Duration::from_millis(3));
        let mut totals = Totals::default();
        totals.add(&a);
        totals.add(&b);
        assert_eq!(totals.count(), 2);
        assert!((totals.sum_seconds() - 0.005).abs() < 1e-9);
    }
}
