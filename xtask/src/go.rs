//! Go, for the programs of others that are built from source: where it is, and how it is had where it is missing or too old.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

use crate::{command, workspace};

/// Where Go is when it is not in `PATH`: where its own installer puts it.
const GO: &str = "/usr/local/go/bin/go";
const DEBIAN_PACKAGES: [&str; 2] = ["golang-go", "ca-certificates"];
/// What is fetched, as a Go module, when the Go that is here is too old.
const TOOLCHAIN: &str = "1.26.8";

/// The minor version of Go 1.
type Minor = u32;

/// Any Go; installed when it is missing and `install` says so.
pub(crate) fn find_or_install(install: bool) -> anyhow::Result<PathBuf> {
    if let Some(go) = find() {
        return Ok(go);
    }
    if !install {
        bail!("there is no Go here; --install gets it, or apt-get install {}", DEBIAN_PACKAGES.join(" "));
    }
    command::apt_install(&DEBIAN_PACKAGES)?;
    find().context("Go was installed but is not to be found")
}

/// A Go that is at least 1.`minor`; what is missing is installed when `install` says so.
pub(crate) fn at_least(minor: Minor, install: bool) -> anyhow::Result<PathBuf> {
    let go = find_or_install(install)?;
    let mut ask = Command::new(&go);
    let says = command::output(ask.args(["env", "GOVERSION"]).env("GOTOOLCHAIN", "local"));
    if says.as_deref().and_then(minor_of).is_some_and(|found| found >= minor) {
        return Ok(go);
    }
    let says = says.unwrap_or_default();
    if !install {
        bail!("{} is {}, and Go 1.{minor} is needed; --install gets it", go.display(), says.trim());
    }
    println!("{} is {}, and Go 1.{minor} is needed: getting Go {TOOLCHAIN}", go.display(), says.trim());
    fetch(&go)
}

fn find() -> Option<PathBuf> {
    if command::exists("go") {
        return Some("go".into());
    }
    Path::new(GO).is_file().then(|| GO.into())
}

/// `24` from `go1.24.13`.
fn minor_of(version: &str) -> Option<Minor> {
    let rest = version.trim().strip_prefix("go1.")?;
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// Go's own releases are modules too: fetched by any Go, and checked by its checksum database.
fn fetch(go: &Path) -> anyhow::Result<PathBuf> {
    let platform = match std::env::consts::ARCH {
        "x86_64" => "linux-amd64",
        "aarch64" => "linux-arm64",
        other => bail!("no Go is known for {other}"),
    };
    // Outside of any module, so that no go.mod is asked.
    let dir = workspace::cache_dir().join("tools");
    std::fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let mut download = Command::new(go);
    download
        .current_dir(&dir)
        .env("GOTOOLCHAIN", "local")
        .env("GOFLAGS", "")
        .args(["mod", "download", "-json"]);
    download.arg(format!("golang.org/toolchain@v0.0.1-go{TOOLCHAIN}.{platform}"));
    let says = command::output(&mut download).with_context(|| format!("cannot download Go {TOOLCHAIN}"))?;
    let says: serde_json::Value = serde_json::from_str(&says).context("go mod download -json")?;
    let root = PathBuf::from(says["Dir"].as_str().context("go mod download says no folder")?);
    // A module's files are never executable.
    let mut executable = Command::new("chmod");
    command::run(executable.args(["-R", "a+x"]).arg(root.join("bin")).arg(root.join("pkg/tool")))?;
    Ok(root.join("bin/go"))
}

#[cfg(test)]
mod tests {
    use super::minor_of;

    #[test]
    fn the_version_of_go_is_read() {
        assert_eq!(minor_of("go1.24.13\n"), Some(24));
        assert_eq!(minor_of("go1.27rc1"), Some(27));
        assert_eq!(minor_of("devel"), None);
    }
}
