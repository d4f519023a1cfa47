//! Pure: what became of each object: the Gateway API's conditions, and findings.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;

use super::config::meta::ObjectKey;
use super::config::resources::{Kind, ObjectId};
use super::finding::Findings;
use crate::persistent::OrderedMap;

/// The name by which Weir signs its statuses, and the `controllerName` of its classes.
pub const CONTROLLER_NAME: &str = "weir.dev/gateway-controller";

/// What became of everything that was desired. Cheap to clone but for Gateways, which are few.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StatusReport {
    /// Classes with Weir's controller name, by name.
    pub gateway_classes: Vec<ClassStatus>,
    /// Gateways of those classes, by namespace and name.
    pub gateways: Vec<GatewayStatus>,
    /// Routes with a parent that Weir serves or should, by kind, namespace and name.
    pub routes: Listing<ObjectId, RouteStatus>,
    /// Services of which endpoints are refused, by namespace and name.
    pub services: Listing<ObjectKey, ServiceStatus>,
    /// Findings, by file, line and code.
    pub diagnostics: Findings,
}

/// Many things in the order of their keys, kept so that a change costs one of them.
#[derive(Debug, Clone, PartialEq)]
pub struct Listing<K, T>(OrderedMap<K, Arc<T>>);

impl<K, T> Default for Listing<K, T> {
    fn default() -> Self {
        Self(OrderedMap::default())
    }
}

impl<K: Ord + Clone, T: PartialEq> Listing<K, T> {
    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.values().map(|item| &**item)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True when there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The one with that key.
    pub fn get(&self, key: &K) -> Option<&T> {
        self.0.get(key).map(|item| &**item)
    }

    /// Keys of those that are others in `old`, or in one of both only. Costs what the two do not share.
    pub fn changes_since(&self, old: &Self) -> Vec<K> {
        let same = |a: &Arc<T>, b: &Arc<T>| Arc::ptr_eq(a, b) || a == b;
        self.0.changes_since(&old.0, same).into_iter().map(|(key, ..)| key.clone()).collect()
    }

    /// Adds, replaces or takes out one.
    pub(super) fn set(&mut self, key: &K, item: Option<T>) {
        match item {
            Some(item) if self.get(key) == Some(&item) => {}
            Some(item) => drop(self.0.insert(key.clone(), Arc::new(item))),
            None => drop(self.0.remove(key)),
        }
    }
}

impl<K: Ord + Clone, T: PartialEq + Serialize> Serialize for Listing<K, T> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

/// metav1.Condition without its time, which the writer of a status knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// `Accepted`, `Programmed`, `ResolvedRefs`, `Conflicted`, `PartiallyInvalid`,
    /// `EndpointsAccepted`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// True or False.
    #[serde(serialize_with = "as_condition_status")]
    pub status: bool,
    /// One word of the API.
    pub reason: &'static str,
    /// For humans.
    pub message: String,
    /// Generation of the object that was looked at.
    pub observed_generation: i64,
}

fn as_condition_status<S: serde::Serializer>(status: &bool, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(if *status { "True" } else { "False" })
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={} ({})", self.kind, if self.status { "True" } else { "False" }, self.reason)
    }
}

/// Status of a GatewayClass.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ClassStatus {
    /// Name.
    pub name: String,
    /// Accepted.
    pub conditions: Vec<Condition>,
}

/// Status of a Gateway.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GatewayStatus {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Accepted, Programmed.
    pub conditions: Vec<Condition>,
    /// Addresses that it binds, those it asked for; empty means all of this host.
    pub addresses: Vec<String>,
    /// In the order of its spec.
    pub listeners: Vec<ListenerStatus>,
}

/// Status of a listener.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ListenerStatus {
    /// Name.
    pub name: String,
    /// Port, for humans.
    pub port: u16,
    /// The port that a node opens for it.
    #[serde(skip)]
    pub bound_port: u16,
    /// `group/kind` of routes that may attach.
    pub supported_kinds: Vec<SupportedKind>,
    /// Routes that are attached.
    pub attached_routes: u32,
    /// Accepted, Programmed, ResolvedRefs, Conflicted.
    pub conditions: Vec<Condition>,
}

/// RouteGroupKind in a status.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SupportedKind {
    /// API group.
    pub group: &'static str,
    /// Kind.
    pub kind: &'static str,
}

/// Status of an HTTPRoute or GRPCRoute.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RouteStatus {
    /// HTTPRoute or GRPCRoute.
    #[serde(serialize_with = "as_kind")]
    pub kind: Kind,
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// One for each parentRef that is Weir's, in the order of the spec.
    pub parents: Vec<ParentStatus>,
}

fn as_kind<S: serde::Serializer>(kind: &Kind, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(kind.as_str())
}

/// RouteParentStatus.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ParentStatus {
    /// The parentRef as written, defaults filled in.
    pub parent_ref: ParentRefStatus,
    /// Always Weir's.
    pub controller_name: &'static str,
    /// Accepted, ResolvedRefs, PartiallyInvalid.
    pub conditions: Vec<Condition>,
}

/// Status of a Service.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceStatus {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// EndpointsAccepted.
    pub conditions: Vec<Condition>,
}

/// ParentReference in a status.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ParentRefStatus {
    /// API group; empty for core.
    pub group: String,
    /// Gateway or Service.
    pub kind: String,
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// As written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub section_name: Option<String>,
    /// As written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
}

impl fmt::Display for ParentRefStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.kind, self.namespace, self.name)?;
        if let Some(section) = &self.section_name {
            write!(f, "/{section}")?;
        }
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        Ok(())
    }
}
