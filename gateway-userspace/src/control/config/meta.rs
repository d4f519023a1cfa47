//! Pure: what every object has: a name, a place where it was written, labels and annotations.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::Deserialize;

/// `namespace/name`; the namespace is empty for cluster-scoped kinds. Ordered as the Gateway API
/// breaks ties: by `namespace/name`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectKey {
    /// Empty for GatewayClass and Namespace.
    pub namespace: Arc<str>,
    /// Name of the object.
    pub name: Arc<str>,
}

impl ObjectKey {
    /// A key from two texts.
    pub fn new(namespace: &str, name: &str) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            f.write_str(&self.name)
        } else {
            write!(f, "{}/{}", self.namespace, self.name)
        }
    }
}

/// Where an object was written. Not part of the object: moving it within a file changes nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// Path as the user gave it, or empty for an object from an API server.
    pub file: Arc<str>,
    /// First line of the object, from 1; 0 where there is no file.
    pub line: u32,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// The metadata that Weir acts on.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ObjectMeta {
    /// Name of the object.
    pub name: String,
    /// Empty for cluster-scoped kinds.
    pub namespace: String,
    /// Counts the changes of `spec` where an API server keeps the object, else 0.
    pub generation: i64,
    /// RFC 3339, UTC, so that the order of texts is the order of times. Absent counts as oldest.
    pub creation_timestamp: Option<String>,
    /// For selectors.
    pub labels: BTreeMap<String, String>,
    /// For Weir's settings.
    pub annotations: BTreeMap<String, String>,
}

impl ObjectMeta {
    /// The object's key.
    pub fn key(&self) -> ObjectKey {
        ObjectKey::new(&self.namespace, &self.name)
    }
}
