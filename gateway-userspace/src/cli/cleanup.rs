//! `weir cleanup`: removes everything that Weir has put into the kernel.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use super::output::Style;
use super::{Failure, Format, Verdict};
use crate::ebpf::{Datapath, DatapathError, PIN_ROOT};

/// Detach Weir from the kernel: remove every pinned link and map
///
/// Safe to repeat, and safe when there is nothing. Pods then connect as if Weir had never been there.
/// Refuses while a gateway runs. Without this, `closed` Services stay closed while none runs.
#[derive(Debug, Args)]
pub struct CleanupArgs {
    /// Folder of the pins on a bpffs
    #[arg(long, value_name = "PATH", default_value = PIN_ROOT)]
    bpf_root: PathBuf,
    /// Output format
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

#[derive(Debug, Serialize)]
struct Removed {
    removed: Vec<String>,
}

/// Does it and says what it did.
pub fn run(args: &CleanupArgs) -> Result<Verdict, Failure> {
    let removed = Datapath::cleanup(&args.bpf_root).map_err(|error| match error {
        DatapathError::AlreadyRunning { owner } => {
            Failure::Failed(format!("a gateway runs on this node ({owner}); stop it first"))
        }
        other => Failure::Failed(other.to_string()),
    })?;
    match args.output {
        Format::Json => super::output::json(&Removed { removed })?,
        Format::Text => {
            let ok = Style::of(&std::io::stdout()).ok();
            let mut text: String = removed.iter().map(|what| format!("{ok} removed {what}\n")).collect();
            if removed.is_empty() {
                text = format!("{ok} nothing of Weir is in {}\n", args.bpf_root.display());
            }
            super::output::write(&text)?;
        }
    }
    Ok(Verdict::Fine)
}
