//! The demo as a program; `cargo xtask demo` builds everything and runs it.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use gateway_tests::demo;

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
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.kubernetes {
        return verdict(demo::kubernetes::show());
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
