//! Pure: who gives way when there is no room for more, and how much is too much.

use std::time::Duration;

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
    /// Memory at its end.
    pub pressure: Pressure,
    /// Requests that were taken on.
    pub admitted: u32,
    /// Requests that were taken on, then or before, and have ended.
    pub ended: u32,
    /// Requests that were not.
    pub refused: u32,
}

/// Of what was taken on in a window that was too much, as much is taken on in the next.
const CUT: f32 = 0.95;

/// By so much more is tried after a window that was not too much.
const RAISE: f32 = 1.03;

/// The quota after a window; `None` is no limit. `asked` has the requests of each pod or address in it.
/// What ended while the worker was late is its capacity; of streams that last, few end that began.
pub fn next_quota(
    current: Option<Quota>,
    window: &Window,
    delay_max: Duration,
    asked: &[u32],
) -> Option<Quota> {
    if window.pressure == Pressure::Stop {
        return Some(Quota { rate: 0.0, share: 0.0 });
    }
    if window.delay > delay_max || window.pressure == Pressure::Cut {
        let total: f32 = asked.iter().map(|n| *n as f32).sum();
        let target = window.ended.max(window.admitted / 2) as f32 * CUT;
        let share = if total > 0.0 { (target / total).min(1.0) } else { 1.0 };
        let seconds = window.length.as_secs_f32().max(0.001);
        return Some(Quota { rate: level(asked, target) / seconds, share });
    }
    let current = current.filter(|_| window.refused > 0)?;
    Some(Quota { rate: current.rate.max(1.0) * RAISE, share: (current.share.max(0.01) * RAISE).min(1.0) })
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
        pressure: Pressure::None,
        admitted: 100,
        ended: 100,
        refused: 0,
    };
    const DELAY_MAX: Duration = Duration::from_millis(100);
    const LATE: Duration = Duration::from_millis(101);

    #[test]
    fn whoever_asks_for_little_is_not_cut() {
        let window = Window { delay: LATE, ..WINDOW };
        let quota = next_quota(None, &window, DELAY_MAX, &[10, 5, 85]).unwrap();
        assert_eq!(quota, Quota { rate: 80.0, share: 0.95 });
    }

    #[test]
    fn the_limit_is_gone_when_nobody_is_refused() {
        let quota = Quota { rate: 50.0, share: 0.5 };
        let raised = next_quota(Some(quota), &Window { refused: 1, ..WINDOW }, DELAY_MAX, &[]).unwrap();
        assert!(raised.rate > quota.rate && raised.share > quota.share);
        assert_eq!(next_quota(Some(quota), &WINDOW, DELAY_MAX, &[]), None);
    }

    #[test]
    fn without_memory_nothing_is_taken_on_and_with_it_again_more_and_more() {
        let stopped = next_quota(None, &Window { pressure: Pressure::of(97), ..WINDOW }, DELAY_MAX, &[1]);
        assert_eq!(stopped, Some(Quota { rate: 0.0, share: 0.0 }));
        let mut quota = stopped;
        for _ in 0..200 {
            quota = next_quota(quota, &Window { refused: 1, ..WINDOW }, DELAY_MAX, &[]);
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
