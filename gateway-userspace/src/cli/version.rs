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
            println!("weir {} ({})", version.version, version.target);
            println!("kernel ABI {}", version.kernel_abi);
            if version.datapath {
                println!("datapath embedded");
            } else {
                println!(
                    "datapath not in this binary: it serves gateways, but captures no pods (`cargo xtask build` builds it in)"
                );
            }
        }
    }
    Ok(Verdict::Fine)
}
