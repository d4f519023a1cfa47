//! Readiness: what must be done before this process may be sent traffic.
//!
//! Whoever has something left to do holds a `Blocked` guard; when the last one is dropped the
//! process is ready. Draining is a guard too, one that is never given back.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What the process still waits for. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Readiness {
    pending: Arc<Mutex<BTreeMap<&'static str, usize>>>,
}

/// Not ready while this lives.
#[derive(Debug)]
#[must_use = "the process is ready as soon as this is dropped"]
pub struct Blocked {
    readiness: Readiness,
    what: &'static str,
}

impl Readiness {
    /// Not ready until the guard is dropped. `what` is shown to whoever asks, e.g. `configuration`.
    pub fn block(&self, what: &'static str) -> Blocked {
        *self.lock().entry(what).or_default() += 1;
        Blocked { readiness: self.clone(), what }
    }

    /// What is still missing, by name; ready when empty.
    pub fn pending(&self) -> Vec<&'static str> {
        self.lock().keys().copied().collect()
    }

    /// True when nothing is missing.
    pub fn is_ready(&self) -> bool {
        self.lock().is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, usize>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Blocked {
    fn drop(&mut self) {
        let mut pending = self.readiness.lock();
        if let Some(count) = pending.get_mut(self.what) {
            *count -= 1;
            if *count == 0 {
                pending.remove(self.what);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Readiness;

    #[test]
    fn ready_when_the_last_guard_is_dropped() {
        let readiness = Readiness::default();
        let configuration = readiness.block("configuration");
        let (a, b) = (readiness.block("pods"), readiness.block("pods"));
        drop(a);
        drop(configuration);
        assert_eq!(readiness.pending(), ["pods"]);
        drop(b);
        assert!(readiness.is_ready());
    }
}
