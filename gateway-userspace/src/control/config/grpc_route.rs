//! Pure: GRPCRoute.

use serde::{Deserialize, Serialize};

use super::filter::RouteFilter;
use super::meta::ObjectMeta;
use super::presence::Presence;
use super::route::{BackendRef, NamedMatch, ParentRef, ValueMatchType};

/// gateway.networking.k8s.io GRPCRoute.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
pub struct GrpcRoute {
    /// Namespaced.
    pub metadata: ObjectMeta,
    /// Desired state.
    #[serde(default)]
    pub spec: GrpcRouteSpec,
}

/// GRPCRouteSpec.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GrpcRouteSpec {
    /// Gateways and Services it attaches to.
    pub parent_refs: Vec<ParentRef>,
    /// Experimental in the API, not supported.
    pub use_default_gateways: Option<String>,
    /// Every host of the parent when empty.
    pub hostnames: Vec<String>,
    /// None at all when absent.
    pub rules: Vec<GrpcRouteRule>,
}

/// GRPCRouteRule.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GrpcRouteRule {
    /// For humans, metrics and logs.
    pub name: Option<String>,
    /// Any may hold; everything when empty.
    pub matches: Vec<GrpcRouteMatch>,
    /// Applied in order.
    pub filters: Vec<RouteFilter>,
    /// Where requests go.
    pub backend_refs: Vec<BackendRef>,
    /// Experimental in the API, not supported.
    pub session_persistence: Option<Presence>,
}

/// GRPCRouteMatch: all of it must hold.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct GrpcRouteMatch {
    /// Any when absent.
    pub method: Option<GrpcMethodMatch>,
    /// All must hold.
    pub headers: Vec<NamedMatch>,
}

/// GRPCMethodMatch.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct GrpcMethodMatch {
    /// How both are compared.
    #[serde(rename = "type")]
    pub kind: ValueMatchType,
    /// Full name of the service; any when absent.
    pub service: Option<String>,
    /// Name of the method; any when absent.
    pub method: Option<String>,
}
