//! What stays the same from one update to the next, and what is published in which order.

use std::sync::{Arc, Mutex};

use crate::control::provider::{Desired, file};
use crate::control::{Applied, Changed, Control, KernelSink};
use crate::limits::Limits;
use crate::snapshot::Snapshot;
use crate::snapshot::cluster::{Cluster, ClusterKey};
use crate::snapshot::store::SnapshotStore;

/// Writes down what the kernel is told, and what the proxy sees at that moment.
#[derive(Clone)]
struct Recorder {
    store: Arc<SnapshotStore>,
    calls: Arc<Mutex<Vec<String>>>,
}

impl KernelSink for Recorder {
    fn snapshot(&self, old: &Snapshot, new: &Snapshot) {
        let proxy = self.store.load().generation;
        let call = format!("snapshot {} after {} proxy {proxy}", new.generation, old.generation);
        self.calls.lock().unwrap().push(call);
    }

    fn endpoints(&self, cluster: &Cluster) {
        let addresses: Vec<String> =
            cluster.endpoints.load().endpoints.iter().map(|e| e.address.to_string()).collect();
        self.calls.lock().unwrap().push(format!("{} {}", cluster.key, addresses.join(",")));
    }

    fn catch_up(&self, _: &Snapshot) {}
}

fn control() -> (Control, Recorder) {
    let store = Arc::new(SnapshotStore::new());
    let recorder = Recorder { store: Arc::clone(&store), calls: Arc::default() };
    (Control::new(store, Box::new(recorder.clone()), &Limits::default()), recorder)
}

const SERVICES: &str = "
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {clusterIP: 10.0.0.1, ports: [{port: 80, appProtocol: http}]}
---
apiVersion: v1
kind: Service
metadata: {name: cart, namespace: shop}
spec: {clusterIP: 10.0.0.2, ports: [{port: 80, appProtocol: http}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web, namespace: shop}
spec:
  parentRefs: [{group: '', kind: Service, name: web}]
  rules: [{backendRefs: [{name: web, port: 80}]}]
";

fn slice(name: &str, service: &str, address: &str) -> String {
    format!(
        "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: {name}, namespace: shop, labels: {{kubernetes.io/service-name: {service}}}}}\naddressType: IPv4\nports: [{{port: 8080}}]\nendpoints: [{{addresses: [{address}]}}]\n"
    )
}

fn desired(slices: &[(&str, &str, &str)]) -> Desired {
    let text: String = slices.iter().map(|(name, service, address)| slice(name, service, address)).collect();
    file::from_text("a.yaml", &format!("{SERVICES}{text}"))
}

fn key(service: &str) -> ClusterKey {
    ClusterKey { namespace: "shop".into(), service: service.into(), port: 80 }
}

#[test]
fn a_change_of_endpoints_touches_its_service_alone() {
    let (mut control, recorder) = control();
    control.apply(&desired(&[("web-1", "web", "10.1.0.1"), ("cart-1", "cart", "10.1.0.2")]));
    let before = recorder.store.load();
    let Applied { changed, .. } =
        control.apply(&desired(&[("web-1", "web", "10.1.0.9"), ("cart-1", "cart", "10.1.0.2")]));
    assert_eq!(changed, Changed::Endpoints(vec![key("web")]));
    assert!(Arc::ptr_eq(&before, &recorder.store.load()), "the snapshot was replaced");
    let calls = recorder.calls.lock().unwrap();
    assert_eq!(*calls, ["snapshot 1 after 0 proxy 1", "shop/web:80 10.1.0.9:8080"]);
}

#[test]
fn a_slice_that_moves_to_another_service_touches_both() {
    let (mut control, _) = control();
    control.apply(&desired(&[("x", "web", "10.1.0.1")]));
    let applied = control.apply(&desired(&[("x", "cart", "10.1.0.1")]));
    assert_eq!(applied.changed, Changed::Endpoints(vec![key("cart"), key("web")]));
}

#[test]
fn endpoints_that_go_are_out_of_use_when_apply_returns_and_findings_follow() {
    let (mut control, recorder) = control();
    control.apply(&desired(&[("web-1", "web", "10.1.0.1"), ("cart-1", "cart", "10.1.0.2")]));
    let applied = control.apply(&desired(&[("cart-1", "cart", "10.1.0.2")]));
    let cluster = recorder.store.load().clusters.get(&key("web")).unwrap().clone();
    assert!(cluster.endpoints.load().endpoints.is_empty());
    assert!(applied.report.diagnostics.iter().any(|d| d.object.as_deref() == Some("Service shop/web")));
    let applied = control.apply(&desired(&[("web-1", "web", "10.1.0.1"), ("cart-1", "cart", "10.1.0.2")]));
    assert!(applied.report.diagnostics.is_empty(), "{:#?}", applied.report.diagnostics);
}

#[test]
fn clusters_and_rules_keep_their_numbers_and_slots_over_snapshots() {
    let (mut control, recorder) = control();
    control.apply(&desired(&[("web-1", "web", "10.1.0.1")]));
    let before = recorder.store.load();
    let text =
        format!("{SERVICES}{}", slice("web-1", "web", "10.1.0.7")).replace("name: cart", "name: basket");
    let applied = control.apply(&file::from_text("a.yaml", &text));
    assert_eq!(applied.changed, Changed::Everything);
    let after = recorder.store.load();
    assert_eq!(after.generation, 2);
    let (old, new) = (before.clusters.get(&key("web")).unwrap(), after.clusters.get(&key("web")).unwrap());
    assert!(Arc::ptr_eq(old, new), "the cluster was replaced");
    // The proxy that still has the old snapshot sees the new endpoints too.
    assert_eq!(old.endpoints.load().endpoints[0].address.to_string(), "10.1.0.7:8080");
    let id = |snapshot: &Snapshot| {
        let router = snapshot.frontends.iter().find_map(|f| f.routes.as_ref()).unwrap();
        router.rules().next().unwrap().id
    };
    assert_eq!(id(&before), id(&after));
    assert_eq!(control.names().rule(id(&after)).as_deref(), Some("shop/web/0"));
    assert_eq!(control.names().cluster(new.id).as_deref(), Some("shop/web:80"));
    assert_eq!(
        *recorder.calls.lock().unwrap(),
        ["snapshot 1 after 0 proxy 1", "snapshot 2 after 1 proxy 2", "shop/web:80 10.1.0.7:8080"]
    );
}

#[test]
fn a_service_that_speaks_otherwise_now_keeps_its_number_and_slot() {
    let (mut control, recorder) = control();
    control.apply(&desired(&[("web-1", "web", "10.1.0.1")]));
    let before = recorder.store.load().clusters.get(&key("web")).unwrap().clone();
    let text = format!("{SERVICES}{}", slice("web-1", "web", "10.1.0.1"))
        .replace("appProtocol: http", "appProtocol: grpc");
    control.apply(&file::from_text("a.yaml", &text));
    let after = recorder.store.load().clusters.get(&key("web")).unwrap().clone();
    assert_ne!(before.protocol, after.protocol);
    assert_eq!(before.id, after.id);
    assert!(Arc::ptr_eq(&before.endpoints, &after.endpoints));
}

#[test]
fn lines_that_move_change_findings_and_nothing_that_serves() {
    let (mut control, recorder) = control();
    let first = control.apply(&desired(&[]));
    let moved = control.apply(&file::from_text("a.yaml", &format!("# a remark\n{SERVICES}")));
    assert_eq!(moved.changed, Changed::Nothing);
    assert_eq!(recorder.store.load().generation, 1);
    let lines = |a: &Applied| a.report.diagnostics.iter().filter_map(|d| d.line).collect::<Vec<_>>();
    let (before, after) = (lines(&first), lines(&moved));
    assert!(
        !before.is_empty() && before.iter().zip(&after).all(|(b, a)| b + 1 == *a),
        "{before:?} {after:?}"
    );
}

#[test]
fn an_address_that_cannot_be_opened_shows_in_the_statuses() {
    let (mut control, _) = control();
    let text = "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: edge}\nspec: {gatewayClassName: weir, listeners: [{name: a, port: 80, protocol: HTTP}]}\n";
    let good = control.apply(&file::from_text("g.yaml", text)).report;
    assert!(good.gateways[0].conditions.iter().all(|c| c.status));
    let bad = control.set_unusable([("[::]:80".parse().unwrap(), "permission denied".to_owned())].into());
    let programmed = bad.gateways[0].conditions.iter().find(|c| c.kind == "Programmed").unwrap();
    assert!(!programmed.status && programmed.message.contains("permission denied"), "{programmed}");
    assert_eq!(control.set_unusable([].into()), good);
}
