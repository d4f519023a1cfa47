//! The memory of this process: how much it uses, how much it may use, and what is free given back.
#![expect(unsafe_code, reason = "the allocator has no safe call for it")]

use std::fs;
use std::path::{Path, PathBuf};

/// Gives back what the allocator holds and nobody uses. For the end of work that took much memory
/// once: the allocator itself looks only when there is more to do.
pub fn give_back() {
    // SAFETY: it may be called at any time, on any thread; it only returns free pages.
    unsafe { libmimalloc_sys::mi_collect(true) }
}

/// How much memory there may be.
#[derive(Debug, PartialEq, Eq)]
pub struct Budget {
    bytes: u64,
    /// The cgroup whose limit it is; without one the process's own memory counts.
    group: Option<Group>,
}

/// A directory of the hierarchy that counts memory.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Group {
    path: PathBuf,
    version: Version,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Version {
    /// The hierarchy of its own that memory has where cgroups are of version 1, or of both.
    V1,
    V2,
}

impl Budget {
    /// What was chosen, or else the least limit of the process's cgroup and those above it. `None`
    /// where there is no limit.
    pub fn find(chosen: Option<u64>) -> Option<Self> {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let (mountinfo, own) = (read("/proc/self/mountinfo"), read("/proc/self/cgroup"));
        let groups = groups(&mountinfo, &own, std::process::id());
        let found = Self::of_groups(groups.into_iter());
        match chosen {
            // All that the cgroup counts is nearer to its end than what the process knows of itself.
            Some(bytes) => found.filter(|found| found.bytes <= bytes).or(Some(Self { bytes, group: None })),
            None => found,
        }
    }

    fn of_groups(groups: impl Iterator<Item = Group>) -> Option<Self> {
        let limited = groups.filter_map(|group| Some((group.limit()?, group)));
        limited.min().map(|(bytes, group)| Self { bytes, group: Some(group) })
    }

    /// The limit, bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whose memory counts.
    pub fn counted(&self) -> &Path {
        self.group.as_ref().map_or(Path::new("the process"), |group| &group.path)
    }

    /// How much of it is in use.
    pub fn used_percent(&self) -> Option<usize> {
        let used = match &self.group {
            Some(group) => group.used(),
            None => resident(),
        };
        usize::try_from(used?.saturating_mul(100) / self.bytes.max(1)).ok()
    }
}

/// The group of process `pid`, our own, and those above it, in each hierarchy that counts memory; from the texts
/// of `/proc/self/mountinfo` and `/proc/self/cgroup`.
fn groups(mountinfo: &str, own: &str, pid: u32) -> Vec<Group> {
    let mut groups = Vec::new();
    for mount in mountinfo.lines().filter_map(Mount::parse) {
        let path = own.lines().find_map(|line| {
            let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
            let is_its = match mount.version {
                Version::V1 => controllers.split(',').any(|name| name == "memory"),
                Version::V2 => controllers.is_empty(),
            };
            is_its.then_some(path)
        });
        let Some(path) = path else { continue };
        let point = Path::new(mount.point);
        let found = if mount.root.starts_with(OUTSIDE) {
            holding(point, pid).unwrap_or_default()
        } else {
            // A container may see no more of the hierarchy than its own group.
            point.join(Path::new(path).strip_prefix(mount.root).unwrap_or(Path::new("")))
        };
        let within = found.ancestors().take_while(|path| path.starts_with(point));
        groups.extend(within.map(|path| Group { path: path.components().collect(), version: mount.version }));
    }
    groups
}

/// So begins the root of a mount that shows more than the process's cgroup namespace, as where a container has the
/// node's hierarchy. Names of groups say nothing there.
const OUTSIDE: &str = "/..";

/// Directories that are looked at for the process's own group.
const GROUPS_MAX: usize = 20_000;

/// The group at or below `root` that has the process. Processes of other process namespaces show as 0.
fn holding(root: &Path, pid: u32) -> Option<PathBuf> {
    let mut left = vec![root.to_path_buf()];
    for _ in 0..GROUPS_MAX {
        let path = left.pop()?;
        let held = fs::read_to_string(path.join("cgroup.procs")).unwrap_or_default();
        if held.lines().any(|line| line.parse() == Ok(pid)) {
            return Some(path);
        }
        let entries = fs::read_dir(&path).into_iter().flatten().flatten();
        left.extend(entries.filter(|e| e.file_type().is_ok_and(|t| t.is_dir())).map(|e| e.path()));
    }
    None
}

/// One hierarchy that may count memory, as mounted.
struct Mount<'a> {
    root: &'a str,
    point: &'a str,
    version: Version,
}

impl<'a> Mount<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        // The optional fields end with a lone dash; the filesystem's type and options follow it.
        let (left, right) = line.split_once(" - ")?;
        let mut fields = left.split(' ').skip(3);
        let (root, point) = (fields.next()?, fields.next()?);
        let mut filesystem = right.split(' ');
        let version = match filesystem.next()? {
            "cgroup2" => Version::V2,
            "cgroup" if filesystem.nth(1)?.split(',').any(|option| option == "memory") => Version::V1,
            _ => return None,
        };
        Some(Self { root, point, version })
    }
}

impl Group {
    fn limit(&self) -> Option<u64> {
        /// What version 1 says where there is no limit: the largest number, rounded to pages.
        const NO_LIMIT: u64 = 1 << 62;
        // Version 2 says "max".
        let limit = self.number(match self.version {
            Version::V1 => "memory.limit_in_bytes",
            Version::V2 => "memory.max",
        });
        limit.filter(|bytes| *bytes < NO_LIMIT)
    }

    /// All that counts for the limit, buffers of sockets too, without files that can be dropped.
    fn used(&self) -> Option<u64> {
        let (current, files) = match self.version {
            Version::V1 => ("memory.usage_in_bytes", ["total_inactive_file", "total_active_file"]),
            Version::V2 => ("memory.current", ["inactive_file", "active_file"]),
        };
        let current = self.number(current)?;
        let stat = fs::read_to_string(self.path.join("memory.stat")).ok()?;
        let field = |name: &str| {
            let value = stat.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            value.and_then(|value| value.parse::<u64>().ok()).unwrap_or(0)
        };
        Some(current.saturating_sub(files.into_iter().map(field).sum()))
    }

    fn number(&self, file: &str) -> Option<u64> {
        fs::read_to_string(self.path.join(file)).ok()?.trim().parse().ok()
    }
}

/// Memory that this process has in use, bytes.
fn resident() -> Option<u64> {
    let statm = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split(' ').nth(1)?.parse().ok()?;
    let page = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).ok()??;
    Some(pages * u64::try_from(page).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chosen_limit_counts_what_the_process_uses() {
        let resident = resident().unwrap();
        assert!((1 << 20..1 << 40).contains(&resident), "{resident}");
        assert_eq!(Budget { bytes: 1 << 50, group: None }.used_percent(), Some(0));
        assert!(Budget::find(Some(1 << 20)).unwrap().used_percent().unwrap() > 100);
    }

    #[test]
    fn the_least_limit_of_the_cgroups_counts_and_files_that_can_be_dropped_do_not() {
        let folder = tempfile::tempdir().unwrap();
        let (outer, inner) = (folder.path().to_owned(), folder.path().join("inner"));
        fs::create_dir(&inner).unwrap();
        let groups = |version| [&inner, &outer].map(|path| Group { path: path.clone(), version }).into_iter();
        let budget = |version| Budget::of_groups(groups(version));
        assert_eq!((budget(Version::V1), budget(Version::V2)), (None, None));
        fs::write(inner.join("memory.max"), "max\n").unwrap();
        fs::write(outer.join("memory.max"), "1000\n").unwrap();
        fs::write(outer.join("memory.current"), "900\n").unwrap();
        fs::write(outer.join("memory.stat"), "anon 5\ninactive_file 300\nactive_file 100\n").unwrap();
        let found = budget(Version::V2).unwrap();
        assert_eq!((found.bytes(), found.used_percent()), (1000, Some(50)));

        fs::write(inner.join("memory.limit_in_bytes"), "9223372036854771712\n").unwrap();
        assert_eq!(budget(Version::V1), None);
        fs::write(outer.join("memory.limit_in_bytes"), "2000\n").unwrap();
        fs::write(outer.join("memory.usage_in_bytes"), "900\n").unwrap();
        fs::write(outer.join("memory.stat"), "inactive_file 900\ntotal_inactive_file 300\n").unwrap();
        let found = budget(Version::V1).unwrap();
        assert_eq!((found.bytes(), found.used_percent()), (2000, Some(30)));
    }

    #[test]
    fn the_groups_of_the_process_are_found_in_either_version_and_within_a_container() {
        let paths = |mountinfo: &str, own: &str| -> Vec<String> {
            groups(mountinfo, own, 1).iter().map(|group| group.path.display().to_string()).collect()
        };
        let v2 = "30 24 0:26 / /sys/fs/cgroup rw shared:4 - cgroup2 cgroup2 rw";
        assert_eq!(paths(v2, "0::/a/b\n"), ["/sys/fs/cgroup/a/b", "/sys/fs/cgroup/a", "/sys/fs/cgroup"]);
        let hybrid = "32 31 0:27 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
                      35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
                      41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw";
        let own = "4:memory:/a\n1:cpu:/other\n0::/\n";
        let wanted = ["/sys/fs/cgroup/memory/a", "/sys/fs/cgroup/memory", "/sys/fs/cgroup/unified"];
        assert_eq!(paths(hybrid, own), wanted);
        let container = "35 31 0:32 /kubepods/pod1/c /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory";
        assert_eq!(paths(container, "4:memory:/kubepods/pod1/c\n"), ["/sys/fs/cgroup/memory"]);
        assert_eq!(paths("no dash", "no colon"), Vec::<String>::new());
    }

    #[test]
    fn the_group_of_the_process_is_found_where_the_nodes_whole_hierarchy_is_mounted() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let own = root.join("kubepods/pod1/c");
        for other in ["system.slice/kubelet", "kubepods/pod1/pause", "kubepods/pod1/c", "kubepods/pod2/c"] {
            fs::create_dir_all(root.join(other)).unwrap();
            fs::write(root.join(other).join("cgroup.procs"), "0\n0\n17\n").unwrap();
        }
        fs::write(own.join("cgroup.procs"), "0\n7\n").unwrap();
        let mount = format!("35 31 0:32 /../../.. {} ro - cgroup2 cgroup rw", root.display());
        let found = |pid| groups(&mount, "0::/\n", pid).into_iter().map(|g| g.path).collect::<Vec<_>>();
        assert_eq!(found(7), own.ancestors().take(4).collect::<Vec<_>>());
        assert_eq!(found(9), Vec::<PathBuf>::new());
    }
}
