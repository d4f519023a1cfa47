//! What a machine lacks for the demo.

use std::fs;
use std::path::Path;

/// Each obstacle with its remedy, a line each.
pub fn obstacles() -> Vec<String> {
    let mut lacking = Vec::new();
    if !nix::unistd::geteuid().is_root() {
        lacking.push("the demo makes network namespaces and loads eBPF programs: run it as root".to_owned());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    for (program, package) in [("ip", "iproute2"), ("nsenter", "util-linux"), ("curl", "curl")] {
        if !std::env::split_paths(&path).any(|folder| folder.join(program).exists()) {
            lacking.push(format!("`{program}` is not installed: apt-get install {package}"));
        }
    }
    if !Path::new("/sys/kernel/btf/vmlinux").exists() {
        lacking.push("this kernel has no BTF: use one built with CONFIG_DEBUG_INFO_BTF=y".to_owned());
    }
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    if !mounts.contains(" - cgroup2 ") {
        let remedy = "mkdir -p /sys/fs/cgroup/unified && mount -t cgroup2 none /sys/fs/cgroup/unified";
        lacking.push(format!("no cgroup2 hierarchy is mounted: {remedy}"));
    }
    lacking
}
