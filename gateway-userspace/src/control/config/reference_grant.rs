//! Pure: ReferenceGrant.

use serde::{Deserialize, Serialize};

use super::meta::ObjectMeta;

/// gateway.networking.k8s.io ReferenceGrant.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
pub struct ReferenceGrant {
    /// In the namespace of what may be referred to.
    pub metadata: ObjectMeta,
    /// Desired state.
    pub spec: ReferenceGrantSpec,
}

/// ReferenceGrantSpec.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
pub struct ReferenceGrantSpec {
    /// Who may refer.
    pub from: Vec<ReferenceGrantFrom>,
    /// To what.
    pub to: Vec<ReferenceGrantTo>,
}

/// ReferenceGrantFrom.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
pub struct ReferenceGrantFrom {
    /// API group.
    pub group: String,
    /// Kind.
    pub kind: String,
    /// Namespace.
    pub namespace: String,
}

/// ReferenceGrantTo.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
pub struct ReferenceGrantTo {
    /// API group; empty for core.
    pub group: String,
    /// Kind.
    pub kind: String,
    /// Any when absent.
    pub name: Option<String>,
}
