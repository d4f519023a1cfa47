//! Pure: who gives way when there is no room for more, and how much is too much.

use std::time::Duration;

use crate::limits::{REFUSAL_HELD_BACK_MAX as HELD_BACK_MAX, REFUSAL_HELD_BACK_MIN as HELD_BACK_MIN};

/// What becomes of a connection that comes while there are as many as there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AtLimit {
    /// It gets the place of an idle connection of whoever holds most.
    Replace,
    /// Whoever opened it holds most, or as good as: it is refused.
    Refuse,
}

/// Decides by what the newcomer's side holds already, and by what the largest holder has. Nobody is
/// brought below whom he makes room for, so the one who takes most is the one who is refused.
pub const fn at_limit(newcomer: usize, largest: usize) -> AtLimit {
    if newcomer + 2 <= largest { AtLimit::Replace } else { AtLimit::Refuse }
}

/// How short memory is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pressure {
    /// There is enough.
    None,
    /// Idle connections are given up, those of the largest holders first.
    Trim,
    /// New connections are refused, and fewer requests taken on.
    Cut,
    /// No request is taken on.
    Stop,
}

impl Pressure {
    /// By how much of its memory the process uses, percent.
    pub const fn of(percent: usize) -> Self {
        match percent {
            0..80 => Self::None,
            80..90 => Self::Trim,
            90..97 => Self::Cut,
            _ => Self::Stop,
        }
    }
}

/// What requests are held to, while there are more than can be served.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Quota {
    /// Requests per second that each pod or address may have. Who asks for less notices nothing.
    pub rate: f32,
    /// Of all that is asked for, the share that can be served: 0 to 1.
    pub share: f32,
    /// Requests per second that the worker can serve, as far as is known.
    pub capacity: f32,
    /// By so much more is tried after the next window that was not too much.
    pub raise: f32,
}

/// One measurement of how long what is ready to run waits for its turn.
#[derive(Debug, Clone, Copy)]
pub struct Tick {
    /// So late a timer fired.
    pub late: Duration,
    /// So long the worker had a CPU meanwhile.
    pub worked: Duration,
    /// It had nothing to do for a moment.
    pub has_rested: bool,
}

impl Tick {
    /// The wait that fewer requests would have made shorter. A worker that rests in between and is late
    /// all the same waits for a CPU that others have: to refuse requests would not help. One that never
    /// rests has more to do than its part of the CPU is enough for, however small that is.
    pub fn delay(self) -> Duration {
        if self.has_rested { self.late.min(self.worked) } else { self.late }
    }
}

/// What a stretch of time was like for a worker.
#[derive(Debug, Clone, Copy)]
pub struct Window {
    /// How long it was.
    pub length: Duration,
    /// Whatever was ready to run has waited so long at least.
    pub delay: Duration,
    /// The worker had nothing to do for a moment, now and again.
    pub has_rested: bool,
    /// Memory at its end.
    pub pressure: Pressure,
    /// Requests that were taken on.
    pub admitted: u32,
    /// Requests that were taken on, then or before, and have ended.
    pub ended: u32,
    /// Requests that were not.
    pub refused: u32,
    /// Requests that wait at its end, to be refused or taken on after all.
    pub held_back: usize,
}

impl Window {
    /// Whether it was too much. Once requests are refused, the queue is kept far shorter than the one that
    /// began it: whoever is served is served in time, and it takes no more refusals than a long queue does.
    pub fn is_over(&self, current: Option<Quota>, delay_max: Duration) -> bool {
        let most = if current.is_some() { delay_max / QUEUE_DIVISOR } else { delay_max };
        self.delay > most || self.pressure >= Pressure::Cut
    }

    fn seconds(&self) -> f32 {
        self.length.as_secs_f32().max(0.001)
    }
}

/// While requests are refused, the queue is to be this many times shorter than the longest one without.
const QUEUE_DIVISOR: u32 = 10;

/// Of what was taken on in a window that was too much, as much is taken on in the next.
const CUT: f32 = 0.95;

/// By so much more is tried after a window that was not too much. It doubles while the worker rests.
const RAISE: f32 = 0.03;

/// The most it becomes.
const RAISE_MAX: f32 = 0.25;

/// A short queue shows that hardly too much was taken on: of what could be served before, so much stays.
const CUT_MOST: f32 = 0.8;

/// Refusals, of what can be served.
const REFUSALS: f32 = 0.05;

/// The quota after a window; `None` is no limit. `asked` has the requests of each pod or address in it.
/// What ended while the worker was late is its capacity; of streams that last, few end that began.
pub fn next_quota(
    current: Option<Quota>,
    window: &Window,
    delay_max: Duration,
    asked: &[u32],
) -> Option<Quota> {
    if window.pressure == Pressure::Stop {
        return Some(Quota { rate: 0.0, share: 0.0, capacity: 0.0, raise: RAISE });
    }
    if window.is_over(current, delay_max) {
        let total: f32 = asked.iter().map(|n| *n as f32).sum();
        let ended = window.ended.max(window.admitted / 2) as f32 * CUT;
        let kept = current.filter(|_| window.delay <= delay_max && window.pressure < Pressure::Cut);
        let target = ended.max(kept.map_or(0.0, |quota| quota.capacity * CUT_MOST * window.seconds()));
        let share = if total > 0.0 { (target / total).min(1.0) } else { 1.0 };
        let (rate, capacity) = (level(asked, target) / window.seconds(), target / window.seconds());
        return Some(Quota { rate, share, capacity, raise: RAISE });
    }
    let current = current.filter(|_| window.refused > 0 || window.held_back > 0)?;
    let raise = if window.has_rested { current.raise } else { RAISE };
    let more = 1.0 + raise;
    // A quota that nobody has met says nothing about what more there is.
    let raised = current.rate.max(1.0) * if window.refused > 0 { more } else { 1.0 };
    // One that did not rest serves what it can. If more came, it would serve less: what it works with would
    // no longer fit its caches.
    let served = window.ended as f32 / window.seconds();
    let full = served.max(current.capacity * CUT_MOST) * more * window.seconds();
    // One request more for each: what is hardly anything grows, too.
    let most = level(asked, full + asked.len() as f32) / window.seconds();
    let most = if window.has_rested { raised } else { most };
    Some(Quota {
        rate: raised.min(most).max(1.0),
        share: (current.share.max(0.01) * more).min(1.0),
        // A moment's trouble is not to hide what it was.
        capacity: served
            .max(if window.has_rested { current.capacity } else { current.capacity * CUT })
            .max(1.0),
        raise: (raise * 2.0).min(RAISE_MAX),
    })
}

/// Of the requests that were held back, those that are taken on after all: while nobody is refused and the
/// worker rests, a few more from window to window, and no more than it could have served beside the others, but one.
pub fn taken_on_late(quota: Option<Quota>, window: &Window) -> usize {
    match quota {
        None => window.held_back,
        Some(quota) if quota.rate == 0.0 || window.refused > 0 || !window.has_rested => 0,
        Some(quota) => {
            let spare = (quota.capacity * window.seconds() - window.admitted as f32).max(1.0);
            (window.held_back as f32 * quota.raise).min(spare).ceil() as usize
        }
    }
}

/// How long a refusal waits when so many wait already. A refusal costs as much as half a request, and whoever
/// is refused asks again: together they are to cost little of what the worker can serve.
pub fn held_back_for(held_back: usize, capacity: f32) -> Duration {
    let seconds = held_back as f32 / (capacity * REFUSALS).max(1.0);
    Duration::from_secs_f32(seconds.min(HELD_BACK_MAX.as_secs_f32())).max(HELD_BACK_MIN)
}

/// The most that each may have so that all together have `target`: who asks for less gets all of it.
fn level(asked: &[u32], target: f32) -> f32 {
    let mut sorted = asked.to_vec();
    sorted.sort_unstable();
    let mut left = target;
    for (n, one) in sorted.iter().enumerate() {
        let each = left / (sorted.len() - n) as f32;
        if each <= *one as f32 {
            return each;
        }
        left -= *one as f32;
    }
    sorted.last().map_or(target, |most| *most as f32)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Connects in this order against a limit; what each holder has in the end, and who was refused.
    fn run(connects: &[usize], limit: usize) -> ([usize; 4], Vec<usize>) {
        let (mut held, mut refused) = ([0; 4], Vec::new());
        for &who in connects {
            let largest = (0..4).max_by_key(|i| held[*i]).unwrap();
            if held.iter().sum::<usize>() < limit {
                held[who] += 1;
            } else if at_limit(held[who], held[largest]) == AtLimit::Replace {
                held[largest] -= 1;
                held[who] += 1;
            } else {
                refused.push(who);
            }
        }
        (held, refused)
    }

    proptest! {
        #[test]
        fn who_asks_for_less_than_an_equal_share_always_gets_it(
            connects in prop::collection::vec(0..4_usize, 0..300),
            limit in 8..64_usize,
        ) {
            let (held, refused) = run(&connects, limit);
            prop_assert!(held.iter().sum::<usize>() <= limit);
            for (who, held) in held.into_iter().enumerate() {
                let asked = connects.iter().filter(|c| **c == who).count();
                if asked < limit / 4 {
                    prop_assert_eq!(held, asked);
                    prop_assert!(!refused.contains(&who));
                }
            }
        }
    }

    const WINDOW: Window = Window {
        length: Duration::from_secs(1),
        delay: Duration::ZERO,
        has_rested: false,
        pressure: Pressure::None,
        admitted: 100,
        ended: 100,
        refused: 0,
        held_back: 0,
    };
    const QUOTA: Quota = Quota { rate: 50.0, share: 0.5, capacity: 80.0, raise: RAISE };
    const DELAY_MAX: Duration = Duration::from_millis(100);
    const LATE: Duration = Duration::from_millis(101);

    #[test]
    fn whoever_asks_for_little_is_not_cut() {
        let window = Window { delay: LATE, ..WINDOW };
        let quota = next_quota(None, &window, DELAY_MAX, &[10, 5, 85]).unwrap();
        assert_eq!(quota, Quota { rate: 80.0, share: 0.95, capacity: 95.0, raise: RAISE });
    }

    #[test]
    fn the_limit_is_gone_when_nobody_is_refused() {
        let raised = next_quota(Some(QUOTA), &Window { refused: 1, ..WINDOW }, DELAY_MAX, &[]).unwrap();
        assert!(raised.rate > QUOTA.rate && raised.share > QUOTA.share);
        assert!(next_quota(Some(QUOTA), &Window { held_back: 1, ..WINDOW }, DELAY_MAX, &[]).is_some());
        assert_eq!(next_quota(Some(QUOTA), &WINDOW, DELAY_MAX, &[]), None);
    }

    #[test]
    fn a_queue_that_would_begin_no_overload_is_too_long_while_there_is_one() {
        let window = Window { delay: DELAY_MAX / 5, refused: 10, ..WINDOW };
        assert_eq!(next_quota(None, &window, DELAY_MAX, &[110]), None);
        let cut = next_quota(Some(Quota { rate: 100.0, ..QUOTA }), &window, DELAY_MAX, &[110]).unwrap();
        assert_eq!(cut.rate, 95.0);
    }

    #[test]
    fn a_short_queue_cuts_little_and_a_long_one_down_to_what_was_served() {
        let current = Some(Quota { rate: 200.0, capacity: 200.0, ..QUOTA });
        let window = Window { delay: DELAY_MAX / 5, refused: 100, ..WINDOW };
        assert_eq!(next_quota(current, &window, DELAY_MAX, &[200]).unwrap().rate, 160.0);
        let window = Window { delay: LATE, ..window };
        assert_eq!(next_quota(current, &window, DELAY_MAX, &[200]).unwrap().rate, 95.0);
    }

    #[test]
    fn a_worker_that_rests_is_given_more_and_more_and_one_that_does_not_little() {
        let after = |has_rested| {
            let window = Window { has_rested, refused: 1, ..WINDOW };
            let mut quota = QUOTA;
            for _ in 0..10 {
                quota = next_quota(Some(quota), &window, DELAY_MAX, &[]).unwrap();
            }
            quota.rate
        };
        assert!(after(true) > 3.0 * QUOTA.rate && after(false) < 1.5 * QUOTA.rate);
    }

    #[test]
    fn a_worker_that_never_rests_gets_hardly_more_than_it_serves_however_high_the_quota_was() {
        let current = Some(Quota { rate: 1000.0, capacity: 100.0, ..QUOTA });
        let full = next_quota(current, &Window { refused: 1, ..WINDOW }, DELAY_MAX, &[500]).unwrap();
        assert!((full.rate - 104.0).abs() < 0.1, "{full:?}");
        let trouble = Window { ended: 10, refused: 1, ..WINDOW };
        assert!(next_quota(current, &trouble, DELAY_MAX, &[500]).unwrap().rate > 80.0);
    }

    #[test]
    fn what_was_held_back_is_taken_on_when_nobody_is_refused_and_the_worker_rests() {
        let window = Window { has_rested: true, admitted: 40, held_back: 1000, ..WINDOW };
        assert_eq!(taken_on_late(Some(QUOTA), &window), 30);
        assert_eq!(taken_on_late(Some(QUOTA), &Window { admitted: 60, ..window }), 20);
        assert_eq!(taken_on_late(Some(QUOTA), &Window { held_back: 7, ..window }), 1);
        assert_eq!(taken_on_late(Some(QUOTA), &Window { has_rested: false, ..window }), 0);
        assert_eq!(taken_on_late(Some(QUOTA), &Window { refused: 1, ..window }), 0);
        assert_eq!(taken_on_late(Some(Quota { rate: 0.0, ..QUOTA }), &window), 0);
        assert_eq!(taken_on_late(None, &window), 1000);
    }

    #[test]
    fn the_more_wait_to_be_refused_the_longer_up_to_a_limit() {
        assert_eq!(held_back_for(0, 10_000.0), HELD_BACK_MIN);
        assert_eq!(held_back_for(1000, 10_000.0), Duration::from_secs(2));
        assert_eq!(held_back_for(1000, 0.0), HELD_BACK_MAX);
    }

    #[test]
    fn without_memory_nothing_is_taken_on_and_with_it_again_more_and_more() {
        let stopped = next_quota(None, &Window { pressure: Pressure::of(97), ..WINDOW }, DELAY_MAX, &[1]);
        assert_eq!(stopped, Some(Quota { rate: 0.0, share: 0.0, capacity: 0.0, raise: RAISE }));
        let mut quota = stopped;
        for _ in 0..200 {
            let served = quota.unwrap().rate as u32;
            let window = Window { admitted: served, ended: served, refused: 1, ..WINDOW };
            quota = next_quota(quota, &window, DELAY_MAX, &[served * 2 + 10]);
        }
        assert!(quota.unwrap().rate > 300.0, "{quota:?}");
    }

    #[test]
    fn a_worker_that_waits_for_a_cpu_is_not_late_for_too_many_requests_unless_it_never_rests() {
        let tick = Tick { late: LATE, worked: Duration::from_millis(2), has_rested: true };
        assert_eq!(tick.delay(), Duration::from_millis(2));
        assert_eq!(Tick { has_rested: false, ..tick }.delay(), LATE);
        assert_eq!(Tick { worked: LATE * 2, ..tick }.delay(), LATE);
    }

    proptest! {
        #[test]
        fn the_level_gives_out_what_there_is(asked in prop::collection::vec(0..1000_u32, 1..50), part in 0.0..1.0_f32) {
            let total: u32 = asked.iter().sum();
            let target = total as f32 * part;
            let level = level(&asked, target);
            let given: f32 = asked.iter().map(|n| (*n as f32).min(level)).sum();
            prop_assert!((given - target).abs() <= 1.0 + target * 0.001, "{given} of {target}");
        }

        #[test]
        fn at_any_load_above_capacity_what_is_served_stays_near_it(
            capacity in 100..10_000_u32,
            clients in prop::collection::vec(1..10_u32, 1..20),
            times in 2..5_u32,
        ) {
            // Each client asks for its share of `times` the capacity; the worker is late when it took on more.
            let parts: u32 = clients.iter().sum();
            let asked: Vec<u32> = clients.iter().map(|c| capacity * times * c / parts).collect();
            let (mut quota, mut served, mut late) = (None::<Quota>, Vec::new(), 0.0_f32);
            for _ in 0..400 {
                let all: u32 = asked.iter().sum();
                let wanted = quota.map_or(all as f32, |q| asked.iter().map(|n| (*n as f32).min(q.rate)).sum());
                let admitted = wanted.min(capacity as f32);
                late = (late + wanted - capacity as f32).max(0.0);
                let delay = if late > 0.0 { LATE } else { Duration::ZERO };
                // What is too much waits unread in its sockets, and is no longer late once less is asked for.
                late = late.min(capacity as f32 * 0.1);
                let window =
                    Window { delay, admitted: admitted as u32, ended: admitted as u32, refused: (all as f32 - admitted) as u32, ..WINDOW };
                quota = next_quota(quota, &window, DELAY_MAX, &asked);
                served.push(admitted);
            }
            let steady = &served[200..];
            let mean = steady.iter().sum::<f32>() / steady.len() as f32;
            prop_assert!(mean >= capacity as f32 * 0.9, "{mean} of {capacity}");
        }
    }
}
