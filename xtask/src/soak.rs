//! `cargo xtask soak`: builds everything and lets it run for a long time.

use crate::{build, command, workspace};

/// Serve pods for a long time while everything around changes.
///
/// HTTP/1, HTTP/2, gRPC streams, WebSockets, long polls and TCP from a captured pod, rude and slow clients among them; meanwhile
/// replicas restart, the YAML is edited and Weir is replaced again and again. At the end nothing may have failed that a
/// perfect proxy would have served, and descriptors, threads, map entries and memory are back to the start. Needs root.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// How long.
    #[arg(long, default_value_t = 20.0)]
    minutes: f64,
    /// Install what is missing to build the kernel half. CI=true does the same.
    #[arg(long)]
    install: bool,
}

/// False when the soak has said what is wrong.
pub(crate) fn run(options: &Options) -> anyhow::Result<bool> {
    let (_, weir) = build::with_datapath(true, options.install)?;
    command::run(command::cargo().args(["build", "--package", "gateway-tests", "--bins"]))?;
    let mut soak = std::process::Command::new(workspace::target_dir().join("debug").join("weir-soak"));
    soak.env("WEIR_BIN", weir).arg("--minutes").arg(options.minutes.to_string());
    Ok(soak.status()?.success())
}
