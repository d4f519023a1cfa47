//! A Kubernetes under test: the one that `cargo xtask test` made, or a developer's own.

mod helm;
mod inside;
mod load;

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::wait::wait_for;

pub use helm::{Helm, NAMESPACE};
pub use inside::Inside;
pub use load::{Counts, Load};

/// What test pods run: `tests/cluster/pod`.
pub const POD_IMAGE: &str = "localhost/pod:test";

/// A cluster, or an API server alone.
#[derive(Debug, Clone)]
pub struct Cluster {
    kubeconfig: PathBuf,
    kubectl: OsString,
    /// Its name and the program that made it; none for a developer's own.
    made: Option<(String, PathBuf)>,
}

impl Cluster {
    /// The one of `WEIR_KUBECONFIG`. Without it says how to get one; with CI=true that is a failure.
    pub fn find() -> Option<Self> {
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let Some(kubeconfig) = set("WEIR_KUBECONFIG") else {
            assert!(std::env::var_os("CI").is_none_or(|v| v != "true"), "these tests need a Kubernetes");
            println!(
                "SKIPPED: no WEIR_KUBECONFIG; cargo xtask test --ring apiserver --ring cluster makes one"
            );
            return None;
        };
        let name = set("WEIR_CLUSTER").map(|name| name.to_string_lossy().into_owned());
        Some(Self {
            kubeconfig: kubeconfig.into(),
            kubectl: set("WEIR_KUBECTL").unwrap_or_else(|| "kubectl".into()),
            made: name.zip(set("WEIR_XTASK").map(PathBuf::from)),
        })
    }

    /// The same cluster as another user.
    pub fn with_kubeconfig(&self, kubeconfig: &std::path::Path) -> Self {
        Self { kubeconfig: kubeconfig.to_owned(), ..self.clone() }
    }

    /// As its administrator.
    pub fn kubeconfig(&self) -> &std::path::Path {
        &self.kubeconfig
    }

    /// kubectl, for a test that wants more of it than the rest of this offers.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut kubectl = Command::new(&self.kubectl);
        kubectl.env("KUBECONFIG", &self.kubeconfig).args(arguments).stdin(Stdio::null());
        kubectl
    }

    /// What kubectl prints; an error with what it says when it fails.
    pub fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        said(&mut self.command(arguments))
    }

    /// Applies manifests.
    pub fn apply(&self, yaml: &str) -> Result<()> {
        let mut kubectl = self.command(&["apply", "--server-side", "--force-conflicts", "--filename", "-"]);
        kubectl.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = kubectl.spawn().context("cannot run kubectl")?;
        child.stdin.take().context("kubectl has a stdin")?.write_all(yaml.as_bytes())?;
        let output = child.wait_with_output()?;
        ensure!(output.status.success(), "apply: {}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }

    /// Makes a pod on a node that runs the tests' program with these words, and has the label `app`.
    pub fn make_pod(
        &self,
        (namespace, name): (&str, &str),
        app: &str,
        node: &str,
        words: &[&str],
    ) -> Result<()> {
        let pod = serde_json::json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": { "namespace": namespace, "name": name, "labels": { "app": app } },
            "spec": {
                "nodeSelector": { "kubernetes.io/hostname": node },
                "terminationGracePeriodSeconds": 1,
                // Ten thousand Services would be more environment than a program may be started with.
                "enableServiceLinks": false,
                "containers": [{ "name": "pod", "image": POD_IMAGE, "args": words }],
            },
        });
        self.apply(&pod.to_string())
    }

    /// Applies the CRDs of the Gateway API and waits until they are served. A developer's own cluster has them.
    pub fn apply_gateway_api(&self) -> Result<()> {
        if let Ok(file) = std::env::var("WEIR_GATEWAY_API") {
            self.kubectl(&["apply", "--server-side", "--filename", &file])?;
        }
        self.kubectl(&["wait", "crd", "--all", "--for=condition=Established", "--timeout=60s"])?;
        self.kubectl(&["get", "crd", "httproutes.gateway.networking.k8s.io"]).map(drop)
    }

    /// One object, or a list of them, as the API has it.
    pub fn get(&self, arguments: &[&str]) -> Result<Value> {
        let words = [&["get", "--output", "json"], arguments].concat();
        serde_json::from_str(&self.kubectl(&words)?).context("kubectl get prints no JSON")
    }

    /// Looks at an object until something is found in it.
    pub fn wait<T>(
        &self,
        what: &str,
        within: Duration,
        arguments: &[&str],
        mut found: impl FnMut(&Value) -> Option<T>,
    ) -> Result<T> {
        let mut last = Value::Null;
        let got = wait_for(what, within, || {
            last = self.get(arguments).unwrap_or_default();
            found(&last)
        });
        got.with_context(|| format!("the last that was seen: {last}"))
    }

    /// Waits until a rollout of `deployment/NAME` or `daemonset/NAME` is done.
    pub fn rolled_out(&self, namespace: &str, what: &str, within: Duration) -> Result<()> {
        let timeout = format!("--timeout={}s", within.as_secs());
        self.kubectl(&["--namespace", namespace, "rollout", "status", what, &timeout]).map(drop)
    }

    /// Waits until all pods of a namespace that have a label are ready.
    pub fn pods_ready(&self, namespace: &str, label: &str, within: Duration) -> Result<()> {
        let timeout = format!("--timeout={}s", within.as_secs());
        let words = ["--namespace", namespace, "wait", "pod", "--for=condition=Ready", "-l", label, &timeout];
        self.kubectl(&words).map(drop)
    }

    /// Runs a command in a pod.
    pub fn exec(&self, namespace: &str, pod: &str, words: &[&str]) -> Result<Output> {
        let words = [&["--namespace", namespace, "exec", pod, "--"], words].concat();
        self.command(&words).output().context("cannot run kubectl exec")
    }

    /// Names of the nodes.
    pub fn nodes(&self) -> Result<Vec<String>> {
        let list = self.get(&["nodes"])?;
        let items = list["items"].as_array().context("no items")?;
        Ok(items.iter().filter_map(|node| Some(node["metadata"]["name"].as_str()?.to_owned())).collect())
    }

    /// Runs a command in a node's namespaces; only with nodes that were made for the tests.
    pub fn on_node(&self, node: &str, words: &[&str]) -> Result<String> {
        said(&mut self.on_node_command(node, words)?)
    }

    /// That command, for who wants more of it than its output.
    fn on_node_command(&self, node: &str, words: &[&str]) -> Result<Command> {
        let mut command = self.xtask(&["exec", node])?;
        command.args(words);
        Ok(command)
    }

    /// Imports an image archive into every node.
    pub fn load_image(&self, archive: &std::path::Path) -> Result<()> {
        said(self.xtask(&["load"])?.arg(archive)).map(drop)
    }

    /// Ends the API server; etcd goes on.
    pub fn stop_api(&self) -> Result<()> {
        said(&mut self.xtask(&["api", "stop"])?).map(drop)
    }

    /// Starts it again.
    pub fn start_api(&self) -> Result<()> {
        said(&mut self.xtask(&["api", "start"])?).map(drop)
    }

    /// `cargo xtask cluster` for this one.
    fn xtask(&self, words: &[&str]) -> Result<Command> {
        let Some((name, program)) = &self.made else { bail!("this cluster was not made for the tests") };
        let mut xtask = Command::new(program);
        xtask.args(["cluster", "--name", name]).args(words);
        Ok(xtask)
    }
}

fn said(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot run {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
