//! Where lines go: standard output or a file that may be moved away at any time.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How often the path is compared with the open file.
const RENAME_CHECK: Duration = Duration::from_secs(1);

/// Where the access log goes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum LogTarget {
    /// Standard output.
    #[default]
    Stdout,
    /// Appended to this file.
    File(PathBuf),
}

/// The open target.
#[derive(Debug)]
pub(super) enum Sink {
    Stdout {
        /// Standard output without the buffer of the standard library: lines are gathered already.
        file: File,
        /// A write failed in the middle of a line.
        broken_line: bool,
    },
    File(LogFile),
}

#[derive(Debug)]
pub(super) struct LogFile {
    path: PathBuf,
    file: File,
    checked: Instant,
}

/// What did not get out.
#[derive(Debug)]
pub(super) struct Lost {
    pub(super) lines: u64,
    pub(super) error: io::Error,
}

fn open(path: &Path) -> io::Result<File> {
    // Readable by the owner and its group: lines name who called what.
    OpenOptions::new().append(true).create(true).mode(0o640).open(path)
}

fn count_lines(bytes: &[u8]) -> u64 {
    bytes.iter().filter(|b| **b == b'\n').count() as u64
}

/// Writes as much as can be written: how much that was, and why it was not all.
fn write_most(out: &mut File, bytes: &[u8]) -> (usize, Option<io::Error>) {
    let mut written = 0;
    while written < bytes.len() {
        match out.write(&bytes[written..]) {
            Ok(0) => return (written, Some(io::ErrorKind::WriteZero.into())),
            Ok(n) => written += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return (written, Some(error)),
        }
    }
    (written, None)
}

impl Sink {
    pub(super) fn open(target: &LogTarget) -> io::Result<Self> {
        match target {
            LogTarget::Stdout => {
                let file = File::from(io::stdout().as_fd().try_clone_to_owned()?);
                Ok(Self::Stdout { file, broken_line: false })
            }
            LogTarget::File(path) => {
                let file = open(path)?;
                Ok(Self::File(LogFile { path: path.clone(), file, checked: Instant::now() }))
            }
        }
    }

    /// Writes whole lines. After an error the rest of them is lost; the next call starts on a new
    /// line.
    pub(super) fn write(&mut self, lines: &[u8]) -> Result<(), Lost> {
        match self {
            Self::Stdout { file, broken_line } => {
                if *broken_line {
                    let (_, error) = write_most(file, b"\n");
                    lost(lines, error)?;
                    *broken_line = false;
                }
                let (written, error) = write_most(file, lines);
                *broken_line = written > 0 && lines[written - 1] != b'\n';
                lost(&lines[written..], error)
            }
            Self::File(file) => file.write(lines),
        }
    }

    /// Opens the path again if it is not the open file any more, or in any case when `asked`.
    pub(super) fn follow_rename(&mut self, now: Instant, asked: bool) -> io::Result<()> {
        let Self::File(log) = self else { return Ok(()) };
        if !asked && now.duration_since(log.checked) < RENAME_CHECK {
            return Ok(());
        }
        log.checked = now;
        if asked || !log.is_current() {
            log.file = open(&log.path)?;
        }
        Ok(())
    }
}

fn lost(rest: &[u8], error: Option<io::Error>) -> Result<(), Lost> {
    error.map_or(Ok(()), |error| Err(Lost { lines: count_lines(rest), error }))
}

impl LogFile {
    fn is_current(&self) -> bool {
        let identity = |m: &std::fs::Metadata| (m.dev(), m.ino());
        match (std::fs::metadata(&self.path), self.file.metadata()) {
            (Ok(there), Ok(open)) => identity(&there) == identity(&open),
            _ => false,
        }
    }

    fn write(&mut self, lines: &[u8]) -> Result<(), Lost> {
        let (written, error) = write_most(&mut self.file, lines);
        let fragment = written - lines[..written].iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
        if fragment > 0 {
            self.cut(fragment as u64);
        }
        lost(&lines[written - fragment..], error)
    }

    /// Takes the beginning of a line that found no room away again.
    fn cut(&self, fragment: u64) {
        let Ok(metadata) = self.file.metadata() else { return };
        if !metadata.file_type().is_char_device() && metadata.len() >= fragment {
            // If this fails too, one line of the file is broken: nothing better can be done.
            let _ = self.file.set_len(metadata.len() - fragment);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_go_to_the_new_file_after_the_old_one_was_moved_away() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("access.log");
        let mut sink = Sink::open(&LogTarget::File(path.clone())).unwrap();
        sink.write(b"one\n").unwrap();
        std::fs::rename(&path, dir.path().join("access.log.1")).unwrap();
        sink.follow_rename(Instant::now() + RENAME_CHECK, false).unwrap();
        sink.write(b"two\n").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "two\n");
        assert_eq!(std::fs::read_to_string(dir.path().join("access.log.1")).unwrap(), "one\n");
    }

    #[test]
    fn a_full_device_loses_the_lines_and_says_how_many() {
        let mut sink = Sink::open(&LogTarget::File("/dev/full".into())).unwrap();
        let lost = sink.write(b"one\ntwo\n").unwrap_err();
        assert_eq!(lost.lines, 2);
        assert_eq!(lost.error.kind(), io::ErrorKind::StorageFull);
    }

    #[test]
    fn half_a_line_that_found_no_room_is_taken_away() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("access.log");
        std::fs::write(&path, "one\ntw").unwrap();
        let log = LogFile { file: open(&path).unwrap(), path: path.clone(), checked: Instant::now() };
        log.cut(2);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "one\n");
    }
}
