//! What the rings that need root expect of the machine, and how it gets it.

use std::path::Path;

use anyhow::Context;
use nix::mount::{MsFlags, mount};

use crate::{command, workspace};

/// Programs that the tests start, and the Debian package of each.
const PROGRAMS: [(&str, &str); 2] = [("ip", "iproute2"), ("curl", "curl")];
/// Where the datapath pins its maps and links.
const BPFFS: &str = "/sys/fs/bpf";

/// Makes the machine ready; why it cannot be, if so.
pub(super) fn prepare(install: bool) -> anyhow::Result<Option<String>> {
    if !workspace::is_root() {
        return Ok(Some("not root".to_owned()));
    }
    let missing = PROGRAMS.iter().filter(|(program, _)| !command::exists(program));
    let packages: Vec<&str> = missing.map(|(_, package)| *package).collect();
    if !packages.is_empty() {
        if !install {
            return Ok(Some(format!("missing packages: {} (--install installs them)", packages.join(" "))));
        }
        command::apt_install(&packages)?;
    }
    mount_bpffs()?;
    Ok(None)
}

fn mount_bpffs() -> anyhow::Result<()> {
    let mounts = std::fs::read_to_string("/proc/self/mounts").context("cannot read /proc/self/mounts")?;
    if is_mounted(&mounts, BPFFS, "bpf") || !Path::new(BPFFS).is_dir() {
        return Ok(());
    }
    println!("mounting bpffs on {BPFFS}");
    mount(Some("bpf"), BPFFS, Some("bpf"), MsFlags::empty(), None::<&str>)
        .with_context(|| format!("cannot mount bpffs on {BPFFS}"))
}

/// True when a filesystem of this kind is mounted there, by the lines of `/proc/self/mounts`.
fn is_mounted(mounts: &str, place: &str, kind: &str) -> bool {
    mounts.lines().map(|line| line.split(' ')).any(|mut fields| {
        let (at, filesystem) = (fields.nth(1), fields.next());
        at == Some(place) && filesystem == Some(kind)
    })
}

#[cfg(test)]
mod tests {
    use super::is_mounted;

    #[test]
    fn a_mount_is_known_by_its_place_and_kind() {
        let mounts = "none /sys/fs/bpf bpf rw 0 0\ncgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";
        assert!(is_mounted(mounts, "/sys/fs/bpf", "bpf"));
        assert!(!is_mounted(mounts, "/sys/fs/bpf", "cgroup2"));
        assert!(!is_mounted(mounts, "/sys/fs/cgroup", "cgroup2"));
    }
}
