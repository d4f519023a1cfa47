//! The folder of pins, who owns it, and its end.
//!
//! `<root>/v<ABI>/{maps,links}`. The owner holds a lock on the versioned folder for as long as it lives, so
//! the kernel gives it back at its death however that came; nothing has to be written or cleaned up.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use aya::maps::{HashMap, Map, MapData};
use gateway_common::endpoint::{EndpointKey, EndpointValue};
use gateway_common::flow::{FlowKey, FlowValue};
use gateway_common::names::{self, ABI, NO_PREALLOC, SHAPES, Shape};
use gateway_common::pod::{PodKey, PodValue};
use gateway_common::service::{ServiceKey, ServiceValue};
use nix::fcntl::{Flock, FlockArg};

use super::{DatapathError, sys};

/// A folder of pins of this ABI.
#[derive(Debug)]
pub(super) struct Pins {
    root: PathBuf,
    folder: PathBuf,
}

/// A lock on a folder, given back on drop and at the process's death.
#[derive(Debug)]
pub(super) struct Lock(#[expect(dead_code, reason = "held, not read")] Flock<File>);

impl Pins {
    /// Makes the folders where they are missing.
    pub(super) fn open(root: &Path) -> Result<Self, DatapathError> {
        let pins = Self { root: root.to_owned(), folder: root.join(format!("v{ABI}")) };
        for folder in [pins.maps(), pins.links()] {
            fs::create_dir_all(&folder).map_err(|source| DatapathError::Pin { path: folder, source })?;
        }
        Ok(pins)
    }

    fn maps(&self) -> PathBuf {
        self.folder.join("maps")
    }

    fn links(&self) -> PathBuf {
        self.folder.join("links")
    }

    /// Where a map is pinned.
    pub(super) fn map(&self, name: &str) -> PathBuf {
        self.maps().join(name)
    }

    /// A descriptor of a pinned map.
    pub(super) fn open_map(&self, name: &'static str) -> Result<OwnedFd, DatapathError> {
        sys::open_pin(&self.map(name)).map_err(|source| DatapathError::Map { map: name, source })
    }

    /// Where a link is pinned.
    pub(super) fn link(&self, program: &str) -> PathBuf {
        self.links().join(program)
    }

    /// Takes the folder's lock. `None` while another process has it.
    pub(super) fn try_own(&self) -> Result<Option<Lock>, DatapathError> {
        lock(&self.folder, FlockArg::LockExclusiveNonblock)
    }

    /// Waits for the other process's write to end: two processes write the maps only during a takeover.
    pub(super) fn write_lock(&self) -> Result<Option<Lock>, DatapathError> {
        lock(&self.maps(), FlockArg::LockExclusive)
    }

    /// The owner of this folder or of another version's, if one lives.
    pub(super) fn owner(&self) -> Result<Option<String>, DatapathError> {
        for folder in versions(&self.root)? {
            if lock(&folder, FlockArg::LockExclusiveNonblock)?.is_none() {
                return Ok(Some(holder(&folder)));
            }
        }
        Ok(None)
    }

    /// Removes the folders of other versions whose owners are gone.
    pub(super) fn remove_orphaned_versions(&self) -> Result<Vec<String>, DatapathError> {
        let mut removed = Vec::new();
        for folder in versions(&self.root)?.into_iter().filter(|folder| *folder != self.folder) {
            if let Some(_lock) = lock(&folder, FlockArg::LockExclusiveNonblock)? {
                remove_version(&folder, &mut removed)?;
            }
        }
        Ok(removed)
    }

    /// Refuses pinned maps that are not what the programs expect: aya would use them as they are.
    pub(super) fn check_shapes(&self) -> Result<(), DatapathError> {
        for shape in &SHAPES {
            let path = self.map(shape.name);
            if !path.exists() {
                continue;
            }
            let info = MapData::from_pin(&path).and_then(|map| map.info()).map_err(map_error(shape.name))?;
            let kind = info.map_type().map_err(map_error(shape.name))? as u32;
            let found = Shape {
                name: shape.name,
                kind,
                key: info.key_size(),
                value: info.value_size(),
                entries: info.max_entries(),
                flags: info.map_flags() & NO_PREALLOC,
            };
            if found != *shape {
                return Err(DatapathError::Shape { path, found, expected: *shape });
            }
        }
        Ok(())
    }
}

/// Entries of the pinned hash maps, by the map's name.
pub(super) fn entries_of_maps(root: &Path) -> Result<Vec<(&'static str, usize)>, DatapathError> {
    let pins = Pins::open(root)?;
    let open = |name| MapData::from_pin(pins.map(name)).map(Map::HashMap).map_err(map_error(name));
    let lru = |name| MapData::from_pin(pins.map(name)).map(Map::LruHashMap).map_err(map_error(name));
    Ok(vec![
        (names::PODS, count::<PodKey, PodValue>(open(names::PODS)?, names::PODS)?),
        (names::SERVICES, count::<ServiceKey, ServiceValue>(open(names::SERVICES)?, names::SERVICES)?),
        (names::ENDPOINTS, count::<EndpointKey, EndpointValue>(open(names::ENDPOINTS)?, names::ENDPOINTS)?),
        (names::FLOWS, count::<FlowKey, FlowValue>(lru(names::FLOWS)?, names::FLOWS)?),
    ])
}

fn count<K: aya::Pod, V: aya::Pod>(map: Map, name: &'static str) -> Result<usize, DatapathError> {
    let map = HashMap::<_, K, V>::try_from(map).map_err(map_error(name))?;
    Ok(map.keys().filter(Result::is_ok).count())
}

/// True when a living process owns what is below `root`.
pub(super) fn is_owned(root: &Path) -> bool {
    let folders = versions(root).unwrap_or_default();
    folders.iter().any(|folder| matches!(lock(folder, FlockArg::LockExclusiveNonblock), Ok(None)))
}

/// Detaches and removes everything below `root`; says what. Refuses while an owner lives.
pub(super) fn cleanup(root: &Path) -> Result<Vec<String>, DatapathError> {
    let mut removed = Vec::new();
    if !root.exists() {
        return Ok(removed);
    }
    let folders = versions(root)?;
    let mut locks = Vec::new();
    for folder in &folders {
        match lock(folder, FlockArg::LockExclusiveNonblock)? {
            Some(lock) => locks.push(lock),
            None => return Err(DatapathError::AlreadyRunning { owner: holder(folder) }),
        }
    }
    for folder in &folders {
        remove_version(folder, &mut removed)?;
    }
    if fs::remove_dir(root).is_ok() {
        removed.push(root.display().to_string());
    }
    Ok(removed)
}

fn map_error(map: &'static str) -> impl Fn(aya::maps::MapError) -> DatapathError {
    move |source| DatapathError::Map { map, source: io::Error::other(source) }
}

/// The folders `v<number>` below the root.
fn versions(root: &Path) -> Result<Vec<PathBuf>, DatapathError> {
    let error = |source| DatapathError::Pin { path: root.to_owned(), source };
    let mut folders = Vec::new();
    for entry in fs::read_dir(root).map_err(error)? {
        let path = entry.map_err(error)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.strip_prefix('v').is_some_and(|version| version.parse::<u32>().is_ok()) {
            folders.push(path);
        }
    }
    folders.sort();
    Ok(folders)
}

/// Links are detached before their pins go: a hung process may still hold them open.
fn remove_version(folder: &Path, removed: &mut Vec<String>) -> Result<(), DatapathError> {
    for (kind, is_link) in [("links", true), ("maps", false)] {
        let kind = folder.join(kind);
        for path in entries(&kind)? {
            if is_link && let Ok(link) = sys::open_pin(&path) {
                // A link whose cgroup is gone is detached already.
                let _ = sys::detach(link.as_fd());
            }
            remove(&path, removed, |path| fs::remove_file(path))?;
        }
        remove(&kind, removed, |path| fs::remove_dir(path))?;
    }
    remove(folder, removed, |path| fs::remove_dir(path))
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, DatapathError> {
    let error = |source| DatapathError::Pin { path: folder.to_owned(), source };
    match fs::read_dir(folder) {
        Ok(entries) => entries.map(|entry| entry.map(|entry| entry.path()).map_err(error)).collect(),
        Err(gone) if gone.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(source) => Err(error(source)),
    }
}

/// What is gone already was removed by somebody else.
fn remove(
    path: &Path,
    removed: &mut Vec<String>,
    how: impl Fn(&Path) -> io::Result<()>,
) -> Result<(), DatapathError> {
    match how(path) {
        Ok(()) => {
            removed.push(path.display().to_string());
            Ok(())
        }
        Err(gone) if gone.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(DatapathError::Pin { path: path.to_owned(), source }),
    }
}

fn lock(folder: &Path, how: FlockArg) -> Result<Option<Lock>, DatapathError> {
    let error = |source| DatapathError::Pin { path: folder.to_owned(), source };
    let file = File::open(folder).map_err(error)?;
    match Flock::lock(file, how) {
        Ok(lock) => Ok(Some(Lock(lock))),
        Err((_, nix::errno::Errno::EWOULDBLOCK)) => Ok(None),
        Err((_, errno)) => Err(error(errno.into())),
    }
}

/// Who holds the lock of a folder, in words.
fn holder(folder: &Path) -> String {
    let inode = fs::metadata(folder).map(|metadata| metadata.ino()).unwrap_or(0);
    let device = fs::metadata(folder).map(|metadata| metadata.dev()).unwrap_or(0);
    let locks = fs::read_to_string("/proc/locks").unwrap_or_default();
    match lock_holder(&locks, nix::libc::major(device), nix::libc::minor(device), inode) {
        Some(pid) => format!("pid {pid}"),
        None => "a process outside this pid namespace".to_owned(),
    }
}

/// The pid that holds a flock on an inode, from the text of `/proc/locks`.
fn lock_holder(locks: &str, major: u32, minor: u32, inode: u64) -> Option<u32> {
    // `1: FLOCK  ADVISORY  WRITE 4711 00:1c:56 0 EOF`; a line with `->` is a waiter.
    let file = format!("{major:02x}:{minor:02x}:{inode}");
    locks.lines().find_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let held = fields.next()? == "FLOCK";
        let pid = fields.nth(2)?.parse().ok()?;
        (held && fields.next()? == file && pid > 0).then_some(pid)
    })
}

#[cfg(test)]
mod tests {
    use super::lock_holder;

    #[test]
    fn the_holder_of_a_lock_is_read_from_the_kernels_list() {
        let locks = "1: POSIX  ADVISORY  WRITE 11 00:1c:56 0 EOF\n\
                     2: FLOCK  ADVISORY  WRITE 4711 00:1c:56 0 EOF\n\
                     2: -> FLOCK  ADVISORY  WRITE 4712 00:1c:56 0 EOF\n\
                     3: FLOCK  ADVISORY  WRITE 4713 00:2f:57 0 EOF\n";
        assert_eq!(lock_holder(locks, 0, 0x1c, 56), Some(4711));
        assert_eq!(lock_holder(locks, 0, 0x2f, 57), Some(4713));
        assert_eq!(lock_holder(locks, 0, 0x2f, 58), None);
        assert_eq!(lock_holder("", 0, 0, 0), None);
    }
}
