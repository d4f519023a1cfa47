//! Measures Weir against other proxies. `cargo xtask bench` builds everything and starts this.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};
use gateway_tests::bench::{self, Peer, Scenario, Tools};

/// Measures Weir against other proxies, side by side.
#[derive(Debug, Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Verb>,
    /// What to measure; repeatable or separated by commas. Everything unless given.
    #[arg(long, value_delimiter = ',')]
    scenario: Vec<Scenario>,
    /// Who takes part; everybody who is installed unless given.
    #[arg(long, value_delimiter = ',')]
    peers: Vec<Peer>,
    /// Repetitions, each with new processes.
    #[arg(long)]
    reps: Option<u32>,
    /// Measured in each repetition.
    #[arg(long)]
    seconds: Option<f64>,
    /// Everything, in less than 40 minutes: three repetitions of two seconds.
    #[arg(long, conflicts_with_all = ["scenario", "quick"])]
    all: bool,
    /// Shows in less than three minutes that everything works; the figures mean nothing.
    #[arg(long)]
    quick: bool,
    /// Where every sample goes.
    #[arg(long)]
    json: Option<PathBuf>,
    /// The program with backend, load and floor.
    #[arg(long)]
    part: Option<PathBuf>,
    /// Envoy; the one in PATH unless given.
    #[arg(long)]
    envoy: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Two runs side by side.
    Compare {
        /// Samples of a run, as --json wrote them.
        old: PathBuf,
        /// Samples of a later one.
        new: PathBuf,
    },
    /// Writes the figures of a run into the README.
    Bless {
        /// Samples of the run.
        samples: PathBuf,
        /// The README; it has marks where the figures stand.
        readme: PathBuf,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let works = match &arguments.command {
        Some(Verb::Compare { old, new }) => bench::compare(old, new).map(|text| {
            print!("{text}");
            true
        }),
        Some(Verb::Bless { samples, readme }) => bench::bless(samples, readme).map(|()| true),
        None => bench::run(&options(arguments)),
    };
    match works {
        Ok(true) => ExitCode::SUCCESS,
        // It has said what does not work.
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("× {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn options(arguments: Arguments) -> bench::Options {
    let Arguments { scenario, peers, reps, seconds, all, quick, json, part, envoy, .. } = arguments;
    let (usual_reps, usual_seconds) = match (all, quick) {
        (true, _) => (3, 2.0),
        (_, true) => (1, 0.3),
        _ => (5, 4.0),
    };
    bench::Options {
        scenarios: if scenario.is_empty() { Scenario::value_variants().to_vec() } else { scenario },
        peers: if peers.is_empty() { Peer::value_variants().to_vec() } else { peers },
        repetitions: reps.unwrap_or(usual_reps).max(1),
        measured: Duration::from_secs_f64(seconds.unwrap_or(usual_seconds).max(0.05)),
        quick,
        json,
        tools: Tools { part: part.unwrap_or_else(|| gateway_tests::weir::sibling("weir-bench-part")), envoy },
    }
}
