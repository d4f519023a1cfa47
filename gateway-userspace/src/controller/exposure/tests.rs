//! Names, Services and addresses of Gateways.

use super::*;
use crate::control::report::{Condition, ListenerStatus};

fn gateway(spec: &str) -> Gateway {
    let text = format!(
        r#"{{"metadata": {{"name": "web", "namespace": "shop"}}, "spec": {{"gatewayClassName": "weir", "listeners": [] {spec}}}}}"#
    );
    serde_json::from_str(&text).unwrap()
}

fn listener(port: u16, accepted: bool) -> ListenerStatus {
    let condition = Condition {
        kind: "Accepted",
        status: accepted,
        reason: "",
        message: String::new(),
        observed_generation: 1,
    };
    ListenerStatus {
        name: format!("l{port}"),
        port,
        bound_port: 20_000 + port,
        supported_kinds: Vec::new(),
        attached_routes: 0,
        conditions: vec![condition],
    }
}

fn status(listeners: Vec<ListenerStatus>) -> GatewayStatus {
    GatewayStatus {
        namespace: "shop".into(),
        name: "web".into(),
        conditions: Vec::new(),
        addresses: Vec::new(),
        listeners,
    }
}

fn exposed<'a>(gateway: &'a Gateway, status: &'a GatewayStatus, service_type: ServiceType) -> Exposed<'a> {
    Exposed { gateway, uid: "u-1", status, service_type }
}

#[test]
fn a_service_is_named_after_its_gateway_and_class_and_fits() {
    assert_eq!(service_name("web", "weir"), "web-weir");
    let dotted = service_name("web.example", "weir");
    assert!(dotted.starts_with("web-example-weir-"), "{dotted}");
    assert_ne!(dotted, service_name("web-example", "weir"));
    assert!(service_name("1st", "weir").starts_with("gw-1st-weir-"));
    let long = service_name(&"g".repeat(200), "weir");
    assert_eq!(long.len(), NAME_BYTES_MAX);
    assert_ne!(long, service_name(&"g".repeat(201), "weir"));
}

#[test]
fn the_service_has_the_ports_of_open_listeners_each_once_and_what_infrastructure_says() {
    let gateway = gateway(r#", "infrastructure": {"labels": {"team": "a"}, "annotations": {"note": "b"}}"#);
    let status =
        status(vec![listener(80, true), listener(80, true), listener(81, false), listener(8080, true)]);
    let service = exposed(&gateway, &status, ServiceType::LoadBalancer).service().unwrap();
    let ports: Vec<u64> =
        service["spec"]["ports"].as_array().unwrap().iter().filter_map(|p| p["port"].as_u64()).collect();
    assert_eq!(ports, [80, 8080]);
    assert_eq!(service["spec"]["type"], "LoadBalancer");
    assert!(service["spec"].get("selector").is_none());
    let meta = &service["metadata"];
    assert_eq!(meta["labels"]["team"], "a");
    assert_eq!(meta["labels"][GATEWAY_NAME_LABEL], "web");
    assert_eq!(meta["labels"]["weir.dev/capture"], "disabled");
    assert_eq!(meta["annotations"]["note"], "b");
    assert_eq!(meta["ownerReferences"][0]["uid"], "u-1");
}

#[test]
fn without_an_open_listener_what_is_there_is_left_as_it_is() {
    let (gateway, status) = (gateway(""), status(vec![listener(80, false)]));
    assert_eq!(exposed(&gateway, &status, ServiceType::ClusterIp).service(), None);
}

#[test]
fn addresses_come_from_the_load_balancer_or_from_the_cluster() {
    let (gateway, status) = (gateway(""), status(vec![listener(80, true)]));
    let exposed = exposed(&gateway, &status, ServiceType::ClusterIp);
    let mut service = json!({
        "metadata": {"ownerReferences": [{"uid": "u-1"}]},
        "spec": {"type": "ClusterIP", "clusterIPs": ["10.96.0.7", "fd00::7"]},
    });
    let texts =
        |exposure: &Exposure| exposure.addresses.iter().map(|a| a.as_str().to_owned()).collect::<Vec<_>>();
    let exposure = exposed.exposure(Some(&service), 1);
    assert_eq!(
        (texts(&exposure), &exposure.unreachable),
        (vec!["10.96.0.7".into(), "fd00::7".into()], &None)
    );

    service["spec"]["type"] = "LoadBalancer".into();
    assert_eq!(exposed.exposure(Some(&service), 1).unreachable.unwrap().reason, "AddressNotAssigned");
    service["status"] =
        json!({"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}, {"hostname": "lb.example"}]}});
    assert_eq!(texts(&exposed.exposure(Some(&service), 1)), ["192.0.2.1", "lb.example"]);
    let nobody = exposed.exposure(Some(&service), 0);
    assert_eq!(nobody.unreachable.unwrap().reason, "NoResources");
}

#[test]
fn a_service_of_someone_else_is_named_and_gives_no_address() {
    let (gateway, status) = (gateway(""), status(vec![listener(80, true)]));
    let service = json!({"metadata": {}, "spec": {"clusterIPs": ["10.96.0.7"]}});
    let exposure = exposed(&gateway, &status, ServiceType::ClusterIp).exposure(Some(&service), 1);
    assert!(exposure.addresses.is_empty());
    assert!(exposure.unreachable.unwrap().message.contains("shop/web-weir is there and was not made"));
}

#[test]
fn an_address_that_was_asked_for_and_not_given_is_named() {
    let gateway = gateway(r#", "addresses": [{"value": "192.0.2.9"}]"#);
    let status = status(vec![listener(80, true)]);
    let exposed = exposed(&gateway, &status, ServiceType::LoadBalancer);
    assert_eq!(exposed.service().unwrap()["spec"]["loadBalancerIP"], "192.0.2.9");
    let service = json!({
        "metadata": {"ownerReferences": [{"uid": "u-1"}]},
        "spec": {"type": "LoadBalancer"},
        "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}},
    });
    let unreachable = exposed.exposure(Some(&service), 1).unreachable.unwrap();
    assert_eq!(unreachable.reason, "AddressNotUsable");
    assert!(unreachable.message.contains("192.0.2.9"));
}
