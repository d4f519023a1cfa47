//! Takes on no more requests than the worker can serve: measures how late it is, and lets one in for each that ends.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use nix::sys::resource::{UsageWho, getrusage};
use nix::time::{ClockId, clock_gettime};
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, timeout};

use super::Proxy;
use super::overload::{InFlight, Limit, Pressure, Tick, Window, held_back_for, next_limit};
use crate::limits::{
    DELAY_MEASURE_INTERVAL, DELAY_MEASURES_MAX, DELAY_MEASURES_MIN, DELAY_WINDOW, REFUSALS_HELD_BACK_MAX,
    TRIMMED_PER_MEASURE,
};
use crate::memory;
use crate::reason::Reason;

/// How much of its memory the process uses, percent. All workers look at it.
#[derive(Debug, Default)]
pub struct MemoryUse(AtomicUsize);

impl MemoryUse {
    /// Says how much it is now.
    pub fn set(&self, percent: usize) {
        self.0.store(percent, Ordering::Relaxed);
    }

    /// How short it is.
    pub fn pressure(&self) -> Pressure {
        Pressure::of(self.0.load(Ordering::Relaxed))
    }
}

/// Requests of one pod or address that wait for others to end. The last that came is the first to be served: its
/// client is the likeliest to be still there.
#[derive(Debug, Default)]
pub struct Waiting {
    by_arrival: RefCell<BTreeMap<u64, oneshot::Sender<()>>>,
    is_in_line: Cell<bool>,
}

/// A request was taken on, at this measurement.
#[derive(Debug, Clone, Copy)]
pub struct TakenOn(u32);

/// How many requests a worker takes on. While there are more than it can serve, one is taken on for each that ends:
/// those who asked have their turns in a circle, so who asks for less than an equal part hardly waits.
#[derive(Debug, Default)]
pub struct Shedding {
    limit: Cell<Option<Limit>>,
    in_flight: InFlight,
    /// Requests that were called, and have not heard it yet.
    called: Cell<u32>,
    /// Wakes who calls them.
    room: Notify,
    /// Whose requests wait.
    line: RefCell<VecDeque<Rc<Waiting>>>,
    /// Of all of them together.
    held_back: Cell<usize>,
    arrivals: Cell<u64>,
    admitted: Cell<u32>,
    refused: Cell<u32>,
    ended: Cell<u32>,
    /// The measuring goes on only while there are requests.
    measures: Cell<bool>,
    begin: Notify,
}

impl Shedding {
    /// Takes on a request of this holder, once there is room for it.
    ///
    /// # Errors
    /// `Overload` when there was none for long: whoever asks again at once is refused at once again, and refusals
    /// cost what others could have had.
    pub async fn take_on(&self, waiting: &Rc<Waiting>) -> Result<TakenOn, Reason> {
        if !self.measures.replace(true) {
            self.begin.notify_one();
        }
        // Who comes in the moment in which another ends need not wait, unless others have waited for their turns.
        let waits = !self.has_room() || self.is_before(waiting);
        let held_back = if waits { Some(self.wait(waiting).await?) } else { None };
        self.admitted.set(self.admitted.get().wrapping_add(1));
        let taken_on = TakenOn(self.in_flight.begin());
        // Only now: its place is not another's.
        drop(held_back);
        Ok(taken_on)
    }

    /// A request that was taken on has ended.
    pub fn ended(&self, TakenOn(began): TakenOn) {
        self.ended.set(self.ended.get().wrapping_add(1));
        self.in_flight.end(began);
        self.make_room();
    }

    /// There may be room.
    fn make_room(&self) {
        if self.held_back.get() > 0 {
            self.room.notify_one();
        }
    }

    /// Somebody waits whose turn comes before that of this holder.
    fn is_before(&self, waiting: &Waiting) -> bool {
        waiting.is_in_line.get() && self.line.borrow().len() > 1
    }

    fn has_room(&self) -> bool {
        self.limit.get().is_none_or(|limit| limit.has_room(self.in_flight.count() + self.called.get()))
    }

    async fn wait<'a>(&'a self, waiting: &'a Rc<Waiting>) -> Result<HeldBack<'a>, Reason> {
        let refused = || {
            self.refused.set(self.refused.get().wrapping_add(1));
            Reason::Overload
        };
        if self.held_back.get() >= REFUSALS_HELD_BACK_MAX {
            return Err(refused());
        }
        let (held_back, call) = HeldBack::new(self, waiting);
        let capacity = self.limit.get().map_or(0.0, |limit| limit.capacity);
        // Those that are refused together are not to come back together.
        let longest = held_back_for(self.held_back.get(), capacity).mul_f32(0.5 + fastrand::f32() / 2.0);
        let is_called = timeout(longest, call).await.is_ok();
        if is_called { Ok(held_back) } else { Err(refused()) }
    }

    /// Forgets holders of whom nobody waits any more, once they are the most.
    fn shorten_line(&self) {
        let mut line = self.line.borrow_mut();
        if line.len() > 2 * self.held_back.get() {
            line.retain(|holder| {
                let waits = !holder.by_arrival.borrow().is_empty();
                holder.is_in_line.set(waits);
                waits
            });
        }
    }

    /// Calls those that wait for whom there is room, one of each holder in turn.
    fn call(&self) {
        while self.held_back.get() > 0 && self.has_room() {
            let Some(holder) = self.line.borrow_mut().pop_front() else { return };
            let (last, is_left) = {
                let mut all = holder.by_arrival.borrow_mut();
                (all.pop_last(), !all.is_empty())
            };
            holder.is_in_line.set(is_left);
            if is_left {
                self.line.borrow_mut().push_back(holder);
            }
            if let Some((_, call)) = last {
                self.held_back.set(self.held_back.get() - 1);
                self.called.set(self.called.get() + 1);
                // One that has gone says so itself.
                let _ = call.send(());
            }
        }
    }
}

/// A request that waits, or was called. Dropped, it does no longer: one that went after it was called leaves its place
/// to the next.
struct HeldBack<'a> {
    shedding: &'a Shedding,
    waiting: &'a Rc<Waiting>,
    arrival: u64,
}

impl<'a> HeldBack<'a> {
    fn new(shedding: &'a Shedding, waiting: &'a Rc<Waiting>) -> (Self, oneshot::Receiver<()>) {
        let arrival = shedding.arrivals.get();
        shedding.arrivals.set(arrival + 1);
        let (sender, call) = oneshot::channel();
        waiting.by_arrival.borrow_mut().insert(arrival, sender);
        shedding.held_back.set(shedding.held_back.get() + 1);
        if !waiting.is_in_line.replace(true) {
            shedding.line.borrow_mut().push_back(Rc::clone(waiting));
        }
        (Self { shedding, waiting, arrival }, call)
    }
}

impl Drop for HeldBack<'_> {
    fn drop(&mut self) {
        let Self { shedding, waiting, arrival } = self;
        let was_waiting = waiting.by_arrival.borrow_mut().remove(arrival).is_some();
        if was_waiting {
            shedding.held_back.set(shedding.held_back.get() - 1);
            shedding.shorten_line();
        } else {
            shedding.called.set(shedding.called.get() - 1);
            shedding.make_room();
        }
    }
}

/// Measures for as long as the worker lives.
pub async fn measure(proxy: Rc<Proxy>) {
    let shedding = &proxy.shedding;
    loop {
        while !shedding.measures.get() {
            shedding.begin.notified().await;
        }
        let (begin, mut least, mut has_rested) = (Instant::now(), Duration::MAX, false);
        for count in 1..=DELAY_MEASURES_MAX {
            let (before, worked, rests) = (Instant::now(), thread_time(), thread_rests());
            tokio::time::sleep(DELAY_MEASURE_INTERVAL).await;
            let tick = Tick {
                late: before.elapsed().saturating_sub(DELAY_MEASURE_INTERVAL),
                worked: thread_time().saturating_sub(worked),
                has_rested: thread_rests() != rests,
            };
            least = least.min(tick.delay());
            has_rested |= tick.has_rested;
            trim(&proxy);
            shedding.in_flight.advance();
            shedding.call();
            if count >= DELAY_MEASURES_MIN && begin.elapsed() >= DELAY_WINDOW {
                break;
            }
        }
        decide(&proxy, begin.elapsed(), least, has_rested);
    }
}

/// Calls those that wait, for as long as the worker lives: after all else that was ready to run when there was room.
/// Most of what is served asks again at once, and finds the room itself.
pub async fn call(proxy: Rc<Proxy>) {
    loop {
        proxy.shedding.room.notified().await;
        proxy.shedding.call();
    }
}

/// Time that this thread has had a CPU.
fn thread_time() -> Duration {
    // A clock that every Linux has.
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::MAX, Duration::from)
}

/// How often this thread has had nothing to do.
fn thread_rests() -> i64 {
    // A question that every Linux answers.
    getrusage(UsageWho::RUSAGE_THREAD).map_or(0, |usage| usage.voluntary_context_switches())
}

/// Gives up what is idle while memory is short.
fn trim(proxy: &Proxy) {
    if proxy.shared.memory.pressure() < Pressure::Trim {
        return;
    }
    for _ in 0..TRIMMED_PER_MEASURE {
        let Some((holder, _)) = proxy.holders.largest() else { return };
        if !proxy.holders.give_up_one(holder) {
            return;
        }
        proxy.observe.rejected(crate::reason::Reason::Overload);
    }
}

/// The end of a window.
fn decide(proxy: &Proxy, length: Duration, delay: Duration, has_rested: bool) {
    let shedding = &proxy.shedding;
    let admitted = shedding.admitted.take();
    let window = Window {
        length,
        delay,
        has_rested,
        pressure: proxy.shared.memory.pressure(),
        in_flight: shedding.in_flight.count(),
        ended: shedding.ended.take(),
        refused: shedding.refused.take(),
        held_back: shedding.held_back.get(),
    };
    if window.pressure > Pressure::None {
        memory::give_back();
    }
    let before = shedding.limit.get();
    let limit = next_limit(before, &window, proxy.limits.queue_delay_max);
    match (before, limit) {
        (None, Some(limit)) => tracing::warn!(?delay, ?limit, "overload: requests wait for others to end"),
        (Some(_), None) => tracing::info!("overload is over"),
        _ => {}
    }
    tracing::debug!(?window, ?limit, "how late the worker is");
    shedding.limit.set(limit);
    shedding.call();
    shedding.measures.set(limit.is_some() || admitted > 0 || window.pressure > Pressure::None);
}

#[cfg(test)]
mod tests {
    use futures_util::stream::FuturesUnordered;
    use futures_util::{FutureExt, StreamExt};

    use super::super::overload::COUNTED_FOR;
    use super::*;

    fn limited(in_flight: f32) -> Shedding {
        let shedding = Shedding::default();
        shedding.limit.set(Some(Limit { in_flight, capacity: 100.0, raise: 0.0 }));
        shedding
    }

    /// What becomes of one at once.
    fn at_once(shedding: &Shedding, waiting: &Rc<Waiting>) -> Option<Result<TakenOn, Reason>> {
        shedding.take_on(waiting).now_or_never()
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_limit_everything_is_taken_on() {
        let (shedding, one) = (Shedding::default(), Rc::default());
        assert!((0..10_000).all(|_| matches!(at_once(&shedding, &one), Some(Ok(_)))));
        assert_eq!((shedding.admitted.get(), shedding.in_flight.count()), (10_000, 10_000));
    }

    #[tokio::test(start_paused = true)]
    async fn one_is_taken_on_for_each_that_ends_and_each_holder_has_its_turn() {
        let shedding = limited(1.0);
        let (greedy, modest) = (Rc::default(), Rc::default());
        let mut now = at_once(&shedding, &greedy).unwrap().unwrap();
        let ask = async |who: &Rc<Waiting>, name| (name, shedding.take_on(who).await.unwrap());
        let mut asks: FuturesUnordered<_> =
            [(&greedy, "first"), (&greedy, "second"), (&greedy, "third"), (&modest, "modest")]
                .into_iter()
                .map(|(who, name)| ask(who, name))
                .collect();
        assert!(asks.next().now_or_never().is_none());
        let mut order = Vec::new();
        for _ in 0..4 {
            shedding.ended(now);
            shedding.call();
            let (name, taken_on) = asks.next().now_or_never().flatten().unwrap();
            order.push(name);
            now = taken_on;
        }
        assert_eq!(order, ["third", "modest", "second", "first"]);
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_too_long_is_refused_and_who_goes_gives_up_its_place() {
        let (shedding, one) = (limited(1.0), Rc::default());
        let first = at_once(&shedding, &one).unwrap().unwrap();
        assert_eq!(shedding.take_on(&one).await.unwrap_err(), Reason::Overload);
        assert_eq!((shedding.held_back.get(), shedding.refused.get()), (0, 1));
        let (mut stays, mut goes) = (Box::pin(shedding.take_on(&one)), Box::pin(shedding.take_on(&one)));
        assert!(stays.as_mut().now_or_never().is_none() && goes.as_mut().now_or_never().is_none());
        shedding.ended(first);
        shedding.call();
        drop(goes);
        shedding.call();
        assert!(matches!(stays.now_or_never(), Some(Ok(_))), "it has the place of the one that was called");
        assert_eq!((shedding.held_back.get(), shedding.called.get()), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn holders_that_have_gone_are_in_no_line() {
        let (shedding, stays) = (limited(0.0), Rc::default());
        let mut waits = Box::pin(shedding.take_on(&stays));
        assert!(waits.as_mut().now_or_never().is_none());
        for _ in 0..100 {
            assert!(at_once(&shedding, &Rc::default()).is_none());
        }
        assert!(shedding.line.borrow().len() <= 2, "{:?}", shedding.line);
        assert!(stays.is_in_line.get());
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_lasts_makes_room_for_others() {
        let (shedding, one) = (limited(1.0), Rc::default());
        let lasting = at_once(&shedding, &one).unwrap().unwrap();
        assert!(at_once(&shedding, &one).is_none());
        for _ in 0..COUNTED_FOR {
            shedding.in_flight.advance();
        }
        let next = at_once(&shedding, &one).unwrap().unwrap();
        shedding.ended(lasting);
        assert_eq!(shedding.in_flight.count(), 1);
        shedding.ended(next);
        assert_eq!(shedding.in_flight.count(), 0);
    }
}
