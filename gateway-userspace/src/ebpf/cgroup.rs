//! Where the cgroup2 hierarchy is, and the numbers of its directories.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Mount point of the cgroup2 hierarchy, from the text of `/proc/self/mountinfo`.
pub fn mount_point(mountinfo: &str) -> Option<PathBuf> {
    mountinfo.lines().find_map(|line| {
        // The optional fields end with a lone dash; the filesystem type follows it.
        let (left, right) = line.split_once(" - ")?;
        let kind = right.split(' ').next()?;
        let mount = left.split(' ').nth(4)?;
        (kind == "cgroup2").then(|| PathBuf::from(unescape(mount)))
    })
}

/// This process's cgroup2 path below the mount, from the text of `/proc/self/cgroup`. `None` where the
/// process stands outside what its cgroup namespace shows.
pub fn own_path(cgroup: &str) -> Option<&str> {
    let path = cgroup.lines().find_map(|line| line.strip_prefix("0::/"))?;
    (!path.starts_with("..")).then_some(path)
}

/// The kernel's number of a cgroup directory: on a 64-bit machine its inode.
pub(super) fn id(directory: &Path) -> Option<u64> {
    fs::metadata(directory).ok().map(|metadata| metadata.ino())
}

/// The number of this process's own cgroup, whose connects are left alone. `pods` is the directory that the
/// programs are attached to.
pub(super) fn own_id(pods: &Path) -> Option<u64> {
    let told = own_directory().filter(|directory| holds_this_process(directory));
    id(&told.or_else(|| find_own(pods))?)
}

/// Where `/proc` says that it is. A container may see another tree at that path.
fn own_directory() -> Option<PathBuf> {
    let mount = mount_point(&fs::read_to_string("/proc/self/mountinfo").ok()?)?;
    Some(mount.join(own_path(&fs::read_to_string("/proc/self/cgroup").ok()?)?))
}

/// The directory below `root` that this process is in. Processes outside of its own pid namespace are
/// listed as 0, so that its own number is there once.
fn find_own(root: &Path) -> Option<PathBuf> {
    if holds_this_process(root) {
        return Some(root.to_path_buf());
    }
    let children = fs::read_dir(root).ok()?.flatten();
    let folders = children.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    folders.into_iter().find_map(|entry| find_own(&entry.path()))
}

fn holds_this_process(directory: &Path) -> bool {
    let own = std::process::id().to_string();
    fs::read_to_string(directory.join("cgroup.procs")).is_ok_and(|all| all.lines().any(|pid| pid == own))
}

/// Undoes the octal escapes of mountinfo (`\040` for a space).
fn unescape(path: &str) -> String {
    let mut parts = path.split('\\');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.get(..3).and_then(|octal| u8::from_str_radix(octal, 8).ok()) {
            Some(byte) => {
                plain.push(char::from(byte));
                plain.push_str(&part[3..]);
            }
            None => {
                plain.push('\\');
                plain.push_str(part);
            }
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::{find_own, mount_point, own_path};
    use std::path::PathBuf;

    #[test]
    fn the_own_cgroup_is_the_one_that_lists_this_process() {
        let root = tempfile::tempdir().unwrap();
        let list = |path: &str, pids: &str| {
            let directory = root.path().join(path);
            std::fs::create_dir_all(&directory).unwrap();
            std::fs::write(directory.join("cgroup.procs"), pids).unwrap();
            directory
        };
        list("", "");
        list("pod1/container", "0\n0\n");
        assert_eq!(find_own(root.path()), None);
        let own = list("burstable/pod2/container", &format!("0\n{}\n", std::process::id()));
        assert_eq!(find_own(root.path()), Some(own));
    }

    #[test]
    fn the_cgroup2_mount_is_found_among_the_others() {
        let hybrid = "32 31 0:27 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
                      41 31 0:38 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw\n";
        assert_eq!(mount_point(hybrid), Some(PathBuf::from("/sys/fs/cgroup/unified")));
        assert_eq!(
            mount_point("30 24 0:26 / /my\\040cgroup rw - cgroup2 none rw"),
            Some("/my cgroup".into())
        );
        assert_eq!(mount_point("30 24 0:26 / /sys/fs/cgroup rw - cgroup cgroup rw"), None);
        assert_eq!(mount_point("no dash"), None);
    }

    #[test]
    fn the_own_cgroup_is_the_line_without_controllers() {
        assert_eq!(own_path("12:cpu:/other\n0::/kubepods/pod1\n"), Some("kubepods/pod1"));
        assert_eq!(own_path("0::/\n"), Some(""));
        assert_eq!(own_path("0::/../sibling\n"), None);
        assert_eq!(own_path("12:cpu:/only-v1\n"), None);
    }
}
