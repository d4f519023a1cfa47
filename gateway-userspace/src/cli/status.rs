//! `weir status`: what became of the configuration and the pods, from the running gateway.

use clap::Args;
use http::Method;

use super::{AdminArgs, Failure, Format, Verdict, admin_client};

/// Show what became of the configuration: conditions, findings, pods, ports
///
/// Asks the running gateway. Exits 1 when something that was asked for is not served.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Output format
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    #[command(flatten)]
    admin: AdminArgs,
}

/// Asks and writes the answer.
pub fn run(args: &StatusArgs) -> Result<Verdict, Failure> {
    let query = match args.output {
        Format::Text => "/status?output=text",
        Format::Json => "/status",
    };
    admin_client::ask(&args.admin.socket(), Method::GET, query)?.print()
}
