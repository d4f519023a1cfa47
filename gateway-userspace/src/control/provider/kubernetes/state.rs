//! The file that keeps what is known: written seldom, replaced as a whole, never in the way of serving.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::saved::{self, Saved};
use super::texts::Texts;

/// Of reading and writing.
const BUFFER_BYTES: usize = 256 * 1024;

/// A file that nobody has written to for so long is not being written.
const LEFT_AFTER: Duration = Duration::from_secs(60);

/// Where it is.
#[derive(Debug, Clone)]
pub(super) struct StateFile {
    folder: PathBuf,
    node: String,
    bytes_max: u64,
}

impl StateFile {
    pub(super) fn new(folder: &Path, node: &str, bytes_max: u64) -> Self {
        Self { folder: folder.to_owned(), node: node.to_owned(), bytes_max }
    }

    /// Its path.
    pub(super) fn path(&self) -> PathBuf {
        self.folder.join("known.jsonl")
    }

    /// Reads what an earlier process left. `None` where there is nothing.
    pub(super) fn read(&self) -> Result<Option<(Saved, Texts)>, String> {
        self.remove_left();
        let file = match File::open(self.path()) {
            Ok(file) => BufReader::with_capacity(BUFFER_BYTES, file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.to_string()),
        };
        let mut texts = Texts::default();
        let saved = saved::read(file, &self.node, &mut texts).map_err(|error| error.to_string())?;
        Ok(Some((saved, texts)))
    }

    /// A process that was killed while it wrote left half a file, by its own name.
    fn remove_left(&self) {
        let Ok(files) = fs::read_dir(&self.folder) else { return };
        for file in files.flatten() {
            let name = file.file_name();
            let is_new =
                name.to_str().is_some_and(|name| name.starts_with("known.") && name.ends_with(".new"));
            let age =
                file.metadata().and_then(|meta| meta.modified()).ok().and_then(|time| time.elapsed().ok());
            if is_new && age.is_some_and(|age| age >= LEFT_AFTER) {
                // One that stays is in nobody's way.
                let _ = fs::remove_file(file.path());
            }
        }
    }

    /// Replaces it. What was there stays when this fails.
    pub(super) fn write(&self, saved: &Saved) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
        // Two processes overlap while one replaces the other.
        let new = self.folder.join(format!("known.{}.new", std::process::id()));
        let written = self.write_to(&new, saved).and_then(|()| fs::rename(&new, self.path()));
        if written.is_err() {
            // A full disk is not to be kept full by half a file.
            let _ = fs::remove_file(&new);
        }
        written
    }

    fn write_to(&self, path: &Path, saved: &Saved) -> io::Result<()> {
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
        let mut out = BufWriter::with_capacity(BUFFER_BYTES, Bounded { file, left: self.bytes_max });
        saved::write(saved, &self.node, &mut out)?;
        out.into_inner().map_err(io::IntoInnerError::into_error)?.file.sync_data()
    }
}

/// A file that may not become larger than it may.
struct Bounded {
    file: File,
    left: u64,
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = bytes.len() as u64;
        let Some(left) = self.left.checked_sub(length) else {
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                "what is known is larger than it may be",
            ));
        };
        self.left = left;
        self.file.write_all(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn half_a_file_of_a_process_that_was_killed_goes_and_one_that_is_being_written_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for name in ["known.1.new", "known.2.new", "other.new"] {
            let file = File::create(path(name)).unwrap();
            if name != "known.2.new" {
                file.set_modified(SystemTime::now() - LEFT_AFTER * 2).unwrap();
            }
        }
        assert!(StateFile::new(folder.path(), "n1", 1).read().unwrap().is_none());
        let there = ["known.1.new", "known.2.new", "other.new"].map(|name| path(name).exists());
        assert_eq!(there, [false, true, true]);
    }
}
