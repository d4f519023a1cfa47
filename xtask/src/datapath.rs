//! The eBPF object: compiled from `gateway-ebpf` when one of its inputs changed.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Instant;

use anyhow::Context;
use serde::Deserialize;

use crate::toolchain::{self, LINKER_VERSION, LLVM_MAJOR, Toolchain};
use crate::{command, workspace};

const TARGET: &str = "bpfel-unknown-none";
/// What the object is made from, relative to the root.
const INPUTS: [&str; 3] = ["gateway-ebpf", "gateway-common", "Cargo.toml"];

/// The object, and how it came about.
#[derive(Debug)]
pub(crate) struct Object {
    pub(crate) path: PathBuf,
    pub(crate) bytes: u64,
    /// `rustc 1.96.0 (/usr/bin/rustc), bpf-linker 0.10.3`.
    pub(crate) made_by: String,
    pub(crate) rebuilt: bool,
}

/// What stands beside the object: the state of its inputs, and what made it.
struct Stamp {
    path: PathBuf,
}

impl Stamp {
    /// What made the object, when its inputs still have this fingerprint.
    fn read(&self, fingerprint: &str) -> Option<String> {
        let text = std::fs::read_to_string(&self.path).ok()?;
        let (inputs, made_by) = text.split_once('\n')?;
        (inputs == fingerprint).then(|| made_by.trim_end().to_owned())
    }

    fn write(&self, fingerprint: &str, made_by: &str) -> anyhow::Result<()> {
        std::fs::write(&self.path, format!("{fingerprint}\n{made_by}\n"))
            .with_context(|| format!("cannot write {}", self.path.display()))
    }
}

/// Brings the object up to date. With `install`, a missing toolchain is installed.
pub(crate) fn build(install: bool) -> anyhow::Result<Object> {
    let dir = workspace::object_dir();
    std::fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let path = dir.join("weir.bpf.o");
    let stamp = Stamp { path: workspace::root().join("target/bpf.stamp") };
    let fingerprint = fingerprint(workspace::root())?;
    if let (Some(made_by), Ok(metadata)) = (stamp.read(&fingerprint), path.metadata()) {
        return Ok(Object { path, bytes: metadata.len(), made_by, rebuilt: false });
    }
    let toolchain = toolchain::find_or_install(install)?;
    println!("eBPF object: compiling with {toolchain}");
    let begun = Instant::now();
    let compiled = compile(&toolchain)?;
    let bytes = std::fs::read(&compiled).with_context(|| format!("cannot read {}", compiled.display()))?;
    // The same bytes keep their time, so that nothing that embeds them is built again.
    if std::fs::read(&path).ok().as_ref() != Some(&bytes) {
        std::fs::write(&path, &bytes).with_context(|| format!("cannot write {}", path.display()))?;
    }
    let made_by = toolchain.to_string();
    stamp.write(&fingerprint, &made_by)?;
    println!("eBPF object: compiled in {:.1} s", begun.elapsed().as_secs_f64());
    Ok(Object { path, bytes: bytes.len() as u64, made_by, rebuilt: true })
}

/// Runs that toolchain's cargo; the path of the program it made.
fn compile(toolchain: &Toolchain) -> anyhow::Result<PathBuf> {
    let Toolchain { compiler, linker, libllvm_dir } = toolchain;
    let linker_flag = format!("-Clinker={}", linker.display());
    let mut flags = workspace::remapped_paths();
    flags.extend([linker_flag, "-Clink-arg=--btf".to_owned(), "-Cdebuginfo=2".to_owned()]);
    let mut cargo = std::process::Command::new(&compiler.cargo);
    // What the cargo that runs us left behind speaks of another crate and another compiler.
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        let ours = ["CARGO", "RUSTFLAGS", "RUSTC", "RUSTUP_TOOLCHAIN", "RUSTDOC"];
        let kept = ["CARGO_HOME", "CARGO_NET_", "CARGO_HTTP_", "CARGO_REGISTRIES_", "CARGO_REGISTRY_"];
        if ours.iter().any(|prefix| name.starts_with(prefix)) && !kept.iter().any(|p| name.starts_with(p)) {
            cargo.env_remove(name.as_ref());
        }
    }
    cargo
        .current_dir(workspace::root().join("gateway-ebpf"))
        .env("LD_LIBRARY_PATH", libllvm_dir)
        .env("RUSTC", &compiler.rustc)
        // build-std is not stable; this compiler may be a release.
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_RESOLVER_INCOMPATIBLE_RUST_VERSIONS", "fallback")
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"))
        .env("CARGO_TARGET_DIR", workspace::root().join("target/bpf-build"))
        .args(["build", "--release", "--locked", "--target", TARGET, "-Z", "build-std=core"])
        .arg("--message-format=json-render-diagnostics")
        .stdout(Stdio::piped());
    let child = cargo.spawn().with_context(|| format!("cannot run {}", compiler.cargo.display()))?;
    let output = child.wait_with_output()?;
    if !output.status.success() {
        anyhow::bail!("the eBPF object does not compile: `{}` {}", command::line(&cargo), output.status);
    }
    let messages = String::from_utf8_lossy(&output.stdout);
    program_of(&messages).context("cargo made no program in gateway-ebpf")
}

/// One line of `cargo build --message-format=json`, as far as it matters here.
#[derive(Deserialize)]
struct Message {
    executable: Option<PathBuf>,
}

fn program_of(messages: &str) -> Option<PathBuf> {
    messages.lines().filter_map(|line| serde_json::from_str::<Message>(line).ok()).find_map(|m| m.executable)
}

/// A number for the contents of all inputs, and for what is pinned here.
fn fingerprint(root: &Path) -> anyhow::Result<String> {
    let mut files = Vec::new();
    for input in INPUTS {
        collect(&root.join(input), &mut files)?;
    }
    files.sort();
    let mut hasher = DefaultHasher::new();
    (LINKER_VERSION, LLVM_MAJOR, TARGET).hash(&mut hasher);
    for file in files {
        file.strip_prefix(root).unwrap_or(&file).hash(&mut hasher);
        std::fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?.hash(&mut hasher);
    }
    Ok(format!("{:016x}", hasher.finish()))
}

fn collect(path: &Path, files: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    if path.is_file() {
        files.push(path.to_owned());
        return Ok(());
    }
    let entries = std::fs::read_dir(path).with_context(|| format!("cannot read {}", path.display()))?;
    for entry in entries {
        let entry = entry?;
        if entry.file_name() != "target" {
            collect(&entry.path(), files)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::program_of;

    #[test]
    fn the_program_is_found_among_the_messages_of_cargo() {
        let messages = "{\"reason\":\"compiler-artifact\",\"executable\":null}\nnot json\n\
                        {\"reason\":\"compiler-artifact\",\"executable\":\"/t/weir\"}\n{\"reason\":\"build-finished\"}\n";
        assert_eq!(program_of(messages), Some("/t/weir".into()));
        assert_eq!(program_of("{\"reason\":\"build-finished\"}"), None);
    }
}
