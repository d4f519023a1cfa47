//! What every test of this binary begins with.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use gateway_tests::pod::client::Seen;
use gateway_tests::pod::{Node, Pod, ensure_bpffs};
use gateway_tests::wait;
use gateway_userspace::ebpf::{Datapath, DatapathOptions};
use nix::sys::signal::Signal;
use nix::unistd::Pid;

/// The program that runs in pods.
pub(crate) const POD_PROGRAM: &str = env!("CARGO_BIN_EXE_weir-test-pod");

/// The test's turn: one at a time, because they time what they see on few cores.
pub(crate) fn turn() -> Option<MutexGuard<'static, ()>> {
    static TURN: Mutex<()> = Mutex::new(());
    let obstacle = if !nix::unistd::geteuid().is_root() {
        Some("needs root")
    } else if !Datapath::is_embedded() {
        Some("needs the eBPF object: run `cargo xtask build` first")
    } else {
        ensure_bpffs().err().map(|_| "needs a bpffs at /sys/fs/bpf")
    };
    let Some(obstacle) = obstacle else {
        return Some(TURN.lock().unwrap_or_else(PoisonError::into_inner));
    };
    assert!(
        std::env::var_os("CI").is_none_or(|v| v != "true"),
        "the datapath's tests cannot run: {obstacle}"
    );
    eprintln!("SKIPPED: {obstacle}");
    None
}

/// Removes a test's pins when it ends, however it ends.
pub(crate) struct Pins(pub(crate) DatapathOptions);

impl Drop for Pins {
    fn drop(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(5);
        // A stand-in's heartbeat may hold the datapath for one more beat.
        while let Err(error) = Datapath::cleanup(&self.0.pin_root) {
            if Instant::now() > deadline {
                eprintln!("cannot remove the test's pins: {error}");
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// A client in a pod that runs until it is asked for its result.
pub(crate) struct Client(Child);

impl Client {
    /// Starts a client: `connect` and its arguments.
    pub(crate) fn start(pod: &Pod, arguments: &str) -> Self {
        let mut command = pod.command(POD_PROGRAM);
        command.arg("connect").args(arguments.split_whitespace());
        Self(command.spawn().unwrap())
    }

    /// Closes its stdin and waits for what it saw.
    pub(crate) fn finish(mut self) -> Seen {
        if let Some(mut stdin) = self.0.stdin.take() {
            stdin.flush().unwrap();
        }
        let output = self.0.wait_with_output().unwrap();
        assert!(output.status.success(), "the client failed: {}", output.status);
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

/// One run of a client.
pub(crate) fn connect(pod: &Pod, arguments: &str) -> Seen {
    Client::start(pod, arguments).finish()
}

/// The value of a counter.
pub(crate) fn counter(datapath: &Datapath, name: &str) -> u64 {
    let counters = datapath.counters().unwrap();
    counters.iter().find(|(counter, _)| *counter == name).map(|(_, value)| *value).unwrap()
}

/// A stand-in for the gateway in a process of its own.
pub(crate) struct Gateway(Child);

impl Gateway {
    /// Starts one for a node's first pod; `arguments` are its services and more. Waits until it serves.
    pub(crate) fn start(node: &Node, arguments: &str) -> Self {
        Self::start_in(node, None, arguments)
    }

    /// Starts one in a cgroup.
    pub(crate) fn start_in(node: &Node, cgroup: Option<&Path>, arguments: &str) -> Self {
        let mut command = Command::new(POD_PROGRAM);
        if let Some(cgroup) = cgroup {
            command.arg("--cgroup").arg(cgroup);
        }
        Self::spawn(node, command, arguments)
    }

    /// Starts one in a pid namespace of its own, as in a container. Says also its process id out here.
    pub(crate) fn start_in_pid_namespace(node: &Node, arguments: &str) -> (Self, Pid) {
        let mut command = Command::new("unshare");
        command.args(["--pid", "--fork", "--kill-child", POD_PROGRAM]);
        let outer = Self::spawn(node, command, arguments);
        let children = format!("/proc/{0}/task/{0}/children", outer.id());
        let inner = std::fs::read_to_string(children).unwrap().trim().parse().unwrap();
        (outer, Pid::from_raw(inner))
    }

    fn spawn(node: &Node, mut command: Command, arguments: &str) -> Self {
        let pod = node.pod(0);
        command.arg("gateway").arg("--pods").arg(node.cgroup());
        command.arg("--pod").arg(format!("{},{},{}", pod.netns.display(), pod.ip_v4, pod.ip_v6));
        command.args(arguments.split_whitespace()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n", "the stand-in did not start");
        Self(child)
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.0.id()).unwrap());
        nix::sys::signal::kill(pid, signal).unwrap();
    }

    /// Kills it and waits until it is gone.
    pub(crate) fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    /// Ends it politely.
    pub(crate) fn stop(&mut self) {
        drop(self.0.stdin.take());
        self.0.wait().unwrap();
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Looks until `wanted` is seen, or fails after ten seconds.
pub(crate) fn wait_for(what: &str, mut wanted: impl FnMut() -> bool) {
    wait::wait_for(what, Duration::from_secs(10), || wanted().then_some(())).unwrap();
}
