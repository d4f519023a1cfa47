//! The two places where the proxy's view changes: the snapshot and a cluster's endpoints.
//!
//! One writer (control), many readers (workers). Readers compare a version, which costs one load of
//! a word nobody writes on the request path, and take the new value only when it differs. This is
//! the only file that names `ArcSwap`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;

use super::Snapshot;
use super::cluster::EndpointSet;

/// A value with a version that one writer replaces and many readers follow.
#[derive(Debug)]
struct Slot<T> {
    version: AtomicU64,
    value: ArcSwap<T>,
}

impl<T> Slot<T> {
    fn new(value: Arc<T>) -> Self {
        Self { version: AtomicU64::new(0), value: ArcSwap::new(value) }
    }

    /// The value is in place before the version says so: a reader that sees the new version loads
    /// this value or a later one.
    fn publish(&self, value: Arc<T>) {
        self.value.store(value);
        self.version.fetch_add(1, Ordering::Release);
    }

    fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    fn load(&self) -> Arc<T> {
        self.value.load_full()
    }
}

/// Where the newest snapshot is.
#[derive(Debug)]
pub struct SnapshotStore(Slot<Snapshot>);

impl SnapshotStore {
    /// A store with the empty snapshot of generation 0.
    pub fn new() -> Self {
        Self(Slot::new(Arc::new(Snapshot::default())))
    }

    /// Replaces the snapshot. Only `control` calls this.
    pub fn publish(&self, snapshot: Arc<Snapshot>) {
        self.0.publish(snapshot);
    }

    /// Changes with each `publish`.
    pub fn version(&self) -> u64 {
        self.0.version()
    }

    /// The newest snapshot. Counts a shared reference: once per change per worker, not per request.
    pub fn load(&self) -> Arc<Snapshot> {
        self.0.load()
    }
}

impl Default for SnapshotStore {
    fn default() -> Self {
        Self::new()
    }
}

/// Where the endpoints of one cluster are. A worker that sees the version it knows has nothing to
/// do; after `publish` returns, no worker picks from the old set for a new attempt.
#[derive(Debug)]
pub struct EndpointSlot(Slot<EndpointSet>);

impl EndpointSlot {
    /// A slot that holds `set`.
    pub fn new(set: EndpointSet) -> Self {
        Self(Slot::new(Arc::new(set)))
    }

    /// Replaces the set. Only `control` calls this.
    pub fn publish(&self, set: Arc<EndpointSet>) {
        self.0.publish(set);
    }

    /// Changes with each `publish`.
    pub fn version(&self) -> u64 {
        self.0.version()
    }

    /// The set of this moment.
    pub fn load(&self) -> Arc<EndpointSet> {
        self.0.load()
    }
}
