//! What a worker reports with: counters that only it writes, and its end of the ring.

use std::cell::RefCell;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rustc_hash::FxHashMap;

use super::histogram::add_owned;
use super::pods::{Caller, CallerId, Pods};
use super::record::{Observe, PodId, Protocol, Record};
use super::ring::Ring;
use super::series::{Cells, SeriesKey, SeriesTable};
use crate::reason::Reason;
use crate::snapshot::cluster::ClusterId;

/// Counters of one cluster in one worker.
#[derive(Debug, Default)]
pub(crate) struct ClusterCells {
    pub(crate) retries: AtomicU64,
    pub(crate) upstream_connections: AtomicI64,
}

/// What one worker has counted, as any thread may read it.
#[derive(Debug)]
pub(crate) struct WorkerCounters {
    pub(crate) ring: Ring,
    /// HTTP requests by reason; the last one is for those that ended well.
    pub(crate) requests: [AtomicU64; Reason::ALL.len() + 1],
    pub(crate) rejected: [AtomicU64; Reason::ALL.len()],
    pub(crate) ejections: [AtomicU64; Reason::ALL.len()],
    pub(crate) downstream_connections: AtomicI64,
    /// `None` stands for every cluster beyond the limit. Locked when a cluster is first seen.
    clusters: Mutex<FxHashMap<Option<ClusterId>, Arc<ClusterCells>>>,
}

impl WorkerCounters {
    pub(crate) fn new(ring: Ring) -> Self {
        Self {
            ring,
            requests: std::array::from_fn(|_| AtomicU64::new(0)),
            rejected: std::array::from_fn(|_| AtomicU64::new(0)),
            ejections: std::array::from_fn(|_| AtomicU64::new(0)),
            downstream_connections: AtomicI64::new(0),
            clusters: Mutex::default(),
        }
    }

    /// The cells of a cluster; those for all others once `clusters_max` are known.
    fn open(&self, cluster: ClusterId, clusters_max: usize) -> Arc<ClusterCells> {
        let mut clusters = self.clusters.lock().unwrap_or_else(PoisonError::into_inner);
        let room = clusters.len() < clusters_max || clusters.contains_key(&Some(cluster));
        Arc::clone(clusters.entry(room.then_some(cluster)).or_default())
    }

    pub(crate) fn clusters(&self) -> Vec<(Option<ClusterId>, Arc<ClusterCells>)> {
        let clusters = self.clusters.lock().unwrap_or_else(PoisonError::into_inner);
        clusters.iter().map(|(id, cells)| (*id, Arc::clone(cells))).collect()
    }
}

/// The reporting end that lives inside a worker's thread.
pub struct WorkerTelemetry {
    index: usize,
    shared: Arc<WorkerCounters>,
    series: Arc<SeriesTable>,
    pods: Arc<Pods>,
    /// Entries each of the maps below may have before it is emptied and filled anew.
    cached_max: usize,
    callers: RefCell<FxHashMap<PodId, Arc<Caller>>>,
    cells: RefCell<FxHashMap<SeriesKey, Arc<Cells>>>,
    clusters: RefCell<FxHashMap<ClusterId, Arc<ClusterCells>>>,
}

impl WorkerTelemetry {
    pub(crate) fn new(
        index: usize,
        shared: Arc<WorkerCounters>,
        series: Arc<SeriesTable>,
        pods: Arc<Pods>,
        cached_max: usize,
    ) -> Self {
        let (callers, cells, clusters) = Default::default();
        Self { index, shared, series, pods, cached_max, callers, cells, clusters }
    }

    /// Which workload a pod belongs to. Touches no shared count once the pod is known.
    fn caller_id(&self, pod: PodId) -> Option<CallerId> {
        if pod == PodId::default() {
            return None;
        }
        let mut callers = self.callers.borrow_mut();
        if let Some(caller) = callers.get(&pod) {
            return Some(caller.id);
        }
        let caller = self.pods.caller(pod)?;
        if callers.len() >= self.cached_max {
            callers.clear();
        }
        let id = caller.id;
        callers.insert(pod, caller);
        Some(id)
    }

    fn count(&self, record: &Record) {
        let key = SeriesKey::of(record, self.caller_id(record.pod));
        let mut cells = self.cells.borrow_mut();
        if let Some(known) = cells.get(&key).filter(|known| !known.is_retired()) {
            known.record(record);
            return;
        }
        if cells.len() >= self.cached_max {
            cells.clear();
        }
        let caller = self.callers.borrow().get(&record.pod).cloned();
        let opened = self.series.open(key, caller, self.index);
        opened.record(record);
        cells.insert(key, opened);
    }

    fn with_cluster(&self, cluster: ClusterId, f: impl FnOnce(&ClusterCells)) {
        let mut clusters = self.clusters.borrow_mut();
        if let Some(cells) = clusters.get(&cluster) {
            return f(cells);
        }
        if clusters.len() >= self.cached_max {
            clusters.clear();
        }
        let cells = self.shared.open(cluster, self.cached_max);
        f(&cells);
        clusters.insert(cluster, cells);
    }
}

/// As `add_owned`, for what also goes down.
fn change_owned(gauge: &AtomicI64, change: i64) {
    gauge.store(gauge.load(Ordering::Relaxed).wrapping_add(change), Ordering::Relaxed);
}

impl Observe for WorkerTelemetry {
    fn ended(&self, record: Record) {
        self.count(&record);
        if record.protocol != Protocol::Tcp {
            let index = record.reason.map_or(Reason::ALL.len(), |reason| reason as usize);
            add_owned(&self.shared.requests[index], 1);
        }
        self.shared.ring.push(record);
    }

    fn retried(&self, cluster: ClusterId) {
        self.with_cluster(cluster, |cells| add_owned(&cells.retries, 1));
    }

    fn ejected(&self, _cluster: ClusterId, cause: Reason) {
        add_owned(&self.shared.ejections[cause as usize], 1);
    }

    fn downstream_connections(&self, change: i64) {
        change_owned(&self.shared.downstream_connections, change);
    }

    fn upstream_connections(&self, cluster: ClusterId, change: i64) {
        self.with_cluster(cluster, |cells| change_owned(&cells.upstream_connections, change));
    }

    fn rejected(&self, reason: Reason) {
        add_owned(&self.shared.rejected[reason as usize], 1);
    }
}
