//! Pure: what is watched in the API server: where each kind is, and which permission it takes.

use crate::control::config::resources::Kind;

/// A collection of objects that is listed and watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Source {
    /// v1 Service.
    Services,
    /// discovery.k8s.io EndpointSlice.
    EndpointSlices,
    /// v1 Namespace, its metadata alone.
    Namespaces,
    /// v1 Pod, of this node.
    Pods,
    /// v1 Node, this one, its metadata alone.
    Node,
    /// gateway.networking.k8s.io GatewayClass.
    GatewayClasses,
    /// gateway.networking.k8s.io Gateway.
    Gateways,
    /// gateway.networking.k8s.io HTTPRoute.
    HttpRoutes,
    /// gateway.networking.k8s.io GRPCRoute.
    GrpcRoutes,
    /// gateway.networking.k8s.io ReferenceGrant.
    ReferenceGrants,
}

/// Versions of the Gateway API whose objects Weir can read, best first.
pub(super) const GATEWAY_VERSIONS: [&str; 4] = ["v1", "v1beta1", "v1alpha3", "v1alpha2"];

impl Source {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Services,
        Self::EndpointSlices,
        Self::Namespaces,
        Self::Pods,
        Self::Node,
        Self::GatewayClasses,
        Self::Gateways,
        Self::HttpRoutes,
        Self::GrpcRoutes,
        Self::ReferenceGrants,
    ];

    /// The name of the collection, as in paths and in RBAC rules.
    pub const fn plural(self) -> &'static str {
        match self {
            Self::Services => "services",
            Self::EndpointSlices => "endpointslices",
            Self::Namespaces => "namespaces",
            Self::Pods => "pods",
            Self::Node => "nodes",
            Self::GatewayClasses => "gatewayclasses",
            Self::Gateways => "gateways",
            Self::HttpRoutes => "httproutes",
            Self::GrpcRoutes => "grpcroutes",
            Self::ReferenceGrants => "referencegrants",
        }
    }

    /// The API group; empty for the core.
    pub const fn group(self) -> &'static str {
        match self {
            Self::Services | Self::Namespaces | Self::Pods | Self::Node => "",
            Self::EndpointSlices => "discovery.k8s.io",
            Self::GatewayClasses
            | Self::Gateways
            | Self::HttpRoutes
            | Self::GrpcRoutes
            | Self::ReferenceGrants => crate::control::config::route::GATEWAY_GROUP,
        }
    }

    /// The version that every supported Kubernetes serves; `None` where discovery has to tell.
    pub(super) const fn fixed_version(self) -> Option<&'static str> {
        match self {
            Self::Services | Self::Namespaces | Self::Pods | Self::Node | Self::EndpointSlices => Some("v1"),
            Self::GatewayClasses
            | Self::Gateways
            | Self::HttpRoutes
            | Self::GrpcRoutes
            | Self::ReferenceGrants => None,
        }
    }

    /// The kind of its objects in the desired state. Pods are no part of that.
    pub(super) const fn kind(self) -> Option<Kind> {
        match self {
            Self::Services => Some(Kind::Service),
            Self::EndpointSlices => Some(Kind::EndpointSlice),
            Self::Namespaces => Some(Kind::Namespace),
            Self::Pods => None,
            Self::Node => Some(Kind::Node),
            Self::GatewayClasses => Some(Kind::GatewayClass),
            Self::Gateways => Some(Kind::Gateway),
            Self::HttpRoutes => Some(Kind::HttpRoute),
            Self::GrpcRoutes => Some(Kind::GrpcRoute),
            Self::ReferenceGrants => Some(Kind::ReferenceGrant),
        }
    }

    /// Without it nothing can be served as it should be; every API server has it.
    pub(super) const fn is_core(self) -> bool {
        self.fixed_version().is_some()
    }

    /// Where labels and annotations are all that is wanted.
    pub(super) const fn metadata_only(self) -> bool {
        matches!(self, Self::Namespaces | Self::Node)
    }

    /// What only a process that serves traffic needs.
    pub(super) const fn only_for_nodes(self) -> bool {
        matches!(self, Self::EndpointSlices | Self::Pods | Self::Node)
    }

    /// The selection that makes it this node's own.
    pub(super) fn field_selector(self, node: &str) -> Option<String> {
        match self {
            Self::Pods => Some(format!("spec.nodeName={node}")),
            Self::Node => Some(format!("metadata.name={node}")),
            _ => None,
        }
    }

    /// `plural.group`, as kubectl and the API server's messages name it.
    pub fn full_name(self) -> String {
        match self.group() {
            "" => self.plural().to_owned(),
            group => format!("{}.{group}", self.plural()),
        }
    }
}
