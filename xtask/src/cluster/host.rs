//! What a cluster expects of the machine, and how it gets it.

use std::path::{Path, PathBuf};

use anyhow::bail;

use crate::{command, workspace};

/// For an API server alone: its certificates.
const API_PROGRAMS: [(&str, &str); 1] = [("openssl", "openssl")];
/// For nodes: programs, and the Debian package of each.
const NODE_PROGRAMS: [(&str, &str); 9] = [
    ("containerd", "containerd"),
    ("runc", "runc"),
    ("iptables", "iptables"),
    ("nft", "nftables"),
    ("conntrack", "conntrack"),
    ("ip", "iproute2"),
    ("nsenter", "util-linux"),
    ("mount", "mount"),
    ("modprobe", "kmod"),
];
/// They are in no `PATH`.
const CNI_PACKAGE: &str = "containernetworking-plugins";
const CNI_DIRS: [&str; 2] = ["/usr/lib/cni", "/opt/cni/bin"];

/// What a cluster is made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    Api,
    Nodes,
}

/// Makes the machine ready; an error says what is missing.
pub(super) fn prepare(need: Need, install: bool) -> anyhow::Result<()> {
    if need == Need::Nodes {
        if !workspace::is_root() {
            bail!("nodes are made of namespaces, mounts and cgroups: that needs root");
        }
        if Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
            bail!(
                "this machine has cgroup v2 alone, and the nodes made here need the hybrid layout; \
                 use a cluster of your own instead: WEIR_KUBECONFIG=FILE"
            );
        }
    }
    let programs: &[_] = if need == Need::Nodes { &NODE_PROGRAMS } else { &[] };
    let all = API_PROGRAMS.iter().chain(programs);
    let mut missing: Vec<&str> =
        all.filter(|(program, _)| !is_there(program)).map(|(_, package)| *package).collect();
    if need == Need::Nodes && cni_dir().is_none() {
        missing.push(CNI_PACKAGE);
    }
    if missing.is_empty() {
        return Ok(());
    }
    if !install {
        bail!("missing packages: {} (--install installs them)", missing.join(" "));
    }
    println!("installing what a node needs; nothing of it is started as a service");
    command::apt_install(&missing)
}

fn is_there(program: &str) -> bool {
    command::exists(program) || PathBuf::from("/usr/sbin").join(program).is_file()
}

/// Where the CNI plugins are.
pub(super) fn cni_dir() -> Option<&'static str> {
    CNI_DIRS.into_iter().find(|dir| Path::new(dir).join("bridge").is_file())
}
