//! A gateway in a cgroup that may have little memory.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use gateway_tests::wait::wait_for;
use gateway_tests::weir::binary;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};

use crate::fixture::{LONGEST, Replica, Site, text};

const LIMIT: u64 = 64 << 20;

/// A memory cgroup of this test's own, with no process in it when dropped.
struct Group(PathBuf);

impl Group {
    /// With the limit; the reason where none can be made.
    fn limited() -> Result<Self, String> {
        if !geteuid().is_root() {
            return Err("needs root".into());
        }
        let name = format!("weir-memory-{}", std::process::id());
        let v1 = Path::new("/sys/fs/cgroup/memory");
        let (root, file) = match v1.is_dir() {
            true => (v1, "memory.limit_in_bytes"),
            false => (Path::new("/sys/fs/cgroup"), "memory.max"),
        };
        let group = Self(root.join(name));
        fs::create_dir(&group.0).map_err(|error| format!("needs a cgroup of its own: {error}"))?;
        fs::write(group.0.join(file), LIMIT.to_string())
            .map_err(|error| format!("needs the memory controller: {error}"))?;
        Ok(group)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Nothing depends on it.
        let _ = fs::remove_dir(&self.0);
    }
}

#[test]
fn the_limit_of_the_containers_cgroup_is_known_whatever_its_version() {
    let group = match Group::limited() {
        Ok(group) => group,
        Err(why) => {
            eprintln!("SKIPPED: {why}");
            return;
        }
    };
    let one = Replica::start("one");
    let site = Site::with_shop(&[&one]);
    let said = site.scratch.path().join("limited.stderr");
    let script = format!("echo $$ > {}/cgroup.procs && exec \"$@\"", group.0.display());
    let socket = site.scratch.path().join("limited.sock");
    let mut child = Command::new("sh")
        .args(["-c", &script, "sh"])
        .arg(binary())
        .args(["run", "--config", text(site.config.path()), "--admin-socket", text(&socket)])
        .args(["--access-log", "off", "--log-level", "weir=debug,gateway_userspace=debug"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(fs::File::create(&said).unwrap())
        .spawn()
        .unwrap();
    let log = || fs::read_to_string(&said).unwrap_or_default();
    let known = wait_for("the limit is known", LONGEST, || {
        let log = log();
        (log.contains("memory is limited") || child.try_wait().unwrap().is_some()).then_some(log)
    });
    let pid = Pid::from_raw(child.id().try_into().unwrap());
    kill(pid, Signal::SIGTERM).unwrap();
    child.wait().unwrap();
    let known = known.unwrap_or_else(|error| panic!("{error}: {}", log()));
    assert!(known.contains(&format!("bytes={LIMIT}")), "{known}");
}
