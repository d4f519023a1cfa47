//! Golden cases: `testdata/compile/NAME.in.yaml` must compile to `NAME.out.yaml`. After a wanted
//! change, `UPDATE_GOLDEN=1 cargo test -p gateway-userspace golden` writes them anew, to be reviewed.

mod endpoints;
mod gateways;
mod incremental;
mod mutation;
mod sequence;
mod summary;

use std::path::{Path, PathBuf};

use super::Compiler;
use crate::control::provider::file;
use crate::limits::Limits;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/compile")
}

/// Names and texts of all inputs.
fn inputs() -> Vec<(String, String)> {
    let mut inputs: Vec<(String, String)> = std::fs::read_dir(folder())
        .unwrap()
        .filter_map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_name()?.to_str()?.strip_suffix(".in.yaml")?.to_owned();
            Some((name, std::fs::read_to_string(&path).unwrap()))
        })
        .collect();
    inputs.sort();
    inputs
}

fn compiler() -> Compiler {
    Compiler::new(Default::default(), &Limits::default())
}

#[test]
fn golden_cases_compile_to_what_is_written() {
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let cases = inputs();
    assert!(cases.len() >= 25, "only {} cases", cases.len());
    let mut differing = Vec::new();
    for (name, text) in cases {
        let desired = file::from_text(&format!("{name}.in.yaml"), &text);
        let compiled = compiler().compile(&desired);
        let output = summary::of(&compiled.snapshot.unwrap_or_default(), &compiled.report);
        let path = folder().join(format!("{name}.out.yaml"));
        if update {
            std::fs::write(&path, output).unwrap();
        } else if std::fs::read_to_string(&path).ok().as_deref() != Some(output.as_str()) {
            differing.push(format!("=== {name}\n{output}"));
        }
    }
    assert!(differing.is_empty(), "these differ from their files:\n{}", differing.join("\n"));
}
