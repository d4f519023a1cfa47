//! Where things are: the root of the checkout, what cargo makes, and what is kept between clones.

use std::path::{Path, PathBuf};

/// The root of the checkout.
pub(crate) fn root() -> &'static Path {
    let crate_dir = Path::new(env!("CARGO_MANIFEST_DIR"));
    crate_dir.parent().unwrap_or(crate_dir)
}

/// Where cargo puts what it makes: `target`, unless `CARGO_TARGET_DIR` says otherwise.
pub(crate) fn target_dir() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |dir| root().join(dir))
}

/// Where the eBPF object and what belongs to it stand. `gateway-userspace/build.rs` looks here.
pub(crate) fn object_dir() -> PathBuf {
    root().join("target/bpf")
}

/// Built tools that outlive a clone: `$XDG_CACHE_HOME/weir` or `~/.cache/weir`; below `target` where there is no home.
pub(crate) fn cache_dir() -> PathBuf {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("XDG_CACHE_HOME")
        .filter(|dir| dir.is_absolute())
        .or_else(|| set("HOME").map(|home| home.join(".cache")))
        .map_or_else(|| target_dir().join("cache"), |dir| dir.join("weir"))
}

/// Flags for rustc, by which what ships does not say where it was built: two checkouts give the same bytes.
pub(crate) fn remapped_paths() -> Vec<String> {
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    let cargo = std::env::var_os("CARGO_HOME").map_or_else(|| home.join(".cargo"), PathBuf::from);
    let remap = |from: &Path, to: &str| format!("--remap-path-prefix={}={to}", from.display());
    vec![remap(root(), "/weir"), remap(&cargo, "/cargo")]
}

/// True on a build machine: what is missing is installed, and a skipped test is a failure.
pub(crate) fn is_ci() -> bool {
    std::env::var("CI").is_ok_and(|value| !matches!(value.as_str(), "" | "0" | "false"))
}

/// True when this process may change the machine.
pub(crate) fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// `path` as a reader of the terminal wants it: relative to the root where it is below it.
pub(crate) fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}
