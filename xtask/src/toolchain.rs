//! The toolchain for the kernel half: a rustc that can build `core` for BPF, bpf-linker, and the libLLVM of that rustc.
//!
//! Any rustc whose own library sources are installed will do, when it has the LLVM that the pinned
//! bpf-linker reads. Rustup's nightlies come first; Debian's compiler is the other way.

use std::fmt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

use crate::{command, workspace};

/// The linker version that is used, and no other.
pub(crate) const LINKER_VERSION: &str = "0.10.3";
/// The LLVM that this bpf-linker reads the compiler's output with.
pub(crate) const LLVM_MAJOR: u32 = 22;
/// Debian's compiler, its cargo, and the sources of its library.
const DEBIAN_PACKAGES: [&str; 3] = ["rustc-web", "cargo-web", "rust-web-src"];

/// A compiler that can build for BPF.
#[derive(Debug)]
pub(crate) struct Compiler {
    pub(crate) cargo: PathBuf,
    pub(crate) rustc: PathBuf,
    /// `1.96.0`, for people.
    pub(crate) release: String,
    pub(crate) libllvm: PathBuf,
}

/// Everything that makes the object.
#[derive(Debug)]
pub(crate) struct Toolchain {
    pub(crate) compiler: Compiler,
    pub(crate) linker: PathBuf,
    /// A directory with the compiler's libLLVM and nothing else: bpf-linker takes the first that it finds.
    pub(crate) libllvm_dir: PathBuf,
}

impl fmt::Display for Toolchain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Compiler { rustc, release, .. } = &self.compiler;
        write!(f, "rustc {release} ({}), bpf-linker {LINKER_VERSION}", rustc.display())
    }
}

/// What `rustc -vV` says that matters here.
#[derive(Debug, PartialEq, Eq)]
struct Version {
    release: String,
    llvm_major: u32,
}

impl Version {
    fn parse(text: &str) -> Option<Self> {
        let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        let llvm_major = field("LLVM version:")?.split('.').next()?.parse().ok()?;
        Some(Self { release: field("release:")?.to_owned(), llvm_major })
    }
}

/// Finds the toolchain, or installs what is missing of it.
pub(crate) fn find_or_install(install: bool) -> anyhow::Result<Toolchain> {
    let compiler = match find_compiler() {
        Ok(compiler) => compiler,
        Err(refusals) if install => {
            println!("no compiler for BPF yet ({}); installing Debian's", refusals.join("; "));
            command::apt_install(&DEBIAN_PACKAGES)?;
            find_compiler().map_err(|refusals| anyhow::anyhow!("still none: {}", refusals.join("; ")))?
        }
        Err(refusals) => bail!(missing_compiler(&refusals)),
    };
    let linker = match find_linker() {
        Some(linker) => linker,
        None if install => install_linker()?,
        None => bail!(
            "bpf-linker {LINKER_VERSION} is missing. Either\n    \
             cargo xtask build --install\nor by hand\n    {}",
            command::line(&install_linker_command())
        ),
    };
    let libllvm_dir = expose_libllvm(&compiler.libllvm)?;
    Ok(Toolchain { compiler, linker, libllvm_dir })
}

fn missing_compiler(refusals: &[String]) -> String {
    format!(
        "no Rust compiler here can build the kernel half:\n    {}\nEither\n    \
         cargo xtask build --install\nor by hand one of\n    \
         rustup toolchain install nightly --component rust-src\n    \
         apt-get install -y --no-install-recommends {}\n\
         Plain `cargo build` makes a weir without the datapath: it serves gateway listeners only.",
        refusals.join("\n    "),
        DEBIAN_PACKAGES.join(" ")
    )
}

/// Asks every candidate; the first that can do it, or why each cannot.
fn find_compiler() -> Result<Compiler, Vec<String>> {
    let mut refusals = Vec::new();
    for (name, cargo, rustc) in candidates() {
        match examine(cargo, rustc) {
            Ok(compiler) => return Ok(compiler),
            Err(why) => refusals.push(format!("{name}: {why}")),
        }
    }
    Err(refusals)
}

/// (name, cargo, rustc): rustup's nightlies, then the system's own.
fn candidates() -> Vec<(String, PathBuf, PathBuf)> {
    let installed = command::output(Command::new("rustup").args(["toolchain", "list"])).unwrap_or_default();
    let nightlies = installed.lines().filter_map(|line| line.split_whitespace().next());
    let mut found = Vec::new();
    for name in nightlies.filter(|name| name.starts_with("nightly")) {
        let program = |program: &str| {
            let path = command::output(Command::new("rustup").args(["which", "--toolchain", name, program]))?;
            Some(PathBuf::from(path.trim()))
        };
        if let (Some(cargo), Some(rustc)) = (program("cargo"), program("rustc")) {
            found.push((format!("rustup's {name}"), cargo, rustc));
        }
    }
    found.push(("the system's /usr/bin/rustc".to_owned(), "/usr/bin/cargo".into(), "/usr/bin/rustc".into()));
    found
}

fn examine(cargo: PathBuf, rustc: PathBuf) -> Result<Compiler, String> {
    if !cargo.is_file() || !rustc.is_file() {
        return Err("not installed".to_owned());
    }
    let answer = |argument: &[&str]| command::output(Command::new(&rustc).args(argument));
    let version = answer(&["-vV"]).as_deref().and_then(Version::parse).ok_or("does not say its version")?;
    let sysroot = answer(&["--print", "sysroot"]).ok_or("does not say its sysroot")?;
    let sysroot = Path::new(sysroot.trim());
    if !sysroot.join("lib/rustlib/src/rust/library/core/Cargo.toml").is_file() {
        return Err("has no library sources (rust-src)".to_owned());
    }
    let Version { release, llvm_major } = version;
    if llvm_major != LLVM_MAJOR {
        return Err(format!(
            "has LLVM {llvm_major}, and bpf-linker {LINKER_VERSION} reads LLVM {LLVM_MAJOR}"
        ));
    }
    let libllvm = find_libllvm(sysroot).ok_or(format!("its libLLVM {llvm_major} is not to be found"))?;
    Ok(Compiler { cargo, rustc, release, libllvm })
}

/// The shared library, where rustup and where distributions put it.
fn find_libllvm(sysroot: &Path) -> Option<PathBuf> {
    let multiarch = format!("/usr/lib/{}-linux-gnu", std::env::consts::ARCH);
    let versioned = format!("/usr/lib/llvm-{LLVM_MAJOR}/lib");
    let dirs =
        [sysroot.join("lib"), multiarch.into(), versioned.into(), "/usr/lib64".into(), "/usr/lib".into()];
    dirs.iter().find_map(|dir| {
        let entries = std::fs::read_dir(dir).ok()?;
        let mut names: Vec<_> = entries.flatten().map(|entry| entry.file_name()).collect();
        names.sort();
        let name = names.into_iter().find(|name| is_libllvm(&name.to_string_lossy()))?;
        Some(dir.join(name))
    })
}

/// `libLLVM.so.22.1`, `libLLVM-22.so`, `libLLVM.so.22.1-rust-1.97.0-nightly`.
fn is_libllvm(name: &str) -> bool {
    let rest = name.strip_prefix("libLLVM.so.").or_else(|| name.strip_prefix("libLLVM-"));
    let major = rest.and_then(|rest| rest.split(|c: char| !c.is_ascii_digit()).next());
    major.and_then(|digits| digits.parse().ok()) == Some(LLVM_MAJOR)
}

fn linker_root() -> PathBuf {
    workspace::cache_dir().join("tools").join(format!("bpf-linker-{LINKER_VERSION}"))
}

/// The one that `--install` made, or one of the right version in `PATH`.
fn find_linker() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let in_path = std::env::split_paths(&path).map(|dir| dir.join("bpf-linker"));
    std::iter::once(linker_root().join("bin/bpf-linker")).chain(in_path).find(|linker| {
        let says = linker.is_file().then(|| command::output(Command::new(linker).arg("--version"))).flatten();
        says.is_some_and(|says| says.split_whitespace().nth(1) == Some(LINKER_VERSION))
    })
}

fn install_linker_command() -> Command {
    let mut install = command::cargo();
    install
        .args(["install", "bpf-linker", "--version", LINKER_VERSION, "--locked", "--root"])
        .arg(linker_root());
    install
}

fn install_linker() -> anyhow::Result<PathBuf> {
    println!("installing bpf-linker {LINKER_VERSION}, once for this user: about two minutes");
    command::say_and_run(&mut install_linker_command())?;
    find_linker().context("bpf-linker was installed but does not run")
}

/// Makes the directory that goes into bpf-linker's `LD_LIBRARY_PATH`.
fn expose_libllvm(libllvm: &Path) -> anyhow::Result<PathBuf> {
    let dir = workspace::root().join("target/bpf-libllvm");
    let link = dir.join(format!("libLLVM.so.{LLVM_MAJOR}"));
    if std::fs::read_link(&link).is_ok_and(|target| target == libllvm) {
        return Ok(dir);
    }
    if dir.exists() {
        std::fs::remove_dir_all(&dir).with_context(|| format!("cannot empty {}", dir.display()))?;
    }
    std::fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    symlink(libllvm, &link).with_context(|| format!("cannot link {}", link.display()))?;
    Ok(dir)
}

#[cfg(test)]
mod tests {
    use super::{Version, is_libllvm};

    #[test]
    fn the_version_of_a_compiler_and_of_its_llvm_are_read() {
        let text =
            "rustc 1.96.0 (ac68faa20 2026-05-25)\nbinary: rustc\nrelease: 1.96.0\nLLVM version: 22.1.8\n";
        assert_eq!(Version::parse(text), Some(Version { release: "1.96.0".to_owned(), llvm_major: 22 }));
        assert_eq!(Version::parse("rustc 1.96.0\n"), None);
    }

    #[test]
    fn only_the_right_llvm_is_taken() {
        for name in ["libLLVM.so.22.1", "libLLVM-22.so", "libLLVM.so.22.1-rust-1.97.0-nightly"] {
            assert!(is_libllvm(name), "{name}");
        }
        for name in
            ["libLLVM-14.so.1", "libLLVM.so.21.1", "libLLVM-15.0.6.so", "libLLVMCore.so.22", "libLLVM.so"]
        {
            assert!(!is_libllvm(name), "{name}");
        }
    }
}
