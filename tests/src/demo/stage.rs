//! The stage of the demo: a client pod, replicas that run in pods of their own, and Weir.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use gateway_userspace::ebpf::Datapath;
use serde::de::DeserializeOwned;
use tempfile::TempDir;

use super::tell;
use crate::manifests;
use crate::pod::{Node, Pod, ensure_bpffs};
use crate::wait::wait_for;
use crate::weir::{Options, Weir, sibling};

/// The client is pod 0; these are the pods after it.
pub(super) const REPLICAS: [&str; 4] = ["shop-1", "shop-2", "shop-3", "shop-canary"];
/// Which of them is the canary.
pub(super) const CANARY: usize = 3;
const STARTS_WITHIN: Duration = Duration::from_secs(10);

/// Everything that the scenes play with.
pub(super) struct Stage {
    /// Where Weir's YAML is.
    pub(super) folder: PathBuf,
    /// Promises that were not kept.
    pub(super) broken: Vec<String>,
    weir: Option<Weir>,
    replicas: Vec<Option<Child>>,
    pins: PathBuf,
    // Last: processes are gone before their pods, and pods before their folder.
    node: Node,
    scratch: TempDir,
}

impl Stage {
    /// Makes pods and starts the replicas; Weir is not started yet.
    pub(super) fn make(yaml: &Path) -> Result<Self> {
        ensure_bpffs()?;
        let scratch = tempfile::Builder::new().prefix("weir-demo-").tempdir()?;
        let folder = scratch.path().join("config");
        fs::create_dir(&folder)?;
        for file in fs::read_dir(yaml).with_context(|| format!("cannot read {}", yaml.display()))? {
            let file = file?;
            fs::copy(file.path(), folder.join(file.file_name()))?;
        }
        let node = Node::make("demo", u8::try_from(REPLICAS.len() + 1)?, &[])?;
        node.unreachable("10.96.0.0/16")?;
        let pins = Path::new("/sys/fs/bpf").join(format!("weir-demo-{}", std::process::id()));
        let replicas = REPLICAS.iter().map(|_| None).collect();
        let mut stage = Self { folder, broken: Vec::new(), weir: None, replicas, pins, node, scratch };
        for replica in 0..REPLICAS.len() {
            stage.start_replica(replica)?;
        }
        stage.write_endpoints()?;
        manifests::write(
            &stage.folder,
            "pods.yaml",
            &manifests::captured_pod("client", &stage.client().netns),
        )?;
        Ok(stage)
    }

    fn write_endpoints(&self) -> Result<()> {
        let shop: Vec<IpAddr> = (0..CANARY).map(|replica| self.address(replica)).collect();
        let mut yaml = String::new();
        for service in ["shop", "greeter", "edited", "open", "closed"] {
            yaml += &manifests::slice(service, 8080, &shop);
        }
        yaml += &manifests::slice("shop-canary", 8080, &[self.address(CANARY)]);
        yaml += &manifests::slice("flaky", 8080, &shop[..1]);
        // Nothing listens there.
        yaml += &manifests::slice("flaky", 9, &shop[1..2]);
        manifests::write(&self.folder, "endpoints.yaml", &yaml)?;
        Ok(manifests::write(&self.folder, "one.yaml", &manifests::slice("one", 8080, &shop[..1]))?)
    }

    /// Starts, or starts again, a replica.
    pub(super) fn start_replica(&mut self, replica: usize) -> Result<()> {
        let mut command = self.node.pod(replica + 1).exec(&sibling("weir-echo"));
        command.args(["--name", REPLICAS[replica], "--port", "8080"]);
        let mut child = command.stdout(Stdio::piped()).spawn().context("cannot start weir-echo")?;
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().context("no output")?).read_line(&mut line)?;
        ensure!(line == "ready\n", "{} did not start", REPLICAS[replica]);
        self.replicas[replica] = Some(child);
        Ok(())
    }

    /// SIGKILL.
    pub(super) fn kill_replica(&mut self, replica: usize) -> Result<()> {
        let mut child = self.replicas[replica].take().context("it does not run")?;
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// Starts Weir on the folder, in the node's namespace.
    pub(super) fn start_weir(&mut self) -> Result<()> {
        self.weir = None;
        let cgroup = self.node.cgroup().display().to_string();
        let pins = self.pins.display().to_string();
        let mut options = Options::new(&self.folder, self.scratch.path()).with([
            "--cgroup",
            cgroup.as_str(),
            "--bpf-root",
            pins.as_str(),
        ]);
        options.netns = Some(self.node.hub());
        self.weir = Some(Weir::start(options)?);
        Ok(())
    }

    /// The running Weir.
    pub(super) fn weir(&mut self) -> Result<&mut Weir> {
        self.weir.as_mut().context("weir does not run")
    }

    /// What Weir said last, for whoever wants to know why a scene went wrong.
    pub(super) fn show_weir(&self) {
        let said = self.weir.as_ref().map(Weir::errors).unwrap_or_default();
        let lines: Vec<&str> = said.lines().collect();
        for line in &lines[lines.len().saturating_sub(10)..] {
            eprintln!("weir: {line}");
        }
    }

    fn client(&self) -> &Pod {
        self.node.pod(0)
    }

    /// Where a replica is.
    pub(super) fn address(&self, replica: usize) -> IpAddr {
        self.node.pod(replica + 1).ip_v4.into()
    }

    /// Runs curl in the client pod, after saying so.
    pub(super) fn curl(&self, arguments: &[&str]) -> Result<Output> {
        tell::command(&format!("curl {}", arguments.join(" ")));
        self.curl_quietly(arguments)
    }

    fn curl_quietly(&self, arguments: &[&str]) -> Result<Output> {
        let mut curl = self.client().exec(Path::new("curl"));
        Ok(curl.args(["--silent", "--show-error", "--max-time", "5"]).args(arguments).output()?)
    }

    /// Starts one of our clients in the client pod.
    pub(super) fn start(&self, program: &str, arguments: &str) -> Result<Running> {
        let mut command = self.client().exec(&sibling(program));
        command.args(arguments.split_whitespace()).stdin(Stdio::piped()).stdout(Stdio::piped());
        Ok(Running(command.spawn().with_context(|| format!("cannot start {program}"))?))
    }

    /// Runs one of our clients in the client pod to its end, after saying so.
    pub(super) fn run<T: DeserializeOwned>(&self, program: &str, arguments: &str) -> Result<T> {
        tell::command(&format!("{program} {arguments}"));
        self.start(program, arguments)?.finish()
    }

    /// Notes a promise that was not kept.
    pub(super) fn promise(&mut self, kept: bool, what: &str) {
        if !kept {
            tell::seen(&format!("× not so: {what}"));
            self.broken.push(what.to_owned());
        }
    }

    /// Waits until a call that only a route can lead to the canary reaches it.
    pub(super) fn wait_routed(&self) -> Result<()> {
        wait_for("the client pod's calls are routed", STARTS_WITHIN, || {
            let output = self.curl_quietly(&["-H", "x-version: canary", "http://10.96.0.10/"]).ok()?;
            String::from_utf8_lossy(&output.stdout).contains("shop-canary").then_some(())
        })
    }

    /// Leaves everything running until the user has seen enough.
    pub(super) fn stay(&mut self) -> Result<()> {
        let Pod { cgroup, netns, .. } = self.client();
        println!("\nEverything stays until you press Enter. A shell in the client pod:");
        println!(
            "   sh -c 'echo 0 > {}/cgroup.procs; exec nsenter --net={} bash'",
            cgroup.display(),
            netns.display()
        );
        println!("The YAML that Weir serves: {}", self.folder.display());
        let socket = self.weir()?.options().admin_socket();
        println!("Ask Weir: weir status --admin-socket {}", socket.display());
        std::io::stdin().read_line(&mut String::new())?;
        Ok(())
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        for replica in self.replicas.iter_mut().flatten() {
            // Gone already, or not: either way it is gone after this.
            let _ = replica.kill();
            let _ = replica.wait();
        }
        self.weir = None;
        if let Err(error) = Datapath::cleanup(&self.pins) {
            eprintln!("cannot remove the demo's pins below {}: {error}", self.pins.display());
        }
    }
}

/// A client that runs.
pub(super) struct Running(Child);

impl Running {
    /// Closes its standard input, which ends it, and reads its one line of JSON.
    pub(super) fn finish<T: DeserializeOwned>(mut self) -> Result<T> {
        drop(self.0.stdin.take());
        let output = self.0.wait_with_output()?;
        if !output.status.success() {
            bail!("a client failed: {}", output.status);
        }
        serde_json::from_slice(&output.stdout).context("a client's output")
    }
}
