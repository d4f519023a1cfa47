//! What is compiled change by change is what is compiled at once, and costs what the changes touch.

use std::fmt::Write;
use std::sync::{Arc, LazyLock};

use proptest::prelude::*;

use super::{compiler, inputs, summary};
use crate::control::compile::{Compiler, Work};
use crate::control::config::meta::{ObjectKey, Origin};
use crate::control::config::resources::{Kind, Object, ObjectId, ResourceSet};
use crate::control::provider::{Desired, file};
use crate::control::report::StatusReport;
use crate::snapshot::Snapshot;

/// A compiler whose results are published, as control does it.
struct Followed {
    compiler: Compiler,
    snapshot: Snapshot,
    report: StatusReport,
}

impl Followed {
    fn new() -> Self {
        Self { compiler: compiler(), snapshot: Snapshot::default(), report: StatusReport::default() }
    }

    fn compile(&mut self, set: &ResourceSet) -> Work {
        let compiled = self.compiler.compile(&Desired::from(set.clone()));
        for new in compiled.changed {
            new.cluster.endpoints.publish(Arc::new(new.endpoints));
        }
        self.snapshot = compiled.snapshot.unwrap_or_else(|| self.snapshot.clone());
        self.report = compiled.report;
        compiled.work
    }

    fn summary(&self) -> String {
        summary::of(&self.snapshot, &self.report)
    }
}

/// Objects that have much to do with each other: few names, few hosts, few addresses.
fn neighbours() -> String {
    let mut text = String::new();
    let mut add = |part: String| {
        let _ = write!(text, "---\n{part}\n");
    };
    for (name, more) in
        [("a", ""), ("b", ""), ("a", "weir.dev/mode: l7"), ("b", "weir.dev/max-requests: '5'")]
    {
        for (ip, port) in [
            ("10.0.0.1", "port: 80"),
            ("10.0.0.2", "port: 80, appProtocol: http"),
            ("None", "port: 80, name: grpc"),
            ("10.0.0.1", "port: 81"),
        ] {
            add(format!(
                "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: n, annotations: {{{more}}}}}\nspec: {{clusterIP: {ip}, ports: [{{{port}}}]}}"
            ));
        }
        add(format!(
            "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: s1, namespace: n, labels: {{kubernetes.io/service-name: {name}}}}}\naddressType: IPv4\nports: [{{port: 8080}}]\nendpoints: [{{addresses: [10.1.0.1]}}]"
        ));
        add(format!(
            "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: s2, namespace: n, labels: {{kubernetes.io/service-name: {name}}}}}\naddressType: IPv4\nports: [{{port: 8080}}]\nendpoints: [{{addresses: [10.1.0.2]}}, {{addresses: [x]}}]"
        ));
    }
    for from in ["All", "Same", "Selector, selector: {matchLabels: {team: x}}"] {
        for host in ["", ", hostname: '*.example'"] {
            add(format!(
                "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {{name: g, namespace: m}}\nspec: {{gatewayClassName: weir, listeners: [{{name: l, port: 80, protocol: HTTP{host}, allowedRoutes: {{namespaces: {{from: {from}}}}}}}, {{name: k, port: 81, protocol: HTTP}}]}}"
            ));
        }
    }
    for label in ["x", "y"] {
        add(format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: n, labels: {{team: {label}}}}}"));
    }
    add("apiVersion: gateway.networking.k8s.io/v1beta1\nkind: ReferenceGrant\nmetadata: {name: x, namespace: n}\nspec: {from: [{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: m}], to: [{group: '', kind: Service}]}".to_owned());
    let parents = [
        "{name: g, namespace: m}",
        "{name: g, namespace: m, sectionName: k}",
        "{group: '', kind: Service, name: a, namespace: n}",
        "{group: '', kind: Service, name: b, namespace: n}, {name: g, namespace: m}",
    ];
    for (number, parent) in parents.iter().enumerate() {
        for (name, namespace, created) in [
            ("r", "n", "2024-01-01T00:00:00Z"),
            ("q", "n", "2023-01-01T00:00:00Z"),
            ("r", "m", "2025-01-01T00:00:00Z"),
        ] {
            let meta = format!("{{name: {name}, namespace: {namespace}, creationTimestamp: '{created}'}}");
            let hosts = ["[]", "[a.example]", "['*.example', b.example]", "[c.test]"]
                [(number + name.len() + namespace.len()) % 4];
            let backend = ["a", "b", "c"][(number + usize::from(name == "q")) % 3];
            add(format!(
                "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {meta}\nspec: {{parentRefs: [{parent}], hostnames: {hosts}, rules: [{{matches: [{{path: {{value: /{name}}}}}], backendRefs: [{{name: {backend}, namespace: n, port: 80}}]}}]}}"
            ));
            add(format!(
                "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {meta}\nspec: {{parentRefs: [{parent}], rules: [{{matches: [{{path: {{type: RegularExpression, value: '/(x|y)'}}}}]}}, {{backendRefs: [{{name: a, port: 81}}]}}]}}"
            ));
            add(format!(
                "apiVersion: gateway.networking.k8s.io/v1\nkind: GRPCRoute\nmetadata: {meta}\nspec: {{parentRefs: [{parent}], hostnames: {hosts}, rules: [{{backendRefs: [{{name: {backend}, port: 80}}]}}]}}"
            ));
        }
    }
    text
}

/// Every object of every golden case, and the neighbours, several times.
static POOL: LazyLock<Vec<(ObjectKey, Kind, Object)>> = LazyLock::new(|| {
    let mut pool = Vec::new();
    for document in neighbours().split("---\n").filter(|text| !text.is_empty()) {
        let desired = file::from_text("pool.yaml", document);
        assert!(desired.findings.is_empty(), "{document}\n{:?}", desired.findings);
        let objects = objects(&desired.set);
        (0..4).for_each(|_| pool.extend(objects.iter().cloned()));
    }
    for (_, text) in inputs() {
        pool.extend(objects(&file::from_text("pool.yaml", &text).set));
    }
    pool
});

fn objects(set: &ResourceSet) -> Vec<(ObjectKey, Kind, Object)> {
    let mut all = Vec::new();
    macro_rules! each {
        ($($field:ident $kind:ident),*) => {$(
            all.extend(set.$field.iter().map(|(key, entry)| {
                (key.clone(), Kind::$kind, Object::$kind(Arc::clone(&entry.object)))
            }));
        )*};
    }
    each!(gateway_classes GatewayClass, gateways Gateway, http_routes HttpRoute, grpc_routes GrpcRoute,
        reference_grants ReferenceGrant, services Service, endpoint_slices EndpointSlice,
        namespaces Namespace, nodes Node);
    all
}

#[derive(Debug, Clone)]
enum Step {
    Insert(prop::sample::Index, u32),
    Remove(prop::sample::Index),
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (any::<prop::sample::Index>(), 1u32..4).prop_map(|(object, line)| Step::Insert(object, line)),
        1 => any::<prop::sample::Index>().prop_map(Step::Remove),
    ]
}

fn take(set: &mut ResourceSet, step: &Step) {
    match step {
        Step::Insert(object, line) => {
            let (key, _, object) = object.get(&POOL).clone();
            set.insert(key, Origin::File { file: "f.yaml".into(), line: *line }, object);
        }
        Step::Remove(which) => {
            let present = objects(set);
            if !present.is_empty() {
                let (key, kind, _) = which.get(&present).clone();
                set.remove(&ObjectId { kind, key });
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn change_by_change_comes_to_what_a_compile_of_everything_comes_to(
        first in prop::collection::vec(any_step(), 0..40),
        then in prop::collection::vec(prop::collection::vec(any_step(), 1..3), 1..16),
    ) {
        let mut set = ResourceSet::default();
        first.iter().for_each(|step| take(&mut set, step));
        let mut followed = Followed::new();
        followed.compile(&set);
        for steps in &then {
            steps.iter().for_each(|step| take(&mut set, step));
            followed.compile(&set);
            let mut whole = Followed::new();
            whole.compile(&set);
            prop_assert_eq!(followed.summary(), whole.summary(), "after {:?}", steps);
            prop_assert_eq!(&followed.report, &whole.report);
        }
    }
}

/// Services and routes in pairs, all routes at one host of one listener.
fn many(count: usize) -> ResourceSet {
    let mut text = "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: g}\nspec: {gatewayClassName: weir, listeners: [{name: l, port: 80, protocol: HTTP}]}\n".to_owned();
    for n in 0..count {
        let ip = format!("10.0.{}.{}", n / 250, n % 250);
        let _ = write!(
            text,
            "---\napiVersion: v1\nkind: Service\nmetadata: {{name: s{n}}}\nspec: {{clusterIP: {ip}, ports: [{{port: 80, appProtocol: http}}]}}\n"
        );
        text.push_str(&route(n, n));
    }
    file::from_text("many.yaml", &text).set
}

fn route(number: usize, backend: usize) -> String {
    format!(
        "---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: r{number}}}\nspec: {{parentRefs: [{{name: g}}], hostnames: [h.example], rules: [{{matches: [{{path: {{value: /r{number}}}}}], backendRefs: [{{name: s{backend}, port: 80}}]}}]}}\n"
    )
}

fn put(set: &mut ResourceSet, text: &str) {
    for (key, _, object) in objects(&file::from_text("other.yaml", text).set) {
        set.insert(key, Origin::File { file: "other.yaml".into(), line: 1 }, object);
    }
}

#[test]
fn a_change_costs_what_it_touches() {
    let mut set = many(300);
    let mut followed = Followed::new();
    let all = followed.compile(&set);
    assert_eq!(all, Work { services: 300, routes: 300, frontends: 300, everything: true });
    // The Service that it no longer goes to is looked at too: nothing says now that it is sent HTTP.
    put(&mut set, &route(7, 8));
    assert_eq!(followed.compile(&set), Work { services: 1, routes: 1, frontends: 0, everything: false });
    // A Service: its route is looked at too.
    let service = "apiVersion: v1\nkind: Service\nmetadata: {name: s9}\nspec: {clusterIP: 10.0.0.9, ports: [{port: 80, name: a, appProtocol: http}, {port: 81, name: b}]}\n";
    put(&mut set, service);
    assert_eq!(followed.compile(&set), Work { services: 1, routes: 1, frontends: 1, everything: false });
    let slice = "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: x, labels: {kubernetes.io/service-name: s3}}\naddressType: IPv4\nports: [{port: 8080}]\nendpoints: [{addresses: [10.1.0.1]}]\n";
    put(&mut set, slice);
    assert_eq!(followed.compile(&set), Work { services: 1, ..Work::default() });
    assert_eq!(followed.compile(&set), Work::default());
    let mut whole = Followed::new();
    whole.compile(&set);
    assert_eq!(followed.summary(), whole.summary());
}
