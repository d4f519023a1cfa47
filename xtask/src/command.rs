//! Running other programs: said on the terminal, checked, with an error that names the command.

use std::ffi::OsStr;
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

/// The cargo that runs this program, so that everything is built by the pinned toolchain.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(crate::workspace::root());
    command
}

/// The command as it would be typed, without its environment.
pub(crate) fn line(command: &Command) -> String {
    let program = std::path::Path::new(command.get_program());
    let name = program.file_name().unwrap_or(program.as_os_str());
    let words = std::iter::once(name).chain(command.get_args());
    words.map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ")
}

/// Runs it with the terminal as its own; an error when it fails.
pub(crate) fn run(command: &mut Command) -> anyhow::Result<()> {
    let status = command.status().with_context(|| format!("cannot run `{}`", line(command)))?;
    if !status.success() {
        bail!("`{}` failed: {status}", line(command));
    }
    Ok(())
}

/// Says it, then runs it.
pub(crate) fn say_and_run(command: &mut Command) -> anyhow::Result<()> {
    println!("  $ {}", line(command));
    run(command)
}

/// What it prints on stdout, or `None` when it cannot be run or fails.
pub(crate) fn output(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// True when a program of this name is in `PATH`.
pub(crate) fn exists(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(program).is_file())
}

/// Installs Debian packages without starting what they bring; an error that says the command when this user may not.
pub(crate) fn apt_install(packages: &[&str]) -> anyhow::Result<()> {
    let by_hand = format!("apt-get install -y --no-install-recommends {}", packages.join(" "));
    if !exists("apt-get") {
        bail!("no apt-get here: install the equivalents of {} by hand", packages.join(", "));
    }
    if !crate::workspace::is_root() {
        bail!("installing packages needs root; run\n    sudo {by_hand}");
    }
    let mut update = Command::new("apt-get");
    say_and_run(update.args(["update", "-qq"]))?;
    let mut install = Command::new("apt-get");
    // In runlevel 1 no service is started because it was installed.
    install.env("DEBIAN_FRONTEND", "noninteractive").env("RUNLEVEL", "1").args([
        "install",
        "-y",
        "-qq",
        "--no-install-recommends",
    ]);
    say_and_run(install.args(packages).stdout(Stdio::null()))
}
