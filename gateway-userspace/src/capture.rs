//! Which pods are captured: their network namespaces, listeners and kernel entries.
//!
//! A `PodSource` says which pods there should be; `enrol` makes it so. A captured pod is an open
//! network namespace, listeners on its loopback that its home worker serves, and an entry in the
//! kernel that points connects at them. Removal goes the other way round: the kernel entry first.

pub mod cgroup;
pub mod cni;
pub mod enrol;
pub mod kubernetes;
pub mod locate;
pub mod netns;
pub mod pod_table;
pub mod selection;
pub mod standalone;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use netns::{Netns, NetnsError};
use selection::Skip;

/// Names a pod: `namespace/name`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PodKey {
    /// Namespace of the pod.
    pub namespace: Arc<str>,
    /// Name of the pod.
    pub name: Arc<str>,
}

impl fmt::Display for PodKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// A pod that should be captured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pod {
    /// Who it is.
    pub key: PodKey,
    /// Tells it from a pod that had its name before; empty where nobody gives one.
    pub uid: Arc<str>,
    /// Its labels, for policies and for humans.
    pub labels: BTreeMap<String, String>,
    /// Where its network namespace is.
    pub place: Place,
}

/// Where a pod's network namespace is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// Not known, or not any more: nothing of the pod runs yet.
    Unknown,
    /// At a path of its own, such as `/run/netns/NAME`; looked up anew each time.
    At(PathBuf),
    /// That one and no other, found by a process of the pod. The path may lead elsewhere once the
    /// process has ended; the source of pods sees to that.
    Open {
        /// `/proc/PID/ns/net` of that process.
        path: PathBuf,
        /// The namespace itself.
        netns: Netns,
    },
    /// Processes of the pod run, and still it is not to be had.
    Hidden(Hidden),
}

/// Why the namespace of a pod that runs cannot be found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Hidden {
    /// The kernel does not show it to this process.
    #[error(
        "its network namespace may not be looked for: /proc/PID/ns/net is refused; add SYS_PTRACE to \
         securityContext.capabilities.add of Weir's container, and see that no AppArmor profile forbids ptrace"
    )]
    NotPermitted,
    /// Whatever runs there shares the node's network: a sandbox that keeps the pod's elsewhere.
    #[error(
        "none of its processes is in a network namespace of its own: a sandbox such as a virtual machine has it, \
         and cannot be captured"
    )]
    NoNamespace,
}

impl Place {
    /// The path, for humans.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Unknown | Self::Hidden(_) => None,
            Self::At(path) | Self::Open { path, .. } => Some(path),
        }
    }

    /// True when there is a namespace to be had.
    fn is_found(&self) -> bool {
        matches!(self, Self::At(_) | Self::Open { .. })
    }

    /// The namespace; `None` when its place is not known.
    fn open(&self) -> Result<Option<Netns>, NetnsError> {
        match self {
            Self::Unknown => Ok(None),
            Self::At(path) => Netns::open(path).map(Some),
            Self::Open { netns, .. } => Ok(Some(netns.clone())),
            Self::Hidden(why) => Err(NetnsError::Hidden(*why)),
        }
    }

    /// True when `netns`, which was opened here, is gone.
    fn has_lost(&self, netns: &Netns) -> bool {
        match self {
            Self::Unknown | Self::Hidden(_) => true,
            Self::At(path) => Netns::id_at(path) != Some(netns.id()),
            Self::Open { netns: found, .. } => found.id() != netns.id(),
        }
    }

    /// True when a namespace that was captured at `self` is another one than that at `other`.
    fn differs(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Open { netns, .. }, Self::Open { netns: other, .. }) => netns.id() != other.id(),
            _ => self != other,
        }
    }
}

/// What a source of pods has to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PodEvent {
    /// This pod should be captured as soon as its place is known; or it changed.
    Added(Pod),
    /// Somebody asked to capture this pod, but it is left alone.
    Skipped(Pod, Skip),
    /// This pod should not be captured any more.
    Removed(PodKey),
    /// Every pod that was there when the source began has been said, and where it is.
    Complete,
}

/// Says which pods of this machine should be captured: a folder of YAML, or Kubernetes.
pub trait PodSource: Send {
    /// Waits for the next thing to know. `None` when the source has ended: nothing changes any more.
    fn next(&mut self) -> impl Future<Output = Option<PodEvent>> + Send;
}
