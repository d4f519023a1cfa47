//! `cargo xtask image`: a container image of `weir`, made without a container engine.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, bail};
use clap::ValueEnum;

use crate::oci::{self, Entry, Image};
use crate::{command, datapath, workspace};

/// What the chart pulls unless it is told otherwise.
const REPOSITORY: &str = "ghcr.io/weir-dev/weir";
/// Without a resolver of its own a static glibc asks only DNS, and `localhost` is no name there.
const NSSWITCH: &str = "hosts: files dns\n";
/// Root for the node, whose capabilities need it; everybody else is nobody.
const PASSWD: &str = "root:x:0:0:root:/:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/:/sbin/nologin\n";
const GROUP: &str = "root:x:0:\nnonroot:x:65532:\n";

/// Make an OCI image archive of a static `weir`: nothing else is in it, and the same source gives the same bytes.
///
/// `ctr -n k8s.io images import target/image/weir.tar` gives it to containerd, `skopeo copy oci-archive:…` to a registry.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// `dev` builds faster and serves slower: for test clusters.
    #[arg(long, value_enum, default_value_t)]
    profile: Profile,
    /// For which machines (may be repeated; two make one image for both).
    #[arg(long, value_enum, default_values_t = [Arch::of_this_machine()])]
    arch: Vec<Arch>,
    /// Its name, without a tag; the tag is the version.
    #[arg(long, default_value = REPOSITORY)]
    repository: String,
    /// Another tag than the version.
    #[arg(long, default_value = env!("CARGO_PKG_VERSION"))]
    tag: String,
    /// Where it goes, instead of `target/image/weir.tar`.
    #[arg(long)]
    output: Option<PathBuf>,
    /// Install what is missing: the compiler of the kernel half, a cross compiler. CI=true does the same.
    #[arg(long)]
    install: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum Profile {
    #[default]
    Release,
    Dev,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Arch {
    Amd64,
    Arm64,
}

impl Arch {
    fn of_this_machine() -> Self {
        if cfg!(target_arch = "aarch64") { Self::Arm64 } else { Self::Amd64 }
    }

    /// As images name it.
    const fn name(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }

    const fn machine(self) -> &'static str {
        match self {
            Self::Amd64 => "x86_64",
            Self::Arm64 => "aarch64",
        }
    }

    fn target(self) -> String {
        format!("{}-unknown-linux-gnu", self.machine())
    }

    fn is_foreign(self) -> bool {
        self != Self::of_this_machine()
    }
}

impl std::fmt::Display for Arch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let begun = Instant::now();
    let install = options.install || workspace::is_ci();
    datapath::build(install)?;
    let name = format!("{}:{}", options.repository, options.tag);
    let mut images = Vec::new();
    for arch in &options.arch {
        let binary = static_weir(*arch, options.profile, install)?;
        images.push(Image {
            is_compressed: options.profile == Profile::Release,
            ..image(&name, *arch, &binary)?
        });
    }
    let archive = oci::archive(&images)?;
    let output = options.output.clone().unwrap_or_else(|| workspace::target_dir().join("image/weir.tar"));
    if let Some(dir) = output.parent() {
        std::fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    }
    std::fs::write(&output, &archive).with_context(|| format!("cannot write {}", output.display()))?;
    let arches: Vec<&str> = options.arch.iter().map(|arch| arch.name()).collect();
    println!(
        "image   {name}  {}  {:.1} MiB  {}",
        arches.join(", "),
        archive.len() as f64 / (1024.0 * 1024.0),
        workspace::shown(&output),
    );
    println!("        its archive is {}", oci::digest(&archive));
    println!("done in {:.1} s", begun.elapsed().as_secs_f64());
    Ok(())
}

/// An image under the name that the chart asks for, for the nodes of a test cluster; where its archive is.
pub(crate) fn for_cluster(release: bool, install: bool) -> anyhow::Result<PathBuf> {
    let (profile, file) =
        if release { (Profile::Release, "weir.tar") } else { (Profile::Dev, "weir-dev.tar") };
    let output = workspace::target_dir().join("image").join(file);
    run(&Options {
        profile,
        arch: vec![Arch::of_this_machine()],
        repository: REPOSITORY.to_owned(),
        tag: env!("CARGO_PKG_VERSION").to_owned(),
        output: Some(output.clone()),
        install,
    })?;
    Ok(output)
}

/// Builds a `weir` that needs no file beside itself.
fn static_weir(arch: Arch, profile: Profile, install: bool) -> anyhow::Result<PathBuf> {
    let target = arch.target();
    if arch.is_foreign() {
        prepare_cross(arch, install)?;
    }
    let mut cargo = command::cargo();
    // Naming the target, even this machine's own, keeps the flags away from build scripts.
    cargo.args(["build", "--package", "gateway-userspace", "--bin", "weir", "--target", &target]);
    let folder = match profile {
        Profile::Release => {
            cargo.arg("--release");
            "release"
        }
        Profile::Dev => "debug",
    };
    // Debug information is most of an unoptimised binary, and nobody reads it in an image.
    cargo.args(["--config", "profile.dev.strip=\"debuginfo\""]);
    let mut flags = workspace::remapped_paths();
    flags.push("-Ctarget-feature=+crt-static".to_owned());
    cargo.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"));
    if arch.is_foreign() {
        let gcc = format!("{}-linux-gnu-gcc", arch.machine());
        let variable = target.replace('-', "_");
        cargo.env(format!("CARGO_TARGET_{}_LINKER", variable.to_uppercase()), &gcc);
        cargo.env(format!("CC_{variable}"), &gcc);
    }
    command::run(&mut cargo)?;
    let binary = workspace::target_dir().join(&target).join(folder).join("weir");
    assert_static(&binary)?;
    Ok(binary)
}

/// A target's library and a C compiler for it.
fn prepare_cross(arch: Arch, install: bool) -> anyhow::Result<()> {
    let gcc = format!("{}-linux-gnu-gcc", arch.machine());
    if !command::exists(&gcc) {
        let packages = [
            format!("gcc-{}-linux-gnu", arch.machine().replace('_', "-")),
            format!("libc6-dev-{}-cross", arch.name()),
        ];
        if !install {
            bail!("no {gcc} here: --install installs {}", packages.join(" and "));
        }
        command::apt_install(&packages.each_ref().map(String::as_str))?;
    }
    // The toolchain file pins the compiler, so the target is added to that one; nothing happens when it is there.
    if install && command::exists("rustup") {
        let mut rustup = Command::new("rustup");
        command::say_and_run(rustup.args(["target", "add", &arch.target()]))?;
    }
    Ok(())
}

/// An executable that names an interpreter wants a dynamic linker, and there is none in the image.
fn assert_static(binary: &Path) -> anyhow::Result<()> {
    let bytes = std::fs::read(binary).with_context(|| format!("cannot read {}", binary.display()))?;
    match names_interpreter(&bytes) {
        Some(false) => Ok(()),
        Some(true) => bail!("{} is linked dynamically: the image would not start", binary.display()),
        None => bail!("{} is no 64-bit ELF file", binary.display()),
    }
}

/// Whether a little-endian ELF64 file has a `PT_INTERP` segment; `None` when it is no such file.
fn names_interpreter(elf: &[u8]) -> Option<bool> {
    const PT_INTERP: u32 = 3;
    if elf.get(..6)? != b"\x7fELF\x02\x01" {
        return None;
    }
    let half = |at: usize| elf.get(at..at + 2)?.try_into().ok().map(u16::from_le_bytes);
    let table = u64::from_le_bytes(elf.get(32..40)?.try_into().ok()?);
    let (size, count) = (usize::from(half(54)?), usize::from(half(56)?));
    let mut found = false;
    for index in 0..count {
        let at = usize::try_from(table).ok()?.checked_add(index * size)?;
        found |= u32::from_le_bytes(elf.get(at..at.checked_add(4)?)?.try_into().ok()?) == PT_INTERP;
    }
    Some(found)
}

/// The image for one kind of machine: the binary, and the few lines that a C library looks for.
fn image(name: &str, arch: Arch, binary: &Path) -> anyhow::Result<Image> {
    let weir = std::fs::read(binary).with_context(|| format!("cannot read {}", binary.display()))?;
    let text = |path: &str, text: &str| Entry::File {
        path: path.to_owned(),
        mode: 0o644,
        bytes: text.as_bytes().to_vec(),
    };
    let files = vec![
        text("etc/group", GROUP),
        text("etc/nsswitch.conf", NSSWITCH),
        text("etc/passwd", PASSWD),
        Entry::File { path: "usr/bin/weir".to_owned(), mode: 0o755, bytes: weir },
    ];
    let labels = [
        ("org.opencontainers.image.title", "weir"),
        ("org.opencontainers.image.description", "A gateway on every Kubernetes node, with no sidecars"),
        ("org.opencontainers.image.licenses", "Apache-2.0"),
        ("org.opencontainers.image.version", env!("CARGO_PKG_VERSION")),
    ];
    Ok(Image {
        name: name.to_owned(),
        architecture: arch.name(),
        entrypoint: vec!["/usr/bin/weir".to_owned()],
        user: "65532:65532".to_owned(),
        labels: labels.into_iter().map(|(key, value)| (key, value.to_owned())).collect(),
        files,
        is_compressed: true,
    })
}

#[cfg(test)]
mod tests {
    use super::names_interpreter;

    #[test]
    fn a_dynamic_program_is_told_from_a_static_one() {
        let this = std::fs::read(std::env::current_exe().expect("a path")).expect("it reads");
        assert_eq!(names_interpreter(&this), Some(true), "tests are linked dynamically");
        let mut header = [0u8; 64 + 56];
        header[..6].copy_from_slice(b"\x7fELF\x02\x01");
        header[32] = 64;
        header[54] = 56;
        header[56] = 1;
        header[64] = 1;
        assert_eq!(names_interpreter(&header), Some(false));
        assert_eq!(names_interpreter(&header[..70]), Some(false));
        assert_eq!(names_interpreter(&header[..60]), None, "cut short");
        assert_eq!(names_interpreter(b"#!/bin/sh"), None);
    }
}
