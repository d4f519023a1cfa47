//! One coarse timer for all that can take too long on a connection.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

/// Set anew only when something has to happen earlier than it would fire: firing early is cheaper.
#[derive(Debug)]
pub(super) struct Alarm(Pin<Box<Sleep>>);

impl Alarm {
    /// Nothing has to happen before `latest` from now.
    pub(super) fn new(latest: Duration) -> Self {
        Self(Box::pin(tokio::time::sleep(latest)))
    }

    /// Ready when it is `at` or later.
    pub(super) fn poll(&mut self, context: &mut Context<'_>, at: Instant) -> Poll<()> {
        if self.0.deadline() > at {
            self.0.as_mut().reset(at);
        }
        while self.0.as_mut().poll(context).is_ready() {
            if at <= Instant::now() {
                return Poll::Ready(());
            }
            self.0.as_mut().reset(at);
        }
        Poll::Pending
    }
}
