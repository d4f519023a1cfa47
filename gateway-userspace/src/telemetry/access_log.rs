//! The access log: formatted and written by a thread of its own, which nothing waits for.
//!
//! When that thread falls behind (a slow disk, a reader of standard output that stopped) or cannot
//! write (a full disk), records are dropped and counted, with one warning a minute.

mod figures;
mod json;
pub mod line;
pub mod sink;

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use line::LineWriter;
use sink::Sink;

use super::recent::Batch;
use super::record::Record;

pub use line::LogFormat;
pub use sink::LogTarget;

/// Between two warnings about lost lines.
const WARNING_INTERVAL: Duration = Duration::from_secs(60);
/// A write is made once this many bytes are formatted.
const WRITE_BYTES: usize = 256 * 1024;
/// Longest wait for lines to be written when the process ends: a reader that stopped must not keep it.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);
/// Between two tries to reach a thread whose queue is full.
const FLUSH_RETRY: Duration = Duration::from_millis(10);

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

impl LogMode {
    /// True if this record makes a line.
    pub fn wants(self, record: &Record) -> bool {
        match self {
            Self::All => true,
            Self::Failures => record.is_failure(),
            Self::Off => false,
        }
    }
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

/// What the thread is sent.
#[derive(Debug)]
enum Message {
    Records(Batch),
    /// Everything before this is to be written; then say so.
    Flush(oneshot::Sender<()>),
    /// Look whether the file is to be opened anew.
    Wake,
}

#[derive(Debug, Default)]
struct Shared {
    dropped: AtomicU64,
    reopen: AtomicBool,
    warnings: Mutex<Warnings>,
}

/// One warning now and then, however often lines are lost.
#[derive(Debug, Default)]
struct Warnings {
    last: Option<Instant>,
    lost: u64,
}

impl Shared {
    fn lost(&self, lines: u64, why: &dyn std::fmt::Display) {
        self.dropped.fetch_add(lines, Ordering::Relaxed);
        let mut warnings = self.warnings.lock().unwrap_or_else(PoisonError::into_inner);
        warnings.lost += lines;
        let now = Instant::now();
        if warnings.last.is_none_or(|last| now.duration_since(last) >= WARNING_INTERVAL) {
            tracing::warn!(lost = warnings.lost, %why, "access log: lines cannot be written");
            *warnings = Warnings { last: Some(now), lost: 0 };
        }
    }
}

/// The end that records are handed to.
#[derive(Debug)]
pub struct AccessLog {
    mode: LogMode,
    messages: Option<SyncSender<Message>>,
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
            return Ok(Self { mode: options.mode, messages: None, shared });
        }
        let sink = Sink::open(&options.target)?;
        let (messages, receiver) = sync_channel(batches_max);
        let writer = Writer { sink, lines, mode: options.mode, shared: Arc::clone(&shared) };
        std::thread::Builder::new().name("access-log".into()).spawn(move || writer.run(&receiver))?;
        Ok(Self { mode: options.mode, messages: Some(messages), shared })
    }

    /// Hands over those that make a line, without waiting.
    pub fn submit(&self, records: Batch) {
        let Some(messages) = &self.messages else { return };
        let lines = records.iter().filter(|record| self.mode.wants(record)).count() as u64;
        if lines > 0 && messages.try_send(Message::Records(records)).is_err() {
            self.shared.lost(lines, &"the target takes them too slowly");
        }
    }

    /// Opens the file anew before the next line, as log rotation asks with SIGHUP. A file that was
    /// moved away is also noticed without.
    pub fn reopen(&self) {
        self.shared.reopen.store(true, Ordering::Release);
        if let Some(messages) = &self.messages {
            // A full queue is as good: the thread will come around.
            let _ = messages.try_send(Message::Wake);
        }
    }

    /// Waits until everything handed over is written, or until that has taken too long.
    pub async fn flush(&self) {
        let Some(messages) = &self.messages else { return };
        let (done, mut written) = oneshot::channel();
        let flush = async {
            let mut message = Message::Flush(done);
            while let Err(TrySendError::Full(again)) = messages.try_send(message) {
                message = again;
                tokio::time::sleep(FLUSH_RETRY).await;
            }
            // An error says that the thread is gone, and its lines with it.
            let _ = (&mut written).await;
        };
        // Not in time: the target hangs, and its lines are lost with the process.
        let _ = tokio::time::timeout(FLUSH_TIMEOUT, flush).await;
    }

    /// Records that made no line though they should have.
    pub fn dropped(&self) -> u64 {
        self.shared.dropped.load(Ordering::Relaxed)
    }
}

struct Writer {
    sink: Sink,
    lines: LineWriter,
    mode: LogMode,
    shared: Arc<Shared>,
}

impl Writer {
    fn run(mut self, messages: &Receiver<Message>) {
        let mut text = Vec::new();
        while let Ok(message) = messages.recv() {
            let asked = self.shared.reopen.swap(false, Ordering::AcqRel);
            if let Err(error) = self.sink.follow_rename(Instant::now(), asked) {
                self.shared.lost(0, &error);
            }
            match message {
                Message::Records(records) => self.write(&records, &mut text),
                // Nobody may be waiting any more.
                Message::Flush(done) => drop(done.send(())),
                Message::Wake => {}
            }
        }
    }

    fn write(&mut self, records: &[Record], text: &mut Vec<u8>) {
        let mode = self.mode;
        for record in records.iter().filter(|record| mode.wants(record)) {
            self.lines.write(record, text);
            if text.len() >= WRITE_BYTES {
                self.write_out(text);
            }
        }
        self.write_out(text);
        text.shrink_to(WRITE_BYTES);
    }

    fn write_out(&mut self, text: &mut Vec<u8>) {
        if text.is_empty() {
            return;
        }
        if let Err(lost) = self.sink.write(text) {
            self.shared.lost(lost.lines, &lost.error);
        }
        text.clear();
    }
}

#[cfg(test)]
mod tests;
