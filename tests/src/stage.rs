//! A client pod, replicas that run in pods of their own, and Weir on a folder of YAML.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use gateway_userspace::ebpf::Datapath;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::de::DeserializeOwned;
use tempfile::TempDir;

use crate::manifests;
use crate::pod::{Node, Pod, ensure_bpffs};
use crate::wait::wait_for;
use crate::weir::{Options, Weir, sibling};

/// Longest wait for Weir to do what it does within milliseconds.
const LONGEST: Duration = Duration::from_secs(10);

/// Everything that the scenes play with.
pub struct Stage {
    /// Where Weir's YAML is.
    pub folder: PathBuf,
    weir: Option<Weir>,
    replicas: Vec<Replica>,
    pins: PathBuf,
    // Last: processes are gone before their pods, and pods before their folder.
    node: Node,
    scratch: TempDir,
}

impl Stage {
    /// Makes a client pod, which the folder says to capture, and a pod for each of `names`; starts the
    /// replicas there. Weir is not started yet.
    pub fn make(label: &str, names: &[&'static str]) -> Result<Self> {
        ensure_bpffs()?;
        let scratch = tempfile::Builder::new().prefix(&format!("weir-{label}-")).tempdir()?;
        let folder = scratch.path().join("config");
        fs::create_dir(&folder)?;
        let node = Node::make(label, u8::try_from(names.len() + 1)?, &[])?;
        node.unreachable("10.96.0.0/16")?;
        let pins = Path::new("/sys/fs/bpf").join(format!("weir-{label}-{}", std::process::id()));
        let replicas = names.iter().map(|name| Replica { name, process: None }).collect();
        let mut stage = Self { folder, weir: None, replicas, pins, node, scratch };
        for replica in 0..names.len() {
            stage.start_replica(replica)?;
        }
        stage.write("pods.yaml", &manifests::captured_pod("client", &stage.client().netns))?;
        Ok(stage)
    }

    /// Replaces a file of the folder in one step.
    pub fn write(&self, file: &str, yaml: &str) -> Result<()> {
        manifests::write(&self.folder, file, yaml).with_context(|| format!("cannot write {file}"))
    }

    /// Starts, or starts again, a replica.
    pub fn start_replica(&mut self, replica: usize) -> Result<()> {
        let name = self.replicas[replica].name;
        let mut command = self.node.pod(replica + 1).exec(&sibling("weir-echo"));
        command.args(["--name", name, "--port", "8080", "--tcp-port", "8081"]);
        let mut child = command.stdout(Stdio::piped()).spawn().context("cannot start weir-echo")?;
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().context("no output")?).read_line(&mut line)?;
        ensure!(line == "ready\n", "{name} did not start");
        self.replicas[replica].process = Some(child);
        Ok(())
    }

    /// Ends a replica by this signal and waits until it is gone.
    pub fn end_replica(&mut self, replica: usize, signal: Signal) -> Result<()> {
        let mut process = self.replicas[replica].process.take().context("it does not run")?;
        kill(Pid::from_raw(i32::try_from(process.id())?), signal)?;
        process.wait()?;
        Ok(())
    }

    /// How Weir is started: on the folder, in the node's namespace. `name` keeps two of them apart.
    pub fn options(&self, name: &str) -> Options {
        let cgroup = self.node.cgroup().display().to_string();
        let pins = self.pins.display().to_string();
        let arguments = ["--cgroup", cgroup.as_str(), "--bpf-root", pins.as_str()];
        let mut options = Options::new(&self.folder, self.scratch.path()).with(arguments);
        options.name = name.to_owned();
        options.netns = Some(self.node.hub());
        options
    }

    /// Starts Weir.
    pub fn start_weir(&mut self) -> Result<()> {
        self.weir = None;
        self.weir = Some(Weir::start(self.options("weir"))?);
        Ok(())
    }

    /// The running Weir.
    pub fn weir(&mut self) -> Result<&mut Weir> {
        self.weir.as_mut().context("weir does not run")
    }

    /// What Weir said last, for whoever wants to know why a scene went wrong.
    pub fn show_weir(&self) {
        let said = self.weir.as_ref().map(Weir::errors).unwrap_or_default();
        let lines: Vec<&str> = said.lines().collect();
        for line in &lines[lines.len().saturating_sub(10)..] {
            eprintln!("weir: {line}");
        }
    }

    /// Replaces the running Weir by another one; gives the old one, which drains.
    pub fn replace_weir(&mut self, name: &str, arguments: &[&str]) -> Result<Weir> {
        let options = self.options(name).with(arguments.iter().copied()).with(["--takeover"]);
        let next = Weir::start(options)?;
        self.weir.replace(next).context("weir does not run")
    }

    /// Starts Weir with further arguments.
    pub fn start_weir_with(&mut self, arguments: &[&str]) -> Result<()> {
        self.weir = None;
        self.weir = Some(Weir::start(self.options("weir").with(arguments.iter().copied()))?);
        Ok(())
    }

    /// Folder of its pins.
    pub fn pins(&self) -> &Path {
        &self.pins
    }

    /// The running Weir, for a test that looks after it by itself.
    pub fn take_weir(&mut self) -> Result<Weir> {
        self.weir.take().context("weir does not run")
    }

    /// A pod: 0 is the client's, then come the replicas'.
    pub fn pod(&self, number: usize) -> &Pod {
        self.node.pod(number)
    }

    /// The pod that calls.
    pub fn client(&self) -> &Pod {
        self.node.pod(0)
    }

    /// Where a replica is.
    pub fn address(&self, replica: usize) -> IpAddr {
        self.node.pod(replica + 1).ip_v4.into()
    }

    /// Runs curl in the client pod.
    pub fn curl(&self, arguments: &[&str]) -> Result<Output> {
        let mut curl = self.client().exec(Path::new("curl"));
        Ok(curl.args(["--silent", "--show-error", "--max-time", "5"]).args(arguments).output()?)
    }

    /// Starts one of our clients in the client pod.
    pub fn start(&self, program: &str, arguments: &str) -> Result<Running> {
        let mut command = self.client().exec(&sibling(program));
        command.args(arguments.split_whitespace()).stdin(Stdio::piped()).stdout(Stdio::piped());
        Running::of(&mut command)
    }

    /// Runs one of our clients in the client pod to its end.
    pub fn run<T: DeserializeOwned>(&self, program: &str, arguments: &str) -> Result<T> {
        self.start(program, arguments)?.finish()
    }

    /// Waits until curl with these arguments shows `wanted`.
    pub fn wait_answer(&self, arguments: &[&str], wanted: &str) -> Result<()> {
        wait_for(&format!("curl {} shows {wanted}", arguments.join(" ")), LONGEST, || {
            let output = self.curl(arguments).ok()?;
            String::from_utf8_lossy(&output.stdout).contains(wanted).then_some(())
        })
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        for replica in self.replicas.iter_mut().filter_map(|replica| replica.process.as_mut()) {
            // Gone already, or not: either way it is gone after this.
            let _ = replica.kill();
            let _ = replica.wait();
        }
        self.weir = None;
        if let Err(error) = Datapath::cleanup(&self.pins) {
            eprintln!("cannot remove the pins below {}: {error}", self.pins.display());
        }
    }
}

#[derive(Debug)]
struct Replica {
    name: &'static str,
    process: Option<Child>,
}

/// A client that runs. Killed when dropped.
#[derive(Debug)]
pub struct Running(Option<Child>);

impl Running {
    /// Starts it; its standard input and output are pipes.
    pub fn of(command: &mut Command) -> Result<Self> {
        let child = command.spawn().with_context(|| format!("cannot start {command:?}"))?;
        Ok(Self(Some(child)))
    }

    /// Closes its standard input, which ends it, and reads its one line of JSON.
    pub fn finish<T: DeserializeOwned>(mut self) -> Result<T> {
        let mut child = self.0.take().context("it was finished before")?;
        drop(child.stdin.take());
        let output = child.wait_with_output()?;
        if !output.status.success() {
            bail!("a client failed: {}", output.status);
        }
        serde_json::from_slice(&output.stdout).context("a client's output")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            // Ended already, or not: either way it is gone after this.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
