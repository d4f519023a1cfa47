//! Which series of requests exist, and the cells in which each worker counts them.
//!
//! A series is opened the first time a worker sees its combination of ids, under a lock; after that
//! the worker finds its cells in a map of its own. Names enter only when metrics are scraped.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustc_hash::FxHashMap;

use super::histogram::{Histogram, Totals, add_owned};
use super::pods::{Caller, CallerId};
use super::record::{Protocol, Record};
use crate::reason::Reason;
use crate::snapshot::cluster::ClusterId;
use crate::snapshot::router::RuleId;

/// A series nobody added to for this long is forgotten.
const IDLE_MAX: Duration = Duration::from_secs(15 * 60);

/// The metric family of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Family {
    /// A request to a gateway listener.
    Server,
    /// A request of a pod.
    Client,
    /// A relayed connection.
    Tcp,
}

/// What tells the series of one family apart. Nothing in it comes from a client's bytes unchecked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Labels {
    pub(crate) caller: Option<CallerId>,
    /// Index in `METHODS`.
    pub(crate) method: u8,
    pub(crate) status: u16,
    pub(crate) grpc_status: Option<u8>,
    pub(crate) protocol: Protocol,
    pub(crate) rule: Option<RuleId>,
    pub(crate) frontend: Option<ClusterId>,
    pub(crate) cluster: Option<ClusterId>,
    /// Port of a gateway listener, else 0.
    pub(crate) port: u16,
    pub(crate) reason: Option<Reason>,
}

/// Names one series; no labels means all that found no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct SeriesKey {
    pub(crate) family: Family,
    pub(crate) labels: Option<Labels>,
}

/// Methods that a label may show (RFC 9110 section 9, RFC 5789); every other one is the last.
pub(crate) const METHODS: [&str; 10] =
    ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "_OTHER"];

/// gRPC status codes by number; what no specification names is the last, UNKNOWN's neighbour.
pub(crate) const GRPC_STATUSES: [&str; 18] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
    "_OTHER",
];

fn method_index(method: &http::Method) -> u8 {
    let last = METHODS.len() - 1;
    METHODS[..last].iter().position(|known| *known == method.as_str()).unwrap_or(last) as u8
}

impl SeriesKey {
    pub(crate) fn of(record: &Record, caller: Option<CallerId>) -> Self {
        let gateway = record.frontend.is_none();
        let tcp = record.protocol == Protocol::Tcp;
        let family = match (tcp, gateway) {
            (true, _) => Family::Tcp,
            (false, true) => Family::Server,
            (false, false) => Family::Client,
        };
        let labels = Labels {
            caller,
            method: record.method.as_ref().map_or(METHODS.len() as u8 - 1, method_index),
            status: record.status.map_or(0, |s| s.as_u16()),
            grpc_status: record.grpc_status.map(|s| s.min(GRPC_STATUSES.len() as u16 - 1) as u8),
            protocol: record.protocol,
            rule: record.rule,
            frontend: record.frontend,
            cluster: record.cluster,
            port: if gateway { record.destination.port() } else { 0 },
            reason: record.reason,
        };
        Self { family, labels: Some(labels) }
    }
}

/// One series of one worker. Only that worker writes.
#[derive(Debug, Default)]
pub(crate) struct Cells {
    duration: Histogram,
    bytes_received: AtomicU64,
    bytes_sent: AtomicU64,
    retired: AtomicBool,
}

impl Cells {
    pub(crate) fn record(&self, record: &Record) {
        self.duration.record(record.duration);
        add_owned(&self.bytes_received, record.bytes_received);
        add_owned(&self.bytes_sent, record.bytes_sent);
    }

    /// True when the series was forgotten: what is counted here is no longer scraped.
    pub(crate) fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Relaxed)
    }
}

/// One series, added up over the workers.
#[derive(Debug, Clone)]
pub(crate) struct Sample {
    pub(crate) key: SeriesKey,
    pub(crate) caller: Option<Arc<Caller>>,
    pub(crate) duration: Totals,
    pub(crate) bytes_received: u64,
    pub(crate) bytes_sent: u64,
}

#[derive(Debug)]
struct Entry {
    caller: Option<Arc<Caller>>,
    /// By worker index.
    cells: Vec<(usize, Arc<Cells>)>,
    seen_count: u64,
    seen_change: Instant,
}

/// All series of the process.
#[derive(Debug)]
pub(crate) struct SeriesTable {
    entries: Mutex<FxHashMap<SeriesKey, Entry>>,
    series_max: usize,
    dropped: AtomicU64,
}

impl SeriesTable {
    /// Room for `series_max` series in each family.
    pub(crate) fn new(series_max: usize) -> Self {
        Self { entries: Mutex::default(), series_max, dropped: AtomicU64::new(0) }
    }

    /// The cells of a worker for a series; those of the family's `other` when there is no room.
    pub(crate) fn open(&self, key: SeriesKey, caller: Option<Arc<Caller>>, worker: usize) -> Arc<Cells> {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let full = || entries.keys().filter(|k| k.family == key.family).count() >= self.series_max;
        let (key, caller) = if entries.contains_key(&key) || !full() {
            (key, caller)
        } else {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            (SeriesKey { labels: None, ..key }, None)
        };
        let entry = entries.entry(key).or_insert_with(|| Entry {
            caller,
            cells: Vec::new(),
            seen_count: 0,
            seen_change: Instant::now(),
        });
        if let Some((_, cells)) = entry.cells.iter().find(|(owner, _)| *owner == worker) {
            return Arc::clone(cells);
        }
        let cells = Arc::new(Cells::default());
        entry.cells.push((worker, Arc::clone(&cells)));
        cells
    }

    /// Combinations that found no room.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Every series, in no order. Series that have been idle for too long are forgotten.
    pub(crate) fn scrape(&self, now: Instant) -> Vec<Sample> {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let mut samples = Vec::with_capacity(entries.len());
        entries.retain(|key, entry| {
            let sample = entry.sample(*key);
            if sample.duration.count() != entry.seen_count {
                entry.seen_count = sample.duration.count();
                entry.seen_change = now;
            }
            let keep = key.labels.is_none() || now.duration_since(entry.seen_change) < IDLE_MAX;
            if keep {
                samples.push(sample);
            } else {
                entry.cells.iter().for_each(|(_, cells)| cells.retired.store(true, Ordering::Relaxed));
            }
            keep
        });
        samples
    }
}

impl Entry {
    fn sample(&self, key: SeriesKey) -> Sample {
        let mut sample = Sample {
            key,
            caller: self.caller.clone(),
            duration: Totals::default(),
            bytes_received: 0,
            bytes_sent: 0,
        };
        for (_, cells) in &self.cells {
            sample.duration.add(&cells.duration);
            sample.bytes_received += cells.bytes_received.load(Ordering::Relaxed);
            sample.bytes_sent += cells.bytes_sent.load(Ordering::Relaxed);
        }
        sample
    }
}
