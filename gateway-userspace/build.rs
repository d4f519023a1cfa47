//! Puts the eBPF object into the crate: what `cargo xtask build` made, or an empty one when it made none.

use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let variable = |name: &str| env::var_os(name).map(PathBuf::from).ok_or(io::ErrorKind::NotFound);
    let made = variable("CARGO_MANIFEST_DIR")?.join("../target/bpf");
    let embedded = variable("OUT_DIR")?.join("weir.bpf.o");
    embed(&made.join("weir.bpf.o"), &embedded)?;
    // The folder is watched, not the file: to cargo a missing file is a changed one, and all would be built each time.
    fs::create_dir_all(&made)?;
    println!("cargo::rerun-if-changed={}", made.display());
    println!("cargo::rerun-if-changed=build.rs");
    Ok(())
}

fn embed(made: &Path, embedded: &Path) -> io::Result<()> {
    match fs::read(made) {
        Ok(object) => fs::write(embedded, object),
        Err(error) if error.kind() == io::ErrorKind::NotFound => fs::write(embedded, []),
        Err(error) => Err(error),
    }
}
