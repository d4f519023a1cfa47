//! Takes on no more requests than the worker can serve: measures how late it is, and keeps each holder to its quota.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use nix::sys::resource::{UsageWho, getrusage};
use nix::time::{ClockId, clock_gettime};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::Proxy;
use super::overload::{Pressure, Quota, Tick, Window, held_back_for, next_quota, taken_on_late};
use crate::limits::{
    DELAY_MEASURE_INTERVAL, DELAY_MEASURES_MAX, DELAY_MEASURES_MIN, DELAY_WINDOW, QUOTA_BURST_SECONDS,
    REFUSALS_HELD_BACK_MAX, TRIMMED_PER_MEASURE,
};
use crate::memory;

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

/// What one pod or address asks for.
#[derive(Debug, Default)]
pub struct Demand {
    window: Cell<u32>,
    asked: Cell<u32>,
    /// It was here before there was too much.
    known: Cell<bool>,
    /// Requests that it may have at once, and when that was counted. `None` before it was held to a quota.
    allowance: Cell<Option<(Instant, f32)>>,
}

/// How many requests a worker takes on.
#[derive(Debug)]
pub struct Shedding {
    window: Cell<u32>,
    quota: Cell<Option<Quota>>,
    admitted: Cell<u32>,
    refused: Cell<u32>,
    ended: Cell<u32>,
    held_back: Cell<usize>,
    /// Wakes those that were held back and can be served after all.
    room: Notify,
    /// So many of them at each measurement: together they would be a queue.
    room_for: Cell<usize>,
    /// The measuring goes on only while there are requests.
    measures: Cell<bool>,
    begin: Notify,
}

impl Default for Shedding {
    fn default() -> Self {
        Self {
            // The demand of a newcomer is of no window yet.
            window: Cell::new(1),
            quota: Cell::new(None),
            admitted: Cell::new(0),
            refused: Cell::new(0),
            ended: Cell::new(0),
            held_back: Cell::new(0),
            room: Notify::new(),
            room_for: Cell::new(0),
            measures: Cell::new(false),
            begin: Notify::new(),
        }
    }
}

impl Shedding {
    /// Whether a request of this holder is taken on.
    pub fn admits(&self, demand: &Demand) -> bool {
        if demand.window.replace(self.window.get()) != self.window.get() {
            demand.asked.set(0);
        }
        demand.asked.set(demand.asked.get() + 1);
        if !self.measures.replace(true) {
            self.begin.notify_one();
        }
        let admits = match self.quota.get() {
            None => {
                demand.known.set(true);
                true
            }
            Some(quota) => demand.takes_one(quota, Instant::now()),
        };
        let count = if admits { &self.admitted } else { &self.refused };
        count.set(count.get().wrapping_add(1));
        admits
    }
}

impl Shedding {
    /// A request that was taken on has ended.
    pub fn ended(&self) {
        self.ended.set(self.ended.get().wrapping_add(1));
    }

    /// Takes on some of those that were held back. The last that came first: its client is the likeliest
    /// to be still there.
    fn make_room(&self) {
        for _ in 0..self.room_for.get().min(self.held_back.get()) {
            self.room.notify_last();
        }
    }

    /// Lets a request that was not taken on wait: whoever asks again at once is refused at once again, and
    /// refusals cost what others could have had. True when there is room for it after all.
    pub async fn hold_back(&self) -> bool {
        if self.held_back.get() >= REFUSALS_HELD_BACK_MAX {
            return false;
        }
        let held_back = HeldBack::new(&self.held_back);
        let capacity = self.quota.get().map_or(0.0, |quota| quota.capacity);
        // Those that were refused together are not to come back together.
        let longest = held_back_for(held_back.0.get(), capacity).mul_f32(0.5 + fastrand::f32() / 2.0);
        let has_room = tokio::time::timeout(longest, self.room.notified()).await.is_ok();
        if has_room {
            self.admitted.set(self.admitted.get().wrapping_add(1));
        }
        has_room
    }
}

/// Counts a request that waits.
struct HeldBack<'a>(&'a Cell<usize>);

impl<'a> HeldBack<'a> {
    fn new(count: &'a Cell<usize>) -> Self {
        count.set(count.get() + 1);
        Self(count)
    }
}

impl Drop for HeldBack<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

impl Demand {
    fn takes_one(&self, quota: Quota, now: Instant) -> bool {
        let most = (quota.rate * QUOTA_BURST_SECONDS).max(1.0);
        let allowed = match self.allowance.get() {
            Some((since, allowed)) => (allowed + (now - since).as_secs_f32() * quota.rate).min(most),
            // Clients that come and go are not to have their first request each time.
            None if self.known.get() || fastrand::f32() < quota.share => most,
            None => 0.0,
        };
        let takes = allowed >= 1.0;
        self.allowance.set(Some((now, if takes { allowed - 1.0 } else { allowed })));
        takes
    }
}

/// Measures for as long as the worker lives.
pub async fn measure(proxy: Rc<Proxy>) {
    let shedding = &proxy.shedding;
    loop {
        while !shedding.measures.get() {
            shedding.begin.notified().await;
        }
        let (begin, mut least, mut has_rested) = (Instant::now(), Duration::MAX, true);
        for count in 1..=DELAY_MEASURES_MAX {
            let (before, worked, rests) = (Instant::now(), thread_time(), thread_rests());
            tokio::time::sleep(DELAY_MEASURE_INTERVAL).await;
            let tick = Tick {
                late: before.elapsed().saturating_sub(DELAY_MEASURE_INTERVAL),
                worked: thread_time().saturating_sub(worked),
                has_rested: thread_rests() != rests,
            };
            least = least.min(tick.delay());
            has_rested &= tick.has_rested;
            trim(&proxy);
            shedding.make_room();
            if count >= DELAY_MEASURES_MIN && begin.elapsed() >= DELAY_WINDOW {
                break;
            }
        }
        decide(&proxy, begin.elapsed(), least, has_rested);
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
    let window = Window {
        length,
        delay,
        has_rested,
        pressure: proxy.shared.memory.pressure(),
        admitted: shedding.admitted.take(),
        refused: shedding.refused.take(),
        ended: shedding.ended.take(),
        held_back: shedding.held_back.get(),
    };
    let before = shedding.quota.get();
    let is_over = window.is_over(before, proxy.limits.queue_delay_max);
    let asked = if is_over || before.is_some() { asked(proxy) } else { Vec::new() };
    if window.pressure > Pressure::None {
        memory::give_back();
    }
    let quota = next_quota(before, &window, proxy.limits.queue_delay_max, &asked);
    match (before, quota) {
        (None, Some(quota)) => tracing::warn!(?delay, ?quota, "overload: requests are refused"),
        (Some(_), None) => tracing::info!("overload is over"),
        _ => {}
    }
    tracing::debug!(?window, ?quota, "how late the worker is");
    shedding.quota.set(quota);
    let measures = if quota.is_some() { DELAY_MEASURES_MAX as usize } else { 1 };
    shedding.room_for.set(taken_on_late(quota, &window).div_ceil(measures));
    shedding.make_room();
    shedding.window.set(shedding.window.get().wrapping_add(1));
    shedding.measures.set(quota.is_some() || window.admitted > 0 || window.pressure > Pressure::None);
}

/// What each holder has asked for in this window.
fn asked(proxy: &Proxy) -> Vec<u32> {
    let now = proxy.shedding.window.get();
    let mut asked = Vec::new();
    proxy.holders.for_each_demand(|demand| {
        if demand.window.get() == now {
            asked.push(demand.asked.get());
        }
    });
    asked
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_quota_everything_is_taken_on() {
        let (shedding, demand) = (Shedding::default(), Demand::default());
        assert!((0..10_000).all(|_| shedding.admits(&demand)));
        assert_eq!((shedding.admitted.get(), demand.asked.get()), (10_000, 10_000));
    }

    #[tokio::test(start_paused = true)]
    async fn who_asks_for_more_than_the_quota_gets_the_quota_and_who_asks_for_less_gets_all() {
        let shedding = Shedding::default();
        shedding.quota.set(Some(Quota { rate: 100.0, share: 1.0, capacity: 100.0, raise: 0.0 }));
        let (greedy, modest) = (Demand::default(), Demand::default());
        let (mut greedy_gets, mut modest_gets) = (0, 0);
        for millisecond in 0..1000 {
            greedy_gets += u32::from(shedding.admits(&greedy));
            if millisecond % 20 == 0 {
                modest_gets += u32::from(shedding.admits(&modest));
            }
            tokio::time::advance(Duration::from_millis(1)).await;
        }
        assert_eq!(modest_gets, 50);
        assert!((95..=103).contains(&greedy_gets), "{greedy_gets}");
        assert_eq!(shedding.refused.get(), 1000 - greedy_gets);
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_held_back_is_refused_in_the_end_or_served_when_there_is_room() {
        let shedding = Shedding::default();
        shedding.quota.set(Some(Quota { rate: 0.0, share: 0.0, capacity: 100.0, raise: 0.0 }));
        assert!(!shedding.hold_back().await);
        assert_eq!(shedding.held_back.get(), 0);
        let room = async {
            tokio::task::yield_now().await;
            shedding.room.notify_last();
        };
        let (is_served, ()) = tokio::join!(shedding.hold_back(), room);
        assert!(is_served);
        assert_eq!((shedding.admitted.get(), shedding.held_back.get()), (1, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn with_no_rate_at_all_nothing_is_taken_on() {
        let shedding = Shedding::default();
        shedding.quota.set(Some(Quota { rate: 0.0, share: 0.0, capacity: 0.0, raise: 0.0 }));
        assert!(!shedding.admits(&Demand::default()));
    }
}
