//! Pure: texts that many objects have, such as names of nodes and zones, kept once.

use std::collections::HashSet;
use std::sync::Arc;

use crate::control::config::meta::ObjectKey;
use crate::control::config::service::{EndpointSlice, Service};

/// Texts that are in use, and some that were.
#[derive(Debug, Default)]
pub(super) struct Texts {
    known: HashSet<Arc<str>>,
    /// How many there may be before those that nobody uses are let go.
    full: usize,
}

/// Texts that are kept without a look at their use.
const FULL_MIN: usize = 1024;

impl Texts {
    /// The same text, in the allocation that it had first.
    fn shared(&mut self, text: Arc<str>) -> Arc<str> {
        if let Some(known) = self.known.get(&text) {
            return Arc::clone(known);
        }
        if self.known.len() >= self.full.max(FULL_MIN) {
            self.known.retain(|text| Arc::strong_count(text) > 1);
            self.full = self.known.len() * 2;
        }
        self.known.insert(Arc::clone(&text));
        text
    }

    fn share(&mut self, text: &mut Option<Arc<str>>) {
        *text = text.take().map(|text| self.shared(text));
    }

    /// A key whose namespace is shared.
    pub(super) fn key(&mut self, key: ObjectKey) -> ObjectKey {
        ObjectKey { namespace: self.shared(key.namespace), name: key.name }
    }

    /// Shares what the endpoints of a slice have in common with others, and gives back what room
    /// reading it took.
    pub(super) fn slice(&mut self, slice: &mut EndpointSlice) {
        slice.endpoints.shrink_to_fit();
        slice.ports.shrink_to_fit();
        for endpoint in &mut slice.endpoints {
            self.share(&mut endpoint.node_name);
            self.share(&mut endpoint.zone);
            if let Some(target) = &mut endpoint.target_ref {
                self.share(&mut target.kind);
                self.share(&mut target.namespace);
            }
        }
    }
}

/// Gives back what room reading a Service took.
pub(super) fn shrink(service: &mut Service) {
    service.spec.ports.shrink_to_fit();
    service.spec.cluster_ips.shrink_to_fit();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_kept_once_and_forgotten_when_nobody_uses_it() {
        let mut texts = Texts::default();
        let first = texts.shared("node-1".into());
        assert!(Arc::ptr_eq(&first, &texts.shared("node-1".into())));
        for index in 0..10 * FULL_MIN {
            texts.shared(index.to_string().into());
        }
        assert!(texts.known.len() <= FULL_MIN, "{}", texts.known.len());
        assert!(Arc::ptr_eq(&first, &texts.shared("node-1".into())));
    }
}
