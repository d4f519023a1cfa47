//! The files of a configuration folder: where they are, and whether they changed.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Folders below folders; deeper ones are not looked into.
const DEPTH_MAX: usize = 16;

/// What changes when a file's contents do, as far as a look at its inode can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    inode: u64,
    device: u64,
    pub(super) bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// What a walk found.
#[derive(Debug, Default)]
pub(super) struct Listing {
    pub(super) files: BTreeMap<PathBuf, Stamp>,
    /// Folders and files that cannot be looked at.
    pub(super) unreadable: Vec<(PathBuf, io::Error)>,
    /// True when there are more files than wanted.
    pub(super) too_many: bool,
    /// True when there is a symbolic link, hidden or not.
    pub(super) linked: bool,
}

/// Walks a folder for `*.yaml`, `*.yml` and `*.json`, following links. Names that begin with a dot are
/// left out: they are editors' files, and the generations that a mounted ConfigMap swaps by a link.
pub(super) fn list(folder: &Path, files_max: usize) -> io::Result<Listing> {
    let mut listing = Listing::default();
    let mut seen = BTreeSet::new();
    let own = std::fs::metadata(folder)?;
    seen.insert((own.dev(), own.ino()));
    let mut pending = vec![(folder.to_owned(), 0)];
    while let Some((folder, depth)) = pending.pop() {
        let entries = match std::fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if depth == 0 => return Err(error),
            Err(error) => {
                listing.unreadable.push((folder, error));
                continue;
            }
        };
        for entry in entries.filter_map(Result::ok) {
            // What cannot be told may be one.
            listing.linked |= entry.file_type().map_or(true, |kind| kind.is_symlink());
            let name = entry.file_name();
            let Some(name) = name.to_str().filter(|n| !n.starts_with('.')) else { continue };
            let path = folder.join(name);
            let found = match std::fs::metadata(&path) {
                Ok(found) => found,
                // Gone meanwhile, or a link that leads nowhere.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => {
                    listing.unreadable.push((path, error));
                    continue;
                }
            };
            if found.is_dir() {
                if depth < DEPTH_MAX && seen.insert((found.dev(), found.ino())) {
                    pending.push((path, depth + 1));
                }
            } else if found.is_file() && is_wanted(name) {
                if listing.files.len() >= files_max {
                    listing.too_many = true;
                    return Ok(listing);
                }
                listing.files.insert(path, stamp(&found));
            }
        }
    }
    Ok(listing)
}

/// The stamps of these files, without those that a walk would leave out; no stamp where one is gone. `None`
/// where only a walk tells: when one is no plain file, or may have been a folder.
pub(super) fn stamps(folder: &Path, touched: &BTreeSet<PathBuf>) -> Option<BTreeMap<PathBuf, Option<Stamp>>> {
    let mut stamps = BTreeMap::new();
    for path in touched {
        let below = path.strip_prefix(folder).ok()?;
        let parts: Vec<&str> = below.iter().filter_map(|part| part.to_str()).collect();
        let found = match std::fs::symlink_metadata(path) {
            Ok(found) if found.is_file() => Some(found),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Ok(_) | Err(_) => return None,
        };
        let name = parts.last()?;
        if parts.iter().any(|part| part.starts_with('.')) || parts.len() > DEPTH_MAX {
            continue;
        }
        if is_wanted(name) {
            stamps.insert(path.clone(), found.map(|found| stamp(&found)));
        } else if found.is_none() {
            return None;
        }
    }
    (!touched.is_empty()).then_some(stamps)
}

fn is_wanted(name: &str) -> bool {
    let extension = Path::new(name).extension().and_then(|e| e.to_str());
    matches!(extension, Some("yaml" | "yml" | "json"))
}

fn stamp(found: &std::fs::Metadata) -> Stamp {
    Stamp {
        inode: found.ino(),
        device: found.dev(),
        bytes: found.len(),
        modified: (found.mtime(), found.mtime_nsec()),
        changed: (found.ctime(), found.ctime_nsec()),
    }
}
