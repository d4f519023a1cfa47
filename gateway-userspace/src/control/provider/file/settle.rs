//! What file events say is to be read, and when. Does no IO, and is told the time.
//!
//! A file that was renamed into its place or closed by its writer is whole, and waits only for others that
//! come with it. A file that is being written may be truncated and half full: it is held back, alone.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use notify::event::{AccessKind, AccessMode, CreateKind, EventKind, ModifyKind};

/// How much longer than the quiet time to wait for a writer that has a file open.
const OPEN_FACTOR: u32 = 100;

/// How long to wait.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// Quiet time after an event.
    pub(super) quiet: Duration,
    /// The longest for files that are whole, where it is never quiet.
    pub(super) whole_max: Duration,
    /// The longest for a file that is being written all the time.
    pub(super) unfinished_max: Duration,
}

/// Events that nobody has acted upon.
#[derive(Debug, Default)]
pub(super) struct Pending {
    /// Files that can be read, and folders.
    whole: BTreeSet<PathBuf>,
    /// The first and the last event about them, or about who knows what.
    span: Option<Span>,
    writing: BTreeMap<PathBuf, Span>,
}

#[derive(Debug, Clone, Copy)]
struct Span {
    first: Instant,
    last: Instant,
}

impl Span {
    /// The end of it, by the time it must be quiet and the longest it may last.
    fn end(self, quiet: Duration, longest: Duration) -> Instant {
        (self.last + quiet).min(self.first + longest)
    }
}

/// Follows an event.
fn extend(span: &mut Option<Span>, now: Instant) {
    match span {
        Some(span) => span.last = now,
        None => *span = Some(Span { first: now, last: now }),
    }
}

/// What is to be looked at.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Look {
    /// To be read whatever their stamps say.
    pub(super) touched: BTreeSet<PathBuf>,
    /// Not to be read now.
    pub(super) held: BTreeSet<PathBuf>,
}

impl Pending {
    /// Takes an event. Reading, also our own, is none.
    pub(super) fn note(&mut self, event: notify::Event, now: Instant) {
        match event.kind {
            EventKind::Access(AccessKind::Close(AccessMode::Write)) | EventKind::Remove(_) => {
                self.written(&event.paths);
            }
            EventKind::Access(_) => return,
            EventKind::Modify(ModifyKind::Data(_)) | EventKind::Create(CreateKind::File) => {
                for path in event.paths {
                    self.whole.remove(&path);
                    let mut span = self.writing.remove(&path);
                    extend(&mut span, now);
                    self.writing.extend(span.map(|span| (path, span)));
                }
                return;
            }
            EventKind::Modify(_) => self.written(&event.paths),
            EventKind::Create(_) | EventKind::Any | EventKind::Other => {}
        }
        extend(&mut self.span, now);
        self.whole.extend(event.paths);
    }

    fn written(&mut self, paths: &[PathBuf]) {
        for path in paths {
            self.writing.remove(path);
        }
    }

    /// When there is something to look at; `None` where nothing has happened.
    pub(super) fn due(&self, patience: Patience) -> Option<Instant> {
        let Patience { quiet, whole_max, unfinished_max } = patience;
        let whole = self.span.map(|span| span.end(quiet, whole_max));
        let writing = self.writing.values().map(|span| span.end(quiet * OPEN_FACTOR, unfinished_max));
        whole.into_iter().chain(writing).min()
    }

    /// What is to be looked at now.
    pub(super) fn take(&mut self, patience: Patience, now: Instant) -> Look {
        let Patience { quiet, unfinished_max, .. } = patience;
        self.span = None;
        let mut touched = std::mem::take(&mut self.whole);
        // Who writes for so long is no longer waited for: what is there counts.
        let is_over = |span: &Span| span.end(quiet * OPEN_FACTOR, unfinished_max) <= now;
        let (over, writing): (BTreeMap<_, _>, _) =
            std::mem::take(&mut self.writing).into_iter().partition(|(_, span)| is_over(span));
        self.writing = writing;
        touched.extend(over.into_keys());
        Look { touched, held: self.writing.keys().cloned().collect() }
    }
}

#[cfg(test)]
mod tests {
    use notify::event::{DataChange, ModifyKind, RenameMode};
    use notify::{Event, EventKind};

    use super::*;

    const PATIENCE: Patience = Patience {
        quiet: Duration::from_millis(2),
        whole_max: Duration::from_millis(20),
        unfinished_max: Duration::from_secs(5),
    };

    fn written(path: &str) -> Event {
        Event::new(EventKind::Modify(ModifyKind::Data(DataChange::Any))).add_path(path.into())
    }

    fn closed(path: &str) -> Event {
        Event::new(EventKind::Access(AccessKind::Close(AccessMode::Write))).add_path(path.into())
    }

    fn renamed(path: &str) -> Event {
        Event::new(EventKind::Modify(ModifyKind::Name(RenameMode::To))).add_path(path.into())
    }

    fn paths(paths: &[&str]) -> BTreeSet<PathBuf> {
        paths.iter().map(PathBuf::from).collect()
    }

    #[test]
    fn a_file_that_is_being_written_holds_back_no_other() {
        let start = Instant::now();
        let ms = |n| start + Duration::from_millis(n);
        let mut pending = Pending::default();
        assert_eq!(pending.due(PATIENCE), None);
        pending.note(written("a"), ms(0));
        assert_eq!(pending.due(PATIENCE), Some(ms(200)));
        pending.note(renamed("b"), ms(1));
        assert_eq!(pending.due(PATIENCE), Some(ms(3)));
        let look = pending.take(PATIENCE, ms(3));
        assert_eq!(look, Look { touched: paths(&["b"]), held: paths(&["a"]) });
        pending.note(closed("a"), ms(4));
        assert_eq!(pending.due(PATIENCE), Some(ms(6)));
        assert_eq!(pending.take(PATIENCE, ms(6)), Look { touched: paths(&["a"]), ..Look::default() });
        assert_eq!(pending.due(PATIENCE), None);
    }

    #[test]
    fn a_writer_that_never_ends_is_waited_for_no_longer_than_said() {
        let start = Instant::now();
        let mut pending = Pending::default();
        for n in 0..500 {
            pending.note(written("a"), start + Duration::from_millis(10 * n));
        }
        let end = start + PATIENCE.unfinished_max;
        assert_eq!(pending.due(PATIENCE), Some(end));
        assert_eq!(pending.take(PATIENCE, end).touched, paths(&["a"]));
    }

    #[test]
    fn a_burst_that_never_ends_holds_whole_files_back_no_longer_than_said() {
        let start = Instant::now();
        let mut pending = Pending::default();
        for n in 0..100 {
            pending.note(renamed("a"), start + Duration::from_millis(n));
        }
        assert_eq!(pending.due(PATIENCE), Some(start + PATIENCE.whole_max));
    }
}
