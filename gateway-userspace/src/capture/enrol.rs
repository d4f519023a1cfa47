//! Enrolment: makes captured what a source of pods says should be, and looks after it.
//!
//! In: namespace, listeners, their tag, a worker that serves them, and last the kernel entry that
//! sends connects there. Out: the same backwards. A pod that cannot be captured yet is tried again
//! by the slow check, which also sees a namespace that went away or changed its addresses.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::time::Duration;

use super::netns::{Netns, NetnsError, NetnsId, PodAddresses, PodSockets};
use super::pod_table::{CapturedPod, Ports, Refusal, State};
use super::{Pod, PodEvent, PodKey, PodSource, pod_table::PodTable};
use crate::telemetry::record::PodId;

/// The rest of the gateway, as enrolment needs it.
pub trait Gateway {
    /// Marks a listener, so that programs in the kernel know it for Weir's.
    ///
    /// # Errors
    /// The kernel's refusal, for humans.
    fn tag(&self, listener: BorrowedFd<'_>) -> Result<(), String>;

    /// Gives the listeners to the pod's home worker.
    fn serve(&self, pod: &Pod, captured: &CapturedPod, sockets: PodSockets, netns: &Netns);

    /// Connects from the pod's namespace go to its listeners from now on. Called again when its
    /// addresses changed.
    ///
    /// # Errors
    /// The kernel's refusal, for humans.
    fn steer(&self, pod: &CapturedPod) -> Result<(), String>;

    /// Connects from the namespace are left alone from now on.
    ///
    /// # Errors
    /// The kernel's refusal, for humans.
    fn release(&self, netns_cookie: u64) -> Result<(), String>;

    /// Closes the pod's listeners and idle connections, and gives up its namespace.
    fn close(&self, pod: PodId);

    /// Once: another process has written entries of pods meanwhile, and is gone.
    fn has_foreign_entries(&self) -> bool;
}

/// A pod and how far it got.
#[derive(Debug)]
struct Entry {
    pod: Pod,
    captured: Option<(CapturedPod, Netns)>,
    /// Checks since it was captured, as far as they count.
    age: u32,
}

impl Entry {
    /// Whether its addresses are looked at now: those of a new pod may still come, those of others hardly change,
    /// and to list them takes two changes of namespace.
    fn is_due(&mut self, turn: usize) -> bool {
        let has_none =
            self.captured.as_ref().is_some_and(|(captured, _)| captured.addresses == PodAddresses::default());
        let is_new = self.age < YOUNG_CHECKS;
        self.age += u32::from(is_new);
        is_new || has_none || turn.is_multiple_of(ADDRESS_TURNS)
    }
}

/// Checks in which a pod's addresses are looked at each time.
const YOUNG_CHECKS: u32 = 120;

/// Later, once in so many checks: one pod now, another one then.
const ADDRESS_TURNS: usize = 60;

/// Which pods are enrolled. One owner, on the control runtime.
#[derive(Debug)]
pub struct Enrolment<G> {
    gateway: G,
    table: PodTable,
    pods: BTreeMap<PodKey, Entry>,
    pods_max: usize,
    home: Option<NetnsId>,
    last_id: u32,
    /// How often all were looked after.
    checks: usize,
    /// Listeners that a process which died had made, by the namespace's cookie.
    held: BTreeMap<u64, PodSockets>,
}

impl<G: Gateway> Enrolment<G> {
    /// Nothing enrolled yet. `table` shows others what happens here.
    pub fn new(gateway: G, table: PodTable, pods_max: usize) -> Self {
        let home = Netns::id_at(Path::new("/proc/self/ns/net"));
        Self {
            gateway,
            table,
            pods: BTreeMap::new(),
            pods_max,
            home,
            last_id: 0,
            checks: 0,
            held: BTreeMap::new(),
        }
    }

    /// Uses these listeners, with whoever waits in them, instead of new ones.
    pub fn inherit(&mut self, held: BTreeMap<u64, PodSockets>) {
        self.held = held;
    }

    /// Pods that were not captured by now get new listeners.
    pub fn forget_inherited(&mut self) {
        self.held.clear();
    }

    /// Takes in the pods that `source` knows at first. False when that takes longer than `longest`.
    pub async fn begin(&mut self, source: &mut impl PodSource, longest: Duration) -> bool {
        let complete = async {
            while let Some(event) = source.next().await {
                if event == PodEvent::Complete {
                    break;
                }
                self.apply(event);
            }
        };
        tokio::time::timeout(longest, complete).await.is_ok()
    }

    /// Another process has captured the pods: what they began here finishes, their kernel entries stay.
    pub fn hand_over(&mut self) {
        for (key, entry) in std::mem::take(&mut self.pods) {
            if let Some((captured, _)) = entry.captured {
                self.gateway.close(captured.id);
            }
            self.table.forget(&key);
        }
    }

    /// Follows `source`, and looks after the pods every `check_every`, for as long as it is polled.
    pub async fn follow(&mut self, source: &mut impl PodSource, check_every: Duration) {
        let mut check = tokio::time::interval(check_every);
        check.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut ended = false;
        loop {
            tokio::select! {
                event = source.next(), if !ended => match event {
                    Some(event) => self.apply(event),
                    None => ended = true,
                },
                _ = check.tick() => self.check(),
            }
        }
    }

    /// Does what the source says.
    pub fn apply(&mut self, event: PodEvent) {
        match event {
            PodEvent::Added(pod) => self.add(pod),
            PodEvent::Skipped(pod, skip) => {
                self.remove(&pod.key, skip.reason());
                self.pods.remove(&pod.key);
                if self.table.set(&pod, State::Skipped(skip)) {
                    tracing::info!(pod = %pod.key, reason = skip.reason(), "left alone: {skip}");
                }
            }
            PodEvent::Removed(key) => {
                self.remove(&key, "it is no longer asked for");
                self.pods.remove(&key);
                self.table.forget(&key);
            }
            PodEvent::Complete => {}
        }
    }

    fn add(&mut self, pod: Pod) {
        let key = pod.key.clone();
        let moved = self.pods.get(&key).is_some_and(|e| e.pod.place.differs(&pod.place));
        if moved {
            self.remove(&key, "its namespace is another one now");
        }
        match self.pods.get_mut(&key) {
            Some(entry) => {
                entry.pod = pod;
                self.table.relabel(&entry.pod);
                if moved || entry.captured.is_none() {
                    self.capture(&key);
                }
            }
            None => {
                self.pods.insert(key.clone(), Entry { pod, captured: None, age: 0 });
                self.capture(&key);
            }
        }
    }

    /// Takes out pods whose namespace is gone, tries again those that were not captured, and follows
    /// changes of addresses.
    pub fn check(&mut self) {
        if self.gateway.has_foreign_entries() {
            self.steer_again();
        }
        self.checks = self.checks.wrapping_add(1);
        let keys: Vec<PodKey> = self.pods.keys().cloned().collect();
        for (number, key) in keys.into_iter().enumerate() {
            let Some(entry) = self.pods.get_mut(&key) else { continue };
            let is_due = entry.is_due(number.wrapping_add(self.checks));
            match &entry.captured {
                None => self.capture(&key),
                Some((_, netns)) if entry.pod.place.has_lost(netns) => {
                    self.remove(&key, "its namespace is gone");
                    self.capture(&key);
                }
                Some(_) if is_due => self.refresh(&key),
                Some(_) => {}
            }
        }
    }

    fn capture(&mut self, key: &PodKey) {
        let Some(pod) = self.pods.get(key).map(|e| e.pod.clone()) else { return };
        let state = match self.try_capture(&pod) {
            Ok(None) => State::Pending,
            Ok(Some((captured, netns))) => {
                let path = pod.place.path().unwrap_or_else(|| Path::new(""));
                tracing::info!(pod = %key, netns = %path.display(), "captured");
                let state = State::Captured(captured.clone());
                if let Some(entry) = self.pods.get_mut(key) {
                    entry.captured = Some((captured, netns));
                    entry.age = 0;
                }
                state
            }
            Err(refusal) => State::Refused(refusal),
        };
        if let (true, State::Refused(refusal)) = (self.table.set(&pod, state.clone()), &state) {
            tracing::warn!(pod = %key, reason = refusal.reason(), "not captured: {refusal}");
        }
    }

    /// `None` when nobody knows yet where the pod's namespace is.
    fn try_capture(&mut self, pod: &Pod) -> Result<Option<(CapturedPod, Netns)>, Refusal> {
        let Some(netns) = pod.place.open()? else { return Ok(None) };
        if Some(netns.id()) == self.home {
            return Err(Refusal::HostNetwork);
        }
        let same = |e: &&Entry| e.captured.as_ref().is_some_and(|(_, n)| n.id() == netns.id());
        if let Some(other) = self.pods.values().find(same) {
            return Err(Refusal::SharedNamespace(other.pod.key.to_string()));
        }
        if self.pods.values().filter(|e| e.captured.is_some()).count() >= self.pods_max {
            return Err(Refusal::TooManyPods(self.pods_max));
        }
        let netns_cookie = netns.cookie()?;
        let addresses = netns.addresses()?;
        let sockets = match self.held.remove(&netns_cookie) {
            Some(held) => held,
            None => netns.listen()?,
        };
        self.gateway.tag(sockets.v4.as_fd()).map_err(Refusal::Kernel)?;
        if let Some(v6) = &sockets.v6 {
            self.gateway.tag(v6.as_fd()).map_err(Refusal::Kernel)?;
        }
        let ports = Ports::of(&sockets)
            .map_err(|source| NetnsError::Listen { address: std::net::Ipv4Addr::LOCALHOST.into(), source })?;
        self.last_id += 1;
        let captured = CapturedPod {
            id: PodId(self.last_id),
            name: pod.key.to_string().into(),
            netns_cookie,
            addresses,
            ports,
        };
        self.gateway.serve(pod, &captured, sockets, &netns);
        if let Err(error) = self.gateway.steer(&captured) {
            self.gateway.close(captured.id);
            return Err(Refusal::Kernel(error));
        }
        Ok(Some((captured, netns)))
    }

    fn steer_again(&self) {
        for (key, entry) in &self.pods {
            if let Some((captured, _)) = &entry.captured
                && let Err(error) = self.gateway.steer(captured)
            {
                tracing::warn!(pod = %key, %error, "the pod is not steered here any more");
            }
        }
    }

    fn refresh(&mut self, key: &PodKey) {
        let Some(entry) = self.pods.get_mut(key) else { return };
        let Some((captured, netns)) = &mut entry.captured else { return };
        // Addresses that cannot be listed now are not addresses that are gone.
        let Ok(addresses) = netns.addresses() else { return };
        if addresses == captured.addresses {
            return;
        }
        let renewed = CapturedPod { addresses, ..captured.clone() };
        match self.gateway.steer(&renewed) {
            Ok(()) => {
                tracing::info!(pod = %key, ?addresses, "the pod's addresses changed");
                *captured = renewed.clone();
                self.table.set(&entry.pod, State::Captured(renewed));
            }
            Err(error) => {
                tracing::warn!(pod = %key, %error, "the pod's new addresses are not known to the kernel")
            }
        }
    }

    /// Ends the capture of a pod, if it is captured.
    fn remove(&mut self, key: &PodKey, why: &str) {
        let Some((captured, netns)) = self.pods.get_mut(key).and_then(|e| e.captured.take()) else { return };
        if let Err(error) = self.gateway.release(captured.netns_cookie) {
            tracing::warn!(pod = %key, %error, "the pod's kernel entry stays");
        }
        self.gateway.close(captured.id);
        drop(netns);
        tracing::info!(pod = %key, "no longer captured: {why}");
    }
}

#[cfg(test)]
mod tests;
