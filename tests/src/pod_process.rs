//! A process such as a container runtime starts: in the cgroup of a pod, and in a network namespace.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use gateway_userspace::ebpf::cgroup::mount_point;

use crate::wait::wait_for;

/// For the kernel to see a cgroup empty.
const EMPTY_WITHIN: Duration = Duration::from_secs(30);

/// A process of another user in the cgroup of a pod. It ends with what this returns.
#[derive(Debug)]
pub struct PodProcess {
    child: Child,
    cgroup: PathBuf,
}

impl PodProcess {
    /// Of the pod with this UID, in the namespace at `netns` or in one of its own.
    pub fn start(uid: &str, netns: Option<&Path>) -> Result<Self> {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo")?;
        let root = mount_point(&mounts).context("no cgroup2")?;
        let cgroup = root.join(format!("weir-ring-pod{}", std::process::id())).join(format!("pod{uid}"));
        std::fs::create_dir_all(&cgroup)?;
        let enter = match netns {
            Some(path) => format!("nsenter --net={}", path.display()),
            None => "unshare --net".to_owned(),
        };
        let script = format!(
            "echo $$ > {}/cgroup.procs && exec {enter} setpriv --reuid=65534 --clear-groups sleep 600",
            cgroup.display()
        );
        let child = Command::new("sh").args(["-c", &script]).stdin(Stdio::null()).spawn()?;
        Ok(Self { child, cgroup })
    }

    /// Its number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for PodProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let removed =
            wait_for("the cgroup is empty", EMPTY_WITHIN, || std::fs::remove_dir(&self.cgroup).ok());
        if removed.is_ok()
            && let Some(parent) = self.cgroup.parent()
        {
            let _ = std::fs::remove_dir(parent);
        }
    }
}
