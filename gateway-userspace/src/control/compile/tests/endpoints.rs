//! What may be written into an API server and is never dialled; what survives which change.

use crate::control::compile::{Compiled, Place};
use crate::control::config::meta::Origin;
use crate::control::config::resources::{Object, ResourceSet};
use crate::control::diagnostic::Code;
use crate::control::provider::{Desired, file};
use crate::reason::Reason;
use crate::snapshot::Snapshot;
use crate::snapshot::cluster::{ClusterKey, EndpointSet};

/// The same objects, as an API server would hold them.
pub(super) fn from_api(text: &str) -> Desired {
    let read = file::from_text("a.yaml", text);
    let mut set = ResourceSet::default();
    let origin = || Origin::Api { resource_version: 7 };
    for (key, entry) in read.set.services.iter() {
        set.insert(key.clone(), origin(), Object::Service(entry.object.clone()));
    }
    for (key, entry) in read.set.endpoint_slices.iter() {
        set.insert(key.clone(), origin(), Object::EndpointSlice(entry.object.clone()));
    }
    for (key, entry) in read.set.reference_grants.iter() {
        set.insert(key.clone(), origin(), Object::ReferenceGrant(entry.object.clone()));
    }
    for (key, entry) in read.set.nodes.iter() {
        set.insert(key.clone(), origin(), Object::Node(entry.object.clone()));
    }
    set.into()
}

const SERVICE: &str = "
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {ports: [{port: 80, appProtocol: http}]}
";

fn slice(name: &str, family: &str, endpoints: &[&str]) -> String {
    format!(
        "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: {name}, namespace: shop, labels: {{kubernetes.io/service-name: web}}}}\naddressType: {family}\nports: [{{port: 8080}}]\nendpoints: [{}]\n",
        endpoints.join(", ")
    )
}

fn compiled(desired: &Desired, place: Place) -> Compiled {
    let mut compiler = super::compiler();
    compiler.set_place(place);
    compiler.compile(desired)
}

fn snapshot(compiled: &Compiled) -> &Snapshot {
    compiled.snapshot.as_ref().unwrap()
}

fn endpoints(compiled: &Compiled) -> EndpointSet {
    let key = ClusterKey { namespace: "shop".into(), service: "web".into(), port: 80 };
    EndpointSet::clone(&snapshot(compiled).clusters.get(&key).unwrap().endpoints.load())
}

fn addresses(compiled: &Compiled) -> Vec<String> {
    endpoints(compiled).endpoints.iter().map(|e| e.address.to_string()).collect()
}

/// Messages about refused endpoints.
fn refusals(compiled: &Compiled) -> Vec<String> {
    let findings = compiled.report.diagnostics.iter().filter(|f| f.code == Code::EndpointRefused);
    findings.map(|f| format!("{}: {}", f.field, f.message)).collect()
}

fn forbidden() -> String {
    let v4: Vec<String> =
        ["127.0.0.1", "169.254.169.254", "169.254.1.1", "224.0.0.1", "0.0.0.0", "10.9.0.1", "10.1.0.1"]
            .map(|ip| format!("{{addresses: [{ip}]}}"))
            .into();
    let v6: Vec<String> = ["'::1'", "'fd00:ec2::254'", "'fe80::1'", "'::'", "'::ffff:10.9.0.1'", "'fd00::1'"]
        .map(|ip| format!("{{addresses: [{ip}]}}"))
        .into();
    let texts = |list: &[String]| list.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
    format!("{SERVICE}{}{}", slice("web-4", "IPv4", &[&texts(&v4)]), slice("web-6", "IPv6", &[&texts(&v6)]))
}

fn own() -> Place {
    Place { own_addresses: ["10.9.0.1".parse().unwrap()].into(), ..Place::default() }
}

#[test]
fn an_api_server_cannot_point_weir_at_the_node_at_itself_or_at_a_metadata_service() {
    let compiled = compiled(&from_api(&forbidden()), own());
    assert_eq!(addresses(&compiled), ["10.1.0.1:8080", "[fd00::1]:8080"]);
    assert_eq!(endpoints(&compiled).refused, 11);
    let refusals = refusals(&compiled);
    assert_eq!(refusals.len(), 11, "{refusals:#?}");
    assert_eq!(
        refusals[1],
        "endpoints[1].addresses[0]: 169.254.169.254 is the metadata service of a cloud: \
         Weir never sends there what an API server asks for"
    );
}

#[test]
fn a_folder_is_its_operators_own_and_may_name_any_address() {
    let compiled = compiled(&file::from_text("a.yaml", &forbidden()), own());
    assert_eq!(addresses(&compiled).len(), 13);
    assert!(refusals(&compiled).is_empty());
}

#[test]
fn a_network_that_the_operator_allows_is_dialled() {
    let place = Place { allowed: vec!["10.9.0.0/16".parse().unwrap()], ..own() };
    let compiled = compiled(&from_api(&forbidden()), place);
    assert!(addresses(&compiled).contains(&"10.9.0.1:8080".to_owned()));
    assert_eq!(endpoints(&compiled).refused, 9);
}

#[test]
fn a_service_whose_endpoints_are_all_refused_says_so_to_callers_and_in_its_findings() {
    let text = format!("{SERVICE}{}", slice("web-1", "IPv4", &["{addresses: [127.0.0.1]}"]));
    let compiled = compiled(&from_api(&text), Place::default());
    assert_eq!(endpoints(&compiled).why_none(), Reason::EndpointRefused);
    let none = compiled.report.diagnostics.iter().find(|f| f.code == Code::NoEndpoints).unwrap();
    assert_eq!(none.message, "port 80 has 1 endpoints and Weir refuses them; calls get 502");
    let condition = &compiled.report.services.iter().next().unwrap().conditions[0];
    assert_eq!(condition.to_string(), "EndpointsAccepted=False (EndpointRefused)");
    assert!(condition.message.contains("127.0.0.1 is a loopback address"), "{}", condition.message);
}

#[test]
fn of_a_service_that_weir_is_to_leave_alone_no_refused_endpoint_is_reported() {
    let service = SERVICE.replace("name: web", "name: web, labels: {weir.dev/capture: disabled}");
    assert_ne!(service, SERVICE);
    let text = format!("{service}{}", slice("web-1", "IPv4", &["{addresses: [127.0.0.1]}"]));
    let compiled = compiled(&from_api(&text), Place::default());
    assert_eq!(endpoints(&compiled).why_none(), Reason::EndpointRefused);
    assert!(compiled.report.diagnostics.is_empty(), "{:#?}", compiled.report.diagnostics);
    assert!(compiled.report.services.is_empty());
}

#[test]
fn a_pod_of_another_namespace_needs_its_namespaces_grant() {
    let foreign = "{addresses: [10.1.0.1], targetRef: {kind: Pod, namespace: bank, name: vault-0}}";
    let own = "{addresses: [10.1.0.2], targetRef: {kind: Pod, namespace: shop, name: web-0}}";
    let text = format!("{SERVICE}{}", slice("web-1", "IPv4", &[foreign, own]));
    let without = compiled(&from_api(&text), Place::default());
    assert_eq!(addresses(&without), ["10.1.0.2:8080"]);
    assert_eq!(
        refusals(&without),
        [
            "endpoints[0].targetRef: 10.1.0.1 is said to be pod vault-0 of another namespace, bank, which does not allow it"
        ]
    );
    let grant = |namespace: &str, kind: &str, to: &str| {
        format!(
            "{text}---\napiVersion: gateway.networking.k8s.io/v1beta1\nkind: ReferenceGrant\nmetadata: {{name: g, namespace: {namespace}}}\nspec: {{from: [{{group: discovery.k8s.io, kind: {kind}, namespace: shop}}], to: [{to}]}}\n"
        )
    };
    let allowed = |text: &str| addresses(&compiled(&from_api(text), Place::default())).len() == 2;
    assert!(allowed(&grant("bank", "EndpointSlice", "{group: '', kind: Pod}")));
    assert!(allowed(&grant("bank", "EndpointSlice", "{group: '', kind: Pod, name: vault-0}")));
    assert!(!allowed(&grant("bank", "EndpointSlice", "{group: '', kind: Pod, name: vault-1}")));
    assert!(!allowed(&grant("bank", "EndpointSlice", "{group: '', kind: Service}")));
    assert!(!allowed(&grant("bank", "HTTPRoute", "{group: '', kind: Pod}")));
    assert!(!allowed(&grant("shop", "EndpointSlice", "{group: '', kind: Pod}")), "its own word");
}

/// Who may write slices decides that; Kubernetes gives the right to its own controllers alone.
#[test]
fn a_slice_that_names_no_pod_is_dialled_as_kube_proxy_would_and_its_uid_is_not_believed() {
    let bare = "{addresses: [10.1.0.1]}";
    let stale =
        "{addresses: [10.1.0.2], targetRef: {kind: Pod, namespace: shop, name: web-0, uid: of-another}}";
    let unnamed = "{addresses: [10.1.0.3], targetRef: {kind: Pod, name: web-1}}";
    let node = "{addresses: [10.9.0.1], targetRef: {kind: Pod, namespace: shop, name: web-2}}";
    let text = format!("{SERVICE}{}", slice("web-1", "IPv4", &[bare, stale, unnamed, node]));
    let compiled = compiled(&from_api(&text), own());
    assert_eq!(addresses(&compiled), ["10.1.0.1:8080", "10.1.0.2:8080", "10.1.0.3:8080"]);
    assert_eq!(refusals(&compiled).len(), 1, "the name of a pod makes no address of the node a pod's");
}

#[test]
fn a_slice_full_of_bad_addresses_makes_a_handful_of_findings() {
    let bad = vec!["{addresses: [127.0.0.1]}"; 1_000];
    let text = format!("{SERVICE}{}", slice("web-1", "IPv4", &bad));
    let compiled = compiled(&from_api(&text), Place::default());
    let refusals = refusals(&compiled);
    assert_eq!(refusals.len(), 8);
    assert!(refusals[7].ends_with("; 992 more endpoints of this slice get no traffic either"));
}

#[test]
fn the_setting_says_which_node_it_is_whatever_nodes_are_known() {
    let text = format!(
        "{}{}",
        SERVICE.replace("{ports:", "{internalTrafficPolicy: Local, ports:"),
        slice(
            "web-1",
            "IPv4",
            &["{addresses: [10.1.0.1], nodeName: a}", "{addresses: [10.1.0.2], nodeName: b}"]
        )
    );
    let local = |place: Place| -> Vec<String> {
        let set = endpoints(&compiled(&from_api(&text), place));
        assert!(set.local_only);
        set.endpoints.iter().filter(|e| e.local).map(|e| e.address.to_string()).collect()
    };
    let node = |name: &str| Place { node: Some(name.into()), ..Place::default() };
    assert_eq!(local(node("b")), ["10.1.0.2:8080"]);
    assert!(local(node("c")).is_empty());
    assert!(!endpoints(&compiled(&from_api(&text), Place::default())).local_only, "no node, no restriction");
}

#[test]
fn a_service_that_is_deleted_and_made_again_has_its_number_and_none_of_its_old_endpoints() {
    let mut compiler = super::compiler();
    let with =
        |ip: &str| format!("{SERVICE}{}", slice("web-1", "IPv4", &[&format!("{{addresses: [{ip}]}}")]));
    let first = compiler.compile(&from_api(&with("10.1.0.1")));
    let id = |c: &Compiled| snapshot(c).clusters.iter().next().unwrap().id;
    let gone = compiler.compile(&Desired::default());
    assert!(snapshot(&gone).clusters.is_empty());
    let again = compiler.compile(&from_api(&with("10.1.0.9")));
    assert_eq!(id(&first), id(&again));
    assert_eq!(addresses(&again), ["10.1.0.9:8080"]);
    assert_eq!(addresses(&first), ["10.1.0.1:8080"], "who still has the old one sees what it was");
}

#[test]
fn a_port_that_changes_its_number_or_protocol_takes_its_endpoints_along() {
    let mut compiler = super::compiler();
    let slice = slice("web-1", "IPv4", &["{addresses: [10.1.0.1]}"]);
    let text = |ports: &str| SERVICE.replace("{port: 80, appProtocol: http}", ports) + &slice;
    let keys = |text: String| -> Vec<String> {
        let compiled = compiler.compile(&from_api(&text));
        snapshot(&compiled)
            .clusters
            .iter()
            .map(|c| format!("{} {}", c.key, c.endpoints.load().endpoints.len()))
            .collect()
    };
    let steps = ["{port: 80}", "{port: 81}", "{port: 81, protocol: UDP}", "{port: 80}"].map(text);
    let seen: Vec<Vec<String>> = steps.into_iter().map(keys).collect();
    assert_eq!(seen, [vec!["shop/web:80 1"], vec!["shop/web:81 1"], vec![], vec!["shop/web:80 1"]]);
}

#[test]
fn one_of_a_thousand_slices_of_a_service_costs_its_service_and_its_refusal_comes_and_goes() {
    let address = |n: usize| format!("{{addresses: [10.{}.{}.1]}}", 1 + n / 250, n % 250);
    let slices = |changed: &str| -> String {
        let others = (1..1_000).map(|n| slice(&format!("web-{n}"), "IPv4", &[&address(n)]));
        others.chain([slice("web-0", "IPv4", &[changed])]).collect()
    };
    let neighbour = SERVICE.replace("name: web", "name: other");
    let text = |changed: &str| format!("{SERVICE}---{neighbour}{}", slices(changed));
    let mut compiler = super::compiler();
    let first = compiler.compile(&from_api(&text("{addresses: [10.9.9.9]}")));
    assert_eq!((first.work.services, endpoints(&first).endpoints.len()), (2, 1_000));
    assert!(first.report.services.is_empty());
    let second = compiler.compile(&from_api(&text("{addresses: [127.0.0.1]}")));
    assert_eq!((second.work.services, second.work.routes, second.work.everything), (1, 0, false));
    assert_eq!(second.changed[0].endpoints.endpoints.len(), 999);
    assert_eq!(second.report.services.len(), 1);
    let third = compiler.compile(&from_api(&text("{addresses: [10.9.9.8]}")));
    assert!(third.report.services.is_empty());
}
