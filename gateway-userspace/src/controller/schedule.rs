//! Pure: what is to be looked at next: soon what has changed, later what failed, and ever more rarely
//! what another writer keeps changing back.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How fast and how often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// Writes per second, after a burst.
    pub writes_per_second: u32,
    /// Writes at once.
    pub burst: u32,
    /// First wait after a failure, or a write that was undone; doubles each time.
    pub retry: Duration,
    /// The longest wait.
    pub retry_max: Duration,
}

/// How often the same may be written to an object before it counts as undone by another writer.
const SAME_WRITES: u32 = 3;

/// Objects that are to be looked at, by when.
#[derive(Debug)]
pub struct Schedule<T> {
    pace: Pace,
    /// What goes first has less of it.
    rank: fn(&T) -> u8,
    due: BTreeMap<T, Instant>,
    trouble: BTreeMap<T, Trouble>,
    tokens: u32,
    refilled: Instant,
}

#[derive(Debug, Clone)]
struct Trouble {
    failures: u32,
    /// What was written last, by its hash, how often on end, and when.
    written: u64,
    same: u32,
    at: Instant,
}

impl<T: Ord + Clone> Schedule<T> {
    /// Nothing to do. Of what is due, that with the least `rank` goes first.
    pub fn new(pace: Pace, rank: fn(&T) -> u8, now: Instant) -> Self {
        Self { pace, rank, due: BTreeMap::new(), trouble: BTreeMap::new(), tokens: pace.burst, refilled: now }
    }

    /// It changed: look at it, now unless it is in trouble. What failed may be mended by the change: it waits no
    /// longer than after its first failure.
    pub fn mark(&mut self, target: T, now: Instant) {
        let trouble = self.trouble.get(&target);
        let held = trouble.and_then(|t| Some(t.at + self.wait(t.same.checked_sub(SAME_WRITES)?)));
        let failed = trouble.filter(|t| t.failures > 0).map(|_| now + self.pace.retry);
        let at = held.max(failed).map_or(now, |at| at.max(now));
        self.due.entry(target).and_modify(|due| *due = at.min(*due)).or_insert(at);
    }

    /// What is due. It is no longer, from here on.
    pub fn next(&mut self, now: Instant) -> Option<T> {
        let due = self.due.iter().filter(|(_, at)| **at <= now);
        let target = due.min_by_key(|(target, at)| ((self.rank)(target), **at))?.0.clone();
        self.due.remove(&target);
        Some(target)
    }

    /// When something will be due.
    pub fn next_due(&self) -> Option<Instant> {
        self.due.values().min().copied()
    }

    /// How much is to be looked at.
    pub fn waiting(&self) -> usize {
        self.due.len()
    }

    /// It could not be written: look again after a while.
    pub fn failed(&mut self, target: T, now: Instant) {
        let trouble = self.trouble_of(&target, now);
        trouble.failures = trouble.failures.saturating_add(1);
        let failures = trouble.failures;
        let at = now + self.wait(failures);
        self.due.entry(target).and_modify(|due| *due = at.max(*due)).or_insert(at);
    }

    /// `content`, as a hash, was written. True when it has been written so often that another writer
    /// must be undoing it.
    pub fn wrote(&mut self, target: &T, content: u64, now: Instant) -> bool {
        let quiet = self.pace.retry_max;
        let trouble = self.trouble_of(target, now);
        let again = trouble.written == content && now.saturating_duration_since(trouble.at) < quiet * 2;
        trouble.same = if again { trouble.same.saturating_add(1) } else { 1 };
        trouble.failures = 0;
        trouble.written = content;
        trouble.at = now;
        trouble.same > SAME_WRITES
    }

    /// It is as it should be, without a write.
    pub fn settled(&mut self, target: &T) {
        if let Some(trouble) = self.trouble.get_mut(target) {
            trouble.failures = 0;
        }
    }

    /// It is gone.
    pub fn forget(&mut self, target: &T) {
        self.trouble.remove(target);
    }

    /// When the next write may be made; takes it when that is now.
    pub fn take_write(&mut self, now: Instant) -> Result<(), Instant> {
        let rate = self.pace.writes_per_second.max(1);
        let each = Duration::from_secs(1) / rate;
        let passed = now.saturating_duration_since(self.refilled).as_nanos() / each.as_nanos();
        let passed = u32::try_from(passed).unwrap_or(u32::MAX);
        if passed >= self.pace.burst {
            self.tokens = self.pace.burst;
            self.refilled = now;
        } else {
            self.tokens = self.tokens.saturating_add(passed).min(self.pace.burst);
            self.refilled += each * passed;
        }
        match self.tokens.checked_sub(1) {
            Some(left) => {
                self.tokens = left;
                Ok(())
            }
            None => Err(self.refilled + each),
        }
    }

    /// A write that was taken is not made.
    pub fn give_back_write(&mut self) {
        self.tokens = self.tokens.saturating_add(1).min(self.pace.burst);
    }

    fn trouble_of(&mut self, target: &T, now: Instant) -> &mut Trouble {
        let none = Trouble { failures: 0, written: 0, same: 0, at: now };
        self.trouble.entry(target.clone()).or_insert(none)
    }

    fn wait(&self, times: u32) -> Duration {
        if times == 0 {
            return Duration::ZERO;
        }
        self.pace.retry.saturating_mul(1 << (times - 1).min(20)).min(self.pace.retry_max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACE: Pace = Pace {
        writes_per_second: 10,
        burst: 2,
        retry: Duration::from_secs(1),
        retry_max: Duration::from_secs(60),
    };

    #[test]
    fn what_changes_twice_before_it_is_looked_at_is_looked_at_once() {
        let now = Instant::now();
        let mut schedule = Schedule::new(PACE, |_| 0, now);
        schedule.mark("a", now);
        schedule.mark("a", now);
        assert_eq!((schedule.next(now), schedule.next(now)), (Some("a"), None));
    }

    #[test]
    fn what_matters_more_goes_first_however_long_the_rest_has_waited() {
        let now = Instant::now();
        let mut schedule = Schedule::new(PACE, |word: &&str| u8::from(*word == "pod"), now);
        schedule.mark("pod", now);
        let later = now + Duration::from_secs(1);
        schedule.mark("gateway", later);
        assert_eq!((schedule.next(later), schedule.next(later)), (Some("gateway"), Some("pod")));
    }

    #[test]
    fn a_failure_waits_twice_as_long_each_time_up_to_the_longest() {
        let now = Instant::now();
        let mut schedule = Schedule::new(PACE, |_| 0, now);
        for wait in [1, 2, 4, 8, 16, 32, 60, 60] {
            schedule.failed("a", now);
            assert_eq!(schedule.next_due(), Some(now + Duration::from_secs(wait)));
            assert_eq!(schedule.next(now), None);
            schedule.next(now + PACE.retry_max);
        }
    }

    #[test]
    fn a_change_is_looked_at_soon_however_often_it_failed_before() {
        let now = Instant::now();
        let mut schedule = Schedule::new(PACE, |_| 0, now);
        for _ in 0..10 {
            schedule.failed("a", now);
        }
        schedule.mark("a", now);
        assert_eq!(schedule.next_due(), Some(now + PACE.retry));
        schedule.settled(&"a");
        schedule.next(now + PACE.retry);
        schedule.failed("a", now);
        assert_eq!(schedule.next_due(), Some(now + PACE.retry), "what was right in the end begins anew");
    }

    #[test]
    fn a_look_that_writes_nothing_takes_no_write() {
        let now = Instant::now();
        let mut schedule: Schedule<u8> = Schedule::new(PACE, |_| 0, now);
        for _ in 0..100 {
            assert_eq!(schedule.take_write(now), Ok(()));
            schedule.give_back_write();
        }
    }

    #[test]
    fn who_undoes_each_write_gets_no_war() {
        let start = Instant::now();
        let (mut now, mut writes) = (start, 0);
        let mut schedule = Schedule::new(PACE, |_| 0, now);
        while now < start + Duration::from_secs(600) {
            schedule.mark("a", now);
            match schedule.next(now) {
                Some(target) => {
                    writes += 1;
                    assert_eq!(schedule.wrote(&target, 7, now), writes > SAME_WRITES);
                }
                None => now = schedule.next_due().unwrap(),
            }
        }
        assert!(writes < 20, "{writes} writes in ten minutes");
    }

    #[test]
    fn other_content_is_no_war_however_often_it_comes() {
        let now = Instant::now();
        let mut schedule = Schedule::new(PACE, |_| 0, now);
        for content in 0..100 {
            schedule.mark("a", now);
            assert_eq!(schedule.next(now), Some("a"));
            assert!(!schedule.wrote(&"a", content, now));
        }
    }

    #[test]
    fn writes_keep_to_their_rate_after_a_burst() {
        let now = Instant::now();
        let mut schedule: Schedule<u8> = Schedule::new(PACE, |_| 0, now);
        assert_eq!((schedule.take_write(now), schedule.take_write(now)), (Ok(()), Ok(())));
        let next = now + Duration::from_millis(100);
        assert_eq!(schedule.take_write(now), Err(next));
        assert_eq!(schedule.take_write(next), Ok(()));
        assert!(schedule.take_write(next).is_err());
    }
}
