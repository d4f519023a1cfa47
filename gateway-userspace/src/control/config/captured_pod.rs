//! Pure: CapturedPod, by which a folder of YAML says what a node agent learns from Kubernetes.

use serde::{Deserialize, Serialize};

use super::meta::ObjectMeta;

/// weir.dev/v1alpha1 CapturedPod: connects from this network namespace go through Weir.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
pub struct CapturedPod {
    /// Namespace, name and labels of the pod.
    pub metadata: ObjectMeta,
    /// Desired state.
    pub spec: CapturedPodSpec,
}

/// CapturedPodSpec.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
pub struct CapturedPodSpec {
    /// Path of the network namespace: `/run/netns/NAME`, `/proc/PID/ns/net`. It may come later.
    pub netns: String,
}
