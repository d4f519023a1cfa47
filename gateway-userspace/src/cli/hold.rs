//! `weir hold`: what `weir run` starts beside itself. Not for humans.

use std::os::fd::AsFd;
use std::path::PathBuf;

use clap::Args;

use super::{Failure, Verdict};
use crate::app::holder::keeper;

/// Keep the listening sockets of a gateway that dies for the next one; started by `weir run`
#[derive(Debug, Args)]
pub struct HoldArgs {
    /// Where the next gateway asks
    path: PathBuf,
}

/// Holds until the gateway at the other end of standard input ends.
pub fn run(args: &HoldArgs) -> Result<Verdict, Failure> {
    let failed = |error: std::io::Error| Failure::Failed(format!("{}: {error}", args.path.display()));
    let gateway = std::io::stdin().as_fd().try_clone_to_owned().map_err(failed)?;
    keeper::run(&gateway, &args.path).map_err(failed)?;
    Ok(Verdict::Fine)
}
