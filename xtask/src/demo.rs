//! `cargo xtask demo`: builds everything and shows it.

use std::process::Command;
use std::time::Instant;

use crate::{build, cluster, command, workspace};

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
    /// Show it in a real Kubernetes of two nodes, from `helm install` to `helm uninstall`. What is missing of it is built
    /// first, which takes long the first time. With WEIR_KUBECONFIG it is shown in that cluster, whose nodes have the image.
    #[arg(long, conflicts_with = "keep")]
    kubernetes: bool,
    /// With --kubernetes: as much of everything as the project promises, which takes half an hour: 500 pods, 500 changes of
    /// endpoints, ten minutes without an API server.
    #[arg(long, requires = "kubernetes")]
    full: bool,
    /// With --kubernetes: only these scenes, as `upgrade,pods`.
    #[arg(long, requires = "kubernetes")]
    only: Option<String>,
    /// With --kubernetes: among how many Services endpoints change.
    #[arg(long, requires = "kubernetes")]
    services: Option<u32>,
    /// With --kubernetes: how many endpoints those have, in all.
    #[arg(long, requires = "kubernetes")]
    endpoints: Option<u32>,
    /// Install what is missing to build the kernel half. CI=true does the same.
    #[arg(long)]
    install: bool,
}

/// False when the demo has said what is wrong.
pub(crate) fn run(options: &Options) -> anyhow::Result<bool> {
    if options.kubernetes {
        return in_kubernetes(options);
    }
    let begun = Instant::now();
    // The figures are those of the binary that ships.
    let (_, weir) = build::with_datapath(true, options.install)?;
    command::run(command::cargo().args(["build", "--package", "gateway-tests", "--bins"]))?;
    println!("built in {:.1} s", begun.elapsed().as_secs_f64());
    let mut demo = Command::new(workspace::target_dir().join("debug").join("weir-demo"));
    demo.arg("--config").arg(workspace::root().join("deploy").join("demo"));
    demo.env("WEIR_BIN", weir);
    if options.keep {
        demo.arg("--keep");
    }
    Ok(demo.status()?.success())
}

fn in_kubernetes(options: &Options) -> anyhow::Result<bool> {
    const NAME: &str = "weir-demo";
    let install = options.install || workspace::is_ci();
    command::run(command::cargo().args(["build", "--package", "gateway-tests", "--bins"]))?;
    let demo = workspace::target_dir().join("debug").join("weir-demo");
    if std::env::var_os("WEIR_KUBECONFIG").is_some_and(|file| !file.is_empty()) {
        return Ok(show(Command::new(demo), options).status()?.success());
    }
    let up = cluster::Up { nodes: 2, api_only: false, gateway_api: false, install };
    let weir = cluster::Installable::build(true, install)?;
    let access = cluster::start_for(NAME, &up)?.with(Some(weir));
    let shown = show(access.command(&demo), options).status();
    cluster::stop(NAME)?;
    Ok(shown?.success())
}

/// The demo with what it is asked for.
fn show(mut demo: Command, options: &Options) -> Command {
    demo.arg("--kubernetes");
    if options.full {
        demo.arg("--full");
    }
    if let Some(only) = &options.only {
        demo.args(["--only", only]);
    }
    for (name, count) in [("--services", options.services), ("--endpoints", options.endpoints)] {
        if let Some(count) = count {
            demo.arg(name).arg(count.to_string());
        }
    }
    demo
}
