//! Pure: Service, EndpointSlice and Namespace: the parts that traffic depends on.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::de::{Deserializer, Error, Visitor};
use serde::{Deserialize, Serialize, Serializer};
use smallvec::SmallVec;

use super::meta::ObjectMeta;
use super::presence::Presence;

/// The label that ties an EndpointSlice to its Service.
pub const SERVICE_NAME_LABEL: &str = "kubernetes.io/service-name";

/// v1 Namespace.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
pub struct Namespace {
    /// Cluster-scoped; its labels are what selectors look at.
    pub metadata: ObjectMeta,
}

/// v1 Service.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
pub struct Service {
    /// Namespaced.
    pub metadata: ObjectMeta,
    /// Desired state.
    #[serde(default)]
    pub spec: ServiceSpec,
}

/// ServiceSpec.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceSpec {
    /// `ClusterIP` when absent.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// First cluster IP, `None` for headless, or empty.
    #[serde(rename = "clusterIP")]
    pub cluster_ip: Option<String>,
    /// All cluster IPs, both families.
    #[serde(rename = "clusterIPs")]
    pub cluster_ips: Vec<String>,
    /// Ports.
    pub ports: Vec<ServicePort>,
    /// For `ExternalName`.
    pub external_name: Option<String>,
    /// Who makes the EndpointSlices; without one their author does.
    pub selector: Option<Presence>,
    /// Endpoints that are not ready take traffic too.
    pub publish_not_ready_addresses: bool,
    /// `None` when absent, or `ClientIP`.
    pub session_affinity: Option<String>,
    /// How long that holds.
    pub session_affinity_config: Option<SessionAffinityConfig>,
    /// `Cluster` when absent, or `Local`.
    pub internal_traffic_policy: Option<String>,
    /// No preference when absent; see [`Distribution`].
    pub traffic_distribution: Option<String>,
    /// The families it serves; the first one is its own.
    pub ip_families: Vec<String>,
}

/// SessionAffinityConfig.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct SessionAffinityConfig {
    /// For `ClientIP`.
    #[serde(rename = "clientIP")]
    pub client_ip: Option<ClientIpConfig>,
}

/// ClientIPConfig.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClientIpConfig {
    /// Seconds, 1 to 86,400; 10,800 when absent.
    pub timeout_seconds: Option<u32>,
}

/// Which endpoints a Service prefers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Distribution {
    /// Those in the caller's zone (`PreferSameZone`, `PreferClose`).
    SameZone,
    /// Those on the caller's node, then those in its zone (`PreferSameNode`).
    SameNode,
}

impl ServiceSpec {
    /// What `traffic_distribution` means; `None` for nothing, and for a word that is not known.
    pub fn distribution(&self) -> Option<Distribution> {
        match self.traffic_distribution.as_deref()? {
            "PreferSameZone" | "PreferClose" => Some(Distribution::SameZone),
            "PreferSameNode" => Some(Distribution::SameNode),
            _ => None,
        }
    }

    /// How long a client that does not call stays with its endpoint; `None` without an affinity.
    pub fn affinity(&self) -> Option<Duration> {
        if self.session_affinity.as_deref() != Some("ClientIP") {
            return None;
        }
        let config = self.session_affinity_config.as_ref().and_then(|config| config.client_ip.as_ref());
        let seconds = config.and_then(|config| config.timeout_seconds).unwrap_or(10_800);
        Some(Duration::from_secs(seconds.clamp(1, 86_400).into()))
    }

    /// Calls from within the cluster stay on the node.
    pub fn is_node_local(&self) -> bool {
        self.internal_traffic_policy.as_deref() == Some("Local")
    }
}

/// ServicePort.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServicePort {
    /// Must be there with more than one port.
    pub name: Option<String>,
    /// `TCP` when absent.
    pub protocol: Option<String>,
    /// What the port speaks.
    pub app_protocol: Option<String>,
    /// 1 to 65535.
    pub port: u16,
    /// Port of the pods; `port` when absent. EndpointSlices hold the resolved one.
    pub target_port: Option<IntOrString>,
    /// Not read.
    pub node_port: Option<Presence>,
}

/// intstr.IntOrString.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IntOrString {
    /// A number.
    Int(u16),
    /// A name.
    String(String),
}

impl Serialize for IntOrString {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Int(number) => serializer.serialize_u16(*number),
            Self::String(name) => serializer.serialize_str(name),
        }
    }
}

impl<'de> Deserialize<'de> for IntOrString {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl Visitor<'_> for Either {
            type Value = IntOrString;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a port number or the name of a port")
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<IntOrString, E> {
                u16::try_from(number)
                    .map(IntOrString::Int)
                    .map_err(|_| E::custom(format_args!("{number} is not a port number")))
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<IntOrString, E> {
                u16::try_from(number)
                    .map(IntOrString::Int)
                    .map_err(|_| E::custom(format_args!("{number} is not a port number")))
            }

            fn visit_str<E>(self, text: &str) -> Result<IntOrString, E> {
                Ok(IntOrString::String(text.to_owned()))
            }
        }
        deserializer.deserialize_any(Either)
    }
}

/// discovery.k8s.io EndpointSlice.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EndpointSlice {
    /// The label `kubernetes.io/service-name` names the Service.
    pub metadata: ObjectMeta,
    /// `IPv4`, `IPv6` or `FQDN`.
    pub address_type: AddressType,
    /// The endpoints.
    #[serde(default)]
    pub endpoints: Vec<SliceEndpoint>,
    /// Resolved ports, by the name of the Service port.
    #[serde(default)]
    pub ports: Vec<SlicePort>,
}

impl EndpointSlice {
    /// The Service it belongs to, in its own namespace.
    pub fn service(&self) -> Option<&str> {
        self.metadata.labels.get(SERVICE_NAME_LABEL).map(String::as_str)
    }
}

/// AddressType.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
pub enum AddressType {
    /// IPv4 addresses.
    IPv4,
    /// IPv6 addresses.
    IPv6,
    /// Names; deprecated in the API and not supported.
    #[serde(rename = "FQDN")]
    Fqdn,
}

/// Endpoint of an EndpointSlice. There are many: texts that repeat can be shared.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SliceEndpoint {
    /// The first one counts (they are interchangeable).
    pub addresses: SmallVec<[Box<str>; 1]>,
    /// What it may be used for.
    pub conditions: EndpointConditions,
    /// What it is.
    pub target_ref: Option<TargetRef>,
    /// Where it runs.
    pub node_name: Option<Arc<str>>,
    /// The zone of that.
    pub zone: Option<Arc<str>>,
    /// Not read.
    pub hostname: Option<Presence>,
    /// Whom it is for.
    pub hints: Option<Box<EndpointHints>>,
    /// Not read.
    pub deprecated_topology: Option<Presence>,
}

/// EndpointHints.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EndpointHints {
    /// Zones whose callers should use it.
    pub for_zones: Vec<Hint>,
    /// Nodes whose callers should use it.
    pub for_nodes: Vec<Hint>,
}

/// ForZone and ForNode.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct Hint {
    /// Of the zone or node.
    pub name: String,
}

/// EndpointConditions; absent means what the API says for each.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct EndpointConditions {
    /// True when absent.
    pub ready: Option<bool>,
    /// As `ready` when absent.
    pub serving: Option<bool>,
    /// False when absent.
    pub terminating: Option<bool>,
}

/// ObjectReference of an endpoint.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct TargetRef {
    /// `Pod` as a rule.
    pub kind: Option<Arc<str>>,
    /// Name.
    pub name: Option<Box<str>>,
    /// Namespace.
    pub namespace: Option<Arc<str>>,
    /// Not read.
    pub uid: Option<Presence>,
}

/// EndpointPort.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SlicePort {
    /// Name of the Service port; absent or empty for an unnamed one.
    pub name: Option<String>,
    /// `TCP` when absent.
    pub protocol: Option<String>,
    /// Port of the endpoints.
    pub port: Option<u16>,
    /// Not read: the Service's counts.
    pub app_protocol: Option<String>,
}
