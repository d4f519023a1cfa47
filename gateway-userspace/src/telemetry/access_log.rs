//! The access log: formatted and written by a thread of its own, which nothing waits for.
//!
//! When that thread falls behind (a slow disk, a reader of standard output that stopped) or cannot
//! write (a full disk), records are dropped and counted, with one warning a minute.

pub mod line;
pub mod sink;

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use line::LineWriter;
use sink::Sink;

use super::record::Record;

pub use line::LogFormat;
pub use sink::LogTarget;

/// Between two warnings about lost lines.
const WARNING_INTERVAL: Duration = Duration::from_secs(60);
/// A write is made once this many bytes are formatted.
const WRITE_BYTES: usize = 256 * 1024;
/// Waiting for the last lines when the process ends; a reader that stopped must not keep it.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Which records make a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogMode {
    /// Every request and relayed connection.
    #[default]
    All,
    /// What was refused, failed, or answered with an error.
    Failures,
    /// None.
    Off,
}

/// Settings of the access log.
#[derive(Debug, Clone, Default)]
pub struct AccessLogOptions {
    /// Which records.
    pub mode: LogMode,
    /// How they look.
    pub format: LogFormat,
    /// Where they go.
    pub target: LogTarget,
}

type Batch = Vec<Arc<Record>>;

#[derive(Debug, Default)]
struct Shared {
    dropped: AtomicU64,
    reopen: AtomicBool,
}

/// The end that records are handed to.
#[derive(Debug)]
pub struct AccessLog {
    mode: LogMode,
    batches: Option<SyncSender<Batch>>,
    done: Mutex<Option<Receiver<()>>>,
    shared: Arc<Shared>,
}

impl AccessLog {
    /// Opens the target and starts the thread. At most `batches_max` batches wait for it.
    ///
    /// # Errors
    /// When the file cannot be opened or the thread not be started.
    pub fn open(options: &AccessLogOptions, lines: LineWriter, batches_max: usize) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        if options.mode == LogMode::Off {
            return Ok(Self { mode: options.mode, batches: None, done: Mutex::default(), shared });
        }
        let sink = Sink::open(&options.target)?;
        let (batches, receiver) = sync_channel(batches_max);
        let (finished, done) = sync_channel(1);
        let writer = Writer { sink, lines, shared: Arc::clone(&shared), warned: None, unwarned: 0 };
        std::thread::Builder::new().name("access-log".into()).spawn(move || {
            writer.run(&receiver);
            // Nobody may be waiting any more.
            let _ = finished.send(());
        })?;
        Ok(Self { mode: options.mode, batches: Some(batches), done: Mutex::new(Some(done)), shared })
    }

    /// True if this record makes a line.
    pub fn wants(&self, record: &Record) -> bool {
        match self.mode {
            LogMode::All => true,
            LogMode::Failures => record.is_failure(),
            LogMode::Off => false,
        }
    }

    /// Hands records over without waiting.
    pub fn submit(&self, batch: Batch) {
        let Some(batches) = &self.batches else { return };
        if let Err(TrySendError::Full(batch) | TrySendError::Disconnected(batch)) = batches.try_send(batch) {
            self.shared.dropped.fetch_add(batch.len() as u64, Ordering::Relaxed);
        }
    }

    /// Opens the file anew before the next line, as log rotation asks with SIGHUP. A file that was
    /// moved away is also noticed without.
    pub fn reopen(&self) {
        self.shared.reopen.store(true, Ordering::Release);
        if let Some(batches) = &self.batches {
            // A full queue is as good: the thread will come around.
            let _ = batches.try_send(Batch::new());
        }
    }

    /// Records that made no line though they should have.
    pub fn dropped(&self) -> u64 {
        self.shared.dropped.load(Ordering::Relaxed)
    }
}

impl Drop for AccessLog {
    fn drop(&mut self) {
        self.batches = None;
        if let Ok(Some(done)) = self.done.get_mut() {
            // Not in time: the target hangs, and its lines are lost with the process.
            let _ = done.recv_timeout(CLOSE_TIMEOUT);
        }
    }
}

struct Writer {
    sink: Sink,
    lines: LineWriter,
    shared: Arc<Shared>,
    warned: Option<Instant>,
    unwarned: u64,
}

impl Writer {
    fn run(mut self, batches: &Receiver<Batch>) {
        let mut text = Vec::new();
        while let Ok(batch) = batches.recv() {
            let asked = self.shared.reopen.swap(false, Ordering::AcqRel);
            if let Err(error) = self.sink.follow_rename(Instant::now(), asked) {
                self.warn(0, &error);
            }
            for record in &batch {
                self.lines.write(record, &mut text);
                if text.len() >= WRITE_BYTES {
                    self.flush(&mut text);
                }
            }
            self.flush(&mut text);
            text.shrink_to(WRITE_BYTES);
        }
    }

    fn flush(&mut self, text: &mut Vec<u8>) {
        if text.is_empty() {
            return;
        }
        if let Err(lost) = self.sink.write(text) {
            self.shared.dropped.fetch_add(lost.lines, Ordering::Relaxed);
            self.warn(lost.lines, &lost.error);
        }
        text.clear();
    }

    fn warn(&mut self, lines: u64, error: &io::Error) {
        self.unwarned += lines;
        let now = Instant::now();
        if self.warned.is_some_and(|last| now.duration_since(last) < WARNING_INTERVAL) {
            return;
        }
        tracing::warn!(lost = self.unwarned, %error, "access log: lines cannot be written");
        self.warned = Some(now);
        self.unwarned = 0;
    }
}

#[cfg(test)]
mod tests;
