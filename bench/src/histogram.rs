//! Pure: a log-linear histogram of times, exact to 0.4 %.

use serde::{Deserialize, Serialize};

/// Buckets in each power of two: 2 to this power.
const PRECISION_BITS: u32 = 8;
/// Longest time that is told from longer ones: 2 to this power in nanoseconds, 18 minutes.
const RANGE_BITS: u32 = 40;
const BUCKETS: usize = ((RANGE_BITS - PRECISION_BITS + 1) as usize) << PRECISION_BITS;

/// Counts of times in nanoseconds.
#[derive(Debug, Clone)]
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
    sum_ns: u64,
    max_ns: u64,
}

/// What is told of a histogram, in microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Times {
    /// Mean, exact.
    pub mean: f64,
    /// Half of all took at most this long.
    pub p50: f64,
    /// 99 of 100.
    pub p99: f64,
    /// 999 of 1,000.
    pub p999: f64,
    /// The longest, exact.
    pub max: f64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: vec![0; BUCKETS], total: 0, sum_ns: 0, max_ns: 0 }
    }
}

impl Histogram {
    /// Counts one.
    pub fn add(&mut self, ns: u64) {
        self.counts[bucket(ns)] += 1;
        self.total += 1;
        self.sum_ns += ns;
        self.max_ns = self.max_ns.max(ns);
    }

    /// How many were counted.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// The smallest time, in nanoseconds, that at least this share of all did not exceed.
    pub fn quantile_ns(&self, share: f64) -> u64 {
        let wanted = (share * self.total as f64).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return upper_ns(index).min(self.max_ns);
            }
        }
        self.max_ns
    }

    /// The usual figures.
    pub fn times(&self) -> Times {
        let us = |ns: u64| ns as f64 / 1000.0;
        Times {
            mean: us(self.sum_ns) / self.total.max(1) as f64,
            p50: us(self.quantile_ns(0.50)),
            p99: us(self.quantile_ns(0.99)),
            p999: us(self.quantile_ns(0.999)),
            max: us(self.max_ns),
        }
    }
}

fn bucket(ns: u64) -> usize {
    let ns = ns.min((1 << RANGE_BITS) - 1);
    let bits = 64 - ns.leading_zeros();
    let shift = bits.saturating_sub(PRECISION_BITS + 1);
    ((shift as usize) << PRECISION_BITS) + (ns >> shift) as usize
}

/// The longest time that falls into this bucket.
fn upper_ns(index: usize) -> u64 {
    let shift = (index >> PRECISION_BITS).saturating_sub(1);
    let within = index - (shift << PRECISION_BITS);
    ((within as u64 + 1) << shift) - 1
}

#[cfg(test)]
mod tests {
    use super::{BUCKETS, Histogram, RANGE_BITS, bucket, upper_ns};

    #[test]
    fn each_time_falls_into_a_bucket_that_is_at_most_one_percent_longer() {
        for ns in (0..40).flat_map(|bit| [1u64 << bit, (1 << bit) + (1 << bit) / 3, (2 << bit) - 1]) {
            let upper = upper_ns(bucket(ns));
            assert!(upper >= ns && upper - ns <= ns / 100, "{ns}: {upper}");
        }
        assert!(bucket(u64::MAX) < BUCKETS);
        assert_eq!(bucket(u64::MAX), bucket((1 << RANGE_BITS) - 1));
    }

    #[test]
    fn quantiles_are_those_of_the_times_that_were_counted() {
        let mut histogram = Histogram::default();
        (1..=1000).for_each(|us| histogram.add(us * 1000));
        let times = histogram.times();
        assert!((times.mean - 500.5).abs() < 1e-6);
        assert!((times.p50 / 500.0 - 1.0).abs() < 0.01, "{times:?}");
        assert!((times.p99 / 990.0 - 1.0).abs() < 0.01, "{times:?}");
        assert!((times.max - 1000.0).abs() < 1e-6);
    }
}
