//! Tells the connections of one worker to end: first in good order, then at once.

use std::cell::Cell;
use std::rc::Rc;

use tokio::sync::Notify;

/// How far the end has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Open,
    /// No new requests; those in flight finish.
    Graceful,
    /// Whatever is left is cut.
    Now,
}

/// One signal for many connections of one thread.
#[derive(Debug, Clone)]
pub struct Shutdown(Rc<Signal>);

#[derive(Debug)]
struct Signal {
    stage: Cell<Stage>,
    changed: Notify,
}

impl Shutdown {
    /// Not begun.
    pub fn new() -> Self {
        Self(Rc::new(Signal { stage: Cell::new(Stage::Open), changed: Notify::new() }))
    }

    /// Asks for the orderly end.
    pub fn start(&self) {
        self.advance(Stage::Graceful);
    }

    /// Cuts what is left.
    pub fn cut(&self) {
        self.advance(Stage::Now);
    }

    /// True from the moment the orderly end was asked for.
    pub fn is_started(&self) -> bool {
        self.0.stage.get() >= Stage::Graceful
    }

    /// Waits for the orderly end.
    pub async fn started(&self) {
        self.reached(Stage::Graceful).await;
    }

    /// Waits for the cut.
    pub async fn is_cut(&self) {
        self.reached(Stage::Now).await;
    }

    fn advance(&self, stage: Stage) {
        self.0.stage.set(self.0.stage.get().max(stage));
        self.0.changed.notify_waiters();
    }

    async fn reached(&self, stage: Stage) {
        while self.0.stage.get() < stage {
            // One thread: nothing can change between the look and the wait.
            self.0.changed.notified().await;
        }
    }
}

impl Default for Shutdown {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::Shutdown;

    #[tokio::test]
    async fn a_cut_is_an_end_too_and_reaches_everyone_who_waits() {
        let shutdown = Shutdown::new();
        let other = shutdown.clone();
        assert!(!other.is_started());
        let waiting = async { tokio::join!(other.started(), other.is_cut()) };
        let ending = async {
            tokio::task::yield_now().await;
            shutdown.start();
            tokio::task::yield_now().await;
            shutdown.cut();
        };
        tokio::join!(waiting, ending);
        assert!(shutdown.is_started());
    }
}
