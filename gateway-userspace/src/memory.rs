//! The memory of this process: how much it uses, how much it may use, and what is free given back.
#![expect(unsafe_code, reason = "the allocator has no safe call for it")]

use std::fs;
use std::path::{Path, PathBuf};

const CGROUPS: &str = "/sys/fs/cgroup";

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
    group: Option<PathBuf>,
}

impl Budget {
    /// What was chosen, or else the least limit of the process's cgroup and those above it. `None`
    /// where there is no limit.
    pub fn find(chosen: Option<u64>) -> Option<Self> {
        if let Some(bytes) = chosen {
            return Some(Self { bytes, group: None });
        }
        let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
        let own = Path::new(CGROUPS).join(groups.lines().find_map(|line| line.strip_prefix("0::/"))?);
        Self::of_groups(own.ancestors().take_while(|folder| folder.starts_with(CGROUPS)))
    }

    fn of_groups<'a>(groups: impl Iterator<Item = &'a Path>) -> Option<Self> {
        let limited = groups.filter_map(|group| Some((limit_of(group)?, group)));
        limited.min().map(|(bytes, group)| Self { bytes, group: Some(group.to_owned()) })
    }

    /// The limit, bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How much of it is in use.
    pub fn used_percent(&self) -> Option<usize> {
        let used = match &self.group {
            Some(group) => used_of(group),
            None => resident(),
        };
        usize::try_from(used?.saturating_mul(100) / self.bytes.max(1)).ok()
    }
}

fn limit_of(group: &Path) -> Option<u64> {
    // The word "max" is no limit.
    fs::read_to_string(group.join("memory.max")).ok()?.trim().parse().ok()
}

/// All that counts for the cgroup's limit, buffers of sockets too, without files that can be dropped.
fn used_of(group: &Path) -> Option<u64> {
    let current: u64 = fs::read_to_string(group.join("memory.current")).ok()?.trim().parse().ok()?;
    let stat = fs::read_to_string(group.join("memory.stat")).ok()?;
    let field = |name: &str| {
        let value = stat.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.and_then(|value| value.parse().ok()).unwrap_or(0)
    };
    Some(current.saturating_sub(field("inactive_file") + field("active_file")))
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
        assert_eq!(Budget::find(Some(1 << 50)).unwrap().used_percent(), Some(0));
        assert!(Budget::find(Some(1 << 20)).unwrap().used_percent().unwrap() > 100);
    }

    #[test]
    fn the_least_limit_of_the_cgroups_counts_and_files_that_can_be_dropped_do_not() {
        let folder = tempfile::tempdir().unwrap();
        let (outer, inner) = (folder.path().to_owned(), folder.path().join("inner"));
        fs::create_dir(&inner).unwrap();
        let groups = || [inner.as_path(), outer.as_path()].into_iter();
        assert_eq!(Budget::of_groups(groups()), None);
        fs::write(inner.join("memory.max"), "max\n").unwrap();
        fs::write(outer.join("memory.max"), "1000\n").unwrap();
        fs::write(outer.join("memory.current"), "900\n").unwrap();
        fs::write(outer.join("memory.stat"), "anon 5\ninactive_file 300\nactive_file 100\n").unwrap();
        let budget = Budget::of_groups(groups()).unwrap();
        assert_eq!((budget.bytes(), budget.used_percent()), (1000, Some(50)));
    }
}
