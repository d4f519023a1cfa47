//! Pure: HTTPRoute.

use serde::{Deserialize, Serialize};

use super::duration::GatewayDuration;
use super::filter::RouteFilter;
use super::meta::ObjectMeta;
use super::presence::Presence;
use super::route::{BackendRef, NamedMatch, ParentRef};

/// gateway.networking.k8s.io HTTPRoute.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
pub struct HttpRoute {
    /// Namespaced.
    pub metadata: ObjectMeta,
    /// Desired state.
    #[serde(default)]
    pub spec: HttpRouteSpec,
}

/// HTTPRouteSpec.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HttpRouteSpec {
    /// Gateways and Services it attaches to.
    pub parent_refs: Vec<ParentRef>,
    /// Experimental in the API, not supported.
    pub use_default_gateways: Option<String>,
    /// Every host of the parent when empty.
    pub hostnames: Vec<String>,
    /// One rule that matches everything and has no backend when absent.
    pub rules: Option<Vec<HttpRouteRule>>,
}

/// HTTPRouteRule.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HttpRouteRule {
    /// For humans, metrics and logs.
    pub name: Option<String>,
    /// Any may hold; prefix `/` when empty.
    pub matches: Vec<HttpRouteMatch>,
    /// Applied in order.
    pub filters: Vec<RouteFilter>,
    /// Where requests go.
    pub backend_refs: Vec<BackendRef>,
    /// Limits on time.
    pub timeouts: Option<HttpRouteTimeouts>,
    /// Experimental in the API.
    pub retry: Option<HttpRouteRetry>,
    /// Experimental in the API, not supported.
    pub session_persistence: Option<Presence>,
}

/// HTTPRouteMatch: all of it must hold.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HttpRouteMatch {
    /// Prefix `/` when absent.
    pub path: Option<HttpPathMatch>,
    /// All must hold.
    pub headers: Vec<NamedMatch>,
    /// All must hold.
    pub query_params: Vec<NamedMatch>,
    /// Any when absent.
    pub method: Option<String>,
}

/// HTTPPathMatch.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct HttpPathMatch {
    /// `PathPrefix` when absent.
    #[serde(rename = "type")]
    pub kind: PathMatchType,
    /// `/` when absent.
    pub value: Option<String>,
}

/// PathMatchType.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
pub enum PathMatchType {
    /// The whole path.
    Exact,
    /// Whole path elements.
    #[default]
    PathPrefix,
    /// The whole path, by a pattern.
    RegularExpression,
}

/// HTTPRouteTimeouts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HttpRouteTimeouts {
    /// The whole exchange.
    pub request: Option<GatewayDuration>,
    /// One attempt.
    pub backend_request: Option<GatewayDuration>,
}

/// HTTPRouteRetry.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct HttpRouteRetry {
    /// Status codes that are repeated, 400 to 599.
    pub codes: Vec<u16>,
    /// Repeats after the first attempt; `Limits::retry_attempts` when absent.
    pub attempts: Option<u32>,
    /// Least wait before a repeat.
    pub backoff: Option<GatewayDuration>,
}
