//! Which pods are captured: their network namespaces, listeners and kernel entries.
//!
//! A `PodSource` says which pods there should be; `enrol` makes it so. A captured pod is an open
//! network namespace, listeners on its loopback that its home worker serves, and an entry in the
//! kernel that points connects at them. Removal goes the other way round: the kernel entry first.

pub mod cgroup;
pub mod enrol;
pub mod netns;
pub mod pod_table;
pub mod standalone;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

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
    /// Its labels, for policies and for humans.
    pub labels: BTreeMap<String, String>,
    /// Where its network namespace is: `/run/netns/NAME`, `/proc/PID/ns/net`.
    pub netns: PathBuf,
}

/// What a source of pods has to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PodEvent {
    /// This pod should be captured; or it changed.
    Added(Pod),
    /// This pod should not be captured any more.
    Removed(PodKey),
}

/// Says which pods of this machine should be captured: a folder of YAML, later Kubernetes.
pub trait PodSource: Send {
    /// Waits for the next thing to know. `None` when the source has ended: nothing changes any more.
    fn next(&mut self) -> impl Future<Output = Option<PodEvent>> + Send;
}
