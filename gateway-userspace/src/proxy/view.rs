//! One worker's own reference to the newest snapshot: a request touches no shared reference count.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::snapshot::Snapshot;
use crate::snapshot::listener::Listener;
use crate::snapshot::store::SnapshotStore;

/// A snapshot as one worker serves from it.
#[derive(Debug)]
pub struct View {
    /// `SnapshotStore::version` when it was taken.
    pub version: u64,
    /// What to serve.
    pub snapshot: Arc<Snapshot>,
    listeners: FxHashMap<SocketAddr, Arc<Listener>>,
}

impl View {
    fn load(store: &SnapshotStore) -> Rc<Self> {
        let version = store.version();
        let snapshot = store.load();
        let listeners = snapshot.listeners.iter().map(|l| (l.address, Arc::clone(l))).collect();
        Rc::new(Self { version, snapshot, listeners })
    }

    /// The gateway listener of an address.
    pub fn listener(&self, address: &SocketAddr) -> Option<&Arc<Listener>> {
        self.listeners.get(address)
    }
}

/// Follows the store.
#[derive(Debug)]
pub struct Views {
    store: Arc<SnapshotStore>,
    current: RefCell<Rc<View>>,
}

impl Views {
    /// Begins with what the store has.
    pub fn new(store: Arc<SnapshotStore>) -> Self {
        let current = RefCell::new(View::load(&store));
        Self { store, current }
    }

    /// The view of this moment. Costs one load of a word unless the snapshot has changed.
    pub fn get(&self) -> Rc<View> {
        let mut current = self.current.borrow_mut();
        if current.version != self.store.version() {
            *current = View::load(&self.store);
        }
        Rc::clone(&current)
    }
}
