//! Pure: what HTTPRoute and GRPCRoute share: parents, backends and the ways to match a value.

use serde::{Deserialize, Serialize};

use super::filter::RouteFilter;

/// The group of the Gateway API kinds, and the default of a parentRef's group.
pub const GATEWAY_GROUP: &str = "gateway.networking.k8s.io";

/// ParentReference.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ParentRef {
    /// `gateway.networking.k8s.io` when absent; empty for a Service.
    pub group: Option<String>,
    /// `Gateway` when absent.
    pub kind: Option<String>,
    /// The route's when absent.
    pub namespace: Option<String>,
    /// Name.
    pub name: String,
    /// Listener of a Gateway, or port name of a Service.
    pub section_name: Option<String>,
    /// Port of a listener or Service.
    pub port: Option<u16>,
}

/// BackendObjectReference with a weight: HTTPBackendRef and GRPCBackendRef.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
pub struct BackendRef {
    /// Core when absent or empty.
    pub group: Option<String>,
    /// `Service` when absent.
    pub kind: Option<String>,
    /// The route's when absent.
    pub namespace: Option<String>,
    /// Name.
    pub name: String,
    /// Service port; must be there for a Service.
    pub port: Option<u16>,
    /// Share, 1 when absent, 0 to 1,000,000.
    pub weight: Option<u32>,
    /// Applied to requests that go to this backend.
    #[serde(default)]
    pub filters: Vec<RouteFilter>,
}

/// HTTPHeaderMatch, GRPCHeaderMatch and HTTPQueryParamMatch.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
pub struct NamedMatch {
    /// How the value is compared.
    #[serde(rename = "type", default)]
    pub kind: ValueMatchType,
    /// Header or query parameter.
    pub name: String,
    /// With what.
    pub value: String,
}

/// HeaderMatchType and QueryParamMatchType.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
pub enum ValueMatchType {
    /// The whole value.
    #[default]
    Exact,
    /// The whole value, by a pattern.
    RegularExpression,
}
