//! What the numbers in records are called.

use std::sync::Arc;

use super::pods::{PodName, Pods};
use super::record::PodId;
use crate::snapshot::cluster::ClusterId;
use crate::snapshot::names::Names;
use crate::snapshot::router::RuleId;

/// A Service port in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceName {
    /// `namespace/service:port`, of which the other fields are parts.
    text: Arc<str>,
    slash: usize,
    colon: usize,
}

impl ServiceName {
    /// Reads `namespace/service:port`.
    pub fn parse(text: Arc<str>) -> Option<Self> {
        let slash = text.find('/')?;
        let colon = text.rfind(':').filter(|colon| *colon > slash)?;
        Some(Self { text, slash, colon })
    }

    /// `namespace/service:port`.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Namespace of the Service.
    pub fn namespace(&self) -> &str {
        &self.text[..self.slash]
    }

    /// Name of the Service.
    pub fn service(&self) -> &str {
        &self.text[self.slash + 1..self.colon]
    }

    /// Service port, as text.
    pub fn port(&self) -> &str {
        &self.text[self.colon + 1..]
    }

    /// `service.namespace`: what clients call it inside a cluster.
    pub fn host(&self) -> String {
        format!("{}.{}", self.service(), self.namespace())
    }
}

/// Looks names up. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Directory {
    /// Clusters and rules.
    pub names: Arc<Names>,
    /// Pods.
    pub pods: Arc<Pods>,
}

impl Directory {
    /// Name of a Service port.
    pub fn service(&self, id: ClusterId) -> Option<ServiceName> {
        self.names.cluster(id).and_then(ServiceName::parse)
    }

    /// `namespace/route/rule`.
    pub fn rule(&self, id: RuleId) -> Option<Arc<str>> {
        self.names.rule(id)
    }

    /// Name of a pod of this node.
    pub fn pod(&self, id: PodId) -> Option<Arc<PodName>> {
        self.pods.name(id)
    }
}

#[cfg(test)]
mod tests {
    use super::ServiceName;

    #[test]
    fn a_service_port_is_taken_apart_at_its_slash_and_its_last_colon() {
        let name = ServiceName::parse("shop/cart:80".into()).unwrap();
        assert_eq!((name.namespace(), name.service(), name.port()), ("shop", "cart", "80"));
        assert_eq!(name.host(), "cart.shop");
        assert_eq!(ServiceName::parse("cart:80".into()), None);
        assert_eq!(ServiceName::parse("shop:80/cart".into()), None);
    }
}
