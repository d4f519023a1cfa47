//! A node: processes in network, mount, PID, UTS, IPC and cgroup namespaces and in cgroups of their own.

pub(super) mod init;
mod settings;

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use nix::sched::{CloneFlags, setns, unshare};

use super::layout::{Layout, Node, netns_path};
use super::{cgroups, process};

/// What a node keeps on disk, and where it sees it.
const KEPT: [(&str, &str); 5] = [
    ("kubelet", "/var/lib/kubelet"),
    ("containerd", "/var/lib/containerd"),
    ("cni", "/var/lib/cni"),
    ("pods-log", "/var/log/pods"),
    ("containers-log", "/var/log/containers"),
];

/// The node as Kubernetes knows it before its kubelet comes.
pub(super) fn manifest(node: Node) -> anyhow::Result<String> {
    settings::read("node.yaml", None, node)
}

/// Starts process 1 of a node; it starts the rest.
pub(super) fn start(layout: &Layout, node: Node) -> anyhow::Result<()> {
    let dir = layout.node(node);
    for (kept, _) in KEPT {
        let kept = dir.join(kept);
        std::fs::create_dir_all(&kept).with_context(|| format!("cannot make {}", kept.display()))?;
    }
    // Before they are made: what is half made is removed too.
    let name = layout.node_netns(node);
    let dirs: Vec<PathBuf> = cgroups::hierarchies()?.into_iter().map(|h| h.own.join(&name)).collect();
    let lines: Vec<String> = dirs.iter().map(|dir| dir.display().to_string()).collect();
    std::fs::write(layout.node_cgroups(node), lines.join("\n"))?;
    cgroups::make(&name)?;
    // A process of its own, because it moves to where there is no way back from.
    let mut move_in = Command::new("/proc/self/exe");
    move_in.args(["cluster", "--name", &layout.name, "node-enter", &node.name()]);
    crate::command::run(&mut move_in)
}

/// The short life between the machine and the node: joins its cgroups and namespaces and starts process 1.
pub(super) fn enter(layout: &Layout, node: Node) -> anyhow::Result<()> {
    cgroups::join(&recorded(layout, node)?)?;
    let netns = netns_path(&layout.node_netns(node));
    let netns = File::open(&netns).with_context(|| format!("cannot open {}", netns.display()))?;
    setns(netns, CloneFlags::CLONE_NEWNET).context("cannot enter the node's network namespace")?;
    let own = CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWCGROUP;
    unshare(own).context("cannot make the node's namespaces")?;
    let log = File::create(layout.log(&format!("{}-init", node.name())))?;
    let mut init = Command::new("/proc/self/exe");
    init.args(["cluster", "--name", &layout.name, "node-init", &node.name()]);
    init.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).process_group(0);
    let init = init.spawn().context("cannot start process 1 of the node")?;
    std::fs::write(layout.node_pid(node), init.id().to_string()).context("cannot write down process 1")
}

/// Becomes a command in the node.
pub(super) fn exec(layout: &Layout, node: Node, words: &[String]) -> anyhow::Result<()> {
    let pid = std::fs::read_to_string(layout.node_pid(node));
    let pid = pid.with_context(|| format!("there is no node {}", node.name()))?;
    // BPF programs on the node's cgroups see only what is in them.
    cgroups::join(&recorded(layout, node)?)?;
    let mut nsenter = Command::new("nsenter");
    nsenter.args(["--target", pid.trim(), "--net", "--mount", "--pid", "--uts", "--ipc", "--cgroup", "--"]);
    Err(nsenter.args(words).exec()).context("cannot run nsenter")
}

/// Runs a command in the node and waits for it.
pub(super) fn run(layout: &Layout, node: Node, words: &[&str], stdin: Stdio) -> anyhow::Result<()> {
    let mut command = Command::new("/proc/self/exe");
    command.args(["cluster", "--name", &layout.name, "exec", &node.name()]).args(words).stdin(stdin);
    crate::command::run(command.stdout(Stdio::null()))
}

/// Ends every process of a node and removes its cgroups.
pub(super) fn stop(layout: &Layout, node: Node) -> anyhow::Result<()> {
    const EMPTY_WITHIN: std::time::Duration = std::time::Duration::from_secs(20);
    let dirs = recorded(layout, node)?;
    // With process 1, the kernel ends everything in its PID namespace.
    process::end(&format!("the processes of {}", node.name()), || {
        dirs.iter().flat_map(|dir| cgroups::processes(dir)).collect()
    })?;
    process::wait_for(&format!("the cgroups of {} are empty", node.name()), EMPTY_WITHIN, || {
        let left: Vec<&Path> =
            dirs.iter().map(PathBuf::as_path).filter(|dir| !cgroups::remove(dir)).collect();
        Ok(left.is_empty())
    })
}

fn recorded(layout: &Layout, node: Node) -> anyhow::Result<Vec<PathBuf>> {
    let path = layout.node_cgroups(node);
    let lines = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let dirs: Vec<PathBuf> = lines.lines().map(PathBuf::from).collect();
    if dirs.is_empty() {
        bail!("{} is empty", path.display());
    }
    Ok(dirs)
}
