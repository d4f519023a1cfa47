//! `cargo xtask demo`: builds everything and shows it.

use std::time::Instant;

use crate::{build, command, workspace};

/// Show on this machine what Weir does for pods.
///
/// Makes pods (network namespaces, each in a cgroup of its own), starts Weir on `deploy/demo/` and calls its Services
/// with unchanged clients: routing, retries, a replica killed, the YAML edited, Weir itself killed. Needs root.
/// It ends by itself and removes everything it made.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Leave everything running at the end and say how to get a shell in a pod.
    #[arg(long)]
    keep: bool,
    /// Install what is missing to build the kernel half. CI=true does the same.
    #[arg(long)]
    install: bool,
}

/// False when the demo has said what is wrong.
pub(crate) fn run(options: &Options) -> anyhow::Result<bool> {
    let begun = Instant::now();
    // The figures are those of the binary that ships.
    let (_, weir) = build::with_datapath(true, options.install)?;
    command::run(command::cargo().args(["build", "--package", "gateway-tests", "--bins"]))?;
    println!("built in {:.1} s", begun.elapsed().as_secs_f64());
    let mut demo = std::process::Command::new(workspace::target_dir().join("debug").join("weir-demo"));
    demo.arg("--config").arg(workspace::root().join("deploy").join("demo"));
    demo.env("WEIR_BIN", weir);
    if options.keep {
        demo.arg("--keep");
    }
    Ok(demo.status()?.success())
}
