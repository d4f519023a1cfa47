//! What leaves a request behind: one record, from which the log line, the metrics and `explain` are made.
//!
//! A worker owns a `WorkerTelemetry`; it writes counters that only it writes and pushes the record
//! into a bounded ring. Formatting and summing happen on the control runtime and on the access
//! log's own thread.

pub mod access_log;
pub mod directory;
pub mod endpoint_state;
pub mod exposition;
pub mod histogram;
pub mod logging;
pub mod metrics;
pub mod pods;
pub mod recent;
pub mod record;
mod ring;
mod series;
pub mod worker;

use std::future::Future;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use access_log::line::LineWriter;
use access_log::{AccessLog, AccessLogOptions};
use directory::Directory;
use pods::Pods;
use recent::{Batch, Recent};
use record::Record;
use ring::{Ring, Wake};
use series::SeriesTable;
use worker::{WorkerCounters, WorkerTelemetry};

use crate::limits::Limits;

/// Between two readings of the rings while there is traffic.
const READ_INTERVAL: Duration = Duration::from_millis(10);
/// Readings that found nothing before the reader sleeps until a record comes.
const QUIET_READINGS: u32 = 100;
/// Longest sleep: the bound on how late a record is seen that raced with falling asleep.
const SLEEP_MAX: Duration = Duration::from_secs(1);

/// Everything that is reported, for the whole process.
#[derive(Debug)]
pub struct Telemetry {
    directory: Directory,
    log: AccessLog,
    recent: Mutex<Recent>,
    workers: Mutex<Vec<Arc<WorkerCounters>>>,
    series: Arc<SeriesTable>,
    wake: Arc<Wake>,
    ring_records_max: usize,
    series_max: usize,
    /// Nanoseconds the last change of configuration took from event to live; 0 before the first.
    config_apply_nanos: AtomicU64,
}

impl Telemetry {
    /// Opens the access log.
    ///
    /// # Errors
    /// When its file cannot be opened.
    pub fn new(log: &AccessLogOptions, directory: Directory, limits: &Limits) -> io::Result<Arc<Self>> {
        let lines = LineWriter {
            format: log.format,
            directory: directory.clone(),
            field_bytes_max: limits.log_field_bytes,
        };
        Ok(Arc::new(Self {
            directory,
            log: AccessLog::open(log, lines, limits.log_batches_max)?,
            recent: Mutex::new(Recent::new(limits.explain_records)),
            workers: Mutex::default(),
            series: Arc::new(SeriesTable::new(limits.metric_series_max)),
            wake: Arc::default(),
            ring_records_max: limits.log_ring_records,
            series_max: limits.metric_series_max,
            config_apply_nanos: AtomicU64::new(0),
        }))
    }

    /// Makes the reporting end of one more worker; call what it returns on that worker's thread.
    pub fn worker(&self) -> impl FnOnce() -> WorkerTelemetry + Send + 'static {
        let ring = Ring::new(self.ring_records_max, Arc::clone(&self.wake));
        let counters = Arc::new(WorkerCounters::new(ring));
        let mut workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
        let index = workers.len();
        workers.push(Arc::clone(&counters));
        let (series, pods) = (Arc::clone(&self.series), Arc::clone(&self.directory.pods));
        let cached_max = self.series_max;
        move || WorkerTelemetry::new(index, counters, series, pods, cached_max)
    }

    /// Names of pods, clusters and rules.
    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    /// The pods of this node, for who enrols them.
    pub fn pods(&self) -> &Arc<Pods> {
        &self.directory.pods
    }

    /// A change of configuration is live, this long after it was noticed.
    pub fn config_applied(&self, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.config_apply_nanos.store(nanos, Ordering::Relaxed);
    }

    /// Opens the access log's file anew, as log rotation asks with SIGHUP.
    pub fn reopen_log(&self) {
        self.log.reopen();
    }

    /// Looks at the newest requests.
    pub fn with_recent<T>(&self, look: impl FnOnce(&Recent) -> T) -> T {
        look(&self.recent.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads the workers' rings until `stop` is done, and then once more; returns when all of it is
    /// written, or cannot be in time. Run it on the control runtime; end it after the workers.
    pub async fn run(&self, stop: impl Future<Output = ()>) {
        let mut stop = std::pin::pin!(stop);
        let mut records = Vec::new();
        let mut quiet = 0;
        loop {
            quiet = if self.read(&mut records) { 0 } else { quiet + 1 };
            let stopped = if quiet < QUIET_READINGS {
                tokio::time::timeout(READ_INTERVAL, &mut stop).await.is_ok()
            } else {
                self.wake.fall_asleep();
                quiet = if self.read(&mut records) { 0 } else { quiet };
                tokio::select! {
                    () = &mut stop => true,
                    _ = tokio::time::timeout(SLEEP_MAX, self.wake.woken()) => false,
                }
            };
            if stopped {
                self.read(&mut records);
                self.log.flush().await;
                return;
            }
        }
    }

    /// Takes what the rings hold to where it is kept and written. False when they held nothing.
    fn read(&self, records: &mut Vec<Record>) -> bool {
        let workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut some = false;
        for worker in workers {
            worker.ring.take(records);
            some |= !records.is_empty();
            if records.is_empty() {
                continue;
            }
            let batch: Batch = records.drain(..).collect();
            self.log.submit(Arc::clone(&batch));
            self.recent.lock().unwrap_or_else(PoisonError::into_inner).push(batch);
        }
        some
    }
}

#[cfg(test)]
mod tests;
