//! Pure: how a Gateway is reached: its Service, the addresses of it, and why it has none.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde_json::{Map, Value, json};

use crate::control::config::gateway::Gateway;
use crate::control::config::meta::ObjectKey;
use crate::control::config::route::GATEWAY_GROUP;
use crate::control::report::{CONTROLLER_NAME, GatewayStatus};
use crate::control::stable_hash::fnv1a;

/// The label that says of an object which Gateway it was made for.
pub const GATEWAY_NAME_LABEL: &str = "gateway.networking.k8s.io/gateway-name";
/// On a Gateway, or on its class: the type of the Service that is made for it.
pub const SERVICE_TYPE_ANNOTATION: &str = "weir.dev/gateway-service-type";

/// Longest name of a Service, bytes.
const NAME_BYTES_MAX: usize = 63;

/// Type of the Service of a Gateway.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ServiceType {
    /// Reached from outside through what the cluster has for that.
    #[default]
    LoadBalancer,
    /// Reached at a port of every node.
    NodePort,
    /// Reached from within the cluster.
    ClusterIp,
}

impl ServiceType {
    /// The word of the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::LoadBalancer => "LoadBalancer",
            Self::NodePort => "NodePort",
            Self::ClusterIp => "ClusterIP",
        }
    }

    /// From the word of the API.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::LoadBalancer, Self::NodePort, Self::ClusterIp].into_iter().find(|t| t.as_str() == word)
    }
}

/// An IP address or host name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address(String);

impl Address {
    /// As it stands in a Service's status.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// True when it is no name.
    pub fn is_ip(&self) -> bool {
        self.0.parse::<IpAddr>().is_ok()
    }
}

/// Why nobody reaches a Gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreachable {
    /// Reason of the API for `Programmed`.
    pub reason: &'static str,
    /// What is the matter, and what to do.
    pub message: String,
}

/// How a Gateway is reached at this moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Exposure {
    /// Where.
    pub addresses: Vec<Address>,
    /// Why not.
    pub unreachable: Option<Unreachable>,
}

/// What there is to say of a Service that has the name of a Gateway's.
pub fn foreign(service: &ObjectKey) -> String {
    format!("Service {service} is there and was not made for this Gateway: rename it or the Gateway")
}

/// The name of a Gateway's Service (GEP-1762: `<gateway>-<class>`), made to fit a Service's name.
pub fn service_name(gateway: &str, class: &str) -> String {
    let plain = format!("{gateway}-{class}");
    let mut name: String = plain.chars().map(|c| if c == '.' { '-' } else { c }).collect();
    if name.starts_with(|c: char| !c.is_ascii_lowercase()) {
        name.insert_str(0, "gw-");
    }
    if name == plain && name.len() <= NAME_BYTES_MAX {
        return name;
    }
    // What had to be changed gets a mark, so that two names do not become one.
    let mark = format!("-{:08x}", fnv1a(plain.bytes()));
    name.truncate(NAME_BYTES_MAX - mark.len());
    name + &mark
}

/// A Gateway for which a Service is to be there.
#[derive(Debug, Clone, Copy)]
pub struct Exposed<'a> {
    /// As written.
    pub gateway: &'a Gateway,
    /// Its UID, for the owner reference.
    pub uid: &'a str,
    /// What became of its listeners.
    pub status: &'a GatewayStatus,
    /// Type of its Service.
    pub service_type: ServiceType,
}

impl Exposed<'_> {
    /// The name of its Service.
    pub fn service_name(&self) -> String {
        service_name(&self.gateway.metadata.name, &self.gateway.spec.gateway_class_name)
    }

    /// Ports of listeners that are open, each once, and where nodes open them.
    pub fn ports(&self) -> BTreeMap<u16, u16> {
        let is_open = |listener: &crate::control::report::ListenerStatus| {
            listener.conditions.iter().any(|c| c.kind == "Accepted" && c.status)
        };
        self.status.listeners.iter().filter(|l| is_open(l)).map(|l| (l.port, l.bound_port)).collect()
    }

    /// The Service to be applied. `None` while it has no port that is open: what is there then stays, for
    /// an address that is given back may be someone else's the next time.
    pub fn service(&self) -> Option<Value> {
        let ports: Vec<Value> = self.ports().into_iter().map(port).collect();
        if ports.is_empty() {
            return None;
        }
        let mut spec = json!({
            "type": self.service_type.as_str(),
            "ipFamilyPolicy": "PreferDualStack",
            "ports": ports,
        });
        let asked = self.gateway.spec.addresses.iter().find(|a| a.value.parse::<IpAddr>().is_ok());
        if let Some(asked) = asked.filter(|_| self.service_type == ServiceType::LoadBalancer) {
            spec["loadBalancerIP"] = asked.value.clone().into();
        }
        let mut service = json!({ "apiVersion": "v1", "kind": "Service", "spec": spec });
        service["metadata"] = self.metadata(&self.service_name());
        Some(service)
    }

    /// Name, labels, annotations and owner of an object that is made for it.
    pub fn metadata(&self, name: &str) -> Value {
        let meta = &self.gateway.metadata;
        let infrastructure = self.gateway.spec.infrastructure.as_ref();
        let mut labels: BTreeMap<&str, &str> = BTreeMap::new();
        let mut annotations: BTreeMap<&str, &str> = BTreeMap::new();
        // Its endpoints are Weir: a call that Weir took on its way there would come back to it.
        labels.insert("weir.dev/capture", "disabled");
        if let Some(infrastructure) = infrastructure {
            labels.extend(infrastructure.labels.iter().map(|(k, v)| (&**k, &**v)));
            annotations.extend(infrastructure.annotations.iter().map(|(k, v)| (&**k, &**v)));
        }
        labels.insert("app.kubernetes.io/managed-by", "weir");
        // A label holds no more than a Service's name; a longer Gateway name is found by its owner reference.
        if meta.name.len() <= NAME_BYTES_MAX {
            labels.insert(GATEWAY_NAME_LABEL, &meta.name);
        } else {
            labels.insert(GATEWAY_NAME_LABEL, "");
        }
        let mut fields = Map::new();
        fields.insert("name".into(), name.into());
        fields.insert("namespace".into(), meta.namespace.clone().into());
        fields.insert("labels".into(), json!(labels));
        if !annotations.is_empty() {
            fields.insert("annotations".into(), json!(annotations));
        }
        fields.insert("ownerReferences".into(), json!([self.owner()]));
        Value::Object(fields)
    }

    fn owner(&self) -> Value {
        json!({
            "apiVersion": format!("{GATEWAY_GROUP}/v1"),
            "kind": "Gateway",
            "name": self.gateway.metadata.name,
            "uid": self.uid,
            "controller": true,
        })
    }

    /// True when an object was made for this Gateway, and not for one that had its name before.
    pub fn owns(&self, object: &Value) -> bool {
        let owners = object["metadata"]["ownerReferences"].as_array();
        owners.is_some_and(|owners| owners.iter().any(|owner| owner["uid"] == self.uid))
    }

    /// How it is reached, from what is there of its Service, and how many nodes serve it.
    pub fn exposure(&self, service: Option<&Value>, ready_nodes: usize) -> Exposure {
        let name = self.service_name();
        let namespace = &self.gateway.metadata.namespace;
        let unreachable = |reason, message: String| Exposure {
            addresses: Vec::new(),
            unreachable: Some(Unreachable { reason, message }),
        };
        let Some(service) = service else {
            let message = format!("Service {namespace}/{name} is being made");
            return unreachable("Pending", message);
        };
        if !self.owns(service) {
            return unreachable("NoResources", foreign(&ObjectKey::new(namespace, &name)));
        }
        let addresses = addresses(service);
        if addresses.is_empty() {
            let message = format!(
                "Service {namespace}/{name} has no load balancer's address yet; where no load balancer is, annotate \
                 the Gateway {SERVICE_TYPE_ANNOTATION}=ClusterIP or NodePort"
            );
            return unreachable("AddressNotAssigned", message);
        }
        let asked = self.gateway.spec.addresses.iter().filter(|a| !a.value.is_empty());
        let missing: Vec<&str> =
            asked.map(|a| &*a.value).filter(|a| !addresses.iter().any(|b| b.as_str() == *a)).collect();
        let unreachable = if !missing.is_empty() {
            let message = format!("Service {namespace}/{name} did not get {}", missing.join(", "));
            Some(Unreachable { reason: "AddressNotUsable", message })
        } else if ready_nodes == 0 {
            let message = format!("no pod of `weir node` is ready: nobody serves {CONTROLLER_NAME}");
            Some(Unreachable { reason: "NoResources", message })
        } else {
            None
        };
        Exposure { addresses, unreachable }
    }
}

fn port((port, target): (u16, u16)) -> Value {
    json!({
        "name": format!("http-{port}"),
        "port": port,
        "targetPort": target,
        "protocol": "TCP",
        "appProtocol": "http",
    })
}

/// Where a Service is reached from the widest circle that its type has.
fn addresses(service: &Value) -> Vec<Address> {
    if service["spec"]["type"] == ServiceType::LoadBalancer.as_str() {
        let ingress = service["status"]["loadBalancer"]["ingress"].as_array();
        let address = |entry: &Value| {
            let text = entry["ip"].as_str().or_else(|| entry["hostname"].as_str());
            text.filter(|text| !text.is_empty()).map(Address::new)
        };
        return ingress.into_iter().flatten().filter_map(address).collect();
    }
    let ips = service["spec"]["clusterIPs"].as_array();
    ips.into_iter().flatten().filter_map(Value::as_str).filter(|ip| *ip != "None").map(Address::new).collect()
}

#[cfg(test)]
mod tests;
