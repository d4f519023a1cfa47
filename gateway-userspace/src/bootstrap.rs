//! Bootstrap: what was typed becomes settings that cannot be wrong.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::capture::locate::NodePaths;
use crate::capture::selection::SelectionSettings;
use crate::control::compile::Place;
use crate::ebpf::PIN_ROOT;
use crate::limits::Limits;
use crate::proxy::http::headers::forwarded::TrustedProxies;
use crate::telemetry::access_log::AccessLogOptions;

/// Longest path of a Unix socket, bytes (`sun_path` of unix(7), without the final NUL).
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// Why the settings cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum BootstrapError {
    /// The configuration folder is not there.
    #[error("{0} is no folder; --config names the folder with the YAML files")]
    NoConfig(PathBuf),
    /// The path does not fit into a socket address.
    #[error(
        "{path} is too long for a Unix socket, which may have at most {possible} bytes; choose a shorter --admin-socket"
    )]
    SocketPathTooLong {
        /// As given.
        path: PathBuf,
        /// Longest path, bytes.
        possible: usize,
    },
}

/// Whether pods may be captured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Capture {
    /// As soon as the folder names one, or labels in the cluster ask for it.
    #[default]
    Auto,
    /// Never: gateways only.
    Off,
}

/// Where desired state comes from.
#[derive(Debug, Clone)]
pub enum Source {
    /// A folder of YAML.
    Folder(PathBuf),
    /// An API server, of which this process serves one node.
    Node(Box<NodeSettings>),
}

/// What a process must know that serves a node of a cluster.
#[derive(Debug, Clone)]
pub struct NodeSettings {
    /// How to reach the API server; as the pod's service account says when not given.
    pub kubeconfig: Option<PathBuf>,
    /// The node that it serves.
    pub node_name: String,
    /// The DaemonSet that it belongs to, in `selection.own_namespace`. When that is deleted, so is what
    /// Weir has left on the node.
    pub daemon_set: String,
    /// This process's pod, in `selection.own_namespace`; empty where it has none.
    pub pod_name: String,
    /// Which pods are captured.
    pub selection: SelectionSettings,
    /// Where the node's own trees are.
    pub paths: NodePaths,
    /// Keeps what is known across a restart.
    pub state_dir: PathBuf,
    /// How long ports of Gateways stay open after SIGTERM: until nobody is sent here any more.
    pub drain_delay: Duration,
    /// Pods are captured before they start, by the container runtime's word.
    pub cni: Option<CniSettings>,
}

/// Weir as a plugin of the node's container runtime.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CniSettings {
    /// The runtime's lists of plugins.
    pub conf_dir: PathBuf,
    /// The runtime's plugins.
    pub bin_dir: PathBuf,
    /// Where the runtime, in the node's mounts, finds the socket that this process makes in its folder of state.
    pub socket: PathBuf,
}

/// How to run the gateway.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where desired state comes from.
    pub source: Source,
    /// The proxies in front of Gateways whose `X-Forwarded-*` headers are believed.
    pub trusted: TrustedProxies,
    /// Where the admin socket is made.
    pub admin_socket: PathBuf,
    /// TCP address that serves the read-only part of the admin API too, if any.
    pub admin_address: Option<SocketAddr>,
    /// Threads that serve traffic, at least 1.
    pub workers: usize,
    /// What to log of requests, and where.
    pub access_log: AccessLogOptions,
    /// Whether pods may be captured.
    pub capture: Capture,
    /// Directory of the pods' cgroups; found when not given.
    pub cgroup: Option<PathBuf>,
    /// Folder of the pins on a bpffs.
    pub bpf_root: PathBuf,
    /// Replace a gateway that runs already.
    pub takeover: bool,
    /// Have a process beside this one keep the listening sockets open when it dies.
    pub holder: bool,
    /// Note each decision of the kernel programs.
    pub datapath_log: bool,
    /// Peers of gateway listeners that begin each connection with a PROXY protocol header.
    pub proxy_protocol_from: Vec<IpNet>,
    /// Where the gateway runs.
    pub place: Place,
    /// The limits of everything.
    pub limits: Limits,
}

impl Settings {
    /// Settings with every default, for a folder and an admin socket.
    pub fn new(config: PathBuf, admin_socket: PathBuf) -> Self {
        Self {
            source: Source::Folder(config),
            trusted: TrustedProxies::default(),
            admin_socket,
            admin_address: None,
            workers: default_workers(),
            access_log: AccessLogOptions::default(),
            capture: Capture::default(),
            cgroup: None,
            bpf_root: PathBuf::from(PIN_ROOT),
            takeover: false,
            holder: false,
            datapath_log: false,
            proxy_protocol_from: Vec::new(),
            place: Place::default(),
            limits: Limits::default(),
        }
    }

    /// Finds what cannot work before anything is started.
    ///
    /// # Errors
    /// The first thing that is wrong, and what to do.
    pub fn check(&self) -> Result<(), BootstrapError> {
        if let Source::Folder(folder) = &self.source
            && !folder.is_dir()
        {
            return Err(BootstrapError::NoConfig(folder.clone()));
        }
        // The handover socket's path is the longest one that is made beside it.
        let longest = crate::app::handover::path_beside(&self.admin_socket);
        let length = longest.as_os_str().len();
        if length > SOCKET_PATH_BYTES_MAX {
            let possible = SOCKET_PATH_BYTES_MAX - (length - self.admin_socket.as_os_str().len());
            return Err(BootstrapError::SocketPathTooLong { path: self.admin_socket.clone(), possible });
        }
        Ok(())
    }
}

/// `/run/weir/admin.sock` for root; else below `$XDG_RUNTIME_DIR`, or a folder of the user's own in /tmp.
pub fn default_admin_socket() -> PathBuf {
    let user = nix::unistd::geteuid();
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").filter(|v| !v.is_empty());
    admin_socket_of(user.as_raw(), runtime.as_deref().map(Path::new))
}

fn admin_socket_of(user: u32, runtime: Option<&Path>) -> PathBuf {
    match (user, runtime) {
        (0, _) => PathBuf::from("/run/weir/admin.sock"),
        (_, Some(runtime)) => runtime.join("weir/admin.sock"),
        (user, None) => PathBuf::from(format!("/tmp/weir-{user}/admin.sock")),
    }
}

/// One per CPU that this process may use: its affinity and its cgroup's limit count.
pub fn default_workers() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Below so many descriptors it is worth a word: it is less than a busy node needs.
const FEW_DESCRIPTORS: usize = 16 * 1024;

/// Raises the limit of open files as far as allowed, each connection is one, or two; and has `limits`
/// keep to it.
pub fn fit_open_files(limits: &mut Limits) {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return };
    let raised = soft == hard || setrlimit(Resource::RLIMIT_NOFILE, hard, hard).is_ok();
    let descriptors = usize::try_from(if raised { hard } else { soft }).unwrap_or(usize::MAX);
    limits.fit_descriptors(descriptors);
    if descriptors < FEW_DESCRIPTORS {
        let connections = limits.connections_max;
        tracing::warn!(
            descriptors,
            connections,
            "few open files are allowed (`ulimit -Hn`), so few connections"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_admin_socket_is_where_its_user_may_write() {
        let runtime = Path::new("/run/user/1000");
        assert_eq!(admin_socket_of(0, Some(runtime)), Path::new("/run/weir/admin.sock"));
        assert_eq!(admin_socket_of(1000, Some(runtime)), Path::new("/run/user/1000/weir/admin.sock"));
        assert_eq!(admin_socket_of(1000, None), Path::new("/tmp/weir-1000/admin.sock"));
    }

    #[test]
    fn a_path_that_fits_no_socket_is_refused_with_what_is_possible() {
        let long = format!("/run/{}/admin.sock", "x".repeat(100));
        let error = Settings::new("/".into(), long.into()).check().unwrap_err();
        assert!(error.to_string().contains("at most 102 bytes"), "{error}");
    }

    #[test]
    fn a_missing_folder_is_named() {
        let error = Settings::new("/no/such/folder".into(), "/run/a.sock".into()).check().unwrap_err();
        assert!(error.to_string().starts_with("/no/such/folder is no folder"), "{error}");
    }
}
