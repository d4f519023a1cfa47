//! `cargo xtask fuzz`: the fuzz targets under libFuzzer, guided by what code their inputs reach.

mod report;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;

use anyhow::{Context, bail};

use crate::{command, workspace};

/// Fuzz the parsers and the compiler.
///
/// Each target is a folder of seeds in tests/fuzz/corpus. What is found to reach new code is kept in target/fuzz/corpus,
/// so that the next run goes on from there. An input that breaks something is kept in target/fuzz/found: make it a test
/// of the module that it broke. Needs a C++ compiler; `cargo xtask test --ring fuzz` does not.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// How long each target is fuzzed.
    #[arg(long, default_value_t = 5.0)]
    minutes: f64,
    /// Targets that are fuzzed at the same time [default: the CPUs].
    #[arg(long)]
    jobs: Option<usize>,
    /// Only these [default: all].
    targets: Vec<String>,
}

/// The counters that libFuzzer is guided by. cargo-fuzz sets the same, and asks for nightly because it adds sanitizers; these
/// parsers have next to no unsafe code, and counters, assertions and checks for overflow are there on stable.
const COVERAGE: &str = "-Cpasses=sancov-module \
    -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares \
    --cfg fuzzing";
/// Bytes of an input.
const INPUT_BYTES_MAX: usize = 8192;
/// No input takes as long, seconds.
const INPUT_SECONDS_MAX: usize = 10;
/// No target needs as much memory, MiB.
const MEMORY_MIB_MAX: usize = 2048;
/// Targets whose seeds are the golden cases of the compiler too.
const OF_YAML: [&str; 2] = ["compile", "yaml"];

/// Fuzzes each target for its time; true when nothing was found.
pub(crate) fn run(options: &Options) -> anyhow::Result<bool> {
    let targets = chosen(&options.targets)?;
    let program = build()?;
    let jobs = options.jobs.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    println!("{} targets, {} minutes each, {jobs} at a time", targets.len(), options.minutes);
    let waiting = Mutex::new(targets.into_iter());
    let next = || waiting.lock().ok()?.next();
    let results = std::thread::scope(|scope| {
        let work = || -> anyhow::Result<usize> {
            let mut broken = 0;
            while let Some(target) = next() {
                let is_good = fuzz(&program, &target, options.minutes)?;
                broken += usize::from(!is_good);
            }
            Ok(broken)
        };
        let workers: Vec<_> = (0..jobs.max(1)).map(|_| scope.spawn(work)).collect();
        let joined = workers.into_iter().map(|worker| worker.join());
        joined.collect::<Result<Vec<_>, _>>()
    });
    let results = results.map_err(|_| anyhow::anyhow!("a thread panicked"))?;
    let broken: usize = results.into_iter().sum::<anyhow::Result<usize>>()?;
    println!("{broken} targets found something");
    Ok(broken == 0)
}

/// The targets that were asked for, or all.
fn chosen(wanted: &[String]) -> anyhow::Result<Vec<String>> {
    let seeds = workspace::root().join("tests/fuzz/corpus");
    let entries = fs::read_dir(&seeds).with_context(|| format!("cannot read {}", seeds.display()))?;
    let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    let mut all = names.collect::<std::io::Result<Vec<String>>>()?;
    all.sort();
    if let Some(unknown) = wanted.iter().find(|name| !all.contains(name)) {
        bail!("there is no target {unknown}; there are {}", all.join(", "));
    }
    all.retain(|name| wanted.is_empty() || wanted.contains(name));
    Ok(all)
}

fn folder() -> PathBuf {
    workspace::target_dir().join("fuzz")
}

/// Compiles everything with counters. A target is named, or build scripts would get them too.
fn build() -> anyhow::Result<PathBuf> {
    let host = command::output(Command::new("rustc").args(["--print", "host-tuple"]));
    let host = host.context("rustc does not say what it compiles for")?;
    let host = host.trim();
    let mut cargo = command::cargo();
    cargo.args(["build", "--manifest-path", "tests/fuzz/libfuzzer/Cargo.toml", "--target", host]);
    cargo.env("RUSTFLAGS", COVERAGE).env("CARGO_TARGET_DIR", folder());
    command::say_and_run(&mut cargo)?;
    Ok(folder().join(host).join("debug/weir-fuzz"))
}

/// Fuzzes one target; true when nothing was found.
fn fuzz(program: &Path, target: &str, minutes: f64) -> anyhow::Result<bool> {
    let (kept, found, log) =
        (folder().join("corpus").join(target), folder().join("found"), folder().join("logs"));
    for folder in [&kept, &found, &log] {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    let log = log.join(format!("{target}.log"));
    let mut fuzzer = Command::new(program);
    fuzzer.env("WEIR_FUZZ_TARGET", target).current_dir(workspace::root());
    fuzzer.args([
        format!("-max_total_time={:.0}", (minutes * 60.0).max(1.0)),
        format!("-max_len={INPUT_BYTES_MAX}"),
        format!("-timeout={INPUT_SECONDS_MAX}"),
        format!("-rss_limit_mb={MEMORY_MIB_MAX}"),
        format!("-artifact_prefix={}/{target}-", found.display()),
        "-print_final_stats=1".to_owned(),
    ]);
    // The first folder is written to, the others are only read.
    fuzzer.arg(kept).arg(workspace::root().join("tests/fuzz/corpus").join(target));
    if OF_YAML.contains(&target) {
        fuzzer.arg(workspace::root().join("gateway-userspace/testdata/compile"));
    }
    let file = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
    fuzzer.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
    let status = fuzzer.status().with_context(|| format!("cannot run {}", program.display()))?;
    let text = String::from_utf8_lossy(&fs::read(&log)?).into_owned();
    println!("{}", report::line(target, &text));
    if !status.success() {
        println!("{}\nthe whole of it: {}", report::failure(&text), workspace::shown(&log));
    }
    Ok(status.success())
}
