//! `cargo xtask chart`: the Helm charts, checked by the tools that their users have.

mod render;
mod schemas;
mod tools;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

use crate::workspace;
use tools::Tools;

/// Check the charts: helm's lint, values that the schema must refuse, each set of values rendered and held against the
/// API's schemas and against what is in git, helm-unittest, helm-docs, the kustomize base.
///
/// The tools are Go programs and are built once for this user, which takes minutes; later runs take seconds.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Write what is made from the charts (rendered examples, READMEs, the kustomize base) instead of comparing it.
    #[arg(long)]
    bless: bool,
    /// Install what is missing. CI=true does the same.
    #[arg(long)]
    install: bool,
}

/// What became of the checks.
#[derive(Debug)]
pub(crate) enum Checked {
    /// Each ran.
    Ran { passed: usize, failed: usize },
    /// None could, and why.
    Skipped { checks: usize, why: String },
}

type Check = fn(&Bench) -> anyhow::Result<()>;

const CHECKS: [(&str, Check); 7] = [
    ("helm lint --strict", lint),
    ("values that the schema refuses", refused),
    ("rendered as in git", render::rendered),
    ("kubeconform -strict", schemas::conform),
    ("helm-unittest", unittest),
    ("READMEs as helm-docs writes them", readmes),
    ("the kustomize base is the chart", render::kustomize),
];

/// What the checks work with.
struct Bench {
    tools: Tools,
    /// Write what is compared.
    bless: bool,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<bool> {
    match check(options.install || workspace::is_ci(), options.bless)? {
        Checked::Ran { passed, failed } => {
            println!("{passed} checks hold, {failed} do not");
            Ok(failed == 0)
        }
        Checked::Skipped { why, .. } => bail!("{why}"),
    }
}

/// The helm that the charts are checked with.
pub(crate) fn helm(install: bool) -> anyhow::Result<PathBuf> {
    Ok(tools::find_or_build(install)?.path("helm"))
}

/// Runs every check. What one finds is said on the terminal.
pub(crate) fn check(install: bool, bless: bool) -> anyhow::Result<Checked> {
    let tools = match tools::find_or_build(install) {
        Ok(tools) => tools,
        Err(error) if install => return Err(error),
        Err(error) => return Ok(Checked::Skipped { checks: CHECKS.len(), why: format!("{error:#}") }),
    };
    let bench = Bench { tools, bless };
    let (mut passed, mut failed) = (0, 0);
    for (name, check) in CHECKS {
        match check(&bench) {
            Ok(()) => passed += 1,
            Err(error) => {
                println!("{name}: {error:#}");
                failed += 1;
            }
        }
    }
    Ok(Checked::Ran { passed, failed })
}

/// The folder of the chart of this name.
fn chart(name: &str) -> PathBuf {
    workspace::root().join("deploy/charts").join(name)
}

/// What it printed, when it succeeded; else what it complained about.
fn output(command: &mut Command) -> anyhow::Result<String> {
    let line = crate::command::line(command);
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot run `{line}`"))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if !output.status.success() {
        bail!("`{line}` failed:\n{}{}", text(&output.stdout), text(&output.stderr));
    }
    Ok(text(&output.stdout))
}

/// Compares what is in git with what it should be, or writes it.
fn compare(bench: &Bench, path: &Path, expected: &str) -> anyhow::Result<()> {
    if bench.bless {
        if let Some(dir) = path.parent() {
            std::fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
        }
        return std::fs::write(path, expected).with_context(|| format!("cannot write {}", path.display()));
    }
    let found = std::fs::read_to_string(path).unwrap_or_default();
    if found == expected {
        return Ok(());
    }
    let differs = found.lines().zip(expected.lines()).position(|(one, two)| one != two);
    let line = differs.unwrap_or_else(|| found.lines().count().min(expected.lines().count()));
    bail!(
        "{}:{}: is no longer what the chart gives (`{}`); `cargo xtask chart --bless` writes it, then look at the difference",
        workspace::shown(path),
        line + 1,
        expected.lines().nth(line).unwrap_or("nothing").trim()
    );
}

fn lint(bench: &Bench) -> anyhow::Result<()> {
    for name in ["weir", "weir-crds"] {
        let mut helm = bench.tools.helm();
        output(helm.args(["lint", "--strict", "--quiet"]).arg(chart(name)))?;
    }
    Ok(())
}

/// Each line of `tests/refused.txt`: values, and a part of the message that says what is wrong with them.
fn refused(bench: &Bench) -> anyhow::Result<()> {
    let list = chart("weir").join("tests/refused.txt");
    let text = std::fs::read_to_string(&list).with_context(|| format!("cannot read {}", list.display()))?;
    let values = workspace::target_dir().join("chart-values.yaml");
    let mut wrong = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (given, says) = line.split_once(" => ").with_context(|| format!("{line}: has no ` => `"))?;
        std::fs::write(&values, given).context("cannot write values")?;
        let mut helm = bench.tools.helm();
        helm.args(["template", "weir"]).arg(chart("weir")).arg("--values").arg(&values);
        match output(&mut helm) {
            Ok(_) => wrong.push(format!("{given} is accepted")),
            Err(error) if error.to_string().contains(says) => {}
            Err(error) => wrong.push(format!("{given} is refused without a word of {says}: {error}")),
        }
    }
    if wrong.is_empty() { Ok(()) } else { bail!("{}", wrong.join("\n")) }
}

fn unittest(bench: &Bench) -> anyhow::Result<()> {
    let mut helm_unittest = bench.tools.command("helm-unittest");
    output(helm_unittest.args(["--strict", "--with-subchart=false"]).arg(chart("weir"))).map(drop)
}

fn readmes(bench: &Bench) -> anyhow::Result<()> {
    for name in ["weir", "weir-crds"] {
        let mut helm_docs = bench.tools.command("helm-docs");
        helm_docs.current_dir(chart(name)).args([
            "--dry-run",
            "--log-level",
            "error",
            "--chart-search-root",
            ".",
        ]);
        let text = output(&mut helm_docs)?;
        let bare = text.lines().find(|line| line.starts_with("| ") && line.ends_with("|  |"));
        if let Some(bare) = bare {
            bail!("{name}: a value without a comment: {bare}");
        }
        if !text.contains("| Key |") {
            bail!("{name}: helm-docs writes no table of values");
        }
        compare(bench, &chart(name).join("README.md"), &format!("{}\n", text.trim()))?;
    }
    Ok(())
}
