//! What runs inside a test's pod: enters it, does one thing, and says on stdout what it saw.

use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::Result;
use clap::{Parser, Subcommand};
use gateway_tests::pod::{battery, client, enter, stand_in};

#[derive(Parser)]
struct Arguments {
    /// The pod's cgroup.
    #[arg(long)]
    cgroup: Option<PathBuf>,
    /// The pod's network namespace.
    #[arg(long)]
    netns: Option<PathBuf>,
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Connects and says what came of it, as JSON.
    Connect(client::Request),
    /// Runs the battery and prints its transcript.
    Battery(battery::Battery),
    /// Stands in for the gateway until stdin is closed; says `ready` when its pods are captured.
    Gateway(stand_in::Gateway),
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    enter(arguments.cgroup.as_deref(), arguments.netns.as_deref())?;
    match arguments.task {
        Task::Connect(request) => {
            let seen = client::run(&request);
            writeln!(io::stdout(), "{}", serde_json::to_string(&seen)?)?;
        }
        Task::Battery(battery) => writeln!(io::stdout(), "{}", battery.run().join("\n"))?,
        Task::Gateway(gateway) => gateway.run()?,
    }
    Ok(())
}
