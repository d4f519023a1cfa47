//! The pod that makes pods, Services and slices by itself, with the rights of its ServiceAccount.

use anyhow::{Context, Result, ensure};

use super::{PATIENCE, Play};

/// Makes it.
pub(super) fn make(play: &Play) -> Result<()> {
    play.cluster.apply(include_str!("../../../../deploy/demo-kubernetes/maker.yaml"))?;
    play.cluster.pods_ready("shop", "app=maker", PATIENCE)
}

/// What `pod` prints there with these words.
pub(super) fn run(play: &Play, words: &[&str]) -> Result<String> {
    let output = play.cluster.exec("shop", "maker", &[&["/pod"], words].concat())?;
    let why = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "pod {}: {}", words.join(" "), why.trim());
    String::from_utf8(output.stdout).context("it prints text")
}

/// Removes it, with what else the manifest made.
pub(super) fn remove(play: &Play) -> Result<()> {
    let words = ["--namespace", "shop", "delete", "--now"];
    let things = ["pod/maker", "service/changing", "role/maker", "rolebinding/maker", "serviceaccount/maker"];
    play.cluster.kubectl(&[&words[..], &things[..]].concat()).map(drop)
}
