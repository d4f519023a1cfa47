//! Pure: Node: where it stands.

use serde::{Deserialize, Serialize};

use super::meta::ObjectMeta;

/// The label that names a node's zone.
pub const ZONE_LABEL: &str = "topology.kubernetes.io/zone";

/// v1 Node.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
pub struct Node {
    /// Cluster-scoped; its labels say where it stands.
    pub metadata: ObjectMeta,
}

impl Node {
    /// Its zone, if it has one.
    pub fn zone(&self) -> Option<&str> {
        self.metadata.labels.get(ZONE_LABEL).map(String::as_str).filter(|zone| !zone.is_empty())
    }
}
