//! Embeds the eBPF object: the one that `WEIR_EBPF_OBJECT` names, else the one that `cargo xtask build`
//! left in the target directory, else an empty one. An empty one means "no datapath in this binary".

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use std::{env, io};

/// Where `cargo xtask build` puts the object, from the workspace.
const BUILT: &str = "target/bpf/weir.bpf.o";

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-env-changed=WEIR_EBPF_OBJECT");
    let package = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let workspace = package.parent().unwrap_or(Path::new("."));
    let path = match env::var_os("WEIR_EBPF_OBJECT") {
        Some(path) => workspace.join(path),
        None => built(workspace)?,
    };
    println!("cargo::rerun-if-changed={}", path.display());
    let object = fs::read(&path).map_err(|error| {
        io::Error::new(error.kind(), format!("cannot read the eBPF object {}: {error}", path.display()))
    })?;
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    fs::write(out.join("weir.bpf.o"), object)
}

/// The built object, or an empty file in its place: cargo takes a watched path that does not exist for
/// one that has changed, and would build the gateway anew each time.
fn built(workspace: &Path) -> io::Result<PathBuf> {
    let path = workspace.join(BUILT);
    if !path.exists() {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        // As old as can be: it has not changed since this build began.
        File::create(&path)?.set_modified(SystemTime::UNIX_EPOCH)?;
    }
    Ok(path)
}
