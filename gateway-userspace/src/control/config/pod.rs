//! Pure: Pod: the parts by which a node knows which pods to capture.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::meta::ObjectKey;

/// v1 Pod.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Pod {
    /// Namespaced.
    pub metadata: PodMeta,
    /// Desired state.
    #[serde(default)]
    pub spec: PodSpec,
    /// What the kubelet reports.
    #[serde(default)]
    pub status: PodStatus,
}

/// The metadata of a Pod that Weir acts on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodMeta {
    /// Name of the pod.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Tells a pod from the one that had its name before; names its cgroup.
    pub uid: String,
    /// For selectors and for `weir.dev/capture`.
    pub labels: BTreeMap<String, String>,
    /// For what other meshes leave on a pod.
    pub annotations: BTreeMap<String, String>,
    /// RFC 3339; set once the pod is to end.
    pub deletion_timestamp: Option<String>,
}

/// PodSpec.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodSpec {
    /// It has no network namespace of its own.
    pub host_network: bool,
    /// Where it runs.
    pub node_name: Option<String>,
    /// By name: a mesh's sidecar shows here.
    pub containers: Vec<Container>,
    /// As `containers`; a sidecar may stand here too.
    pub init_containers: Vec<Container>,
    /// How it is run, where that is not the node's usual way.
    pub runtime_class_name: Option<String>,
    /// What its sandbox takes beside its containers, by resource; empty for the usual one.
    pub overhead: BTreeMap<String, String>,
}

/// Container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct Container {
    /// Unique within the pod.
    pub name: String,
}

/// PodStatus.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodStatus {
    /// `Pending` when absent.
    pub phase: PodPhase,
    /// None before it has a network; at most one of each family.
    #[serde(rename = "podIPs")]
    pub pod_ips: Vec<PodIp>,
}

/// PodPhase.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
pub enum PodPhase {
    /// Not all of its containers have started.
    #[default]
    Pending,
    /// At least one container runs.
    Running,
    /// All ended well and will not start again.
    Succeeded,
    /// All ended, and at least one badly.
    Failed,
    /// The kubelet cannot be reached, or a phase of a later API.
    #[serde(other)]
    Unknown,
}

/// PodIP.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct PodIp {
    /// IPv4 or IPv6 as text.
    pub ip: String,
}

impl Pod {
    /// The pod's key.
    pub fn key(&self) -> ObjectKey {
        ObjectKey::new(&self.metadata.namespace, &self.metadata.name)
    }

    /// True once all its containers have ended for good: its network namespace is gone or will be.
    pub fn has_ended(&self) -> bool {
        matches!(self.status.phase, PodPhase::Succeeded | PodPhase::Failed)
    }

    /// True when a container or init container has this name.
    pub fn has_container(&self, name: &str) -> bool {
        self.spec.containers.iter().chain(&self.spec.init_containers).any(|c| c.name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_is_read_from_the_api_without_what_nobody_needs() {
        let json = r#"{"metadata":{"name":"a","namespace":"shop","uid":"u-1","labels":{"app":"a"},
            "managedFields":[{"manager":"kubelet"}]},
            "spec":{"nodeName":"n1","containers":[{"name":"app","image":"x"},{"name":"istio-proxy"}]},
            "status":{"phase":"Running","podIP":"10.0.0.1","podIPs":[{"ip":"10.0.0.1"},{"ip":"fd00::1"}]}}"#;
        let pod: Pod = serde_json::from_str(json).unwrap();
        assert_eq!(pod.key().to_string(), "shop/a");
        assert_eq!((pod.metadata.uid.as_str(), pod.spec.node_name.as_deref()), ("u-1", Some("n1")));
        assert_eq!(pod.status.pod_ips.iter().map(|p| &*p.ip).collect::<Vec<_>>(), ["10.0.0.1", "fd00::1"]);
        assert!(pod.has_container("istio-proxy") && !pod.has_container("linkerd-proxy"));
        assert!(!pod.has_ended() && !pod.spec.host_network);
    }

    #[test]
    fn a_phase_of_a_later_api_is_unknown_and_not_an_error() {
        let pod: Pod =
            serde_json::from_str(r#"{"metadata":{"name":"a"},"status":{"phase":"Resting"}}"#).unwrap();
        assert_eq!(pod.status.phase, PodPhase::Unknown);
    }
}
