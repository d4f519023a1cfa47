//! A cgroup that gives the processes in it a part of a CPU, with the controller of either version. Needs root.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::wait::wait_for;

/// How long there is nothing more once a period's part is used up.
const PERIOD: Duration = Duration::from_millis(6);
/// How long what was in it may take to be gone.
const PATIENCE: Duration = Duration::from_secs(5);
/// The least that the kernel gives out.
const PART: Duration = Duration::from_millis(1);

/// Removed with what is in it: drop its processes first.
#[derive(Debug)]
pub(super) struct Quota(PathBuf);

impl Quota {
    /// A sixth of a CPU.
    pub(super) fn of_a_sixth() -> Result<Self> {
        let name = format!("weir-bench-{}", std::process::id());
        let (part, period) = (PART.as_micros(), PERIOD.as_micros());
        let first = Path::new("/sys/fs/cgroup/cpu");
        if first.join("cpu.cfs_quota_us").exists() || first.join("cpu.shares").exists() {
            let quota = Self::make(first.join(name))?;
            fs::write(quota.0.join("cpu.cfs_period_us"), period.to_string())?;
            fs::write(quota.0.join("cpu.cfs_quota_us"), part.to_string())?;
            return Ok(quota);
        }
        let second = Path::new("/sys/fs/cgroup");
        let has_cpu = fs::read_to_string(second.join("cgroup.subtree_control"))
            .is_ok_and(|controllers| controllers.split_whitespace().any(|one| one == "cpu"));
        ensure!(
            has_cpu,
            "no cgroup with the cpu controller: mount one, or enable it in cgroup.subtree_control"
        );
        let quota = Self::make(second.join(name))?;
        fs::write(quota.0.join("cpu.max"), format!("{part} {period}"))?;
        Ok(quota)
    }

    fn make(folder: PathBuf) -> Result<Self> {
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        Ok(Self(folder))
    }

    /// Puts these processes into it, with all their threads.
    pub(super) fn hold(&self, processes: &[u32]) -> Result<()> {
        for process in processes {
            fs::write(self.0.join("cgroup.procs"), process.to_string())
                .with_context(|| format!("cannot put process {process} into {}", self.0.display()))?;
        }
        Ok(())
    }
}

impl Drop for Quota {
    fn drop(&mut self) {
        // The kernel takes a process that has ended out of it a moment later. A leftover is empty.
        let _ = wait_for("the cgroup is empty", PATIENCE, || fs::remove_dir(&self.0).ok());
    }
}
