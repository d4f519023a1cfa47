//! Pure: who gives way when there is no room for more, and how much is too much.

use std::cell::Cell;
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
pub struct Limit {
    /// Requests that may be in flight at once, of those that were taken on lately.
    pub in_flight: f32,
    /// Requests per second that the worker can serve, as far as is known.
    pub capacity: f32,
    /// By so much more is tried after the next window in which the worker rests.
    pub raise: f32,
}

impl Limit {
    /// Whether there is room beside so many.
    pub fn has_room(self, in_flight: u32) -> bool {
        (in_flight as f32) < self.in_flight
    }
}

/// Measurements for which a request counts as in flight. One that takes longer waits for others most of the time,
/// and keeps nobody from a worker's time: streams that last are not to be what fills a limit.
pub const COUNTED_FOR: usize = 16;

/// Requests in flight that were taken on within the last measurements.
#[derive(Debug, Default)]
pub struct InFlight {
    now: Cell<u32>,
    /// By measurement, in a ring.
    begun: [Cell<u32>; COUNTED_FOR],
    all: Cell<u32>,
}

impl InFlight {
    /// So many.
    pub fn count(&self) -> u32 {
        self.all.get()
    }

    /// One more; gives when it began, for `end`.
    pub fn begin(&self) -> u32 {
        let now = self.now.get();
        let begun = self.of(now);
        begun.set(begun.get() + 1);
        self.all.set(self.all.get() + 1);
        now
    }

    /// One less, if it counts still.
    pub fn end(&self, begun: u32) {
        if (self.now.get().wrapping_sub(begun) as usize) < COUNTED_FOR {
            let count = self.of(begun);
            count.set(count.get() - 1);
            self.all.set(self.all.get() - 1);
        }
    }

    /// The next measurement begins: what began longest ago counts no longer.
    pub fn advance(&self) {
        let now = self.now.get().wrapping_add(1);
        self.now.set(now);
        self.all.set(self.all.get() - self.of(now).take());
    }

    const fn of(&self, measurement: u32) -> &Cell<u32> {
        &self.begun[measurement as usize % COUNTED_FOR]
    }
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
    /// The worker had nothing to do for a moment: with more in flight it would have served more.
    pub has_rested: bool,
    /// Memory at its end.
    pub pressure: Pressure,
    /// Requests in flight at its end, of those that were taken on lately.
    pub in_flight: u32,
    /// Requests that were taken on, then or before, and have ended.
    pub ended: u32,
    /// Requests that were refused.
    pub refused: u32,
    /// Requests that wait at its end for others to end.
    pub held_back: usize,
}

impl Window {
    /// Whether it was too much. Once requests are held back, the queue is kept far shorter than the one that
    /// began it: whoever is served is served in time, and it takes no more of holding back than a long queue does.
    fn is_over(&self, current: Option<Limit>, delay_max: Duration) -> bool {
        self.delay > longest(current, delay_max) || self.pressure >= Pressure::Cut
    }

    fn seconds(&self) -> f32 {
        self.length.as_secs_f32().max(0.001)
    }
}

/// While requests are held back, the queue is to be this many times shorter than the longest one without.
const QUEUE_DIVISOR: u32 = 10;

fn longest(current: Option<Limit>, delay_max: Duration) -> Duration {
    if current.is_some() { delay_max / QUEUE_DIVISOR } else { delay_max }
}

/// The least that a window leaves of what was in flight when nothing was held back: most of it is a queue.
const FIRST_CUT_MOST: f32 = 0.02;

/// The least that a later window leaves: a moment's trouble does not undo what was learnt.
const CUT_MOST: f32 = 0.8;

/// The most that one leaves that was too much.
const CUT_LEAST: f32 = 0.95;

/// By so much more is tried after a window in which the worker rested. It doubles while it does.
const RAISE: f32 = 0.03;

/// The most it becomes.
const RAISE_MAX: f32 = 0.25;

/// What is left of the known capacity after a window that served less.
const FADES: f32 = 0.95;

/// Refusals, of what can be served.
const REFUSALS: f32 = 0.05;

/// The limit after a window; `None` is none. A queue is as long as what is in flight: where it is too long, less of
/// it is let in, and where the worker rests while requests wait, more.
pub fn next_limit(current: Option<Limit>, window: &Window, delay_max: Duration) -> Option<Limit> {
    if window.pressure == Pressure::Stop {
        return Some(Limit { in_flight: 0.0, capacity: 0.0, raise: RAISE });
    }
    let known = current.map_or(0.0, |limit| limit.capacity * FADES);
    let capacity = (window.ended as f32 / window.seconds()).max(known).max(1.0);
    if window.is_over(current, delay_max) {
        let least = if current.is_some() { CUT_MOST } else { FIRST_CUT_MOST };
        let aim = delay_max / QUEUE_DIVISOR;
        let left = aim.as_secs_f32() / window.delay.max(Duration::from_micros(1)).as_secs_f32();
        let now = current.map_or(window.in_flight as f32, |limit| limit.in_flight);
        let in_flight = (now * left.clamp(least, CUT_LEAST)).max(1.0);
        return Some(Limit { in_flight, capacity, raise: RAISE });
    }
    let current = current.filter(|_| window.refused > 0 || window.held_back > 0)?;
    let now = current.in_flight.max(1.0);
    if !window.has_rested {
        return Some(Limit { in_flight: now, capacity, raise: RAISE });
    }
    let raise = (current.raise * 2.0).min(RAISE_MAX);
    Some(Limit { in_flight: now + (now * current.raise).max(1.0), capacity, raise })
}

/// How long a refusal waits when so many wait already. A refusal costs as much as half a request, and whoever
/// is refused asks again: together they are to cost little of what the worker can serve.
pub fn held_back_for(held_back: usize, capacity: f32) -> Duration {
    let seconds = held_back as f32 / (capacity * REFUSALS).max(1.0);
    Duration::from_secs_f32(seconds.min(HELD_BACK_MAX.as_secs_f32())).max(HELD_BACK_MIN)
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
        length: Duration::from_millis(100),
        delay: Duration::ZERO,
        has_rested: false,
        pressure: Pressure::None,
        in_flight: 100,
        ended: 100,
        refused: 0,
        held_back: 10,
    };
    const LIMIT: Limit = Limit { in_flight: 50.0, capacity: 1000.0, raise: RAISE };
    const DELAY_MAX: Duration = Duration::from_millis(100);
    const LATE: Duration = Duration::from_millis(200);

    #[test]
    fn a_queue_that_is_too_long_is_cut_to_the_one_that_is_wanted() {
        let limit = next_limit(None, &Window { delay: LATE, in_flight: 2000, ..WINDOW }, DELAY_MAX).unwrap();
        assert_eq!((limit.in_flight.round(), limit.capacity.round()), (100.0, 1000.0));
        assert_eq!(next_limit(None, &Window { delay: DELAY_MAX, ..WINDOW }, DELAY_MAX), None);
    }

    #[test]
    fn a_queue_that_would_begin_no_overload_is_too_long_while_there_is_one() {
        let window = Window { delay: DELAY_MAX / 5, ..WINDOW };
        assert_eq!(next_limit(None, &window, DELAY_MAX), None);
        assert_eq!(next_limit(Some(LIMIT), &window, DELAY_MAX).unwrap().in_flight, 40.0);
        let little = Window { delay: DELAY_MAX / 10 + Duration::from_millis(1), ..WINDOW };
        assert!(next_limit(Some(LIMIT), &little, DELAY_MAX).unwrap().in_flight > 45.0);
    }

    #[test]
    fn the_limit_is_gone_when_nobody_waits() {
        assert!(next_limit(Some(LIMIT), &WINDOW, DELAY_MAX).is_some());
        assert!(next_limit(Some(LIMIT), &Window { refused: 1, held_back: 0, ..WINDOW }, DELAY_MAX).is_some());
        assert_eq!(next_limit(Some(LIMIT), &Window { held_back: 0, ..WINDOW }, DELAY_MAX), None);
    }

    #[test]
    fn a_worker_that_rests_while_requests_wait_is_given_more_and_more_and_one_that_does_not_no_more() {
        let after = |has_rested| {
            let window = Window { has_rested, ..WINDOW };
            (0..10).fold(LIMIT, |limit, _| next_limit(Some(limit), &window, DELAY_MAX).unwrap()).in_flight
        };
        assert!(after(true) > 3.0 * LIMIT.in_flight, "{}", after(true));
        assert_eq!(after(false), LIMIT.in_flight);
    }

    #[test]
    fn without_memory_nothing_is_taken_on_and_with_it_again_more_and_more() {
        let stopped = next_limit(None, &Window { pressure: Pressure::of(97), ..WINDOW }, DELAY_MAX);
        assert!(stopped.is_some_and(|limit| !limit.has_room(0)));
        let rests = Window { has_rested: true, ..WINDOW };
        let limit = (0..40).fold(stopped, |limit, _| next_limit(limit, &rests, DELAY_MAX));
        assert!(limit.is_some_and(|limit| limit.has_room(300)), "{limit:?}");
    }

    #[test]
    fn the_more_wait_to_be_refused_the_longer_up_to_a_limit() {
        assert_eq!(held_back_for(0, 10_000.0), HELD_BACK_MIN);
        assert_eq!(held_back_for(1000, 10_000.0), Duration::from_secs(2));
        assert_eq!(held_back_for(1000, 0.0), HELD_BACK_MAX);
    }

    #[test]
    fn a_worker_that_waits_for_a_cpu_is_not_late_for_too_many_requests_unless_it_never_rests() {
        let tick = Tick { late: LATE, worked: Duration::from_millis(2), has_rested: true };
        assert_eq!(tick.delay(), Duration::from_millis(2));
        assert_eq!(Tick { has_rested: false, ..tick }.delay(), LATE);
        assert_eq!(Tick { worked: LATE * 2, ..tick }.delay(), LATE);
    }

    /// Windows of a worker that serves `capacity` in each, with `clients` that ask again once they were answered,
    /// each of whose requests is with an endpoint for `elsewhere` windows; what each served.
    fn serve(capacity: f32, clients: f32, elsewhere: f32) -> Vec<f32> {
        let (mut limit, mut all) = (None::<Limit>, Vec::new());
        for _ in 0..400 {
            let in_flight = limit.map_or(clients, |limit| limit.in_flight.ceil().min(clients));
            // Those that are not elsewhere wait for their turn.
            let served = capacity.min(in_flight / (elsewhere + 1.0 / capacity));
            let queue = (in_flight - served * elsewhere).max(0.0);
            let window = Window {
                delay: WINDOW.length.mul_f32(if served < capacity { 0.0 } else { queue / capacity }),
                has_rested: served < capacity,
                in_flight: in_flight as u32,
                ended: served as u32,
                held_back: (clients - in_flight) as usize,
                ..WINDOW
            };
            limit = next_limit(limit, &window, DELAY_MAX);
            all.push(served);
        }
        all
    }

    proptest! {
        #[test]
        fn at_any_load_above_capacity_what_is_served_stays_near_it(
            capacity in 20.0..2000.0_f32,
            times in 1.5..50.0_f32,
            elsewhere in 0.001..3.0_f32,
        ) {
            let clients = capacity * (elsewhere + times);
            let served = serve(capacity, clients, elsewhere);
            let mean = served[200..].iter().sum::<f32>() / 200.0;
            prop_assert!(mean >= capacity * 0.9, "{mean} of {capacity}");
        }

        #[test]
        fn what_counts_as_in_flight_is_what_began_lately_and_has_not_ended(
            steps in prop::collection::vec((0..3_u8, 0..50_usize), 0..400),
        ) {
            let (in_flight, mut open, mut now) = (InFlight::default(), Vec::new(), 0_usize);
            for (step, which) in steps {
                match step {
                    0 => open.push((in_flight.begin(), now)),
                    1 if !open.is_empty() => in_flight.end(open.swap_remove(which % open.len()).0),
                    _ => {
                        in_flight.advance();
                        now += 1;
                    }
                }
                let counted = open.iter().filter(|(_, began)| now - began < COUNTED_FOR).count();
                prop_assert_eq!(in_flight.count() as usize, counted);
            }
        }
    }
}
