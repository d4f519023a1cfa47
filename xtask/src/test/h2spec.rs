//! h2spec, the conformance suite for HTTP/2: a Go program, built from the versions that `xtask/h2spec/go.mod` pins.

use std::path::PathBuf;
use std::process::Command;

use crate::{command, go, workspace};

/// The version that is used, and no other. `xtask/h2spec/go.mod` says the same.
const VERSION: &str = "2.2.1";
const PACKAGE: &str = "github.com/summerwind/h2spec/cmd/h2spec";

/// Where it stands when it is installed.
pub(super) fn program() -> PathBuf {
    workspace::cache_dir().join("tools").join(format!("h2spec-{VERSION}")).join("h2spec")
}

/// Makes it when it is missing and `install` says so. Without it, its test says that it cannot run.
pub(super) fn prepare(install: bool) -> anyhow::Result<()> {
    if !install || program().is_file() {
        return Ok(());
    }
    println!("building h2spec {VERSION}, once for this user");
    let mut build = Command::new(go::find_or_install(install)?);
    build.current_dir(workspace::root().join("xtask/h2spec")).env("GOTOOLCHAIN", "local").env("GOFLAGS", "");
    build.args(["build", "-mod=readonly", "-buildvcs=false", "-o"]).arg(program()).arg(PACKAGE);
    command::say_and_run(&mut build)
}
