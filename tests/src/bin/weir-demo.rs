//! The demo as a program; `cargo xtask demo` builds everything and runs it.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use gateway_tests::demo;
use gateway_tests::demo::kubernetes::{Effort, Scene};
use gateway_userspace::ebpf::{Datapath, PIN_ROOT};

/// Shows on this machine what Weir does for pods.
#[derive(Debug, Parser)]
struct Arguments {
    /// Folder with the demo's YAML.
    #[arg(long, default_value = "deploy/demo")]
    config: PathBuf,
    /// Leave everything running at the end, until Enter is pressed.
    #[arg(long)]
    keep: bool,
    /// In the Kubernetes of WEIR_KUBECONFIG.
    #[arg(long)]
    kubernetes: bool,
    #[command(flatten)]
    extent: Extent,
    /// Only says how many entries the pinned maps of this machine have.
    #[arg(long, hide = true)]
    kernel_entries: bool,
}

/// How much of it is shown in Kubernetes.
#[derive(Debug, clap::Args)]
struct Extent {
    /// As much as the project promises: 20 rollouts, 500 pods, 500 changes, ten minutes without an API server.
    #[arg(long)]
    full: bool,
    /// Services among which endpoints change.
    #[arg(long)]
    services: Option<u32>,
    /// Their endpoints, in all.
    #[arg(long)]
    endpoints: Option<u32>,
    /// Only these scenes between installation and removal.
    #[arg(long, value_delimiter = ',')]
    only: Vec<Scene>,
}

impl Extent {
    fn effort(self) -> Effort {
        let mut effort = if self.full { Effort::full() } else { Effort::of_demo() };
        effort.services = self.services.unwrap_or(effort.services);
        effort.endpoints = self.endpoints.unwrap_or(effort.endpoints);
        if !self.only.is_empty() {
            effort.scenes = self.only;
        }
        effort
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.kubernetes {
        return verdict(demo::kubernetes::show(&arguments.extent.effort()));
    }
    if arguments.kernel_entries {
        return verdict(kernel_entries());
    }
    let obstacles = demo::obstacles();
    if !obstacles.is_empty() {
        for obstacle in obstacles {
            eprintln!("× {obstacle}");
        }
        return ExitCode::FAILURE;
    }
    verdict(demo::run(&arguments.config, arguments.keep))
}

fn verdict(shown: anyhow::Result<()>) -> ExitCode {
    match shown {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("× {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// A name and a count a line.
fn kernel_entries() -> anyhow::Result<()> {
    for (map, count) in Datapath::entries(Path::new(PIN_ROOT))? {
        println!("{map} {count}");
    }
    Ok(())
}
