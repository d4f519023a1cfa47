//! Desired state from a folder of Kubernetes YAML, watched.
//!
//! A thread of its own reads, so that a large folder delays nothing else. What is broken keeps its
//! last good version; what is gone is gone.

mod documents;
mod folder;
mod holdings;
mod parse;
mod reader;
mod settle;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use thiserror::Error;
use tokio::sync::watch;
use tracing::warn;

use self::reader::Reader;
use self::settle::{Look, Patience, Pending};
use super::Desired;
use crate::control::diagnostic::Diagnostic;
use crate::limits::Limits;

/// Why a folder cannot be the configuration.
#[derive(Debug, Error)]
pub enum FolderError {
    /// Not there, not a folder, or not readable.
    #[error(
        "the configuration folder {folder} cannot be read: {source}; give --config a folder of YAML files"
    )]
    Unreadable {
        /// As the user gave it.
        folder: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// No thread to watch it.
    #[error("no thread can be started to watch the configuration folder: {0}")]
    Thread(#[source] io::Error),
}

/// Reads a folder once.
pub fn load(folder: &Path, limits: &Limits) -> Result<Desired, FolderError> {
    let mut reader = Reader::new(folder, limits);
    first_read(&mut reader, folder)?;
    Ok(reader.desired())
}

/// Reads a folder and follows it until the last receiver is gone. The first state is there when this
/// returns; an object that is broken then is left out.
pub fn follow(folder: &Path, limits: &Limits) -> Result<watch::Receiver<Desired>, FolderError> {
    let mut reader = Reader::new(folder, limits);
    // Watching begins before the first read, so that nothing falls between them.
    let (events, incoming) = mpsc::channel();
    let watcher = Watch::new(folder, events);
    first_read(&mut reader, folder)?;
    let (sender, receiver) = watch::channel(reader.desired());
    let follower = Follower {
        folder: folder.to_owned(),
        reader,
        watcher,
        incoming,
        sender,
        pending: Pending::default(),
        patience: Patience {
            quiet: limits.folder.debounce,
            whole_max: limits.folder.burst_max,
            unfinished_max: limits.folder.poll_interval,
        },
        poll: limits.folder.poll_interval,
    };
    let thread = std::thread::Builder::new().name("weir-config".to_owned());
    thread.spawn(move || follower.run()).map_err(FolderError::Thread)?;
    Ok(receiver)
}

/// Reads the text of one file, called `file` in findings.
pub fn from_text(file: &str, text: &str) -> Desired {
    let mut holdings = holdings::Holdings::default();
    holdings.read(&file.into(), text);
    holdings.desired(&[])
}

fn first_read(reader: &mut Reader, folder: &Path) -> Result<(), FolderError> {
    let unreadable = |source| FolderError::Unreadable { folder: folder.to_owned(), source };
    reader.refresh(&Look::default()).map(|_| ()).map_err(unreadable)
}

/// The kernel's notices about a folder; a poll does its work where there are none.
struct Watch {
    watcher: Option<RecommendedWatcher>,
}

impl Watch {
    fn new(folder: &Path, events: mpsc::Sender<notify::Event>) -> Self {
        let deliver = move |event: notify::Result<notify::Event>| {
            if let Ok(event) = event {
                // The follower is gone when the send fails: nobody is left to tell.
                let _ = events.send(event);
            }
        };
        let watcher = notify::recommended_watcher(deliver).and_then(|mut watcher| {
            watcher.watch(folder, RecursiveMode::Recursive)?;
            Ok(watcher)
        });
        if let Err(error) = &watcher {
            warn!("{} cannot be watched ({error}): it is looked at every second instead", folder.display());
        }
        Self { watcher: watcher.ok() }
    }

    /// Watches the folder that has the path now, after the old one was replaced.
    fn again(&mut self, folder: &Path) {
        if let Some(watcher) = &mut self.watcher {
            // The old one may be gone, with its watch.
            let _ = watcher.unwatch(folder);
            if let Err(error) = watcher.watch(folder, RecursiveMode::Recursive) {
                warn!("{} cannot be watched again: {error}", folder.display());
            }
        }
    }
}

struct Follower {
    folder: PathBuf,
    reader: Reader,
    watcher: Watch,
    incoming: mpsc::Receiver<notify::Event>,
    sender: watch::Sender<Desired>,
    pending: Pending,
    patience: Patience,
    poll: Duration,
}

/// Looks for changes this often where the kernel does not tell.
const BLIND_POLL: Duration = Duration::from_secs(1);

impl Follower {
    fn run(mut self) {
        let mut readable = true;
        let mut identity = identity_of(&self.folder);
        while !self.sender.is_closed() {
            let Some(look) = self.next() else { return };
            let now = identity_of(&self.folder);
            let is_other = now != identity;
            if is_other {
                identity = now;
                self.watcher.again(&self.folder);
            }
            match self.reader.look(&look, is_other) {
                Ok(changed) => {
                    readable = true;
                    if changed {
                        self.sender.send_replace(self.reader.desired());
                    }
                }
                Err(error) => {
                    if readable {
                        warn!(
                            "{} cannot be read, its last state keeps serving: {error}",
                            self.folder.display()
                        );
                    }
                    readable = false;
                }
            }
        }
    }

    /// Waits for events and for their end, or for the time to look by itself. `None` at the end.
    fn next(&mut self) -> Option<Look> {
        let idle = if self.watcher.watcher.is_some() { self.poll } else { BLIND_POLL };
        let poll = Instant::now() + idle;
        loop {
            // A writer that never pauses must not keep its change, nor those of others, from everyone.
            let due = self.pending.due(self.patience).map_or(poll, |due| due.min(poll));
            let wait = due.saturating_duration_since(Instant::now());
            match self.incoming.recv_timeout(wait) {
                Ok(event) => self.pending.note(event, Instant::now()),
                Err(RecvTimeoutError::Timeout) => {
                    return Some(self.pending.take(self.patience, Instant::now()));
                }
                // Without a watcher the channel has no sender: sleep by hand is what is left.
                Err(RecvTimeoutError::Disconnected) if self.watcher.watcher.is_none() => {
                    std::thread::park_timeout(wait);
                    return Some(self.pending.take(self.patience, Instant::now()));
                }
                Err(RecvTimeoutError::Disconnected) => return None,
            }
        }
    }
}

/// Tells the folder behind a path from another one that had the path before.
fn identity_of(folder: &Path) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(folder).ok().map(|m| (m.dev(), m.ino()))
}

/// Gives findings on fields their line and column, by a look into the files.
pub fn locate(findings: &mut [Diagnostic]) {
    let mut texts: BTreeMap<String, Option<String>> = BTreeMap::new();
    for finding in findings.iter_mut().filter(|f| f.column.is_none() && !f.field.is_empty()) {
        let (Some(file), Some(line)) = (&finding.file, finding.line) else { continue };
        let text = texts.entry(file.clone()).or_insert_with(|| std::fs::read_to_string(file).ok());
        let place = text.as_deref().and_then(|text| parse::locate(text, line, &finding.field));
        if let Some((line, column)) = place {
            finding.line = Some(line);
            finding.column = Some(column);
        }
    }
}

#[cfg(test)]
mod tests;
