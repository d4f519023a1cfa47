//! Notices a body that comes too slowly: bytes earn time, waiting for them costs it.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

use crate::limits::Limits;

/// Time that can be earned, in times of the grace at the beginning.
const CREDITS_MAX: u32 = 6;

/// Watches one body. Time in which nobody waits for it costs nothing: then the endpoint is slow.
#[derive(Debug)]
pub struct Pace {
    bytes_per_second: u32,
    grace: Duration,
    credit: Duration,
    waiting_since: Option<Instant>,
    /// Set at the first wait. Fires early rather than being set anew with each byte.
    timer: Option<Pin<Box<Sleep>>>,
}

impl Pace {
    /// Not watching yet.
    pub fn new(limits: &Limits) -> Self {
        let (bytes_per_second, grace) = (limits.body_rate_min_bytes.max(1), limits.body_rate_grace);
        Self { bytes_per_second, grace, credit: grace, waiting_since: None, timer: None }
    }

    /// That many bytes came.
    pub fn received(&mut self, bytes: usize) {
        if let Some(since) = self.waiting_since.take() {
            self.credit = self.credit.saturating_sub(since.elapsed());
        }
        // Enough for the most that can be earned, and it cannot overflow.
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let earned = Duration::from_secs(1).saturating_mul(bytes) / self.bytes_per_second;
        self.credit = self.credit.saturating_add(earned).min(self.grace * CREDITS_MAX);
    }

    /// Ready when there was too little for too long. To be polled by who waits for bytes.
    pub fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let since = *self.waiting_since.get_or_insert_with(Instant::now);
        // It never moves back: what is waited costs as much as passes.
        let deadline = since + self.credit;
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        while timer.as_mut().poll(context).is_ready() {
            if timer.deadline() >= deadline {
                return Poll::Ready(());
            }
            timer.as_mut().reset(deadline);
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use tokio::time::Instant;

    use super::Pace;
    use crate::limits::Limits;

    #[tokio::test(start_paused = true)]
    async fn letters_do_not_buy_time_and_the_asked_rate_does() {
        assert_eq!(waited(&[]).await, 10);
        assert_eq!(waited(&[(1, 1); 100]).await, 10);
        assert_eq!(waited(&[(1, 128); 100]).await, 19);
        assert_eq!(waited(&[(1, 256); 100]).await, 110);
        assert_eq!(waited(&[(1, 1024); 100]).await, 160);
        assert_eq!(waited(&[(0, 100_000_000)]).await, 60);
        assert_eq!(waited(&[(9, 256), (1, 256)]).await, 12);
    }

    /// How long a body is waited for that comes in these pieces: seconds before it, and bytes.
    async fn waited(pieces: &[(u64, usize)]) -> u64 {
        let mut pace = Pace::new(&Limits::default());
        let begin = Instant::now();
        for (seconds, bytes) in pieces {
            let next = Instant::now() + Duration::from_secs(*seconds);
            let wait = tokio::time::sleep_until(next);
            tokio::select! {
                biased;
                () = poll_fn(|cx| pace.poll(cx)) => return begin.elapsed().as_secs(),
                () = wait => pace.received(*bytes),
            }
        }
        poll_fn(|cx| pace.poll(cx)).await;
        begin.elapsed().as_secs()
    }

    #[tokio::test(start_paused = true)]
    async fn time_in_which_nobody_waits_costs_nothing() {
        let mut pace = Pace::new(&Limits::default());
        tokio::time::advance(Duration::from_secs(100)).await;
        pace.received(1);
        let begin = Instant::now();
        poll_fn(|cx| pace.poll(cx)).await;
        assert_eq!(begin.elapsed().as_secs(), 10);
    }
}
