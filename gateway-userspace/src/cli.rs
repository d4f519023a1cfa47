//! The command line: one file per verb, and what they have in common.
//!
//! Exit codes: 0 all is well, 1 there are findings or it failed, 2 the command line is wrong,
//! 3 the gateway cannot be reached. Every failure is one line that says what and what to do.

pub mod admin_client;
pub mod check;
pub mod cleanup;
pub mod cni;
pub mod controller;
pub mod explain;
pub mod hold;
pub mod node;
pub mod output;
pub mod place;
pub mod run;
pub mod serve;
pub mod status;
pub mod version;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::bootstrap;
use output::Style;

const EXAMPLES: &str = "\
Examples:
  weir check ./config                      is this folder right? (only reads)
  weir run --config ./config               serve it
  weir status                              what became of it
  weir explain shop/web http://cart/items  which way this call would go, and why
  weir cleanup                             leave nothing of Weir in the kernel

Exit codes: 0 ok, 1 findings or failure, 2 usage, 3 the gateway cannot be reached.
Colour only on a terminal; NO_COLOR turns it off.";

/// Weir: a gateway on every node, with no sidecars.
///
/// Reads Kubernetes YAML (Service, EndpointSlice, Gateway, HTTPRoute, GRPCRoute, ...) and serves it: Gateways open their
/// ports on this host, and pods that are captured have their calls to Services routed, balanced and
/// logged, without a change to them.
#[derive(Debug, Parser)]
#[command(name = "weir", version, max_term_width = 110, after_help = EXAMPLES, disable_help_subcommand = true)]
pub struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Run(Box<run::RunArgs>),
    Node(Box<node::NodeArgs>),
    Check(check::CheckArgs),
    Status(status::StatusArgs),
    Explain(explain::ExplainArgs),
    Cleanup(cleanup::CleanupArgs),
    Controller(Box<controller::ControllerArgs>),
    #[command(hide = true)]
    Hold(hold::HoldArgs),
    Version(version::VersionArgs),
}

/// How a verb writes its result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Format {
    /// For humans.
    #[default]
    Text,
    /// For programs: the same facts under the same names.
    Json,
}

/// For verbs that ask the running gateway.
#[derive(Debug, Args)]
pub struct AdminArgs {
    /// Unix socket of the running gateway [default: /run/weir/admin.sock, or below $XDG_RUNTIME_DIR
    /// when not root]
    #[arg(long, value_name = "PATH", env = "WEIR_ADMIN_SOCKET")]
    admin_socket: Option<PathBuf>,
}

impl AdminArgs {
    /// The socket to ask.
    pub fn socket(&self) -> PathBuf {
        self.admin_socket.clone().unwrap_or_else(bootstrap::default_admin_socket)
    }
}

/// Why a verb did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// It failed. The text says what to do.
    #[error("{0}")]
    Failed(String),
    /// What was asked for cannot be meant.
    #[error("{0}")]
    Usage(String),
    /// The running gateway does not answer.
    #[error("{0}")]
    Unreachable(String),
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Failed(format!("{error:#}"))
    }
}

impl Failure {
    fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Failed(_) => 1,
            Self::Usage(_) => 2,
            Self::Unreachable(_) => 3,
        })
    }
}

/// What a verb found, when it could do its work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// All is well.
    Fine,
    /// There is something that the user must look at.
    Findings,
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    if cni::is_called(std::env::args().next().as_deref()) {
        return cni::run();
    }
    let cli = Cli::parse();
    let done = match cli.verb {
        Verb::Run(args) => run::run(*args),
        Verb::Node(args) => node::run(*args),
        Verb::Check(args) => check::run(&args),
        Verb::Status(args) => status::run(&args),
        Verb::Explain(args) => explain::run(&args),
        Verb::Hold(args) => hold::run(&args),
        Verb::Cleanup(args) => cleanup::run(&args),
        Verb::Controller(args) => controller::run(*args),
        Verb::Version(args) => version::run(&args),
    };
    match done {
        Ok(Verdict::Fine) => ExitCode::SUCCESS,
        Ok(Verdict::Findings) => ExitCode::from(1),
        Err(failure) => {
            let style = Style::of(&std::io::stderr());
            // Nobody can be told when standard error is closed.
            let _ = writeln!(std::io::stderr(), "weir: {} {failure}", style.error());
            failure.exit_code()
        }
    }
}
