//! Follows desired state: compiles what is new, opens and closes ports, tells which pods are wanted.

use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::ports::PortChange;
use super::source::PodFeed;
use super::{Parts, lock};
use crate::control::Control;
use crate::control::provider::Desired;

/// Before ports that could not be opened are tried again.
const PORT_RETRY_INTERVAL: Duration = Duration::from_secs(2);

/// Follows the source of desired state.
pub(super) struct Follow {
    pub(super) control: Control,
    pub(super) desired: watch::Receiver<Desired>,
    pub(super) pods: PodFeed,
}

impl Follow {
    pub(super) async fn run(mut self, parts: &Parts) {
        let mut retry = tokio::time::interval(PORT_RETRY_INTERVAL);
        loop {
            tokio::select! {
                changed = self.desired.changed() => {
                    if changed.is_err() {
                        tracing::error!("desired state is no longer followed: restart to read it again");
                        return std::future::pending().await;
                    }
                    let desired = self.desired.borrow_and_update().clone();
                    self.apply(desired, parts);
                }
                _ = retry.tick() => {
                    self.compare_ports(parts);
                    self.control.catch_up();
                }
            }
        }
    }

    fn apply(&mut self, desired: Desired, parts: &Parts) {
        let noticed = Instant::now();
        parts.report.set(self.control.apply_logged(&desired).report);
        self.compare_ports(parts);
        self.pods.update(&desired.set);
        parts.telemetry.config_applied(noticed.elapsed());
    }

    /// Opens and closes gateway ports as the newest snapshot wants them; those that cannot be opened
    /// are said in the statuses.
    pub(super) fn compare_ports(&mut self, parts: &Parts) {
        let (changes, failed) = {
            let mut ports = lock(&parts.ports);
            (ports.compare(&parts.store.load().listeners), ports.failed().clone())
        };
        for change in changes {
            match &change {
                PortChange::Open { listener, sockets } => parts.holder.keep_port(listener.address, sockets),
                PortChange::Close(address) => parts.holder.drop_port(*address),
            }
            parts.workers.change_port(change);
        }
        parts.report.set(self.control.set_unusable(failed));
    }
}
