//! When a burst of file events has come to its end.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use notify::event::{AccessKind, AccessMode, CreateKind, EventKind, ModifyKind};

/// How much longer than the quiet time to wait for a writer that has a file open.
const OPEN_FACTOR: u32 = 20;

/// Events since the last look.
#[derive(Debug, Default)]
pub(super) struct Burst {
    /// Files to read whatever their stamps say.
    pub(super) touched: BTreeSet<PathBuf>,
    /// Files that are being written: they may be truncated and half full.
    open: BTreeSet<PathBuf>,
    any: bool,
}

impl Burst {
    /// Takes an event. Reading, also our own, is none.
    pub(super) fn note(&mut self, event: notify::Event) {
        match event.kind {
            EventKind::Access(AccessKind::Close(AccessMode::Write)) => {
                for path in &event.paths {
                    self.open.remove(path);
                }
            }
            EventKind::Access(_) => return,
            EventKind::Modify(ModifyKind::Data(_)) | EventKind::Create(CreateKind::File) => {
                self.open.extend(event.paths.iter().cloned());
            }
            EventKind::Modify(_) | EventKind::Remove(_) => {
                for path in &event.paths {
                    self.open.remove(path);
                }
            }
            EventKind::Create(_) | EventKind::Any | EventKind::Other => {}
        }
        self.any = true;
        self.touched.extend(event.paths);
    }

    /// True when nothing happened that matters.
    pub(super) fn is_empty(&self) -> bool {
        !self.any
    }

    /// How long it must be quiet before the folder is read.
    pub(super) fn quiet(&self, debounce: Duration) -> Duration {
        if self.open.is_empty() { debounce } else { debounce * OPEN_FACTOR }
    }

    /// How long one that never ends may hold the changes in it back: `whole` where each file is whole as it
    /// is, `unfinished` while one is being written.
    pub(super) fn longest(&self, whole: Duration, unfinished: Duration) -> Duration {
        if self.open.is_empty() { whole } else { unfinished }
    }
}
