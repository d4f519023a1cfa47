//! Pure: GatewayClass and Gateway.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::meta::ObjectMeta;
use super::presence::Presence;

/// gateway.networking.k8s.io GatewayClass.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
pub struct GatewayClass {
    /// Cluster-scoped.
    pub metadata: ObjectMeta,
    /// Desired state.
    pub spec: GatewayClassSpec,
}

/// GatewayClassSpec.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GatewayClassSpec {
    /// Who implements Gateways of this class.
    pub controller_name: String,
    /// For humans.
    pub description: Option<String>,
    /// Weir has no parameters: a reference is refused.
    pub parameters_ref: Option<ParametersRef>,
}

/// ParametersReference and LocalParametersReference.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
pub struct ParametersRef {
    /// API group.
    pub group: String,
    /// Kind.
    pub kind: String,
    /// Name.
    pub name: String,
    /// Only for a GatewayClass.
    pub namespace: Option<String>,
}

/// gateway.networking.k8s.io Gateway.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
pub struct Gateway {
    /// Namespaced.
    pub metadata: ObjectMeta,
    /// Desired state.
    pub spec: GatewaySpec,
}

/// GatewaySpec.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GatewaySpec {
    /// Name of the class.
    pub gateway_class_name: String,
    /// Ports to open.
    pub listeners: Vec<Listener>,
    /// Addresses to bind; all of this host when empty.
    #[serde(default)]
    pub addresses: Vec<GatewayAddress>,
    /// What is said of the objects that are made for the Gateway.
    pub infrastructure: Option<Infrastructure>,
    /// ListenerSets are not supported.
    pub allowed_listeners: Option<Presence>,
    /// TLS is not supported yet.
    pub tls: Option<Presence>,
    /// Experimental in the API, not supported.
    pub default_scope: Option<String>,
}

/// GatewayInfrastructure.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Infrastructure {
    /// Labels of the objects that a cluster's controller makes for the Gateway. Nothing elsewhere.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Annotations of them.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
    /// Weir has no parameters: a reference is refused.
    pub parameters_ref: Option<ParametersRef>,
}

/// GatewaySpecAddress.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
pub struct GatewayAddress {
    /// `IPAddress` when absent.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// The address; any when empty.
    #[serde(default)]
    pub value: String,
}

/// Listener.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Listener {
    /// Unique within the Gateway.
    pub name: String,
    /// Exact or `*.example.com`; every host when absent or empty.
    pub hostname: Option<String>,
    /// 1 to 65535.
    pub port: u16,
    /// `HTTP`, `HTTPS`, `TLS`, `TCP`, `UDP` or a domain-prefixed word.
    pub protocol: String,
    /// TLS is not supported yet.
    pub tls: Option<Presence>,
    /// Who may attach; routes of the Gateway's namespace when absent.
    #[serde(default)]
    pub allowed_routes: AllowedRoutes,
}

/// AllowedRoutes.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AllowedRoutes {
    /// From which namespaces.
    pub namespaces: RouteNamespaces,
    /// Which kinds; those the protocol allows when empty.
    pub kinds: Vec<RouteGroupKind>,
}

/// RouteNamespaces.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct RouteNamespaces {
    /// `Same` when absent.
    pub from: FromNamespaces,
    /// For `Selector`.
    pub selector: Option<LabelSelector>,
}

/// FromNamespaces.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
pub enum FromNamespaces {
    /// Any namespace.
    All,
    /// Those whose labels match.
    Selector,
    /// The Gateway's own.
    #[default]
    Same,
    /// No namespace at all.
    None,
}

/// RouteGroupKind.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
pub struct RouteGroupKind {
    /// `gateway.networking.k8s.io` when absent.
    pub group: Option<String>,
    /// Kind of the route.
    pub kind: String,
}

/// metav1.LabelSelector.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LabelSelector {
    /// All must be there.
    pub match_labels: BTreeMap<String, String>,
    /// All must hold.
    pub match_expressions: Vec<LabelRequirement>,
}

/// metav1.LabelSelectorRequirement.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
pub struct LabelRequirement {
    /// Label.
    pub key: String,
    /// How it is compared.
    pub operator: LabelOperator,
    /// With what.
    #[serde(default)]
    pub values: Vec<String>,
}

/// metav1.LabelSelectorOperator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
pub enum LabelOperator {
    /// The label is one of the values.
    In,
    /// The label is absent or none of the values.
    NotIn,
    /// The label is there.
    Exists,
    /// The label is not there.
    DoesNotExist,
}

impl LabelSelector {
    /// True when `labels` satisfy it. The empty selector matches everything.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.match_labels.iter().all(|(key, value)| labels.get(key) == Some(value))
            && self.match_expressions.iter().all(|r| {
                let label = labels.get(&r.key);
                match r.operator {
                    LabelOperator::In => label.is_some_and(|l| r.values.contains(l)),
                    LabelOperator::NotIn => !label.is_some_and(|l| r.values.contains(l)),
                    LabelOperator::Exists => label.is_some(),
                    LabelOperator::DoesNotExist => label.is_none(),
                }
            })
    }
}
