//! A bounded queue of records from one worker to the task that reports them.
//!
//! Two vectors change sides: the worker fills one, the reader takes it whole and leaves an empty
//! one. The lock between them is held for one push or one swap, and memory stays as small as the
//! traffic between two readings. The reader polls while there is traffic, so that a push wakes
//! nobody; only after a quiet time does it ask for a wake-up.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::record::Record;

/// Records a vector may keep room for when it has been emptied.
const KEPT_CAPACITY: usize = 256;

/// What wakes the reader, shared by the rings of all workers.
#[derive(Debug, Default)]
pub(crate) struct Wake {
    asleep: AtomicBool,
    notify: Notify,
}

impl Wake {
    /// From now on a push wakes the reader. The reader must look once more before it waits.
    pub(crate) fn fall_asleep(&self) {
        self.asleep.store(true, Ordering::SeqCst);
    }

    /// Waits for a push.
    pub(crate) async fn woken(&self) {
        self.notify.notified().await;
    }

    fn wake(&self) {
        if self.asleep.load(Ordering::Relaxed) && self.asleep.swap(false, Ordering::SeqCst) {
            self.notify.notify_one();
        }
    }
}

/// The queue. One worker pushes, one task takes.
#[derive(Debug)]
pub(crate) struct Ring {
    records: Mutex<Vec<Record>>,
    records_max: usize,
    dropped: AtomicU64,
    wake: Arc<Wake>,
}

impl Ring {
    /// Holds up to `records_max` records.
    pub(crate) fn new(records_max: usize, wake: Arc<Wake>) -> Self {
        Self { records: Mutex::default(), records_max, dropped: AtomicU64::new(0), wake }
    }

    /// Adds a record, or counts it as dropped when the reader is that far behind.
    pub(crate) fn push(&self, record: Record) {
        let mut records = self.lock();
        if records.len() < self.records_max {
            records.push(record);
        } else {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        drop(records);
        self.wake.wake();
    }

    /// Moves all records to the end of `into`, oldest first.
    pub(crate) fn take(&self, into: &mut Vec<Record>) {
        let mut records = self.lock();
        if into.is_empty() {
            std::mem::swap(&mut *records, into);
        } else {
            into.append(&mut records);
        }
        if records.capacity() > KEPT_CAPACITY {
            records.shrink_to(KEPT_CAPACITY);
        }
    }

    /// Records dropped so far.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Record>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
