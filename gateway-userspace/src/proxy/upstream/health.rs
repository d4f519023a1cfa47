//! Which endpoints are ejected: known to all workers of the process, read without a lock.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use rustc_hash::FxHashMap;

use super::outlier_detection::{Millis, Outlier, OutlierPolicy};
use crate::limits::Limits;
use crate::proxy::clock::millis;
use crate::snapshot::cluster::ClusterId;
use crate::telemetry::endpoint_state::{Ejection, EndpointState, EndpointStates};

/// Entries of endpoints that are gone are looked for when the table has grown to this many, and
/// then each time it has doubled.
const PURGE_FROM: usize = 1024;

/// One endpoint of one cluster. Written at failures, and at the first success after one.
#[derive(Debug, Default)]
pub struct Health {
    outlier: Mutex<Outlier>,
    /// Something stands against it: a success is worth writing.
    failing: AtomicBool,
    /// Milliseconds on `clock`'s scale; 0 when it is not ejected.
    ejected_until: AtomicU64,
}

impl Health {
    /// Out of rotation. The clock is read only if it may be.
    pub fn is_ejected(&self, now: impl FnOnce() -> Millis) -> bool {
        let until = self.ejected_until.load(Ordering::Relaxed);
        until != 0 && now().0 < until
    }

    /// It answered.
    pub fn success(&self) {
        if self.failing.load(Ordering::Relaxed) {
            let mut outlier = self.outlier.lock().unwrap_or_else(PoisonError::into_inner);
            outlier.success();
            self.failing.store(false, Ordering::Relaxed);
            self.ejected_until.store(0, Ordering::Relaxed);
        }
    }

    /// It failed. True when this ejects it.
    pub fn failure(&self, now: Millis, limits: &Limits) -> bool {
        let mut outlier = self.outlier.lock().unwrap_or_else(PoisonError::into_inner);
        self.failing.store(true, Ordering::Relaxed);
        let Some(length) = outlier.failure(now, &OutlierPolicy::from(limits)) else {
            return false;
        };
        let length = u64::try_from(length.as_millis()).unwrap_or(u64::MAX);
        self.ejected_until.store(now.0.saturating_add(length), Ordering::Relaxed);
        true
    }
}

/// The endpoints that any worker knows. Locked when a worker first meets an endpoint.
#[derive(Debug, Default)]
pub struct HealthTable(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    entries: FxHashMap<(ClusterId, SocketAddr), Weak<Health>>,
    purge_at: usize,
}

impl HealthTable {
    /// The one entry of an endpoint, for as long as any worker holds it.
    pub fn get(&self, cluster: ClusterId, address: SocketAddr) -> Arc<Health> {
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = table.entries.get(&(cluster, address)).and_then(Weak::upgrade) {
            return known;
        }
        if table.entries.len() >= table.purge_at.max(PURGE_FROM) {
            table.entries.retain(|_, health| health.strong_count() > 0);
            table.purge_at = table.entries.len() * 2;
        }
        let health = Arc::new(Health::default());
        table.entries.insert((cluster, address), Arc::downgrade(&health));
        health
    }
}

impl EndpointStates for HealthTable {
    fn state(&self, cluster: ClusterId, address: SocketAddr) -> Option<EndpointState> {
        let table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let health = table.entries.get(&(cluster, address)).and_then(Weak::upgrade)?;
        let now = millis().0;
        let remaining = health.ejected_until.load(Ordering::Relaxed).saturating_sub(now);
        let ejection = Ejection { cause: None, remaining: Duration::from_millis(remaining) };
        Some(EndpointState { ejection: (remaining > 0).then_some(ejection) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(port: u16) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, 1], port))
    }

    #[test]
    fn what_one_worker_ejects_is_out_for_the_others_until_it_answers() {
        let table = HealthTable::default();
        let (one, other) = (table.get(ClusterId(1), address(80)), table.get(ClusterId(1), address(80)));
        let limits = Limits::default();
        let ejected = (0..limits.outlier_consecutive).filter(|_| one.failure(Millis(1), &limits)).count();
        assert_eq!(ejected, 1);
        assert!(other.is_ejected(|| Millis(2)));
        assert!(!table.get(ClusterId(2), address(80)).is_ejected(|| Millis(2)));
        other.success();
        assert!(!one.is_ejected(|| Millis(2)));
    }

    #[test]
    fn an_ejection_is_shown_while_it_lasts() {
        let table = HealthTable::default();
        let health = table.get(ClusterId(1), address(80));
        let shown = || table.state(ClusterId(1), address(80)).unwrap().ejection;
        assert_eq!(shown(), None);
        let limits = Limits::default();
        let ejections = (0..limits.outlier_consecutive).filter(|_| health.failure(millis(), &limits)).count();
        assert_eq!(ejections, 1);
        assert!(shown().unwrap().remaining <= limits.outlier_ejection);
        health.success();
        assert_eq!(shown(), None);
        assert_eq!(table.state(ClusterId(2), address(80)), None);
    }

    #[test]
    fn endpoints_that_went_leave_nothing_behind() {
        let table = HealthTable::default();
        let kept = table.get(ClusterId(0), address(1));
        for round in 0..10 {
            for port in 1..=PURGE_FROM {
                table.get(ClusterId(round), address(u16::try_from(port).unwrap()));
            }
        }
        assert!(table.0.lock().unwrap().entries.len() <= 2 * PURGE_FROM);
        assert!(Arc::ptr_eq(&kept, &table.get(ClusterId(0), address(1))));
    }
}
