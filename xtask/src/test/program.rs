//! The test programs that cargo makes: building them all at once, and running one.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde::Deserialize;

use super::h2spec;
use super::outcome::{self, Outcome};
use crate::cluster::Access;
use crate::{command, workspace};

/// One test program.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Program {
    pub(super) name: String,
    /// True for a suite of its own (`tests/*`), false for the tests inside a library or binary.
    pub(super) is_suite: bool,
    path: PathBuf,
    package_dir: PathBuf,
}

/// One line of `cargo build --message-format=json`, as far as it matters here.
#[derive(Deserialize)]
struct Artifact {
    executable: Option<PathBuf>,
    manifest_path: Option<PathBuf>,
    target: Option<Target>,
    profile: Option<Profile>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

#[derive(Deserialize)]
struct Profile {
    test: bool,
}

/// Compiles every program of the workspace, `weir` among them, and every test, with one call of cargo.
///
/// Two calls would build most dependencies twice: with the features that tests ask for, and without.
pub(super) fn build_all() -> anyhow::Result<Vec<Program>> {
    let mut cargo = command::cargo();
    cargo.args(["build", "--workspace", "--bins", "--tests", "--quiet"]);
    cargo.arg("--message-format=json-render-diagnostics");
    if workspace::is_ci() {
        cargo.arg("--locked");
    }
    let begun = Instant::now();
    let child = cargo.stdout(Stdio::piped()).spawn().context("cannot run cargo")?;
    let output = child.wait_with_output()?;
    if !output.status.success() {
        bail!("the tests do not compile: `{}` {}", command::line(&cargo), output.status);
    }
    println!("compiled  {:>7.1} s", begun.elapsed().as_secs_f64());
    Ok(programs_of(&String::from_utf8_lossy(&output.stdout)))
}

fn programs_of(messages: &str) -> Vec<Program> {
    let artifacts = messages.lines().filter_map(|line| serde_json::from_str::<Artifact>(line).ok());
    let programs = artifacts.filter_map(|artifact| {
        let target = artifact.target?;
        artifact.profile?.test.then_some(Program {
            name: target.name,
            is_suite: target.kind.iter().any(|kind| kind == "test"),
            path: artifact.executable?,
            package_dir: artifact.manifest_path?.parent()?.to_owned(),
        })
    });
    programs.collect()
}

impl Program {
    /// As cargo would run it: in its package, with its package's variables.
    fn command(&self, filter: Option<&str>, cluster: Option<&Access>) -> Command {
        let mut command =
            cluster.map_or_else(|| Command::new(&self.path), |cluster| cluster.command(&self.path));
        command.current_dir(&self.package_dir).env("CARGO_MANIFEST_DIR", &self.package_dir).args(filter);
        let h2spec = h2spec::program();
        if h2spec.is_file() {
            command.env("H2SPEC", h2spec);
        }
        command
    }

    /// How many tests the filter leaves.
    pub(super) fn count(&self, filter: Option<&str>) -> anyhow::Result<usize> {
        let listing = command::output(self.command(filter, None).arg("--list"));
        let listing =
            listing.with_context(|| format!("`{}` does not list its tests", self.path.display()))?;
        Ok(listing.lines().filter(|line| line.ends_with(": test")).count())
    }

    /// Runs it with its output in `log`, at most for `time_max`; with a cluster when it needs one.
    pub(super) fn run(
        &self,
        filter: Option<&str>,
        serial: bool,
        cluster: Option<&Access>,
        log: &Path,
        time_max: Duration,
    ) -> anyhow::Result<Outcome> {
        let make = || -> std::io::Result<File> {
            std::fs::create_dir_all(log.parent().unwrap_or(log))?;
            File::create(log)
        };
        let file = make().with_context(|| format!("cannot write {}", log.display()))?;
        let mut command = self.command(filter, cluster);
        command.arg("--show-output").stdin(Stdio::null());
        command.stdout(file.try_clone()?).stderr(file);
        if serial {
            command.arg("--test-threads=1");
        }
        let begun = Instant::now();
        let child = command.spawn().with_context(|| format!("cannot run {}", self.path.display()))?;
        let succeeded = wait(child, time_max)?;
        let output = std::fs::read(log).with_context(|| format!("cannot read {}", log.display()))?;
        let mut outcome = outcome::read(&String::from_utf8_lossy(&output), succeeded);
        outcome.took = begun.elapsed();
        Ok(outcome)
    }
}

/// Waits for its end; false when it failed, or was killed because its time was over.
fn wait(mut child: Child, time_max: Duration) -> anyhow::Result<bool> {
    const LOOK_EVERY: Duration = Duration::from_millis(20);
    let deadline = Instant::now() + time_max;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status.success());
        }
        if Instant::now() > deadline {
            println!("a test hangs: killed after {} s", time_max.as_secs());
            child.kill()?;
            child.wait()?;
            return Ok(false);
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

#[cfg(test)]
mod tests {
    use super::{Program, programs_of};

    #[test]
    fn test_programs_are_told_from_what_else_cargo_makes() {
        let messages = r#"{"reason":"compiler-artifact","manifest_path":"/r/t/Cargo.toml","target":{"kind":["test"],"name":"it"},"profile":{"test":true},"executable":"/r/target/it-1"}
{"reason":"compiler-artifact","manifest_path":"/r/u/Cargo.toml","target":{"kind":["bin"],"name":"weir"},"profile":{"test":false},"executable":"/r/target/weir"}
{"reason":"compiler-artifact","manifest_path":"/r/u/Cargo.toml","target":{"kind":["lib"],"name":"u"},"profile":{"test":true},"executable":"/r/target/u-1"}
{"reason":"build-finished","success":true}"#;
        let program = |name: &str, is_suite, path: &str, dir: &str| Program {
            name: name.to_owned(),
            is_suite,
            path: path.into(),
            package_dir: dir.into(),
        };
        let expected =
            [program("it", true, "/r/target/it-1", "/r/t"), program("u", false, "/r/target/u-1", "/r/u")];
        assert_eq!(programs_of(messages), expected);
    }
}
