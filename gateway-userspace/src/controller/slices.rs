//! Pure: the EndpointSlices of a Gateway's Service: every pod of `weir node`, by address family.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde_json::{Value, json};

use super::applied;
use super::exposure::Exposed;
use crate::control::config::service::SERVICE_NAME_LABEL;
use crate::limits::SLICE_ENDPOINTS_MAX;

/// The label that says who keeps an EndpointSlice.
pub const MANAGED_BY_LABEL: &str = "endpointslice.kubernetes.io/managed-by";
/// Its value on Weir's.
pub const MANAGED_BY: &str = "controller.weir.dev";

/// A pod of `weir node`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct NodePod {
    /// Name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Its UID.
    pub uid: String,
    /// Where it runs.
    pub node: String,
    /// Its addresses, at most one of each family.
    pub addresses: Vec<IpAddr>,
    /// Says that it serves.
    pub ready: bool,
    /// Is to end.
    pub terminating: bool,
}

/// What is to be done about EndpointSlices.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SliceChanges {
    /// To be applied, whole.
    pub apply: Vec<Value>,
    /// Names to be deleted.
    pub delete: Vec<String>,
}

/// What differs between the slices that `there` are of the Gateway's Service, by name, and its pods.
/// An endpoint stays in the slice that it is in, so that a change of one pod changes one slice.
pub fn changes(exposed: &Exposed<'_>, there: &BTreeMap<&str, &Value>, pods: &[NodePod]) -> SliceChanges {
    let service = exposed.service_name();
    let ports: Vec<Value> = exposed.ports().into_iter().map(port).collect();
    let mut changes = SliceChanges::default();
    let mut kept = BTreeSet::new();
    for (family, word) in [("IPv4", "v4"), ("IPv6", "v6")] {
        let endpoints = endpoints(pods, family);
        let of_family = there.iter().filter(|(_, slice)| slice["addressType"] == family);
        let placed = place(of_family.map(|(name, slice)| (*name, *slice)), endpoints, |index| {
            format!("{service}-{word}-{index}")
        });
        for (name, endpoints) in placed {
            let mut slice = json!({
                "apiVersion": "discovery.k8s.io/v1",
                "kind": "EndpointSlice",
                "addressType": family,
                "ports": ports,
                "endpoints": endpoints,
            });
            slice["metadata"] = exposed.metadata(&name);
            slice["metadata"]["labels"][SERVICE_NAME_LABEL] = service.clone().into();
            slice["metadata"]["labels"][MANAGED_BY_LABEL] = MANAGED_BY.into();
            if !there.get(&*name).is_some_and(|there| applied::holds(there, &slice)) {
                changes.apply.push(slice);
            }
            kept.insert(name);
        }
    }
    let gone = there.keys().filter(|name| !kept.contains(**name));
    changes.delete = gone.map(|name| (*name).to_owned()).collect();
    changes
}

fn port((port, target): (u16, u16)) -> Value {
    json!({ "name": format!("http-{port}"), "port": target, "protocol": "TCP", "appProtocol": "http" })
}

/// By pod UID.
fn endpoints(pods: &[NodePod], family: &str) -> BTreeMap<String, Value> {
    let mut endpoints = BTreeMap::new();
    for pod in pods {
        let address = pod.addresses.iter().find(|a| a.is_ipv4() == (family == "IPv4"));
        let Some(address) = address else { continue };
        let endpoint = json!({
            "addresses": [address.to_string()],
            "conditions": {
                "ready": pod.ready && !pod.terminating,
                "serving": pod.ready,
                "terminating": pod.terminating,
            },
            "nodeName": pod.node,
            "targetRef": {
                "kind": "Pod",
                "namespace": pod.namespace,
                "name": pod.name,
                "uid": pod.uid,
            },
        });
        endpoints.insert(pod.uid.clone(), endpoint);
    }
    endpoints
}

/// Slices by name, none empty and none too large.
fn place<'a>(
    there: impl Iterator<Item = (&'a str, &'a Value)>,
    mut endpoints: BTreeMap<String, Value>,
    name: impl Fn(usize) -> String,
) -> BTreeMap<String, Vec<Value>> {
    let mut placed: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for (slice, value) in there {
        let old = value["endpoints"].as_array().into_iter().flatten();
        let uids = old.filter_map(|endpoint| endpoint["targetRef"]["uid"].as_str());
        let stay: Vec<Value> =
            uids.filter_map(|uid| endpoints.remove(uid)).take(SLICE_ENDPOINTS_MAX).collect();
        placed.insert(slice.to_owned(), stay);
    }
    placed.retain(|_, endpoints| !endpoints.is_empty());
    let mut rest = endpoints.into_values();
    for slice in placed.values_mut() {
        let room = SLICE_ENDPOINTS_MAX.saturating_sub(slice.len());
        slice.extend(rest.by_ref().take(room));
    }
    for index in 0.. {
        let name = name(index);
        if placed.contains_key(&name) {
            continue;
        }
        let next: Vec<Value> = rest.by_ref().take(SLICE_ENDPOINTS_MAX).collect();
        if next.is_empty() {
            break;
        }
        placed.insert(name, next);
    }
    placed
}

#[cfg(test)]
mod tests;
