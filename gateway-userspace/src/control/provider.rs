//! Where desired state comes from.

mod decode;
pub mod file;
mod known_fields;
pub mod kubernetes;
mod object;
mod tree;

use std::sync::Arc;

use super::config::resources::ResourceSet;
use super::diagnostic::Diagnostic;

/// What a provider read last. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Desired {
    /// Every object, each in its last good version.
    pub set: ResourceSet,
    /// What could not be read, and where.
    pub findings: Arc<[Diagnostic]>,
    /// Every kind is known: what is not here is nowhere. Nobody else's object is to suffer from a state that is not.
    pub complete: bool,
}

impl From<ResourceSet> for Desired {
    fn from(set: ResourceSet) -> Self {
        Self { set, findings: Arc::default(), complete: true }
    }
}
