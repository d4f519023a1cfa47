//! Pure: what every object has: a name, a place where it was written, labels and annotations.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

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
pub enum Origin {
    /// In a file.
    File {
        /// Path as the user gave it.
        file: Arc<str>,
        /// First line of the object, from 1.
        line: u32,
    },
    /// In an API server, under its kind and key.
    Api {
        /// Which version of the object; 0 where the server's is not a number.
        resource_version: u64,
    },
}

impl Origin {
    /// The file and line, where there is one.
    pub fn place(&self) -> Option<(&str, u32)> {
        match self {
            Self::File { file, line } => Some((file, *line)),
            Self::Api { .. } => None,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { file, line } => write!(f, "{file}:{line}"),
            Self::Api { resource_version } => write!(f, "resourceVersion {resource_version}"),
        }
    }
}

/// The metadata that Weir acts on.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ObjectMeta {
    /// Name of the object.
    pub name: String,
    /// Empty for cluster-scoped kinds.
    pub namespace: String,
    /// Tells it from the object that had its name before. Empty where nobody asks, or no API server keeps it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub uid: String,
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
