//! `weir check`: what is wrong with a folder, without serving it, or with this machine.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde::Serialize;

use super::output::{Style, json, write};
use super::{Failure, Format, Verdict};
use crate::control::diagnostic::{Diagnostic, Severity};
use crate::control::{self, render};
use crate::ebpf::PIN_ROOT;
use crate::limits::Limits;
use crate::machine::Machine;
use crate::machine::verdicts::{self, Verdicts};

/// Check a folder of YAML, or this machine: what would not work, why, and what to do
///
/// Reads the files and nothing else; needs no privilege and no running gateway. With --node it looks at kernel, cgroups,
/// capabilities, and programs of others at the same hooks. Exits 1 when there is something to fix.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Folder with the YAML files
    #[arg(value_name = "DIR", required_unless_present = "node", conflicts_with = "node")]
    folder: Option<PathBuf>,
    /// Check this machine, as `weir node` or `weir run` would find it with the privileges of this process
    #[arg(long)]
    node: bool,
    /// cgroup2 directory whose processes are pods [default: the kubelet's kubepods directory]
    #[arg(long, value_name = "PATH", requires = "node")]
    cgroup: Option<PathBuf>,
    /// Folder on a bpffs for pinned maps and links
    #[arg(long, value_name = "PATH", default_value = PIN_ROOT, requires = "node")]
    bpf_root: PathBuf,
    /// The node's /proc [default: /host/proc where that is, else /proc]
    #[arg(long, value_name = "PATH", requires = "node")]
    host_proc: Option<PathBuf>,
    /// From which severity on findings make the exit code 1
    #[arg(long, value_enum, default_value_t)]
    fail_on: FailOn,
    /// Output format
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum FailOn {
    /// Something that was asked for would not be served.
    #[default]
    Error,
    /// Also what is served, but perhaps not as meant.
    Warn,
}

#[derive(Debug, Serialize)]
struct Checked<'a> {
    errors: usize,
    warnings: usize,
    findings: &'a [Diagnostic],
}

/// Checks and says what it found.
pub fn run(args: &CheckArgs) -> Result<Verdict, Failure> {
    match &args.folder {
        Some(folder) => check_folder(folder, args),
        None => check_machine(args),
    }
}

fn check_folder(folder: &Path, args: &CheckArgs) -> Result<Verdict, Failure> {
    if !folder.is_dir() {
        return Err(Failure::Usage(format!("{} is no folder", folder.display())));
    }
    let findings =
        &control::check(folder, &Limits::default()).map_err(|e| Failure::Failed(e.to_string()))?[..];
    let count = |severity| findings.iter().filter(|f| f.severity == severity).count();
    let checked = Checked { errors: count(Severity::Error), warnings: count(Severity::Warning), findings };
    match args.output {
        Format::Json => json(&checked)?,
        Format::Text => {
            let text = render::findings(findings, Style::of(&std::io::stdout()).rendered());
            write(&text)?;
        }
    }
    Ok(args.verdict(checked.errors, checked.warnings))
}

#[derive(Debug, Serialize)]
struct CheckedMachine<'a> {
    fine: usize,
    errors: usize,
    warnings: usize,
    findings: &'a [verdicts::Verdict],
}

fn check_machine(args: &CheckArgs) -> Result<Verdict, Failure> {
    const HOST_PROC: &str = "/host/proc";
    let proc = args.host_proc.clone().unwrap_or_else(|| {
        let mounted = Path::new(HOST_PROC);
        if mounted.join("stat").is_file() { mounted.to_path_buf() } else { PathBuf::from("/proc") }
    });
    let machine = Machine::look(args.cgroup.as_deref(), &args.bpf_root, &proc);
    let Verdicts { found, fine } = verdicts::verdicts(&machine);
    let count = |severity| found.iter().filter(|verdict| verdict.severity == severity).count();
    let checked = CheckedMachine {
        fine,
        errors: count(Severity::Error),
        warnings: count(Severity::Warning),
        findings: &found,
    };
    match args.output {
        Format::Json => json(&checked)?,
        Format::Text => write(&machine_text(&checked, Style::of(&std::io::stdout())))?,
    }
    Ok(args.verdict(checked.errors, checked.warnings))
}

fn machine_text(checked: &CheckedMachine<'_>, style: Style) -> String {
    let mut text = String::new();
    for verdict in checked.findings {
        let mark = if verdict.severity == Severity::Error { style.error() } else { style.warning() };
        let (code, problem, effect, fix) = (verdict.code, &verdict.problem, verdict.effect, &verdict.fix);
        // Writing to a string does not fail.
        let _ = writeln!(text, "{mark} {code} {problem}\n    effect: {effect}\n    fix:    {fix}");
    }
    let mark = if checked.errors > 0 { style.error() } else { style.ok() };
    let (fine, warnings, errors) = (checked.fine, checked.warnings, checked.errors);
    let _ = writeln!(text, "{mark} this machine: {fine} checks ok, {warnings} warnings, {errors} errors");
    text
}

impl CheckArgs {
    fn verdict(&self, errors: usize, warnings: usize) -> Verdict {
        let failed = errors > 0 || (self.fail_on == FailOn::Warn && warnings > 0);
        if failed { Verdict::Findings } else { Verdict::Fine }
    }
}
