//! Processes of a benchmark: pinned from their first instruction, looked at from outside, gone when dropped.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use serde::de::DeserializeOwned;

use crate::wait::wait_for;

/// Longest wait for a process to go after SIGKILL.
const GONE_WITHIN: Duration = Duration::from_secs(5);

/// A process and all that it has started.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    name: String,
    output: Option<BufReader<ChildStdout>>,
}

/// The CPUs that this thread may use.
pub(super) fn allowed() -> Result<Vec<usize>> {
    let set = sched_getaffinity(Pid::from_raw(0))?;
    Ok((0..CpuSet::count()).filter(|cpu| set.is_set(*cpu).unwrap_or(false)).collect())
}

/// Keeps this thread on these CPUs.
pub(super) fn pin(cpus: &[usize]) -> Result<()> {
    let mut set = CpuSet::new();
    cpus.iter().try_for_each(|cpu| set.set(*cpu))?;
    Ok(sched_setaffinity(Pid::from_raw(0), &set)?)
}

/// Does something on these CPUs. A process that it starts stays there: a child has the affinity of the thread that starts it.
pub(super) fn pinned<T>(cpus: &[usize], what: impl FnOnce() -> Result<T>) -> Result<T> {
    let before = allowed()?;
    pin(cpus)?;
    let done = what();
    pin(&before)?;
    done
}

/// CPU time that a process and its children have had, nanoseconds.
pub(super) fn cpu_ns_of(process: u32) -> u64 {
    tree(process).into_iter().map(cpu_ns).sum()
}

impl Process {
    /// Starts it on these CPUs; its standard error goes to `errors`, its output is read by `line` and `result`.
    pub(super) fn start(name: &str, mut command: Command, cpus: &[usize], errors: &Path) -> Result<Self> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        Self::spawn(name, command, cpus, errors)
    }

    /// The same with its output thrown away.
    pub(super) fn start_silent(
        name: &str,
        mut command: Command,
        cpus: &[usize],
        errors: &Path,
    ) -> Result<Self> {
        command.stdin(Stdio::piped()).stdout(Stdio::null());
        Self::spawn(name, command, cpus, errors)
    }

    fn spawn(name: &str, mut command: Command, cpus: &[usize], errors: &Path) -> Result<Self> {
        command.stderr(File::create(errors)?).process_group(0);
        let mut child = pinned(cpus, || command.spawn().with_context(|| format!("cannot start {name}")))?;
        let output = child.stdout.take().map(BufReader::new);
        Ok(Self { child, name: name.to_owned(), output })
    }

    /// The process that was started, not its children.
    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Its next line of output, without the line's end.
    pub(super) fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        let output = self.output.as_mut().context("its output is not read")?;
        if output.read_line(&mut line)? == 0 {
            bail!("{} ended without a word", self.name);
        }
        Ok(line.trim_end().to_owned())
    }

    /// What it prints as JSON, on a line of its own.
    pub(super) fn result<T: DeserializeOwned>(&mut self) -> Result<T> {
        let line = self.line()?;
        serde_json::from_str(&line).with_context(|| format!("{} says {line}", self.name))
    }

    /// Everything that it still prints, and how it ends.
    pub(super) fn finish(mut self) -> Result<String> {
        drop(self.child.stdin.take());
        let mut text = String::new();
        if let Some(mut output) = self.output.take() {
            std::io::Read::read_to_string(&mut output, &mut text)?;
        }
        let status = self.child.wait()?;
        if !status.success() {
            bail!("{} failed: {status}\n{text}", self.name);
        }
        Ok(text)
    }

    /// Asks it to end as Ctrl-C does, and waits until it has.
    pub(super) fn interrupt(mut self) -> Result<()> {
        kill(Pid::from_raw(i32::try_from(self.id())?), Signal::SIGINT)?;
        self.child.wait()?;
        Ok(())
    }

    /// True while it runs.
    pub(super) fn runs(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// It and its descendants.
    pub(super) fn family(&self) -> Vec<u32> {
        tree(self.id())
    }

    /// CPU time that it and its children have had, exact, nanoseconds.
    pub(super) fn cpu_ns(&self) -> u64 {
        cpu_ns_of(self.id())
    }

    /// Memory of it and its children, shared pages by their share, KiB.
    pub(super) fn pss_kib(&self) -> u64 {
        tree(self.id()).into_iter().map(pss_kib).sum()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let Ok(group) = i32::try_from(self.child.id()) else { return };
        let family = tree(self.id());
        // Ended already, or not: either way it is gone after this.
        let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
        let _ = self.child.wait();
        let _ = wait_for("the children end", GONE_WITHIN, || {
            family.iter().all(|process| has_ended(*process)).then_some(())
        });
    }
}

/// Gone, or a zombie that its new parent does not care for.
fn has_ended(process: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"));
    stat.map_or(true, |stat| stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with(['Z', 'X'])))
}

/// A process and its descendants.
fn tree(root: u32) -> Vec<u32> {
    let mut found = vec![root];
    let mut next = 0;
    while let Some(process) = found.get(next).copied() {
        next += 1;
        for task in tasks(process) {
            let children = fs::read_to_string(format!("/proc/{process}/task/{task}/children"));
            let children = children.unwrap_or_default();
            found.extend(children.split_whitespace().filter_map(|child| child.parse::<u32>().ok()));
        }
    }
    found
}

fn tasks(process: u32) -> Vec<u32> {
    let entries = fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

fn cpu_ns(process: u32) -> u64 {
    let times = tasks(process).into_iter().filter_map(|task| {
        let text = fs::read_to_string(format!("/proc/{process}/task/{task}/schedstat")).ok()?;
        text.split(' ').next()?.parse::<u64>().ok()
    });
    times.sum()
}

fn pss_kib(process: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{process}/smaps_rollup")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"));
    line.and_then(|value| value.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::{Process, allowed};

    #[test]
    fn a_process_is_pinned_and_its_children_count() {
        let cpu = *allowed().expect("some").last().expect("one");
        let folder = tempfile::tempdir().expect("a folder");
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 60 & grep Cpus_allowed_list /proc/self/status; wait"]);
        let mut process =
            Process::start("sh", command, &[cpu], &folder.path().join("errors")).expect("sh starts");
        assert_eq!(process.line().expect("a line"), format!("Cpus_allowed_list:\t{cpu}"));
        assert!(process.runs() && process.cpu_ns() > 0 && process.pss_kib() > 0);
        assert!(super::tree(process.id()).len() >= 2);
    }
}
