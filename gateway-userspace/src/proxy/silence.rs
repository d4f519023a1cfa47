//! Notices when nothing has moved for too long, with one coarse timer and none while things move.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

/// Watches for `limit` of silence; it is noticed before twice that time has passed.
#[derive(Debug)]
pub struct Silence {
    limit: Duration,
    /// Set at the first wait.
    timer: Option<Pin<Box<Sleep>>>,
    /// Something has moved since the timer was set.
    moved: bool,
}

impl Silence {
    /// Not watching yet.
    pub fn new(limit: Duration) -> Self {
        Self { limit, timer: None, moved: false }
    }

    /// Something moved.
    pub fn moved(&mut self) {
        self.moved = true;
    }

    /// Ready when it was silent for too long. To be polled by who would else wait.
    pub fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let limit = self.limit;
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        while timer.as_mut().poll(context).is_ready() {
            if !std::mem::take(&mut self.moved) {
                return Poll::Ready(());
            }
            timer.as_mut().reset(Instant::now() + limit);
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::task::Poll;
    use std::time::Duration;

    use tokio::time::Instant;

    use super::Silence;

    #[tokio::test(start_paused = true)]
    async fn silence_is_noticed_and_movement_puts_it_off() {
        let limit = Duration::from_secs(10);
        let begin = Instant::now();
        let mut silence = Silence::new(limit);
        poll_fn(|cx| silence.poll(cx)).await;
        assert_eq!(begin.elapsed(), limit);

        let mut silence = Silence::new(limit);
        let begin = Instant::now();
        for _ in 0..5 {
            silence.moved();
            let wait = tokio::time::sleep(Duration::from_secs(6));
            tokio::select! {
                () = wait => {}
                () = poll_fn(|cx| silence.poll(cx)) => panic!("it was not silent"),
            }
        }
        silence.moved();
        poll_fn(|cx| Poll::Ready(silence.poll(cx).is_ready())).await;
        poll_fn(|cx| silence.poll(cx)).await;
        assert!(begin.elapsed() <= Duration::from_secs(30) + 2 * limit);
    }
}
