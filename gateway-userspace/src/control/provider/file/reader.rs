//! Reads a folder again and again; only files that changed are read, and of them only documents.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::folder::{self, Stamp};
use super::holdings::Holdings;
use super::settle::Look;
use crate::control::diagnostic::{Code, Diagnostic, Severity};
use crate::control::provider::Desired;
use crate::limits::Limits;

/// A folder and what was read of it.
#[derive(Debug)]
pub(super) struct Reader {
    folder: PathBuf,
    files_max: usize,
    bytes_max: u64,
    stamps: BTreeMap<PathBuf, Stamp>,
    holdings: Holdings,
    /// Findings on the folder itself.
    findings: Vec<Diagnostic>,
    /// True when there is a symbolic link in it, or when nobody has looked.
    linked: bool,
}

impl Reader {
    pub(super) fn new(folder: &Path, limits: &Limits) -> Self {
        Self {
            folder: folder.to_owned(),
            files_max: limits.folder.files_max,
            bytes_max: limits.folder.file_bytes_max,
            stamps: BTreeMap::new(),
            holdings: Holdings::default(),
            findings: Vec::new(),
            linked: true,
        }
    }

    /// What was read so far.
    pub(super) fn desired(&self) -> Desired {
        self.holdings.desired(&self.findings)
    }

    /// Reads what events say has changed: those files alone where that is enough, else all that changed.
    /// True when anything was read. An error means that the folder itself cannot be read; all it held stays.
    pub(super) fn look(&mut self, look: &Look, is_other_folder: bool) -> io::Result<bool> {
        // A link may stand for anything; a folder that cannot be read whole may have become readable.
        if is_other_folder || self.linked || !self.findings.is_empty() {
            return self.refresh(look);
        }
        match folder::stamps(&self.folder, &look.touched) {
            Some(stamps) if self.stamps.len() + stamps.len() <= self.files_max => {
                Ok(self.read_those(&stamps))
            }
            _ => self.refresh(look),
        }
    }

    fn read_those(&mut self, stamps: &BTreeMap<PathBuf, Option<Stamp>>) -> bool {
        let mut changed = false;
        for (path, stamp) in stamps {
            match stamp {
                Some(stamp) => {
                    self.read(path, *stamp);
                    changed = true;
                }
                None if self.stamps.remove(path).is_some() => {
                    self.holdings.gone(&name(path));
                    changed = true;
                }
                None => {}
            }
        }
        changed
    }

    /// Walks the folder and reads what changed, and what was touched whatever its stamp says; but not what
    /// is held.
    pub(super) fn refresh(&mut self, look: &Look) -> io::Result<bool> {
        let Look { touched, held } = look;
        let listing = folder::list(&self.folder, self.files_max)?;
        self.linked = listing.linked;
        let findings = self.folder_findings(&listing);
        let mut changed = findings != self.findings;
        self.findings = findings;
        let hidden = listing.too_many || !listing.unreadable.is_empty();
        for (path, stamp) in &listing.files {
            let same = self.stamps.get(path) == Some(stamp) && !touched.contains(path);
            if same || held.contains(path) {
                continue;
            }
            changed = true;
            self.read(path, *stamp);
        }
        let gone: Vec<PathBuf> =
            self.stamps.keys().filter(|path| !listing.files.contains_key(*path)).cloned().collect();
        // What a walk could not reach is not gone.
        for path in gone.into_iter().filter(|path| !hidden || !path.exists()) {
            changed = true;
            self.stamps.remove(&path);
            self.holdings.gone(&name(&path));
        }
        Ok(changed)
    }

    fn read(&mut self, path: &Path, stamp: Stamp) {
        let file = name(path);
        self.stamps.insert(path.to_owned(), stamp);
        match read_text(path, self.bytes_max) {
            Ok(text) => self.holdings.read(&file, &text),
            Err(ReadError::Io(error)) if error.kind() == io::ErrorKind::NotFound => {
                self.stamps.remove(path);
                self.holdings.gone(&file);
            }
            Err(error) => self.holdings.unreadable(&file, error.finding(&file, self.bytes_max)),
        }
    }

    fn folder_findings(&self, listing: &folder::Listing) -> Vec<Diagnostic> {
        let mut findings = Vec::new();
        for (path, error) in &listing.unreadable {
            let finding = Diagnostic::at(Severity::Error, Code::Unreadable, &name(path), None);
            findings.push(finding.message(format!("cannot be read: {error}")).fix("see its owner and mode"));
        }
        if listing.too_many {
            let finding = Diagnostic::at(Severity::Error, Code::TooLarge, &name(&self.folder), None);
            findings.push(
                finding
                    .message(format!("there are more than {} files; the rest is not read", self.files_max))
                    .fix("put several objects into one file"),
            );
        }
        findings
    }
}

/// The path as the user gave it, below the folder as the user gave it.
fn name(path: &Path) -> Arc<str> {
    path.to_string_lossy().into()
}

enum ReadError {
    Io(io::Error),
    TooLarge,
    NotText,
}

impl ReadError {
    fn finding(&self, file: &str, bytes_max: u64) -> Diagnostic {
        let (code, message, fix) = match self {
            Self::Io(error) => {
                (Code::Unreadable, format!("cannot be read: {error}"), "see its owner and mode")
            }
            Self::TooLarge => {
                (Code::TooLarge, format!("has more than {bytes_max} bytes"), "split it into several files")
            }
            Self::NotText => (Code::Unreadable, "is not UTF-8 text".to_owned(), "save it as UTF-8"),
        };
        let kept = "; what it held before keeps serving";
        Diagnostic::at(Severity::Error, code, file, None).message(message + kept).fix(fix)
    }
}

fn read_text(path: &Path, bytes_max: u64) -> Result<String, ReadError> {
    let file = std::fs::File::open(path).map_err(ReadError::Io)?;
    let mut bytes = Vec::new();
    file.take(bytes_max + 1).read_to_end(&mut bytes).map_err(ReadError::Io)?;
    if bytes.len() as u64 > bytes_max {
        return Err(ReadError::TooLarge);
    }
    String::from_utf8(bytes).map_err(|_| ReadError::NotText)
}
