//! `weir run`: serves a folder of YAML until it is told to end.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::serve::ServeArgs;
use super::{Failure, Verdict};
use crate::app;
use crate::bootstrap::{self, Capture, Settings, Source};

const EXAMPLES: &str = "\
Examples:
  weir run --config ./config                          a reverse proxy from Kubernetes YAML; needs no privilege
  sudo weir run --config ./config --cgroup /sys/fs/cgroup/kubepods.slice
                                                      the same, and capture the folder's CapturedPods
  weir run --config ./config --access-log off --log-level warn
  sudo weir run --config ./config --takeover          replace the gateway that runs, without a lost connection

A pod is captured when the folder has a
  apiVersion: weir.dev/v1alpha1
  kind: CapturedPod
  metadata: {namespace: shop, name: web}
  spec: {netns: /run/netns/web}

The folder is watched: a change is live within milliseconds. A broken object is reported, and its last
good version goes on serving. SIGTERM drains: requests in flight finish, new ones go elsewhere.";

/// Serve a folder of Kubernetes YAML
///
/// Gateways of the folder open their ports on this host. CapturedPods have their calls to Services go
/// through Weir, which needs root (or CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON, CAP_SYS_ADMIN); without any, no privilege is needed.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct RunArgs {
    /// Folder with the YAML files; watched
    #[arg(long, value_name = "DIR", env = "WEIR_CONFIG")]
    config: PathBuf,
    /// Whether pods are captured: as soon as the folder names one, or never
    #[arg(long, value_enum, default_value_t)]
    capture: CaptureMode,
    /// Replace the gateway that runs here: it hands its ports and pods over, drains and ends
    #[arg(long)]
    takeover: bool,
    /// Start no process that keeps ports open for a moment when this one is killed
    #[arg(long)]
    no_holder: bool,
    #[command(flatten)]
    serve: ServeArgs,
}

#[derive(Debug, Clone, Copy, Default, ValueEnum)]
enum CaptureMode {
    /// As soon as the folder names a pod.
    #[default]
    Auto,
    /// Never: gateways only.
    Off,
}

/// Serves until SIGTERM or SIGINT.
pub fn run(args: RunArgs) -> Result<Verdict, Failure> {
    args.serve.log()?;
    let capture = match args.capture {
        CaptureMode::Auto => Capture::Auto,
        CaptureMode::Off => Capture::Off,
    };
    let mut settings = Settings {
        capture,
        takeover: args.takeover,
        holder: !args.no_holder,
        ..args.serve.settings(Source::Folder(args.config))
    };
    settings.check().map_err(|e| Failure::Usage(e.to_string()))?;
    bootstrap::fit_open_files(&mut settings.limits);
    app::run(settings)?;
    Ok(Verdict::Fine)
}
