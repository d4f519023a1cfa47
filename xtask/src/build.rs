//! `cargo xtask build`: the `weir` binary with the eBPF object in it.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Context;

use crate::datapath::Object;
use crate::{command, datapath, workspace};

/// Build `weir` with the eBPF datapath in it.
///
/// The kernel half needs a Rust compiler with its library sources, and bpf-linker: a rustup nightly with
/// rust-src, or Debian's rustc-web. What is missing is named, with the command to install it.
/// Only what changed is built again.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The optimised binary, as it ships.
    #[arg(long)]
    release: bool,
    /// Install what is missing (Debian packages as root, bpf-linker into the user's cache). CI=true does the same.
    #[arg(long)]
    install: bool,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let begun = Instant::now();
    let (object, binary) = with_datapath(options.release, options.install)?;
    report(&object, &binary, begun)
}

/// Brings the object and the binary around it up to date.
pub(crate) fn with_datapath(release: bool, install: bool) -> anyhow::Result<(Object, PathBuf)> {
    let object = datapath::build(install || workspace::is_ci())?;
    Ok((object, weir(release)?))
}

/// Builds the binary around whatever object there is; where it stands.
fn weir(release: bool) -> anyhow::Result<PathBuf> {
    let mut cargo = command::cargo();
    cargo.args(["build", "--package", "gateway-userspace", "--bin", "weir"]);
    if release {
        cargo.arg("--release");
    }
    command::run(&mut cargo)?;
    Ok(workspace::target_dir().join(if release { "release" } else { "debug" }).join("weir"))
}

fn report(object: &Object, binary: &Path, begun: Instant) -> anyhow::Result<()> {
    let bytes = binary.metadata().with_context(|| format!("cannot find {}", binary.display()))?.len();
    let state = if object.rebuilt { "built" } else { "unchanged" };
    println!(
        "eBPF object  {}  {} KiB, {state}, by {}",
        workspace::shown(&object.path),
        kib(object.bytes),
        object.made_by
    );
    println!(
        "weir         {}  {:.1} MiB, with the object in it",
        workspace::shown(binary),
        kib(bytes) as f64 / 1024.0
    );
    println!("done in {:.1} s; try `{} --help`", begun.elapsed().as_secs_f64(), workspace::shown(binary));
    Ok(())
}

fn kib(bytes: u64) -> u64 {
    bytes.div_ceil(1024)
}
