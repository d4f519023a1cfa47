//! Slices as pods come and go.

use proptest::prelude::*;

use super::super::exposure::ServiceType;
use super::*;
use crate::control::config::gateway::Gateway;
use crate::control::report::{Condition, GatewayStatus, ListenerStatus};

fn gateway() -> Gateway {
    serde_json::from_str(
        r#"{"metadata": {"name": "web", "namespace": "shop"}, "spec": {"gatewayClassName": "weir", "listeners": []}}"#,
    )
    .unwrap()
}

fn status() -> GatewayStatus {
    let accepted = Condition {
        kind: "Accepted",
        status: true,
        reason: "",
        message: String::new(),
        observed_generation: 1,
    };
    let listener = ListenerStatus {
        name: "http".into(),
        port: 80,
        bound_port: 20_080,
        supported_kinds: Vec::new(),
        attached_routes: 0,
        conditions: vec![accepted],
    };
    GatewayStatus {
        namespace: "shop".into(),
        name: "web".into(),
        conditions: Vec::new(),
        addresses: Vec::new(),
        listeners: vec![listener],
    }
}

fn pod(number: u16, ready: bool, addresses: &[&str]) -> NodePod {
    NodePod {
        name: format!("weir-{number}"),
        namespace: "weir-system".into(),
        uid: format!("u{number:05}"),
        node: format!("n{number}"),
        addresses: addresses.iter().map(|a| a.parse().unwrap()).collect(),
        ready,
        terminating: false,
    }
}

fn numbered(number: u16) -> NodePod {
    let [high, low] = number.to_be_bytes();
    pod(number, true, &[&format!("10.1.{high}.{low}")])
}

/// Slices after the changes, and how many were written or deleted.
fn after(there: &BTreeMap<String, Value>, pods: &[NodePod]) -> (BTreeMap<String, Value>, usize) {
    let (gateway, status) = (gateway(), status());
    let exposed =
        Exposed { gateway: &gateway, uid: "u", status: &status, service_type: ServiceType::ClusterIp };
    let refs = there.iter().map(|(name, slice)| (&**name, slice)).collect();
    let changes = changes(&exposed, &refs, pods);
    let count = changes.apply.len() + changes.delete.len();
    let mut slices = there.clone();
    for slice in changes.apply {
        slices.insert(slice["metadata"]["name"].as_str().unwrap().to_owned(), slice);
    }
    for name in changes.delete {
        slices.remove(&name);
    }
    (slices, count)
}

fn uids(slices: &BTreeMap<String, Value>) -> Vec<String> {
    let endpoints = slices.values().flat_map(|s| s["endpoints"].as_array().unwrap());
    let mut uids: Vec<String> =
        endpoints.map(|e| e["targetRef"]["uid"].as_str().unwrap().to_owned()).collect();
    uids.sort();
    uids
}

#[test]
fn each_family_has_slices_of_its_own_with_the_ports_of_the_listeners() {
    let pods = [pod(1, true, &["10.1.0.1", "fd00::1"]), pod(2, true, &["10.1.0.2"])];
    let (slices, _) = after(&BTreeMap::new(), &pods);
    assert_eq!(slices.keys().collect::<Vec<_>>(), ["web-weir-v4-0", "web-weir-v6-0"]);
    let v4 = &slices["web-weir-v4-0"];
    assert_eq!(
        (v4["ports"][0]["port"].as_u64(), v4["endpoints"].as_array().unwrap().len()),
        (Some(20_080), 2)
    );
    assert_eq!(slices["web-weir-v6-0"]["endpoints"][0]["addresses"][0], "fd00::1");
    assert_eq!(v4["metadata"]["labels"][SERVICE_NAME_LABEL], "web-weir");
    assert_eq!(after(&slices, &pods).1, 0, "the same is not written again");
}

#[test]
fn a_pod_that_is_not_ready_is_there_and_takes_no_traffic_and_one_that_ends_still_serves() {
    let mut ending = pod(2, true, &["10.1.0.2"]);
    ending.terminating = true;
    let (slices, _) = after(&BTreeMap::new(), &[pod(1, false, &["10.1.0.1"]), ending]);
    let endpoints = &slices["web-weir-v4-0"]["endpoints"];
    assert_eq!(endpoints[0]["conditions"], json!({"ready": false, "serving": false, "terminating": false}));
    assert_eq!(endpoints[1]["conditions"], json!({"ready": false, "serving": true, "terminating": true}));
}

#[test]
fn a_pod_that_goes_changes_one_slice_of_many() {
    let pods: Vec<NodePod> = (0..350).map(numbered).collect();
    let (slices, _) = after(&BTreeMap::new(), &pods);
    assert_eq!(slices.len(), 4);
    let (slices, changed) = after(&slices, &pods[1..]);
    assert_eq!((slices.len(), changed), (4, 1));
    let (slices, _) = after(&slices, &[]);
    assert!(slices.is_empty(), "no slice is left empty");
}

proptest! {
    #[test]
    fn every_pod_is_in_one_slice_and_no_slice_is_too_large(
        steps in prop::collection::vec(prop::collection::btree_set(0u16..400, 0..300), 1..5)
    ) {
        let mut slices = BTreeMap::new();
        for step in steps {
            let pods: Vec<NodePod> = step.iter().map(|n| numbered(*n)).collect();
            slices = after(&slices, &pods).0;
            let expected: Vec<String> = pods.iter().map(|pod| pod.uid.clone()).collect();
            prop_assert_eq!(uids(&slices), expected);
            for slice in slices.values() {
                let count = slice["endpoints"].as_array().unwrap().len();
                prop_assert!(count > 0 && count <= SLICE_ENDPOINTS_MAX);
            }
            prop_assert_eq!(after(&slices, &pods).1, 0);
        }
    }
}
