//! helm, kubeconform, helm-unittest and helm-docs: Go programs, built from the versions that `xtask/charttools/go.mod` pins.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, bail};
use sha2::{Digest, Sha256};

use crate::{command, go, oci, workspace};

const PACKAGES: [&str; 4] = [
    "helm.sh/helm/v4/cmd/helm",
    "github.com/yannh/kubeconform/cmd/kubeconform",
    "github.com/helm-unittest/helm-unittest/cmd/helm-unittest",
    "github.com/norwoodj/helm-docs/cmd/helm-docs",
];
/// What helm needs of Go.
const GO_MINOR: u32 = 26;

/// The folder with the programs.
#[derive(Debug)]
pub(super) struct Tools(PathBuf);

/// Finds them, or builds them when `install` says so. The folder's name is made from the versions that are pinned.
pub(super) fn find_or_build(install: bool) -> anyhow::Result<Tools> {
    let module = workspace::root().join("xtask/charttools");
    let sums = module.join("go.sum");
    let pinned = std::fs::read(&sums).with_context(|| format!("cannot read {}", sums.display()))?;
    let key = oci::hex(&Sha256::digest(pinned)[..6]);
    let tools = Tools(workspace::cache_dir().join("tools").join(format!("charts-{key}")));
    if PACKAGES.iter().all(|package| tools.path(program(package)).is_file()) {
        return Ok(tools);
    }
    if !install {
        bail!(
            "helm and its companions are not built for this tree: --install builds them, once for this user"
        );
    }
    let go = go::at_least(GO_MINOR, install)?;
    println!(
        "building helm, kubeconform, helm-unittest and helm-docs, once for this user: about ten minutes of a CPU"
    );
    let mut build = Command::new(go);
    build.current_dir(module).env("GOTOOLCHAIN", "local").env("GOFLAGS", "").env("CGO_ENABLED", "0");
    build.args(["build", "-mod=readonly", "-buildvcs=false", "-trimpath", "-ldflags=-s -w", "-o"]);
    // With a slash at its end: a folder.
    build.arg(tools.0.join("")).args(PACKAGES);
    std::fs::create_dir_all(&tools.0).with_context(|| format!("cannot make {}", tools.0.display()))?;
    command::say_and_run(&mut build)?;
    Ok(tools)
}

fn program(package: &str) -> &str {
    package.rsplit('/').next().unwrap_or(package)
}

impl Tools {
    pub(super) fn path(&self, program: &str) -> PathBuf {
        self.0.join(program)
    }

    pub(super) fn command(&self, program: &str) -> Command {
        Command::new(self.path(program))
    }

    /// helm, that neither reads nor writes what this user has of it.
    pub(super) fn helm(&self) -> Command {
        let mut helm = self.command("helm");
        let home = workspace::target_dir().join("helm");
        for variable in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
            helm.env(variable, &home);
        }
        helm
    }
}
