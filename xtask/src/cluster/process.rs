//! The processes of a cluster: started so that they outlive this program, and found again without it.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::layout::{Layout, netns_path};

/// How often a condition is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Starts a program with a log of its own, in a network namespace or in the machine's.
pub(super) fn spawn(
    layout: &Layout,
    netns: Option<&str>,
    program: &Path,
    arguments: &[String],
) -> anyhow::Result<()> {
    let name = program.file_name().unwrap_or_default().to_string_lossy();
    let path = layout.log(&name);
    let log = File::options().create(true).append(true).open(&path);
    let log = log.with_context(|| format!("cannot write {}", path.display()))?;
    // A group of its own: Ctrl-C at the terminal is not for it.
    let mut command = inside(netns, program);
    command.args(arguments).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).process_group(0);
    command.spawn().with_context(|| format!("cannot run {}", program.display()))?;
    Ok(())
}

/// The program, in a network namespace or in the machine's.
///
/// `ip netns exec` would mount another /sys, with no cgroups in it.
pub(super) fn inside(netns: Option<&str>, program: &Path) -> Command {
    let Some(netns) = netns else { return Command::new(program) };
    let mut command = Command::new("nsenter");
    command.arg(format!("--net={}", netns_path(netns).display())).arg(program);
    command
}

/// Looks at a condition until it holds; an error that names it when it does not in time.
pub(super) fn wait_for(
    what: &str,
    within: Duration,
    mut holds: impl FnMut() -> anyhow::Result<bool>,
) -> anyhow::Result<()> {
    let deadline = Instant::now() + within;
    while !holds()? {
        if Instant::now() > deadline {
            bail!("not within {} s: {what}", within.as_secs());
        }
        std::thread::sleep(LOOK_EVERY);
    }
    Ok(())
}

/// Every process of the cluster but this one: those in its namespaces, and those that work on its folder.
pub(super) fn all(layout: &Layout) -> BTreeSet<i32> {
    let namespaces: Vec<u64> = layout.netns().iter().filter_map(|name| inode(&netns_path(name))).collect();
    let root = format!("{}/", layout.root.display());
    let own = i32::try_from(std::process::id()).unwrap_or_default();
    let is_ours = |pid: &i32| {
        let proc = PathBuf::from(format!("/proc/{pid}"));
        inode(&proc.join("ns/net")).is_some_and(|netns| namespaces.contains(&netns))
            || is_kubernetes(&proc) && arguments(&proc).contains(&root)
    };
    running().filter(|pid| *pid != own).filter(is_ours).collect()
}

/// Those of them that are called like this.
pub(super) fn named(layout: &Layout, program: &str) -> BTreeSet<i32> {
    let is_called = |pid: &i32| {
        let arguments = arguments(Path::new(&format!("/proc/{pid}")));
        let first = arguments.split('\0').next().unwrap_or_default();
        Path::new(first).file_name().is_some_and(|name| name == program)
    };
    all(layout).into_iter().filter(is_called).collect()
}

/// Ends them at once and waits until they are gone.
pub(super) fn end(what: &str, mut still_there: impl FnMut() -> BTreeSet<i32>) -> anyhow::Result<()> {
    const GONE_WITHIN: Duration = Duration::from_secs(20);
    wait_for(&format!("the end of {what}"), GONE_WITHIN, || {
        let there: Vec<i32> = still_there().into_iter().filter(|pid| is_alive(*pid)).collect();
        for pid in &there {
            match kill(Pid::from_raw(*pid), Signal::SIGKILL) {
                Ok(()) | Err(Errno::ESRCH) => {}
                Err(error) => bail!("cannot end process {pid}: {error}"),
            }
        }
        Ok(there.is_empty())
    })
}

/// False for one that is dead and only waits for its parent to ask.
pub(super) fn is_alive(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name in brackets may hold anything, brackets too.
    let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
    state.is_some_and(|state| !matches!(state, 'Z' | 'X'))
}

fn running() -> impl Iterator<Item = i32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_string_lossy().parse().ok())
}

fn inode(path: &Path) -> Option<u64> {
    std::fs::metadata(path).ok().map(|metadata| metadata.ino())
}

fn is_kubernetes(proc: &Path) -> bool {
    std::fs::read_link(proc.join("exe")).is_ok_and(|exe| exe.file_name().is_some_and(|name| name == "kube1"))
}

fn arguments(proc: &Path) -> String {
    String::from_utf8_lossy(&std::fs::read(proc.join("cmdline")).unwrap_or_default()).into_owned()
}
