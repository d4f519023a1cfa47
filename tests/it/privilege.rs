//! Weir as a user without any privilege.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use gateway_tests::manifests::captured_pod;
use gateway_tests::wait::wait_for;
use gateway_tests::weir::{binary, get};
use gateway_userspace::ebpf::Datapath;
use gateway_userspace::ebpf::cgroup::mount_point;
use nix::unistd::geteuid;

use crate::fixture::{LONGEST, Replica, Site, text};

const NOBODY: u32 = 65534;

/// `weir run` as nobody, or as whoever runs the tests when that is not root.
fn run_as_nobody(site: &Site, arguments: &[&str]) -> (Child, PathBuf) {
    let own = site.scratch.path().join("weir-of-nobody");
    fs::copy(binary(), &own).unwrap();
    fs::set_permissions(&own, Permissions::from_mode(0o755)).unwrap();
    let socket = site.scratch.path().join("nobody.sock");
    let mut command = if geteuid().is_root() {
        for folder in [&site.scratch, &site.config] {
            chown(folder.path(), Some(NOBODY), Some(NOBODY)).unwrap();
        }
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(own);
        command
    } else {
        Command::new(own)
    };
    command.args(["run", "--config", text(site.config.path()), "--admin-socket", text(&socket)]);
    command.args(["--access-log", "off"]).args(arguments);
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    (child, socket)
}

fn serves(site: &Site, arguments: &[&str]) {
    let (mut child, socket) = run_as_nobody(site, arguments);
    let ready = wait_for("it is ready", LONGEST, || {
        (matches!(get(&socket, "/readyz"), Ok((200, _))) || child.try_wait().unwrap().is_some()).then_some(())
    });
    let answer = ready.map(|()| site.get("/").status());
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(answer.unwrap(), 200);
}

#[test]
fn a_reverse_proxy_needs_no_privilege() {
    let one = Replica::start("one");
    serves(&Site::with_shop(&[&one]), &[]);
}

#[test]
fn a_pod_to_capture_needs_privileges_that_are_named_with_what_to_do_instead() {
    let one = Replica::start("one");
    let site = Site::with_shop(&[&one]);
    site.write("pod.yaml", &captured_pod("client", site.scratch.path()));
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let Some(cgroup) = mount_point(&mounts) else {
        eprintln!("SKIPPED: needs a mounted cgroup2 hierarchy");
        return;
    };
    let (child, _) = run_as_nobody(&site, &["--cgroup", text(&cgroup)]);
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    let missing = if Datapath::is_embedded() { "CAP_BPF" } else { "cargo xtask build" };
    assert!(said.contains(missing) && said.contains("--capture off"), "{said}");
    assert!(!said.contains("panicked") && !said.contains("backtrace"), "{said}");
    serves(&site, &["--capture", "off"]);
}
