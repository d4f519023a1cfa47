//! `weir check`: what is wrong with a folder, without serving it.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde::Serialize;

use super::output::{Style, json, write};
use super::{Failure, Format, Verdict};
use crate::control::diagnostic::{Diagnostic, Severity};
use crate::control::{self, render};
use crate::limits::Limits;

/// Check a folder of YAML: what would not be served, where it is written, and what to do
///
/// Reads the files and nothing else; needs no privilege and no running gateway. Exits 1 when there is
/// something to fix.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Folder with the YAML files
    #[arg(value_name = "DIR")]
    folder: PathBuf,
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
    if !args.folder.is_dir() {
        return Err(Failure::Usage(format!("{} is no folder", args.folder.display())));
    }
    let findings =
        &control::check(&args.folder, &Limits::default()).map_err(|e| Failure::Failed(e.to_string()))?[..];
    let count = |severity| findings.iter().filter(|f| f.severity == severity).count();
    let checked = Checked { errors: count(Severity::Error), warnings: count(Severity::Warning), findings };
    match args.output {
        Format::Json => json(&checked)?,
        Format::Text => {
            let text = render::findings(findings, Style::of(&std::io::stdout()).rendered());
            write(&text)?;
        }
    }
    let failed = checked.errors > 0 || (args.fail_on == FailOn::Warn && checked.warnings > 0);
    Ok(if failed { Verdict::Findings } else { Verdict::Fine })
}
