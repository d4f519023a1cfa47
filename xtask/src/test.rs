//! `cargo xtask test`: everything that says whether this tree is good, in rings from cheap to costly.

mod h2spec;
mod host;
mod kubernetes;
mod outcome;
mod program;

use std::path::Path;
use std::time::{Duration, Instant};

use clap::ValueEnum;

use crate::chart::{self, Checked};
use crate::cluster::Access;
use crate::{command, datapath, tidy, workspace};
use outcome::Outcome;
use program::Program;

/// Run the checks and tests, ring by ring.
///
/// tidy and fmt and clippy look at the source, chart at the Helm charts; unit, fuzz and loopback need no privilege; netns and ebpf are run as root,
/// because they make network namespaces and load the datapath into this kernel; apiserver and cluster start a real Kubernetes,
/// which is built first (about 12 minutes of CPU time, once for this user), or use the one of WEIR_KUBECONFIG. A ring that cannot run here says why and
/// its tests count as skipped; with CI=true that is a failure, and what is missing is installed first.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Only tests whose name contains this; the source is not looked at then.
    filter: Option<String>,
    /// Only this ring (may be repeated).
    #[arg(long, value_enum)]
    ring: Vec<Ring>,
    /// Install what is missing, as `cargo xtask build --install` does.
    #[arg(long)]
    install: bool,
}

/// What is run together, in the order in which it is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Ring {
    /// Conventions that a program can check.
    Tidy,
    /// The format of the source.
    Fmt,
    /// The compiler's and clippy's warnings.
    Clippy,
    /// The Helm charts.
    Chart,
    /// Each module by itself, and the golden cases of compile.
    Unit,
    /// The fuzz targets on their seeds and on damaged copies of them; `cargo xtask fuzz` goes on from there.
    Fuzz,
    /// The whole gateway on loopback.
    Loopback,
    /// Pods as network namespaces, as root.
    Netns,
    /// The datapath in this kernel, as root.
    Ebpf,
    /// A real API server, with etcd and nothing else.
    Apiserver,
    /// A real Kubernetes of two nodes, as root.
    Cluster,
}

impl Ring {
    const ALL: [Self; 11] = [
        Self::Tidy,
        Self::Fmt,
        Self::Clippy,
        Self::Chart,
        Self::Unit,
        Self::Fuzz,
        Self::Loopback,
        Self::Netns,
        Self::Ebpf,
        Self::Apiserver,
        Self::Cluster,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Tidy => "tidy",
            Self::Fmt => "fmt",
            Self::Clippy => "clippy",
            Self::Chart => "chart",
            Self::Unit => "unit",
            Self::Fuzz => "fuzz",
            Self::Loopback => "loopback",
            Self::Netns => "netns",
            Self::Ebpf => "ebpf",
            Self::Apiserver => "apiserver",
            Self::Cluster => "cluster",
        }
    }

    /// True for the rings that look at the source and run no test program.
    const fn is_static(self) -> bool {
        matches!(self, Self::Tidy | Self::Fmt | Self::Clippy | Self::Chart)
    }

    const fn needs_root(self) -> bool {
        matches!(self, Self::Netns | Self::Ebpf | Self::Cluster)
    }

    /// Programs that share a kernel's pins, a machine's interfaces or a cluster run one test at a time.
    const fn is_serial(self) -> bool {
        matches!(self, Self::Apiserver) || self.needs_root()
    }

    /// The ring that a test program belongs to.
    fn of(program: &Program) -> Self {
        match (program.is_suite, program.name.as_str()) {
            (true, "netns") => Self::Netns,
            (true, "ebpf") => Self::Ebpf,
            (true, "apiserver") => Self::Apiserver,
            (true, "cluster") => Self::Cluster,
            (true, _) => Self::Loopback,
            (false, "gateway_fuzz") => Self::Fuzz,
            (false, _) => Self::Unit,
        }
    }
}

/// Runs what was asked for; true when all of it is good.
pub(crate) fn run(options: &Options) -> anyhow::Result<bool> {
    let install = options.install || workspace::is_ci();
    let wanted = |ring: &Ring| {
        let named = options.ring.is_empty() || options.ring.contains(ring);
        named && !(ring.is_static() && options.filter.is_some())
    };
    let rings: Vec<Ring> = Ring::ALL.into_iter().filter(wanted).collect();
    let mut total = Outcome::default();
    for ring in rings.iter().filter(|ring| matches!(ring, Ring::Tidy | Ring::Fmt)) {
        total.add(&run_static(*ring)?);
    }
    // The object is embedded by the gateway's build script, so it comes before anything that compiles the gateway.
    let needs_object = rings.iter().any(|ring| ring.needs_root());
    let why_not = if needs_object { prepare(install)? } else { None };
    if rings.contains(&Ring::Clippy) {
        total.add(&run_static(Ring::Clippy)?);
    }
    if rings.contains(&Ring::Chart) {
        total.add(&run_chart(install)?);
    }
    if rings.contains(&Ring::Loopback) {
        h2spec::prepare(install)?;
    }
    let programs = if rings.iter().all(|ring| ring.is_static()) { Vec::new() } else { program::build_all()? };
    for ring in rings.into_iter().filter(|ring| !ring.is_static()) {
        let why_not = why_not.as_deref().filter(|_| ring.needs_root());
        let run = Run { ring, filter: options.filter.as_deref(), install };
        total.add(&run_programs(&run, &programs, why_not)?);
    }
    println!("{total}");
    Ok(total.failed == 0 && !(workspace::is_ci() && total.skipped > 0))
}

/// Makes the machine ready for the rings that need root; why they cannot run, if so.
fn prepare(install: bool) -> anyhow::Result<Option<String>> {
    if let Some(why) = host::prepare(install)? {
        return Ok(Some(why));
    }
    match datapath::build(install) {
        Ok(_) => Ok(None),
        Err(error) if workspace::is_ci() => Err(error),
        Err(error) => Ok(Some(format!("the datapath cannot be built: {error:#}"))),
    }
}

fn run_static(ring: Ring) -> anyhow::Result<Outcome> {
    let begun = Instant::now();
    let mut outcome = match ring {
        Ring::Tidy => {
            let report = tidy::check(workspace::root())?;
            report.print();
            Outcome { passed: report.checks - report.broken, failed: report.broken, ..Outcome::default() }
        }
        Ring::Fmt => {
            let mut gateway = command::cargo();
            gateway.args(["fmt", "--all", "--check"]);
            let mut kernel = command::cargo();
            kernel.args(["fmt", "--check", "--manifest-path", "gateway-ebpf/Cargo.toml"]);
            let mut fuzzer = command::cargo();
            fuzzer.args(["fmt", "--check", "--manifest-path", "tests/fuzz/libfuzzer/Cargo.toml"]);
            Outcome::of(command::run(&mut gateway))
                .and(Outcome::of(command::run(&mut kernel)))
                .and(Outcome::of(command::run(&mut fuzzer)))
        }
        _ => {
            let mut gateway = command::cargo();
            gateway.args(["clippy", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"]);
            // For the host it is an empty program, but all of its code is looked at.
            let mut kernel = command::cargo();
            kernel.env("CARGO_TARGET_DIR", workspace::target_dir().join("bpf-host"));
            kernel.args([
                "clippy",
                "--quiet",
                "--manifest-path",
                "gateway-ebpf/Cargo.toml",
                "--",
                "-D",
                "warnings",
            ]);
            Outcome::of(command::run(&mut gateway)).and(Outcome::of(command::run(&mut kernel)))
        }
    };
    outcome.took = begun.elapsed();
    println!("{}", outcome.line(ring.name()));
    Ok(outcome)
}

fn run_chart(install: bool) -> anyhow::Result<Outcome> {
    let begun = Instant::now();
    let mut outcome = match chart::check(install, false)? {
        Checked::Ran { passed, failed } => Outcome { passed, failed, ..Outcome::default() },
        Checked::Skipped { checks, why } => Outcome::skipped(checks, &why),
    };
    outcome.took = begun.elapsed();
    println!("{}", outcome.line(Ring::Chart.name()));
    for why in &outcome.reasons {
        println!("            skipped: {why}");
    }
    Ok(outcome)
}

/// What is asked of a ring.
struct Run<'a> {
    ring: Ring,
    filter: Option<&'a str>,
    install: bool,
}

fn run_programs(run: &Run<'_>, programs: &[Program], why_not: Option<&str>) -> anyhow::Result<Outcome> {
    let ring = run.ring;
    let mut sum = Outcome::default();
    for program in programs.iter().filter(|program| Ring::of(program) == ring) {
        let count = program.count(run.filter)?;
        let outcome = match why_not {
            Some(why) => Outcome::skipped(count, why),
            // Nothing is started for no test.
            None if count == 0 => Outcome::default(),
            None => run_surrounded(run, program, count)?,
        };
        sum.add(&outcome);
    }
    println!("{}", sum.line(ring.name()));
    for why in &sum.reasons {
        println!("            skipped: {why}");
    }
    Ok(sum)
}

/// With a cluster around it when its ring has one.
fn run_surrounded(run: &Run<'_>, program: &Program, count: usize) -> anyhow::Result<Outcome> {
    let surroundings = match run.ring {
        Ring::Apiserver => kubernetes::Surroundings::start(true, run.install)?,
        Ring::Cluster => kubernetes::Surroundings::start(false, run.install)?,
        _ => return run_program(run, program, None),
    };
    match surroundings {
        Ok(surroundings) => {
            let outcome = run_program(run, program, surroundings.access());
            surroundings.stop()?;
            outcome
        }
        Err(why) => Ok(Outcome::skipped(count, &why)),
    }
}

fn run_program(run: &Run<'_>, program: &Program, cluster: Option<&Access>) -> anyhow::Result<Outcome> {
    /// Longer than any ring takes on a slow machine; a test that hangs ends here.
    const PROGRAM_TIME_MAX: Duration = Duration::from_secs(20 * 60);
    let name = format!("{}-{}.log", run.ring.name(), program.name);
    let log = workspace::target_dir().join("test-logs").join(name);
    let outcome = program.run(run.filter, run.ring.is_serial(), cluster, &log, PROGRAM_TIME_MAX)?;
    if outcome.failed > 0 {
        print_failures(&log);
    }
    Ok(outcome)
}

/// The part of the log that says what failed, from libtest's own summary of it.
fn print_failures(log: &Path) {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    println!("{}", outcome::failures(&text));
    println!("the whole of it: {}", workspace::shown(log));
}
