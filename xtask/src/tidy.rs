//! `cargo xtask tidy`: the conventions of this code that a program can check.

mod allowed;
mod documents;
mod floors;
mod licences;
mod shape;
mod source;

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::workspace;
use source::Source;

/// Check the conventions that a program can check.
///
/// Who may import whom, what a pure file may not touch, file sizes, names, docs, unsafe, tests that sleep, licences.
/// Each finding names the file, the line and the rule; ARCHITECTURE.md says why the rules are there.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {}

/// One breach of one rule.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Finding {
    path: String,
    /// From 1; 0 is the file as a whole.
    line: usize,
    says: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.says)
    }
}

/// A rule about one file.
struct Rule {
    name: &'static str,
    check: fn(&Source, &mut Vec<Finding>),
}

const RULES: [Rule; 13] = [
    Rule {
        name: "control and proxy do not know each other, snapshot knows neither",
        check: floors::directions,
    },
    Rule { name: "pure files do no IO and know no clock and no randomness", check: floors::purity },
    Rule { name: "a kernel interface is named in its own files only", check: floors::owners },
    Rule { name: "anyhow is for programs, not for modules", check: floors::anyhow },
    Rule { name: "unsafe stands in listed files", check: floors::unsafe_code },
    Rule { name: "each file begins with a sentence about itself", check: shape::first_sentence },
    Rule { name: "no file is too long", check: shape::length },
    Rule { name: "modules are named after what they hold", check: shape::names },
    Rule { name: "no test is ignored", check: shape::ignored_tests },
    Rule { name: "no test sleeps", check: shape::sleeping_tests },
    Rule { name: "nothing is left for later", check: shape::leftovers },
    Rule { name: "the links of the documents lead somewhere", check: documents::links },
    Rule { name: "no text ends its lines with blanks", check: documents::trailing_blanks },
];

/// What was checked, and what was found.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) checks: usize,
    pub(crate) broken: usize,
    findings: Vec<Finding>,
}

/// Checks everything; true when every rule holds.
pub(crate) fn run(_: &Options) -> anyhow::Result<bool> {
    let report = check(workspace::root())?;
    report.print();
    println!("{} rules hold, {} are broken", report.checks - report.broken, report.broken);
    Ok(report.broken == 0)
}

impl Report {
    pub(crate) fn print(&self) {
        for finding in &self.findings {
            println!("{finding}");
        }
    }
}

/// Applies every rule to every file below `root`.
pub(crate) fn check(root: &Path) -> anyhow::Result<Report> {
    let mut paths = Vec::new();
    collect(root, &mut paths)?;
    paths.sort();
    let mut sources = Vec::new();
    for path in paths {
        let text =
            std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let name = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned();
        sources.push(Source::new(name, text));
    }
    let mut report = Report { checks: 0, broken: 0, findings: Vec::new() };
    for rule in RULES {
        report.apply(rule.name, |findings| sources.iter().for_each(|source| (rule.check)(source, findings)));
    }
    report.apply("the codemap names every folder", |findings| documents::codemap(&sources, findings));
    report.apply("what is excepted still needs it", |findings| allowed::still_needed(&sources, findings));
    let list = sources.iter().find(|source| source.path == licences::LIST);
    let list = list.with_context(|| format!("{} is not there", licences::LIST))?;
    let crates = licences::metadata()?;
    report.apply("what is linked in may be handed on", |findings| {
        licences::check(&list.text, &crates, findings)
    });
    report.findings.sort();
    Ok(report)
}

impl Report {
    fn apply(&mut self, name: &str, rule: impl FnOnce(&mut Vec<Finding>)) {
        let mut findings = Vec::new();
        rule(&mut findings);
        self.checks += 1;
        self.broken += usize::from(!findings.is_empty());
        for mut finding in findings {
            finding.says = format!("{} ({name})", finding.says);
            self.findings.push(finding);
        }
    }
}

/// Every text file of the project; what cargo and git make is left out.
fn collect(dir: &Path, paths: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    const KINDS: [&str; 6] = ["rs", "md", "toml", "yaml", "yml", "sh"];
    let entries = std::fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))?;
    for entry in entries {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() {
            let project_dot = matches!(name.as_str(), ".cargo" | ".ci" | ".github");
            if name != "target" && (project_dot || !name.starts_with('.')) {
                collect(&path, paths)?;
            }
        } else if path.extension().is_some_and(|kind| KINDS.iter().any(|known| kind == *known)) {
            paths.push(path);
        }
    }
    Ok(())
}

/// The lines that a rule finds in a text.
#[cfg(test)]
fn findings(rule: fn(&Source, &mut Vec<Finding>), path: &str, text: &str) -> Vec<usize> {
    let mut findings = Vec::new();
    rule(&Source::new(path.to_owned(), text.to_owned()), &mut findings);
    findings.into_iter().map(|finding| finding.line).collect()
}
