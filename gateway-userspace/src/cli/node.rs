//! `weir node`: serves one node of a cluster until it is told to end.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::serve::{ServeArgs, time};
use super::{Failure, Verdict};
use crate::app;
use crate::bootstrap::{self, CniSettings, NodeSettings, Settings, Source};
use crate::capture::locate::NodePaths;
use crate::capture::selection::SelectionSettings;

/// The admin socket's name in the folder of state.
const ADMIN_SOCKET: &str = "admin.sock";

/// Where a container has the node's `/proc`, if it has.
const HOST_PROC: &str = "/host/proc";

const EXAMPLES: &str = "\
Examples:
  weir node                                         in a pod of the DaemonSet, with its service account
  sudo weir node --node-name n1 --kubeconfig ~/.kube/config --daemon-set ''
                                                    on a node, without one

A pod is captured when it, or its namespace, has the label weir.dev/capture=enabled. A process that runs on
the node already is replaced: it hands the pods over, and serves Gateways until its own pod is ended.";

/// Serve one node of a cluster
///
/// Follows the API server: Gateways open their ports in this network namespace, and the node's pods that ask for it
/// have their calls to Services go through Weir. Without the API server it goes on with what is known. Needs
/// CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON, CAP_SYS_ADMIN (to enter network namespaces) and CAP_SYS_PTRACE (to find
/// them through the node's /proc).
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, args_override_self = true)]
pub struct NodeArgs {
    /// How to reach the API server [default: as the service account of this pod says]
    #[arg(long, value_name = "PATH", env = "KUBECONFIG")]
    kubeconfig: Option<PathBuf>,
    /// Where Weir is installed
    #[arg(long, value_name = "NAME", env = "WEIR_NAMESPACE", default_value = "weir-system")]
    namespace: String,
    /// The DaemonSet of this process: once it is deleted, SIGTERM leaves nothing of Weir on the node. Empty
    /// where there is none
    #[arg(long, value_name = "NAME", env = "WEIR_DAEMON_SET", default_value = "weir")]
    daemon_set: String,
    /// The pod of this process, if it has one
    #[arg(long, value_name = "NAME", env = "WEIR_POD_NAME", default_value = "")]
    pod_name: String,
    /// The node's /proc [default: /host/proc where that is, else /proc]
    #[arg(long, value_name = "PATH")]
    host_proc: Option<PathBuf>,
    /// The node's cgroup hierarchies
    #[arg(long, value_name = "PATH", default_value = "/sys/fs/cgroup")]
    cgroup_root: PathBuf,
    /// Folder of the admin socket and of what is known of the cluster; the node's own, so that the next
    /// process finds it
    #[arg(long, value_name = "PATH", default_value = "/var/run/weir")]
    state_dir: PathBuf,
    /// Labels of another mesh that count as weir.dev/capture: istio.io/dataplane-mode
    #[arg(long, value_enum, value_name = "MESH")]
    capture_labels_of: Option<Mesh>,
    /// How long ports of Gateways stay open after SIGTERM, until nobody is sent here any more
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = time)]
    drain_delay: Duration,
    /// The container runtime's lists of plugins: it asks Weir about each new pod, and a pod starts once it is captured
    #[arg(long, value_name = "PATH", requires = "cni_bin_dir")]
    cni_conf_dir: Option<PathBuf>,
    /// The container runtime's plugins
    #[arg(long, value_name = "PATH", requires = "cni_conf_dir")]
    cni_bin_dir: Option<PathBuf>,
    /// Where the container runtime finds `cni.sock` of the folder of state
    #[arg(long, value_name = "PATH", default_value = "/var/run/weir/cni.sock")]
    cni_socket: PathBuf,
    #[command(flatten)]
    serve: ServeArgs,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Mesh {
    /// `ambient` is enabled, `none` is disabled.
    Istio,
}

/// Serves until SIGTERM or SIGINT.
pub fn run(args: NodeArgs) -> Result<Verdict, Failure> {
    args.serve.log()?;
    let mut settings = resolve(args)?;
    settings.check().map_err(|e| Failure::Usage(e.to_string()))?;
    bootstrap::fit_open_files(&mut settings.limits);
    app::run(settings)?;
    Ok(Verdict::Fine)
}

fn resolve(args: NodeArgs) -> Result<Settings, Failure> {
    let node_name = args.serve.node_name().ok_or_else(|| {
        Failure::Usage("which node is this? say it with --node-name or WEIR_NODE_NAME (spec.nodeName)".into())
    })?;
    let admin_socket = args.serve.admin_socket();
    let node = NodeSettings {
        kubeconfig: args.kubeconfig,
        node_name: node_name.to_owned(),
        daemon_set: args.daemon_set,
        pod_name: args.pod_name,
        selection: SelectionSettings {
            own_namespace: args.namespace,
            istio_labels: matches!(args.capture_labels_of, Some(Mesh::Istio)),
        },
        paths: NodePaths { proc: args.host_proc.unwrap_or_else(host_proc), cgroups: args.cgroup_root },
        state_dir: args.state_dir.clone(),
        drain_delay: args.drain_delay,
        cni: args.cni_conf_dir.zip(args.cni_bin_dir).map(|(conf_dir, bin_dir)| CniSettings {
            conf_dir,
            bin_dir,
            socket: args.cni_socket,
        }),
    };
    let mut settings = args.serve.settings(Source::Node(Box::new(node)));
    settings.place.behind_services = true;
    Ok(Settings {
        admin_socket: admin_socket.unwrap_or_else(|| args.state_dir.join(ADMIN_SOCKET)),
        takeover: true,
        // A process that ends takes all of its container with it.
        holder: std::process::id() != 1,
        ..settings
    })
}

fn host_proc() -> PathBuf {
    let mounted = Path::new(HOST_PROC);
    if mounted.join("1").is_dir() { mounted.to_path_buf() } else { PathBuf::from("/proc") }
}
