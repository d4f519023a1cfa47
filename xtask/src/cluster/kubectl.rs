//! kubectl, as the administrator of a cluster.

use std::io::Write;
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

use super::api::Place;
use super::layout::Layout;
use super::process;
use super::programs::Programs;
use crate::command;

/// Without arguments yet.
pub(super) fn command(layout: &Layout, programs: &Programs, place: &Place) -> Command {
    let mut kubectl = process::inside(place.netns.as_deref(), &programs.kubernetes("kubectl"));
    kubectl.env("KUBECONFIG", layout.kubeconfig("admin"));
    kubectl
}

/// What it prints, or nothing when it fails.
pub(super) fn output(
    layout: &Layout,
    programs: &Programs,
    place: &Place,
    arguments: &[&str],
) -> Option<String> {
    command::output(command(layout, programs, place).args(arguments))
}

/// Applies manifests.
pub(super) fn apply(
    layout: &Layout,
    programs: &Programs,
    place: &Place,
    manifests: &str,
) -> anyhow::Result<()> {
    let mut kubectl = command(layout, programs, place);
    kubectl.args(["apply", "--filename", "-"]).stdin(Stdio::piped()).stdout(Stdio::null());
    let mut child = kubectl.spawn().context("cannot run kubectl")?;
    child.stdin.take().context("kubectl has a stdin")?.write_all(manifests.as_bytes())?;
    if !child.wait()?.success() {
        bail!("kubectl apply failed");
    }
    Ok(())
}

/// Runs it; its error output says what is wrong.
pub(super) fn run(
    layout: &Layout,
    programs: &Programs,
    place: &Place,
    arguments: &[&str],
) -> anyhow::Result<()> {
    command::run(command(layout, programs, place).args(arguments).stdout(Stdio::null()))
}
