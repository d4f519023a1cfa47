//! The provider against an API server that does as the test says.

mod server;

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::watch;

use self::server::Server;
use super::freshness::{KindFreshness, Standing};
use super::{Kubernetes, Settings};
use crate::control::config::meta::{ObjectKey, Origin};
use crate::control::diagnostic::Code;
use crate::control::provider::Desired;
use crate::limits::ApiLimits;

fn limits() -> ApiLimits {
    let short = Duration::from_millis(20);
    ApiLimits {
        reconnect_max: short,
        relist_max: short,
        retry_max: short,
        discovery_missing_interval: short,
        discovery_interval: short,
        state_write_interval: short,
        ..ApiLimits::default()
    }
}

fn start(server: &Server) -> Kubernetes {
    start_with(server, limits(), None)
}

fn start_with(server: &Server, limits: ApiLimits, state_dir: Option<&Path>) -> Kubernetes {
    let config = kube::Config::new(format!("http://{}", server.address).parse().unwrap());
    let settings =
        Settings { node_name: "node-1".to_owned(), state_dir: state_dir.map(Path::to_owned), limits };
    Kubernetes::start(config, settings).unwrap()
}

fn service(name: &str, port: u16) -> Value {
    json!({"kind": "Service", "apiVersion": "v1",
        "metadata": {"name": name, "namespace": "shop", "uid": "u", "managedFields": [{"manager": "x"}]},
        "spec": {"clusterIP": "10.96.0.1", "clusterIPs": ["10.96.0.1"], "ports": [{"port": port, "targetPort": "http"}]},
        "status": {"loadBalancer": {}}})
}

fn slice(name: &str, addresses: &[&str]) -> Value {
    let endpoints: Vec<Value> = addresses.iter().map(|a| json!({"addresses": [a]})).collect();
    json!({"metadata": {"name": name, "namespace": "shop", "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv4", "endpoints": endpoints, "ports": [{"name": null, "port": 8080}]})
}

fn route(name: &str) -> Value {
    json!({"kind": "HTTPRoute", "metadata": {"name": name, "namespace": "shop", "generation": 3},
        "spec": {"parentRefs": [{"name": "edge"}], "rules": [{"backendRefs": [{"name": "web", "port": 80}]}]},
        "status": {"parents": []}})
}

async fn until(
    states: &mut watch::Receiver<Desired>,
    what: &str,
    holds: impl Fn(&Desired) -> bool,
) -> Desired {
    let found = tokio::time::timeout(Duration::from_secs(20), states.wait_for(|d| holds(d))).await;
    let found = found.ok().map(|state| state.unwrap().clone());
    if let Some(state) = found {
        return state;
    }
    panic!("{what}: not within 20 s: {:#?}", states.borrow().findings)
}

async fn eventually(what: &str, holds: impl Fn() -> bool) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(tokio::time::Instant::now() < deadline, "{what}: not within 20 s");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn first(kubernetes: &mut Kubernetes) -> Desired {
    tokio::time::timeout(Duration::from_secs(20), kubernetes.desired.changed()).await.unwrap().unwrap();
    kubernetes.desired.borrow_and_update().clone()
}

fn has_service(desired: &Desired, name: &str) -> bool {
    desired.set.services.get(&ObjectKey::new("shop", name)).is_some()
}

fn port(desired: &Desired, name: &str) -> Option<u16> {
    Some(desired.set.services.get(&ObjectKey::new("shop", name))?.object.spec.ports.first()?.port)
}

fn kind(kubernetes: &Kubernetes, name: &str) -> KindFreshness {
    kubernetes.freshness.kinds().into_iter().find(|k| k.kind == name).unwrap()
}

#[tokio::test]
async fn the_first_state_is_whole_and_changes_follow_it() {
    let server = Server::start();
    server.put("services", service("web", 80));
    server.put("endpointslices", slice("web-1", &["10.0.0.1"]));
    server.put("namespaces", json!({"metadata": {"name": "shop", "labels": {"team": "a"}}}));
    server.put(
        "nodes",
        json!({"metadata": {"name": "node-1", "labels": {"topology.kubernetes.io/zone": "z1"}}}),
    );
    server.put("pods", json!({"metadata": {"name": "a", "namespace": "shop", "uid": "u-1"}}));
    let mut kubernetes = start(&server);

    let state = first(&mut kubernetes).await;
    let web = state.set.services.get(&ObjectKey::new("shop", "web")).unwrap();
    assert!(matches!(web.origin, Origin::Api { resource_version: 101 }));
    assert_eq!(web.object.spec.cluster_ips, ["10.96.0.1"]);
    assert_eq!(state.set.endpoint_slices.len(), 1);
    assert_eq!(state.set.namespaces.len(), 1);
    let node = state.set.nodes.get(&ObjectKey::new("", "node-1")).unwrap();
    assert_eq!(node.object.zone(), Some("z1"));
    assert_eq!(
        kubernetes.pods.borrow().iter().map(|(key, _)| key.to_string()).collect::<Vec<_>>(),
        ["shop/a"]
    );
    assert!(state.findings.is_empty(), "{:#?}", state.findings);

    server.put("services", service("api", 81));
    until(&mut kubernetes.desired, "a new Service", |d| has_service(d, "api")).await;
    server.delete("services", "web");
    until(&mut kubernetes.desired, "a Service gone", |d| !has_service(d, "web")).await;
    server.put("endpointslices", slice("web-1", &["10.0.0.1", "10.0.0.2"]));
    let two = |d: &Desired| d.set.endpoint_slices.iter().any(|(_, e)| e.object.endpoints.len() == 2);
    until(&mut kubernetes.desired, "an endpoint", two).await;

    assert_eq!(server.asked(&["/pods?fieldSelector=spec.nodeName%3Dnode-1&"]), 1);
    assert_eq!(server.asked(&["/nodes?fieldSelector=metadata.name%3Dnode-1&"]), 1);
    assert_eq!(server.asked(&["/services?"]), 1, "one answer tells both what there is and what happens");
    assert_eq!(kubernetes.freshness.age(), Some(Duration::ZERO));
    assert_eq!(kind(&kubernetes, "gateways.gateway.networking.k8s.io").standing, Standing::Absent);
}

#[tokio::test]
async fn a_server_that_cannot_stream_lists_is_asked_for_pages() {
    let server = Server::start();
    server.state().only_pages = true;
    for index in 0..7 {
        server.put("services", service(&format!("s{index}"), 80));
    }
    let mut kubernetes = start_with(&server, ApiLimits { page_objects: 3, ..limits() }, None);
    assert_eq!(first(&mut kubernetes).await.set.services.len(), 7);
    assert_eq!(server.asked(&["/services?limit=3"]), 3);
    server.put("services", service("later", 80));
    until(&mut kubernetes.desired, "a change after the pages", |d| has_service(d, "later")).await;
}

#[tokio::test]
async fn a_broken_connection_is_resumed_where_it_broke_and_nothing_is_listed_again() {
    let server = Server::start();
    server.put("services", service("web", 80));
    let mut kubernetes = start(&server);
    first(&mut kubernetes).await;
    server.state().down = true;
    server.cut();
    eventually("its age is told", || kubernetes.freshness.age() > Some(Duration::ZERO)).await;
    let unreachable = |d: &Desired| d.findings.iter().any(|f| f.code == Code::ApiUnreachable);
    let state = until(&mut kubernetes.desired, "a finding", unreachable).await;
    assert!(has_service(&state, "web"), "what is known stays");
    eventually("it is cut", || kind(&kubernetes, "services").standing == Standing::Cut).await;

    server.put("services", service("meanwhile", 80));
    server.state().down = false;
    let back = |d: &Desired| has_service(d, "meanwhile") && d.findings.is_empty();
    until(&mut kubernetes.desired, "what happened meanwhile", back).await;
    eventually("all is followed again", || kubernetes.freshness.age() == Some(Duration::ZERO)).await;
    assert_eq!(server.asked(&["/services?", "sendInitialEvents"]), 1, "no second list");
    assert!(server.asked(&["/services?", "resourceVersion=101"]) >= 1);
}

#[tokio::test]
async fn a_server_that_starts_is_asked_by_one_until_it_is_ready() {
    const KINDS: [&str; 3] = ["/services?", "/endpointslices?", "/namespaces?"];
    let server = Server::start();
    server.put("services", service("web", 80));
    // So long that nobody who waits for another tries by himself meanwhile.
    let limits = ApiLimits { retry_max: Duration::from_secs(60), ..limits() };
    let mut kubernetes = start_with(&server, limits, None);
    first(&mut kubernetes).await;
    server.state().down = true;
    server.cut();
    let tried = |kind: &str| server.state().unanswered.iter().filter(|uri| uri.contains(kind)).count();
    eventually("each was tried after it was cut", || KINDS.iter().all(|kind| tried(kind) >= 1)).await;

    server.put("services", service("meanwhile", 80));
    {
        let mut state = server.state();
        state.starts = 2;
        state.down = false;
    }
    until(&mut kubernetes.desired, "what happened meanwhile", |d| has_service(d, "meanwhile")).await;
    eventually("all is followed again", || kubernetes.freshness.age() == Some(Duration::ZERO)).await;
    assert_eq!(server.state().too_early, ["services"]);
}

#[tokio::test]
async fn a_version_that_is_too_old_leads_to_a_list_that_also_tells_what_is_gone() {
    let server = Server::start();
    server.put("services", service("web", 80));
    server.put("services", service("old", 80));
    let mut kubernetes = start(&server);
    first(&mut kubernetes).await;
    server.state().down = true;
    server.cut();
    server.delete("services", "old");
    server.put("services", service("new", 80));
    server.state().oldest = 1000;
    server.state().down = false;
    let state =
        until(&mut kubernetes.desired, "the new list", |d| has_service(d, "new") && !has_service(d, "old"));
    assert!(has_service(&state.await, "web"));
    eventually("it was listed again", || kind(&kubernetes, "services").lists == 2).await;
}

#[tokio::test]
async fn a_watch_that_stalls_without_a_close_is_noticed_and_renewed() {
    let server = Server::start();
    server.put("services", service("web", 80));
    let silence = Duration::from_millis(100);
    let mut kubernetes = start_with(&server, ApiLimits { watch_silence: silence, ..limits() }, None);
    first(&mut kubernetes).await;
    eventually("it is renewed", || server.asked(&["/services?", "resourceVersion=101"]) >= 1).await;
    server.put("services", service("later", 80));
    until(&mut kubernetes.desired, "a change on the new watch", |d| has_service(d, "later")).await;
    assert_eq!(server.asked(&["/services?", "sendInitialEvents"]), 1);
}

#[tokio::test]
async fn a_missing_permission_is_named_with_its_rule_and_the_rest_is_served() {
    let server = Server::start();
    server.put("services", service("web", 80));
    server.state().refused.insert("endpointslices".to_owned(), (403, "Forbidden".to_owned()));
    let mut kubernetes = start(&server);
    let state = first(&mut kubernetes).await;
    assert!(has_service(&state, "web"));
    let finding = state.findings.iter().find(|f| f.code == Code::ApiRefused).unwrap();
    assert_eq!(finding.object.as_deref(), Some("endpointslices.discovery.k8s.io"));
    assert!(finding.message.contains("403 Forbidden"), "{}", finding.message);
    let rule =
        "apiGroups [\"discovery.k8s.io\"], resources [\"endpointslices\"], verbs [\"list\", \"watch\"]";
    assert!(finding.fix.contains(rule), "{}", finding.fix);

    server.state().refused.clear();
    server.put("endpointslices", slice("web-1", &["10.0.0.1"]));
    let granted = |d: &Desired| d.findings.is_empty() && d.set.endpoint_slices.len() == 1;
    until(&mut kubernetes.desired, "the granted kind", granted).await;
}

#[tokio::test]
async fn a_broken_object_is_said_with_its_field_and_its_last_good_version_serves() {
    let server = Server::start();
    server.put("services", service("web", 80));
    let mut kubernetes = start(&server);
    first(&mut kubernetes).await;
    let mut broken = service("web", 81);
    broken["spec"]["ports"][0]["port"] = json!("eighty");
    server.put("services", broken.clone());
    broken["metadata"]["name"] = json!("other");
    server.put("services", broken);
    server.put("services", service("after", 82));
    let two = |d: &Desired| d.findings.len() == 2 && has_service(d, "after");
    let state = until(&mut kubernetes.desired, "two findings", two).await;
    let of = |object: &str| state.findings.iter().find(|f| f.object.as_deref() == Some(object)).unwrap();
    assert_eq!(of("Service shop/web").field, "spec.ports[0].port");
    assert!(of("Service shop/web").message.ends_with("its last good version keeps serving"));
    assert!(of("Service shop/other").message.ends_with("it is not served"));
    assert_eq!((port(&state, "web"), port(&state, "other")), (Some(80), None));

    server.put("services", service("web", 83));
    server.delete("services", "other");
    let mended = |d: &Desired| d.findings.is_empty() && port(d, "web") == Some(83);
    until(&mut kubernetes.desired, "the mended object", mended).await;
}

#[tokio::test]
async fn kinds_that_are_installed_later_are_picked_up_and_those_that_go_take_their_objects_along() {
    let server = Server::start();
    server.put("httproutes", route("a"));
    let mut kubernetes = start(&server);
    assert!(first(&mut kubernetes).await.set.http_routes.is_empty());
    server.state().gateway_kinds.insert("httproutes".to_owned());
    let state = until(&mut kubernetes.desired, "the route", |d| d.set.http_routes.len() == 1).await;
    assert!(state.findings.is_empty(), "the status is no field to warn of: {:#?}", state.findings);
    assert_eq!(state.set.http_routes.iter().next().unwrap().1.object.metadata.generation, 3);
    server.state().gateway_kinds.clear();
    until(&mut kubernetes.desired, "no route", |d| d.set.http_routes.is_empty()).await;
}

#[tokio::test]
async fn one_look_that_misses_the_gateway_api_or_a_proxy_that_says_so_drops_no_route() {
    let server = Server::start();
    server.state().gateway_kinds.insert("httproutes".to_owned());
    server.put("httproutes", route("a"));
    let mut kubernetes = start(&server);
    assert_eq!(first(&mut kubernetes).await.set.http_routes.len(), 1);
    let group = "/apis/gateway.networking.k8s.io";
    let looks = || server.state().requests.iter().filter(|request| *request == group).count();
    for hidden in [false, true] {
        let before = looks();
        server.state().hidden = hidden;
        server.state().forgetful = u32::from(!hidden);
        eventually("some looks later", || looks() > before + 4).await;
        assert_eq!(kubernetes.desired.borrow().set.http_routes.len(), 1);
        assert_eq!(kind(&kubernetes, "httproutes.gateway.networking.k8s.io").lists, 1, "never dropped");
    }
    server.state().hidden = false;
    server.state().gateway_kinds.clear();
    until(&mut kubernetes.desired, "no route", |d| d.set.http_routes.is_empty()).await;
}

#[tokio::test]
async fn a_field_that_only_a_later_weir_knows_is_said_to_have_no_effect() {
    let server = Server::start();
    server.state().gateway_kinds.insert("httproutes".to_owned());
    let mut later = route("a");
    later["spec"]["rules"][0]["mirrorEverything"] = json!(true);
    server.put("httproutes", later);
    let mut kubernetes = start(&server);
    let state = first(&mut kubernetes).await;
    assert_eq!(state.set.http_routes.len(), 1);
    assert_eq!(state.findings.len(), 1);
    assert_eq!(
        (state.findings[0].code, &*state.findings[0].field),
        (Code::UnknownField, "spec.rules[0].mirrorEverything")
    );
}

#[tokio::test]
async fn what_decides_nothing_changes_nothing() {
    let server = Server::start();
    server.put("endpointslices", slice("web-1", &["10.0.0.1"]));
    let mut kubernetes = start(&server);
    let before = first(&mut kubernetes).await;
    let mut touched = slice("web-1", &["10.0.0.1"]);
    touched["metadata"]["annotations"] = json!({"endpoints.kubernetes.io/last-change-trigger-time": "now"});
    touched["metadata"]["generation"] = json!(7);
    server.put("endpointslices", touched);
    server.put("services", service("after", 80));
    let after = until(&mut kubernetes.desired, "a later change", |d| has_service(d, "after")).await;
    assert!(after.set.endpoint_slices.is_same(&before.set.endpoint_slices));
}

#[tokio::test]
async fn a_slice_without_endpoints_and_an_object_of_a_mebibyte_are_read() {
    let server = Server::start();
    let mut empty = slice("web-1", &[]);
    empty["endpoints"] = Value::Null;
    empty["ports"] = Value::Null;
    server.put("endpointslices", empty);
    let mut large = service("large", 80);
    large["metadata"]["annotations"] = json!({"x": "y".repeat(1 << 20)});
    server.put("services", large);
    let mut kubernetes = start(&server);
    let state = first(&mut kubernetes).await;
    assert_eq!(state.set.endpoint_slices.len(), 1);
    let large = state.set.services.get(&ObjectKey::new("shop", "large")).unwrap();
    assert!(large.object.metadata.annotations.is_empty(), "what nobody reads is not kept");
    assert!(state.findings.is_empty(), "{:#?}", state.findings);
}

#[tokio::test]
async fn a_watch_that_cannot_be_read_is_made_good_by_a_list() {
    let server = Server::start();
    server.put("services", service("web", 80));
    let mut kubernetes = start(&server);
    first(&mut kubernetes).await;
    server.say("services", "{\"type\":\"MODIFIED\",\"object\":{");
    eventually("a list", || server.asked(&["/services?", "sendInitialEvents"]) == 2).await;
    server.put("services", service("later", 80));
    until(&mut kubernetes.desired, "a change after it", |d| has_service(d, "later")).await;
}

#[tokio::test]
async fn a_restart_without_the_api_server_serves_what_was_known_and_goes_on_from_there() {
    let server = Server::start();
    let folder = tempfile::tempdir().unwrap();
    let state_dir = folder.path().join("state");
    server.state().gateway_kinds.insert("httproutes".to_owned());
    server.put("httproutes", route("a"));
    server.put("services", service("web", 80));
    server.put("endpointslices", slice("web-1", &["10.0.0.1"]));
    server.put("pods", json!({"metadata": {"name": "a", "namespace": "shop", "uid": "u-1"}}));
    let mut before = start_with(&server, limits(), Some(&state_dir));
    let known = first(&mut before).await;
    eventually("it is written", || state_dir.join("known.jsonl").exists()).await;
    drop(before);
    server.state().down = true;
    server.cut();

    let mut after = start_with(&server, limits(), Some(&state_dir));
    let state = first(&mut after).await;
    assert!(state.set.services.changes_since(&known.set.services).is_empty());
    assert!(state.set.endpoint_slices.changes_since(&known.set.endpoint_slices).is_empty());
    assert!(state.set.http_routes.changes_since(&known.set.http_routes).is_empty());
    assert_eq!(after.pods.borrow().len(), 1);
    assert_eq!(kind(&after, "services").standing, Standing::Saved);
    assert!(after.freshness.age().is_some());

    server.put("services", service("later", 80));
    let lists = server.asked(&["/services?", "sendInitialEvents"]);
    server.state().down = false;
    until(&mut after.desired, "what happened since", |d| has_service(d, "later") && has_service(d, "web"))
        .await;
    assert_eq!(server.asked(&["/services?", "sendInitialEvents"]), lists, "nothing is listed again");
}

#[tokio::test]
async fn a_restart_does_not_bring_back_endpoints_that_have_gone_since_the_state_was_written() {
    let server = Server::start();
    let folder = tempfile::tempdir().unwrap();
    server.put("services", service("web", 80));
    server.put("endpointslices", slice("web-1", &["10.0.0.1"]));
    let patient = ApiLimits {
        change_interval: Duration::from_millis(100),
        restored_wait: Duration::from_secs(60),
        ..limits()
    };
    let mut before = start_with(&server, patient.clone(), Some(folder.path()));
    first(&mut before).await;
    eventually("it is written", || folder.path().join("known.jsonl").exists()).await;
    drop(before);
    server.put("endpointslices", slice("web-1", &["10.0.0.2"]));

    let mut after = start_with(&server, patient, Some(folder.path()));
    let state = first(&mut after).await;
    let slices = format!("{:?}", state.set.endpoint_slices);
    assert!(slices.contains("10.0.0.2") && !slices.contains("10.0.0.1"), "{slices}");
}

#[tokio::test]
async fn what_was_known_before_a_restart_and_is_too_old_for_the_server_is_never_served_again() {
    let server = Server::start();
    let folder = tempfile::tempdir().unwrap();
    server.put("services", service("web", 80));
    server.put("endpointslices", slice("web-1", &["10.0.0.1"]));
    let patient = ApiLimits { restored_wait: Duration::from_secs(60), ..limits() };
    let mut before = start_with(&server, patient.clone(), Some(folder.path()));
    first(&mut before).await;
    eventually("it is written", || folder.path().join("known.jsonl").exists()).await;
    drop(before);
    server.cut();
    server.put("endpointslices", slice("web-1", &["10.0.0.2"]));
    server.state().oldest = 1000;

    let lists = server.asked(&["/endpointslices?", "sendInitialEvents"]);
    let mut after = start_with(&server, patient, Some(folder.path()));
    let state = first(&mut after).await;
    let slices = format!("{:?}", state.set.endpoint_slices);
    assert!(slices.contains("10.0.0.2") && !slices.contains("10.0.0.1"), "{slices}");
    assert_eq!(server.asked(&["/endpointslices?", "sendInitialEvents"]), lists + 1);
}

#[tokio::test]
async fn a_state_that_cannot_be_written_is_one_finding_and_serving_goes_on() {
    let server = Server::start();
    let folder = tempfile::tempdir().unwrap();
    server.put("services", service("web", 80));
    let full = ApiLimits { state_bytes_max: 10, ..limits() };
    let mut kubernetes = start_with(&server, full, Some(folder.path()));
    let told = |d: &Desired| d.findings.iter().any(|f| f.code == Code::StateUnusable);
    until(&mut kubernetes.desired, "a finding", told).await;
    server.put("services", service("later", 80));
    let state = until(&mut kubernetes.desired, "a change", |d| has_service(d, "later")).await;
    assert_eq!(state.findings.len(), 1);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "no half file is left");
}

#[tokio::test]
async fn a_state_that_was_cut_short_or_is_of_another_node_is_not_used() {
    let server = Server::start();
    server.put("services", service("web", 80));
    let folder = tempfile::tempdir().unwrap();
    let mut before = start_with(&server, limits(), Some(folder.path()));
    first(&mut before).await;
    let file = folder.path().join("known.jsonl");
    eventually("it is written", || file.exists()).await;
    drop(before);
    let whole = std::fs::read(&file).unwrap();
    let read = |bytes: &[u8], node| super::saved::read(bytes, node, &mut super::texts::Texts::default());
    for end in 0..whole.len() - 1 {
        assert!(read(&whole[..end], "node-1").is_err(), "{end} of {} bytes", whole.len());
    }
    assert!(read(&whole, "node-1").is_ok());
    assert!(read(&whole, "node-2").is_err());
}
