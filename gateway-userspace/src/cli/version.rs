//! `weir version`: what this binary is, and whether the datapath is in it.

use clap::Args;
use serde::Serialize;

use super::{Failure, Format, Verdict};
use crate::ebpf::Datapath;

/// Say what this binary is: its version, its kernel ABI, and whether the eBPF datapath is in it
#[derive(Debug, Args)]
pub struct VersionArgs {
    /// Output format
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

#[derive(Debug, Serialize)]
struct Version {
    version: &'static str,
    datapath: bool,
    kernel_abi: u32,
    target: String,
}

/// Writes it.
pub fn run(args: &VersionArgs) -> Result<Verdict, Failure> {
    let version = Version {
        version: env!("CARGO_PKG_VERSION"),
        datapath: Datapath::is_embedded(),
        kernel_abi: gateway_common::names::ABI,
        target: format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS),
    };
    match args.output {
        Format::Json => super::output::json(&version)?,
        Format::Text => {
            let datapath = if version.datapath {
                "datapath embedded"
            } else {
                "datapath not in this binary: it serves gateways, but captures no pods (`cargo xtask build` builds it in)"
            };
            let (number, target, abi) = (version.version, &version.target, version.kernel_abi);
            super::output::write(&format!("weir {number} ({target})\nkernel ABI {abi}\n{datapath}\n"))?;
        }
    }
    Ok(Verdict::Fine)
}
