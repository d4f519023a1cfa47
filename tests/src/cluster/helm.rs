//! The chart in a cluster: installed, upgraded and removed by helm.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use super::Cluster;

/// Where the chart is installed.
pub const NAMESPACE: &str = "weir-system";

/// A release called `weir`.
#[derive(Debug)]
pub struct Helm {
    kubeconfig: PathBuf,
    chart: PathBuf,
}

impl Helm {
    /// Of this tree's chart.
    pub fn new(cluster: &Cluster) -> Self {
        let chart = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/charts/weir");
        Self { kubeconfig: cluster.kubeconfig().to_owned(), chart }
    }

    /// Installs it, or changes its values; ends when all of it is ready.
    pub fn install(&self, values: &[&str]) -> Result<()> {
        let mut helm = self.command(&["upgrade", "--install", "weir"]);
        helm.arg(&self.chart).args(["--create-namespace", "--wait", "--timeout=120s"]);
        // Nothing here gives addresses to load balancers.
        helm.args(["--set", "controller.gatewayServiceType=ClusterIP"]);
        for value in values {
            helm.args(["--set", value]);
        }
        run(&mut helm)
    }

    /// Removes it.
    pub fn uninstall(&self) -> Result<()> {
        run(self.command(&["uninstall", "weir"]).args(["--wait", "--timeout=120s"]))
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut helm = Command::new(std::env::var_os("WEIR_HELM").unwrap_or_else(|| "helm".into()));
        helm.env("KUBECONFIG", &self.kubeconfig).args(words).args(["--namespace", NAMESPACE]);
        helm.stdin(Stdio::null());
        helm
    }
}

fn run(helm: &mut Command) -> Result<()> {
    let output = helm.output().context("cannot run helm")?;
    ensure!(output.status.success(), "{helm:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
