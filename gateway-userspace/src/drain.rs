//! Drain: the one orderly end of the process.
//!
//! It is asked for once, by a signal or over the admin socket, and everyone who must know waits on
//! a `Drain`. What happens then, in which order, is written in `app`.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

/// Why the process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// SIGTERM or SIGINT, or whoever runs the gateway in-process.
    Asked,
    /// A newer process has taken over: pins and kernel entries are its own now.
    Replaced,
}

/// Asks for the drain.
#[derive(Debug, Clone)]
pub struct DrainTrigger(watch::Sender<Causes>);

/// Knows whether the drain was asked for.
#[derive(Debug, Clone)]
pub struct Drain(watch::Receiver<Causes>);

#[derive(Debug, Clone, Copy, Default)]
struct Causes {
    first: Option<Cause>,
    /// One that is replaced can be asked to end later.
    asked: bool,
}

/// A trigger and what it triggers.
pub fn channel() -> (DrainTrigger, Drain) {
    let (trigger, drain) = watch::channel(Causes::default());
    (DrainTrigger(trigger), Drain(drain))
}

/// SIGTERM and SIGINT. One that comes while nobody waits is kept.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// From now on they no longer end the process by themselves.
    ///
    /// # Errors
    /// When they cannot be watched.
    pub fn watch() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Waits for the next one.
    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

impl DrainTrigger {
    /// Begins the drain. The first cause stands.
    pub fn start(&self, cause: Cause) {
        self.0.send_if_modified(|now| {
            let news = now.first.is_none() || (cause == Cause::Asked && !now.asked);
            now.first.get_or_insert(cause);
            now.asked |= cause == Cause::Asked;
            news
        });
    }

    /// Begins the drain at a signal. A second one ends the process at once.
    pub async fn start_on(&self, mut signals: Signals) {
        signals.next().await;
        self.start(Cause::Asked);
        signals.next().await;
        tracing::warn!("second signal: ending now, open connections are cut");
        std::process::exit(1);
    }
}

impl Drain {
    /// Waits until the drain is asked for.
    pub async fn started(&mut self) -> Cause {
        match self.0.wait_for(|causes| causes.first.is_some()).await {
            Ok(causes) => causes.first.unwrap_or(Cause::Asked),
            // Nobody is left who could ask.
            Err(_) => std::future::pending().await,
        }
    }

    /// Waits until somebody asks for it, whoever has taken over before.
    pub async fn asked(&mut self) {
        if self.0.wait_for(|causes| causes.asked).await.is_err() {
            std::future::pending().await
        }
    }

    /// True from the moment the drain was asked for.
    pub fn is_started(&self) -> bool {
        self.0.borrow().first.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::{Cause, channel};

    #[tokio::test]
    async fn everyone_learns_of_the_drain_and_the_first_cause_stands() {
        let (trigger, drain) = channel();
        let mut late = drain.clone();
        assert!(!drain.is_started());
        trigger.start(Cause::Replaced);
        trigger.start(Cause::Asked);
        assert!(drain.is_started());
        assert_eq!(late.started().await, Cause::Replaced);
        late.asked().await;
    }
}
