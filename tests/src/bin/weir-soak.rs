//! The soak as a program; `cargo xtask soak` builds everything and runs it.

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use gateway_tests::{demo, soak};

/// Serves pods for a long time while everything around changes, and counts what a perfect proxy would not have failed.
#[derive(Debug, Parser)]
struct Arguments {
    /// How long.
    #[arg(long, default_value_t = 20.0)]
    minutes: f64,
}

fn main() -> ExitCode {
    let obstacles = demo::obstacles();
    if !obstacles.is_empty() {
        for obstacle in obstacles {
            eprintln!("× {obstacle}");
        }
        return ExitCode::FAILURE;
    }
    match soak::run(Duration::from_secs_f64(Arguments::parse().minutes * 60.0)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("× {error:#}");
            ExitCode::FAILURE
        }
    }
}
