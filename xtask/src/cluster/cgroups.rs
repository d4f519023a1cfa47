//! The cgroups of a node: one of its own in every hierarchy of the machine.

use std::path::{Path, PathBuf};

use anyhow::Context;

/// One hierarchy, as a process sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hierarchy {
    /// What it is mounted with: `memory`, `name=systemd`; empty is cgroup2.
    pub(super) options: String,
    /// Where it is mounted.
    pub(super) mount: PathBuf,
    /// The cgroup of the process.
    pub(super) own: PathBuf,
}

/// The hierarchies of this process.
pub(super) fn hierarchies() -> anyhow::Result<Vec<Hierarchy>> {
    let memberships =
        std::fs::read_to_string("/proc/self/cgroup").context("cannot read /proc/self/cgroup")?;
    let mounts = std::fs::read_to_string("/proc/self/mounts").context("cannot read /proc/self/mounts")?;
    Ok(read(&memberships, &mounts))
}

/// From the lines of `/proc/self/cgroup` and `/proc/self/mounts`. What is not mounted is left out.
fn read(memberships: &str, mounts: &str) -> Vec<Hierarchy> {
    let hierarchy = |line: &str| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (options, path) = (fields.next()?, fields.next()?);
        let mount = mounts.lines().find_map(|line| {
            let fields: Vec<&str> = line.split(' ').collect();
            let [_, place, kind, with, ..] = fields[..] else { return None };
            let holds = match options {
                "" => kind == "cgroup2",
                _ => kind == "cgroup" && options.split(',').all(|one| with.split(',').any(|w| w == one)),
            };
            holds.then(|| PathBuf::from(place))
        })?;
        let own = mount.join(path.trim_start_matches('/'));
        Some(Hierarchy { options: options.to_owned(), mount, own })
    };
    memberships.lines().filter_map(hierarchy).collect()
}

/// Makes a child of this process's cgroup in every hierarchy; where they are.
pub(super) fn make(name: &str) -> anyhow::Result<Vec<PathBuf>> {
    let mut made = Vec::new();
    for hierarchy in hierarchies()? {
        let dir = hierarchy.own.join(name);
        std::fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        if hierarchy.options.split(',').any(|controller| controller == "cpuset") {
            // Empty at first, and then no process may join.
            for file in ["cpuset.cpus", "cpuset.mems"] {
                let value = std::fs::read(hierarchy.own.join(file)).context("cannot read a cpuset")?;
                std::fs::write(dir.join(file), value).context("cannot write a cpuset")?;
            }
        }
        made.push(dir);
    }
    Ok(made)
}

/// Moves this process into them.
pub(super) fn join(dirs: &[PathBuf]) -> anyhow::Result<()> {
    for dir in dirs {
        std::fs::write(dir.join("cgroup.procs"), "0")
            .with_context(|| format!("cannot join {}", dir.display()))?;
    }
    Ok(())
}

/// Every process in one of them or below.
pub(super) fn processes(dir: &Path) -> Vec<i32> {
    let mut found = Vec::new();
    for child in children(dir) {
        found.extend(processes(&child));
    }
    let own = std::fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
    // Zero is a process that this namespace does not see.
    found.extend(own.lines().filter_map(|line| line.parse().ok()).filter(|pid: &i32| *pid > 0));
    found
}

/// Removes it with all below; false while something is still in it.
pub(super) fn remove(dir: &Path) -> bool {
    for child in children(dir) {
        remove(&child);
    }
    std::fs::remove_dir(dir).is_ok() || !dir.exists()
}

fn children(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
}

#[cfg(test)]
mod tests {
    use super::read;

    #[test]
    fn the_hybrid_layout_is_read() {
        let memberships = "4:memory:/jobs/7\n9:name=systemd:/\n3:freezer:/\n0::/\n";
        let mounts = "tmpfs /sys/fs/cgroup tmpfs rw 0 0\n\
            cgroup /sys/fs/cgroup/memory cgroup rw,relatime,memory 0 0\n\
            cgroup /sys/fs/cgroup/systemd cgroup rw,name=systemd 0 0\n\
            cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";
        let found: Vec<_> = read(memberships, mounts).into_iter().map(|h| (h.options, h.own)).collect();
        let expected = [
            ("memory", "/sys/fs/cgroup/memory/jobs/7"),
            ("name=systemd", "/sys/fs/cgroup/systemd/"),
            ("", "/sys/fs/cgroup/unified/"),
        ];
        assert_eq!(found, expected.map(|(options, own)| (options.to_owned(), own.into())));
    }
}
