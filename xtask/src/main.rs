//! The developer's command line of Weir: `cargo xtask --help`.

mod bench;
mod build;
mod chart;
mod cluster;
mod command;
mod conformance;
mod datapath;
mod demo;
mod fuzz;
mod go;
mod image;
mod oci;
mod soak;
mod test;
mod tidy;
mod toolchain;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Build, check and try Weir.
///
/// A first look: `cargo xtask build --install`, then `cargo xtask test`.
/// Plain `cargo build` works too; the `weir` it makes has no datapath in it and serves gateway listeners only.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", max_term_width = 100)]
struct Xtask {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Bench(bench::Options),
    Build(build::Options),
    Chart(chart::Options),
    Cluster(cluster::Options),
    Conformance(conformance::Options),
    Demo(demo::Options),
    Fuzz(fuzz::Options),
    Image(image::Options),
    Soak(soak::Options),
    Test(test::Options),
    Tidy(tidy::Options),
}

fn main() -> ExitCode {
    let good = match Xtask::parse().command {
        Command::Bench(options) => bench::run(&options),
        Command::Build(options) => build::run(&options).map(|()| true),
        Command::Chart(options) => chart::run(&options),
        Command::Cluster(options) => cluster::run(&options),
        Command::Conformance(options) => conformance::run(&options),
        Command::Demo(options) => demo::run(&options),
        Command::Fuzz(options) => fuzz::run(&options),
        Command::Image(options) => image::run(&options).map(|()| true),
        Command::Soak(options) => soak::run(&options),
        Command::Test(options) => test::run(&options),
        Command::Tidy(options) => tidy::run(&options),
    };
    match good {
        Ok(true) => ExitCode::SUCCESS,
        // The subcommand has said what is wrong.
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
