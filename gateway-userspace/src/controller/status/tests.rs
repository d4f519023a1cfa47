//! Statuses as several writers leave them.

use super::super::exposure::Unreachable;
use super::*;
use crate::control::config::resources::Kind;
use crate::control::report::{ParentRefStatus, ParentStatus};

const BEFORE: &str = "2026-01-01T00:00:00Z";
const NOW: &str = "2026-11-23T08:00:00Z";

fn condition(kind: &'static str, status: bool, generation: i64) -> Condition {
    Condition { kind, status, reason: kind, message: String::new(), observed_generation: generation }
}

fn written(kind: &str, status: &str, since: &str, generation: i64) -> Value {
    json!({
        "type": kind, "status": status, "reason": kind, "message": "", "observedGeneration": generation,
        "lastTransitionTime": since,
    })
}

fn route(conditions: Vec<Condition>) -> RouteStatus {
    let parent_ref = ParentRefStatus {
        group: "gateway.networking.k8s.io".into(),
        kind: "Gateway".into(),
        namespace: "shop".into(),
        name: "web".into(),
        section_name: None,
        port: None,
    };
    let parents = vec![ParentStatus { parent_ref, controller_name: CONTROLLER_NAME, conditions }];
    RouteStatus { kind: Kind::HttpRoute, namespace: "shop".into(), name: "cart".into(), parents }
}

fn gateway(conditions: Vec<Condition>) -> GatewayStatus {
    GatewayStatus {
        namespace: "shop".into(),
        name: "web".into(),
        conditions,
        addresses: Vec::new(),
        listeners: Vec::new(),
    }
}

#[test]
fn entries_of_other_controllers_stay_as_they_are() {
    let other = json!({"controllerName": "example.com/other", "parentRef": {"name": "x"}, "conditions": []});
    let current = json!({ "parents": [other] });
    let wanted = route(vec![condition("Accepted", true, 1)]);
    let fields = of_route(&current, Some(&wanted), NOW).unwrap();
    assert_eq!(fields["parents"][0], other);
    assert_eq!(fields["parents"][1]["conditions"], json!([written("Accepted", "True", NOW, 1)]));
    assert_eq!(of_route(&fields, Some(&wanted), "later"), None, "the same is not written again");
    let removed = of_route(&fields, None, NOW).unwrap();
    assert_eq!(removed["parents"], json!([other]));
    assert_eq!(of_route(&removed, None, NOW), None);
}

#[test]
fn an_order_that_another_writer_prefers_is_left_alone() {
    let wanted = route(vec![condition("Accepted", true, 1)]);
    let ours = of_route(&Value::Null, Some(&wanted), NOW).unwrap()["parents"][0].clone();
    let other = json!({"controllerName": "example.com/other"});
    for order in [json!([ours, other]), json!([other, ours])] {
        assert_eq!(of_route(&json!({ "parents": order }), Some(&wanted), NOW), None);
    }
}

#[test]
fn a_condition_keeps_its_time_until_its_status_turns() {
    let current = json!({"conditions": [written("Accepted", "True", BEFORE, 1), written("Programmed", "True", BEFORE, 1)]});
    let wanted = gateway(vec![condition("Accepted", true, 2), condition("Programmed", false, 2)]);
    let fields = of_gateway(&current, &wanted, &Exposure::default(), NOW).unwrap();
    let expected = json!([written("Accepted", "True", BEFORE, 2), written("Programmed", "False", NOW, 2)]);
    assert_eq!(fields, json!({ "conditions": expected }));
}

#[test]
fn conditions_of_other_writers_stay_in_their_place() {
    let theirs = written("theirs.example.com/Ready", "True", BEFORE, 1);
    let current = json!({ "conditions": [theirs, written("Accepted", "False", BEFORE, 1)] });
    let wanted = gateway(vec![condition("Accepted", true, 1)]);
    let fields = of_gateway(&current, &wanted, &Exposure::default(), NOW).unwrap();
    assert_eq!(fields["conditions"], json!([theirs, written("Accepted", "True", NOW, 1)]));
}

#[test]
fn a_gateway_that_nobody_reaches_is_not_programmed() {
    let wanted = gateway(vec![condition("Accepted", true, 1), condition("Programmed", true, 1)]);
    let unreachable = Unreachable { reason: "AddressNotAssigned", message: "none yet".into() };
    let exposure = Exposure { addresses: Vec::new(), unreachable: Some(unreachable) };
    let fields = of_gateway(&Value::Null, &wanted, &exposure, NOW).unwrap();
    assert_eq!(fields["conditions"][0]["status"], "True");
    assert_eq!(fields["conditions"][1]["status"], "False");
    assert_eq!(fields["conditions"][1]["reason"], "AddressNotAssigned");
}

#[test]
fn addresses_are_written_with_their_type() {
    let addresses = vec![Address::new("10.0.0.1"), Address::new("fd00::1"), Address::new("lb.example.com")];
    let exposure = Exposure { addresses, unreachable: None };
    let fields = of_gateway(&Value::Null, &gateway(Vec::new()), &exposure, NOW).unwrap();
    let types: Vec<&str> =
        fields["addresses"].as_array().unwrap().iter().filter_map(|a| a["type"].as_str()).collect();
    assert_eq!(types, ["IPAddress", "IPAddress", "Hostname"]);
}

#[test]
fn a_message_is_no_longer_than_an_object_can_bear() {
    let mut long = condition("Accepted", false, 1);
    long.message = "ä".repeat(100_000);
    let fields = of_gateway(&Value::Null, &gateway(vec![long]), &Exposure::default(), NOW).unwrap();
    let message = fields["conditions"][0]["message"].as_str().unwrap();
    assert_eq!(message.chars().count(), STATUS_MESSAGE_CHARS_MAX);
    assert!(message.ends_with('…'));
}

#[test]
fn a_class_says_what_it_supports() {
    let class = ClassStatus { name: "weir".into(), conditions: vec![condition("Accepted", true, 1)] };
    let fields = of_class(&json!({"conditions": []}), &class, NOW).unwrap();
    assert_eq!(fields["supportedFeatures"][0], json!({"name": "GRPCRoute"}));
    assert_eq!(of_class(&fields, &class, NOW), None);
}

#[test]
fn no_more_parents_are_written_than_the_api_takes() {
    let other = json!({"controllerName": "example.com/other"});
    let mut wanted = route(vec![condition("Accepted", true, 1)]);
    wanted.parents = vec![wanted.parents[0].clone(); 10];
    let current = json!({ "parents": vec![other; 30] });
    let fields = of_route(&current, Some(&wanted), NOW).unwrap();
    assert_eq!(fields["parents"].as_array().unwrap().len(), PARENTS_MAX);
}
