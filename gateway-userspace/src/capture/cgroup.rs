//! Where the cgroup2 hierarchy is, and which directory of it holds the pods.

use std::io;
use std::path::{Path, PathBuf};

use crate::ebpf::cgroup::mount_point;

/// Directories that kubelets keep pods below, relative to a hierarchy's root, the likeliest first.
pub(super) const KUBEPODS: [&str; 4] =
    ["kubepods.slice", "kubepods", "kubelet.slice/kubelet-kubepods.slice", "kubelet/kubepods"];

/// Why no cgroup could be chosen.
#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    /// The mount table could not be read.
    #[error("cannot read /proc/self/mountinfo: {0}")]
    Mounts(io::Error),
    /// cgroup2 is mounted nowhere.
    #[error("no cgroup2 file system is mounted; mount one: mount -t cgroup2 none /sys/fs/cgroup/unified")]
    NoCgroup2,
    /// A cgroup2 mount has no directory of pods.
    #[error("{0} holds no kubepods directory of cgroup2; say with --cgroup which directory holds the pods")]
    NoPods(PathBuf),
    /// The directory given by the user is not one of a cgroup2 hierarchy.
    #[error("{path} is no cgroup2 directory: {cause}")]
    NotCgroup2 {
        /// As given.
        path: PathBuf,
        /// What is wrong with it.
        cause: String,
    },
}

/// The directory whose processes are pods: `given`, checked, or the one that kubelet made.
pub fn pods_directory(given: Option<&Path>) -> Result<PathBuf, CgroupError> {
    match given {
        Some(path) => check(path).map(|()| path.to_path_buf()),
        None => {
            let mounts = std::fs::read_to_string("/proc/self/mountinfo").map_err(CgroupError::Mounts)?;
            let mount = mount_point(&mounts).ok_or(CgroupError::NoCgroup2)?;
            KUBEPODS
                .iter()
                .map(|name| mount.join(name))
                .find(|path| path.is_dir())
                .ok_or(CgroupError::NoPods(mount))
        }
    }
}

/// The kubelet's directory of pods in the cgroup2 tree at or below `root`, a mount of `/sys/fs/cgroup`.
pub fn pods_directory_below(root: &Path) -> Result<PathBuf, CgroupError> {
    let trees = [root.to_path_buf(), root.join("unified")];
    let directories = trees.iter().flat_map(|tree| KUBEPODS.map(|name| tree.join(name)));
    let mut found = directories.filter(|path| path.is_dir() && check(path).is_ok());
    found.next().ok_or_else(|| CgroupError::NoPods(root.to_path_buf()))
}

fn check(path: &Path) -> Result<(), CgroupError> {
    let not = |cause: String| CgroupError::NotCgroup2 { path: path.to_path_buf(), cause };
    let kind = nix::sys::statfs::statfs(path).map_err(|e| not(io::Error::from(e).to_string()))?;
    if kind.filesystem_type() == nix::sys::statfs::CGROUP2_SUPER_MAGIC {
        Ok(())
    } else {
        Err(not("another file system is there".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::{CgroupError, pods_directory};
    use std::path::Path;

    #[test]
    fn a_directory_of_another_file_system_is_refused_by_name() {
        let error = pods_directory(Some(Path::new("/proc"))).unwrap_err();
        assert!(matches!(&error, CgroupError::NotCgroup2 { path, .. } if path == Path::new("/proc")));
        assert!(error.to_string().starts_with("/proc is no cgroup2 directory"), "{error}");
    }
}
