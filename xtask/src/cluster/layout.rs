//! Pure: the names, addresses and folders of one cluster.

use std::path::{Path, PathBuf};

/// Where the API server listens in the namespace of the control plane, and the gateway of every node.
pub(super) const CONTROL_PLANE_ADDRESS: &str = "172.30.0.1";
pub(super) const API_PORT: u16 = 6443;
pub(super) const SERVICE_CIDR: &str = "10.96.0.0/16";
/// The first address of `SERVICE_CIDR`: the Service `kubernetes`.
pub(super) const API_SERVICE_ADDRESS: &str = "10.96.0.1";
pub(super) const DNS_ADDRESS: &str = "10.96.0.10";
pub(super) const POD_CIDR: &str = "10.244.0.0/16";
/// Their addresses are numbered within one octet, and a test machine holds no more.
pub(super) const NODES_MAX: u8 = 9;

/// Everything that a cluster's name decides.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    pub(super) name: String,
    /// State, logs and certificates; all of the cluster that is on disk.
    pub(super) root: PathBuf,
}

/// One node: `n1` and so on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Node(pub(super) u8);

impl Node {
    /// `n1` to `n9`.
    pub(super) fn parse(name: &str) -> Option<Self> {
        let number = name.strip_prefix('n')?.parse().ok()?;
        (1..=NODES_MAX).contains(&number).then_some(Self(number))
    }

    pub(super) fn all(count: u8) -> impl Iterator<Item = Self> + Clone {
        (1..=count).map(Self)
    }

    pub(super) fn name(self) -> String {
        format!("n{}", self.0)
    }

    /// In the network of the nodes.
    pub(super) fn address(self) -> String {
        format!("172.30.0.1{}", self.0)
    }

    /// The addresses of its pods.
    pub(super) fn pod_cidr(self) -> String {
        format!("10.244.{}.0/24", self.0)
    }
}

impl Layout {
    pub(super) fn new(runs: &Path, name: &str) -> Self {
        Self { name: name.to_owned(), root: runs.join(name) }
    }

    /// What was started, as JSON.
    pub(super) fn record(&self) -> PathBuf {
        self.root.join("cluster.json")
    }

    pub(super) fn pki(&self) -> PathBuf {
        self.root.join("pki")
    }

    pub(super) fn kubeconfig(&self, user: &str) -> PathBuf {
        self.pki().join(format!("{user}.kubeconfig"))
    }

    pub(super) fn logs(&self) -> PathBuf {
        self.root.join("log")
    }

    pub(super) fn log(&self, program: &str) -> PathBuf {
        self.logs().join(format!("{program}.log"))
    }

    /// What clients have asked the API server for, an object of JSON a line.
    pub(super) fn audit_log(&self) -> PathBuf {
        self.log("audit")
    }

    /// What a node keeps.
    pub(super) fn node(&self, node: Node) -> PathBuf {
        self.root.join(node.name())
    }

    /// The process 1 of a node, as the machine numbers it.
    pub(super) fn node_pid(&self, node: Node) -> PathBuf {
        self.node(node).join("pid")
    }

    /// The cgroups of a node, one a line.
    pub(super) fn node_cgroups(&self, node: Node) -> PathBuf {
        self.node(node).join("cgroups")
    }

    /// There once kubelets may register.
    pub(super) fn ready(&self) -> PathBuf {
        self.root.join("ready")
    }

    /// The network namespace of the control plane.
    pub(super) fn control_plane_netns(&self) -> String {
        format!("{}-cp", self.name)
    }

    pub(super) fn node_netns(&self, node: Node) -> String {
        format!("{}-{}", self.name, node.name())
    }

    /// Names of namespaces that this cluster may have.
    pub(super) fn netns(&self) -> Vec<String> {
        let nodes = Node::all(NODES_MAX).map(|node| self.node_netns(node));
        std::iter::once(self.control_plane_netns()).chain(nodes).collect()
    }
}

/// Where `ip` keeps a network namespace.
pub(super) fn netns_path(name: &str) -> PathBuf {
    Path::new("/run/netns").join(name)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{Layout, Node};

    #[test]
    fn a_node_is_known_by_its_name() {
        assert_eq!(Node::parse("n2"), Some(Node(2)));
        for name in ["n0", "n10", "2", "node2", ""] {
            assert_eq!(Node::parse(name), None, "{name}");
        }
        assert_eq!((Node(2).address(), Node(2).pod_cidr()), ("172.30.0.12".into(), "10.244.2.0/24".into()));
    }

    #[test]
    fn clusters_of_different_names_share_nothing() {
        let (a, b) = (Layout::new(Path::new("/r"), "a"), Layout::new(Path::new("/r"), "b"));
        assert!(a.netns().iter().all(|name| !b.netns().contains(name)));
        assert_ne!(a.root, b.root);
    }
}
