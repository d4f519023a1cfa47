//! Weir held against other proxies on this machine: every process pinned and launched afresh for each repetition.
//!
//! Only ratios taken inside one repetition mean something elsewhere: machines differ, and so does one from hour to hour.

mod compare;
mod cpus;
mod goals;
mod h2load;
mod idle;
mod large;
mod measure;
mod overload;
mod peer;
mod process;
mod profile;
mod propagation;
mod quota;
mod readme;
mod report;
mod scale;
mod scenario;
mod steer;
mod table;
mod told;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

pub use compare::compare;
pub use peer::{Peer, Tools};
pub use readme::bless;
pub use scenario::Scenario;

use report::Report;

use crate::interrupt;

/// What to measure, and how long.
#[derive(Debug, Clone)]
pub struct Options {
    /// In this order.
    pub scenarios: Vec<Scenario>,
    /// Who takes part, as far as it is installed.
    pub peers: Vec<Peer>,
    /// Repetitions, each with new processes.
    pub repetitions: u32,
    /// Measured in each, after a warm-up of a quarter of it.
    pub measured: Duration,
    /// Smaller numbers everywhere: shows that everything works, and measures nothing.
    pub quick: bool,
    /// Where the samples go, as JSON.
    pub json: Option<PathBuf>,
    /// The programs.
    pub tools: Tools,
}

/// Runs everything, prints the tables and writes the samples. False when something did not work.
pub fn run(options: &Options) -> Result<bool> {
    interrupt::watch()?;
    let begun = Instant::now();
    let bench = Bench::new(options)?;
    let mut report = Report::of_this_machine(options, &bench.cpus);
    println!("{}", report.heading());
    for scenario in &options.scenarios {
        let before = report.samples.len();
        scenario.run(&bench, &mut report);
        interrupt::check()?;
        print!("{}", table::of(&report.samples[before..]));
    }
    print!("\n{}", goals::table(&report));
    profile::missed(&bench, &mut report);
    interrupt::check()?;
    print!("\n{}", goals::misses(&report));
    println!("\ntook {} minutes", begun.elapsed().as_secs().div_ceil(60));
    if let Some(path) = &options.json {
        let text = serde_json::to_string_pretty(&report)?;
        std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
        println!("\nevery sample is in {}", path.display());
    }
    Ok(report.broken.is_empty())
}

/// What all scenarios need.
#[derive(Debug)]
struct Bench<'a> {
    options: &'a Options,
    /// Who takes part.
    peers: Vec<Peer>,
    /// CPUs that this program may use.
    cpus: Vec<usize>,
    /// Nobody but Weir takes part: it is being profiled.
    alone: bool,
    scratch: tempfile::TempDir,
}

impl<'a> Bench<'a> {
    fn new(options: &'a Options) -> Result<Self> {
        if !options.tools.part.is_file() {
            bail!("{} is not built: cargo build --release -p gateway-bench", options.tools.part.display());
        }
        let is_there = |peer: &&Peer| peer.is_there(&options.tools);
        let (peers, absent): (Vec<&Peer>, Vec<&Peer>) = options.peers.iter().partition(is_there);
        for peer in absent {
            println!("{peer} is not installed and takes no part (--install gets it)");
        }
        raise_descriptors()?;
        let cpus = process::allowed()?;
        // This program looks on from where the least is measured.
        process::pin(&cpus[..1])?;
        Ok(Self {
            options,
            peers: peers.into_iter().copied().collect(),
            cpus,
            alone: false,
            scratch: scratch()?,
        })
    }

    /// The same for Weir alone.
    fn of_weir<'o>(&self, options: &'o Options) -> Result<Bench<'o>> {
        Ok(Bench {
            options,
            peers: vec![Peer::Weir],
            cpus: self.cpus.clone(),
            alone: true,
            scratch: scratch()?,
        })
    }

    /// A new empty folder.
    fn folder(&self, name: &str) -> Result<PathBuf> {
        interrupt::check()?;
        let folder = self.scratch.path().join(name);
        if folder.exists() {
            std::fs::remove_dir_all(&folder)?;
        }
        std::fs::create_dir_all(&folder)?;
        Ok(folder)
    }

    /// The peers in the order of this repetition: there and back again, so that a machine that slows down favours nobody.
    fn order(&self, repetition: u32) -> Vec<Peer> {
        let mut peers = self.peers.clone();
        if repetition % 2 == 1 {
            peers.reverse();
        }
        peers
    }

    fn part(&self) -> &Path {
        &self.options.tools.part
    }
}

fn scratch() -> Result<tempfile::TempDir> {
    Ok(tempfile::Builder::new().prefix("weir-bench-").tempdir()?)
}

fn raise_descriptors() -> Result<()> {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    Ok(setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?)
}
