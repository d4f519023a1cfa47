//! `cargo xtask bench`: builds Weir as it ships, gets the proxies that it is held against, and measures.

mod peers;

use std::path::PathBuf;
use std::process::Command;

use clap::Subcommand;

use crate::{build, command, workspace};

/// Measure Weir against nginx, HAProxy, Envoy and a bare-hyper proxy.
///
/// Everything runs pinned, on loopback, with new processes in each repetition; the peers are given the same routes, access log and
/// request ids. Prints medians and the ratios inside each repetition, the goals, and writes every sample as JSON.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Options {
    #[command(subcommand)]
    verb: Option<Verb>,
    /// Get the peers and what builds Weir (Debian packages as root, Envoy into the user's cache). CI=true does the same.
    #[arg(long)]
    install: bool,
    /// What to measure, separated by commas: see the program's own --help [default: everything].
    #[arg(long)]
    scenario: Option<String>,
    /// Who takes part: direct, floor, weir, nginx, haproxy, envoy [default: whoever is installed].
    #[arg(long)]
    peers: Option<String>,
    /// Repetitions, each with new processes [default: 5].
    #[arg(long)]
    reps: Option<u32>,
    /// Measured in each repetition [default: 4].
    #[arg(long)]
    seconds: Option<f64>,
    /// Everything, in less than 40 minutes: three repetitions of two seconds.
    #[arg(long, conflicts_with_all = ["scenario", "quick"])]
    all: bool,
    /// Show within three minutes, with unoptimised programs, that everything works; the figures mean nothing.
    #[arg(long)]
    quick: bool,
    /// Where every sample goes [default: target/bench.json].
    #[arg(long)]
    json: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Two runs side by side.
    Compare {
        /// Samples of a run.
        old: PathBuf,
        /// Samples of a later one.
        new: PathBuf,
    },
    /// Write the figures of a run into the README.
    Bless {
        /// Samples of the run [default: target/bench.json].
        samples: Option<PathBuf>,
    },
}

/// False when something did not work.
pub(crate) fn run(options: &Options) -> anyhow::Result<bool> {
    let mut harness = harness()?;
    match &options.verb {
        Some(Verb::Compare { old, new }) => {
            return Ok(harness.arg("compare").arg(old).arg(new).status()?.success());
        }
        Some(Verb::Bless { samples }) => {
            let samples = samples.clone().unwrap_or_else(usual_json);
            let readme = workspace::root().join("README.md");
            return Ok(harness.arg("bless").arg(samples).arg(readme).status()?.success());
        }
        None => {}
    }
    let install = options.install || workspace::is_ci();
    let envoy = peers::find_or_install(install)?;
    let (_, weir) = build::with_datapath(!options.quick, install)?;
    harness.env("WEIR_BIN", weir).arg("--part").arg(part(!options.quick)?);
    if let Some(envoy) = envoy {
        harness.arg("--envoy").arg(envoy);
    }
    harness.arg("--json").arg(options.json.clone().unwrap_or_else(usual_json));
    let texts = [
        ("--scenario", options.scenario.clone()),
        ("--peers", options.peers.clone()),
        ("--reps", options.reps.map(|reps| reps.to_string())),
        ("--seconds", options.seconds.map(|seconds| seconds.to_string())),
    ];
    for (name, value) in texts {
        if let Some(value) = value {
            harness.arg(name).arg(value);
        }
    }
    for (name, _) in [("--quick", options.quick), ("--all", options.all)].iter().filter(|(_, given)| *given) {
        harness.arg(name);
    }
    Ok(harness.status()?.success())
}

fn usual_json() -> PathBuf {
    workspace::target_dir().join("bench.json")
}

/// The program that measures. It only looks on, so it need not be fast.
fn harness() -> anyhow::Result<Command> {
    command::run(command::cargo().args(["build", "--package", "gateway-tests", "--bin", "weir-bench"]))?;
    Ok(Command::new(workspace::target_dir().join("debug").join("weir-bench")))
}

/// Backend, load and floor, which have to be fast.
fn part(release: bool) -> anyhow::Result<PathBuf> {
    let mut cargo = command::cargo();
    cargo.args(["build", "--package", "gateway-bench"]);
    if release {
        cargo.arg("--release");
    }
    command::run(&mut cargo)?;
    let profile = if release { "release" } else { "debug" };
    Ok(workspace::target_dir().join(profile).join("weir-bench-part"))
}
