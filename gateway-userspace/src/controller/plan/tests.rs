//! Plans for objects of the API server, from YAML as users write it to writes.

use serde_json::json;

use super::super::seen::Event;
use super::*;
use crate::control::config::meta::Origin;
use crate::control::config::resources::Object;
use crate::control::provider::Desired;
use crate::control::{Control, NoKernel};
use crate::limits::Limits;

const NOW: &str = "2026-11-23T08:00:00Z";

struct Cluster {
    set: ResourceSet,
    wanted: Wanted,
    known: Known,
    captures: CaptureStatuses,
    complete: bool,
    refused: Option<String>,
}

fn object<T: serde::de::DeserializeOwned>(value: Value) -> Arc<T> {
    Arc::new(serde_json::from_value(value).unwrap())
}

fn meta(name: &str, generation: i64) -> Value {
    json!({"name": name, "namespace": "shop", "generation": generation})
}

fn key_of(target: &Target) -> &ObjectKey {
    match target {
        Target::Object(id) => &id.key,
        Target::Pod(key) => key,
    }
}

fn id(kind: Kind, name: &str) -> Target {
    let namespace = if kind == Kind::GatewayClass { "" } else { "shop" };
    Target::Object(ObjectId { kind, key: ObjectKey::new(namespace, name) })
}

fn seen(generation: i64, content: Value) -> Seen {
    Seen { uid: "u-1".into(), version: "7".into(), generation, content }
}

impl Cluster {
    /// A class, a Gateway on port 80 and a route on it; the API server has them without statuses.
    fn new() -> Self {
        let mut set = ResourceSet::default();
        let origin = || Origin::Api { resource_version: 1 };
        let class = json!({
            "metadata": {"name": "weir", "generation": 1},
            "spec": {"controllerName": crate::control::report::CONTROLLER_NAME},
        });
        set.insert(ObjectKey::new("", "weir"), origin(), Object::GatewayClass(object(class)));
        let gateway = json!({
            "metadata": meta("web", 3),
            "spec": {
                "gatewayClassName": "weir",
                "listeners": [{"name": "http", "port": 80, "protocol": "HTTP"}],
            },
        });
        set.insert(ObjectKey::new("shop", "web"), origin(), Object::Gateway(object(gateway)));
        let route = json!({"metadata": meta("cart", 2), "spec": {"parentRefs": [{"name": "web"}]}});
        set.insert(ObjectKey::new("shop", "cart"), origin(), Object::HttpRoute(object(route)));
        let mut known = Known::default();
        for source in Source::ALL {
            known.take(source, Event::ListBegins);
            known.take(source, Event::Complete);
        }
        known.wrote(Source::GatewayClasses, &ObjectKey::new("", "weir"), seen(1, Value::Null));
        known.wrote(Source::Gateways, &ObjectKey::new("shop", "web"), seen(3, Value::Null));
        known.wrote(Source::HttpRoutes, &ObjectKey::new("shop", "cart"), seen(2, Value::Null));
        let mut cluster = Self {
            set,
            wanted: Wanted::default(),
            known,
            captures: CaptureStatuses::default(),
            complete: true,
            refused: None,
        };
        cluster.compile();
        cluster
    }

    fn compile(&mut self) {
        let mut control = Control::new(Arc::default(), Box::new(NoKernel), &Limits::default());
        self.wanted = Wanted::new(control.apply(&Desired::from(self.set.clone())).report);
    }

    /// Makes a class, and the Gateway one of it.
    fn class_of_web(&mut self, class: &str, controller: &str) {
        let origin = || Origin::Api { resource_version: 1 };
        let object_of_class = json!({
            "metadata": {"name": class, "generation": 1}, "spec": {"controllerName": controller},
        });
        let key = ObjectKey::new("", class);
        self.set.insert(key, origin(), Object::GatewayClass(object(object_of_class)));
        let gateway = json!({
            "metadata": meta("web", 3),
            "spec": {
                "gatewayClassName": class,
                "listeners": [{"name": "http", "port": 80, "protocol": "HTTP"}],
            },
        });
        self.set.insert(ObjectKey::new("shop", "web"), origin(), Object::Gateway(object(gateway)));
        self.compile();
    }

    fn plan(&self, id: &Target) -> Vec<Write> {
        let facts = Facts {
            set: &self.set,
            wanted: &self.wanted,
            known: &self.known,
            captures: &self.captures,
            complete: self.complete,
            refused: self.refused.as_deref(),
            service_type: ServiceType::ClusterIp,
            now: NOW,
        };
        facts.plan(id)
    }

    /// Does what is planned, as the API server does.
    fn settle(&mut self, id: &Target) -> usize {
        for round in 0..5 {
            let writes = self.plan(id);
            if writes.is_empty() {
                return round;
            }
            for write in writes {
                self.write(write);
            }
        }
        5
    }

    fn write(&mut self, write: Write) {
        match write {
            Write::Status { source, key, fields, .. } => {
                let mut there = self.known.get(source, &key).unwrap().clone();
                if there.content.is_null() {
                    there.content = json!({});
                }
                for (name, value) in fields.as_object().unwrap() {
                    there.content[name] = value.clone();
                }
                self.known.wrote(source, &key, there);
            }
            Write::Apply { source, key, mut object, .. } => {
                if source == Source::Services {
                    object["spec"]["clusterIPs"] = json!(["10.96.0.9"]);
                }
                self.known.wrote(source, &key, seen(0, object));
            }
            Write::Annotate { key, uid, text } => {
                self.known.wrote(
                    Source::Pods,
                    &key,
                    Seen { uid, version: "8".into(), generation: 0, content: text.into() },
                );
            }
            Write::Delete { source, key, .. } => {
                self.known.take(source, Event::Gone(key));
            }
        }
    }

    fn node_pod(&mut self, name: &str, ip: &str) {
        let pod = json!({
            "metadata": {"name": name, "namespace": "weir-system", "uid": name},
            "spec": {"nodeName": "n1"},
            "status": {
                "phase": "Running", "podIPs": [{"ip": ip}], "conditions": [{"type": "Ready", "status": "True"}],
            },
        });
        self.known.wrote(Source::NodePods, &ObjectKey::new("weir-system", name), seen(0, pod));
    }

    fn content(&self, source: Source, name: &str) -> &Value {
        &self.known.get(source, &ObjectKey::new("shop", name)).unwrap().content
    }
}

#[test]
fn a_gateway_gets_a_service_slices_an_address_and_a_status_and_then_nothing_more() {
    let mut cluster = Cluster::new();
    cluster.node_pod("weir-1", "10.1.0.1");
    assert!(cluster.settle(&id(Kind::Gateway, "web")) < 5);
    let status = cluster.content(Source::Gateways, "web");
    assert_eq!(status["addresses"], json!([{"type": "IPAddress", "value": "10.96.0.9"}]));
    assert_eq!(status["conditions"][1]["type"], "Programmed");
    assert_eq!(status["conditions"][1]["status"], "True");
    assert_eq!(status["listeners"][0]["attachedRoutes"], 1);
    let slice = cluster.content(Source::EndpointSlices, "web-weir-v4-0");
    assert_eq!(slice["endpoints"][0]["addresses"][0], "10.1.0.1");
}

#[test]
fn a_route_gets_one_status_for_its_generation_and_none_for_another() {
    let mut cluster = Cluster::new();
    let route = id(Kind::HttpRoute, "cart");
    assert_eq!(cluster.settle(&route), 1);
    cluster.known.wrote(Source::HttpRoutes, key_of(&route), seen(9, Value::Null));
    assert_eq!(cluster.plan(&route), [], "its new version is not compiled yet");
}

#[test]
fn an_object_that_was_made_anew_under_its_name_gets_nothing_of_the_one_before() {
    let mut cluster = Cluster::new();
    let (web, cart) = (id(Kind::Gateway, "web"), id(Kind::HttpRoute, "cart"));
    let of = |mut meta: Value, uid: &str| {
        meta["uid"] = uid.into();
        meta
    };
    let origin = || Origin::Api { resource_version: 1 };
    for (uid, writes) in [("u-0", false), ("u-1", true)] {
        let route = json!({"metadata": of(meta("cart", 2), uid), "spec": {"parentRefs": [{"name": "web"}]}});
        cluster.set.insert(key_of(&cart).clone(), origin(), Object::HttpRoute(object(route)));
        let gateway = json!({"metadata": of(meta("web", 3), uid), "spec": {"gatewayClassName": "weir",
            "listeners": [{"name": "http", "port": 80, "protocol": "HTTP"}]}});
        cluster.set.insert(key_of(&web).clone(), origin(), Object::Gateway(object(gateway)));
        cluster.compile();
        for target in [&web, &cart] {
            assert_eq!(!cluster.plan(target).is_empty(), writes, "{target} of {uid}");
        }
    }
}

#[test]
fn nothing_is_written_of_what_came_of_half_a_state() {
    let mut cluster = Cluster::new();
    cluster.set.services = Default::default();
    cluster.compile();
    cluster.complete = false;
    for target in [id(Kind::HttpRoute, "cart"), id(Kind::Gateway, "web"), id(Kind::GatewayClass, "weir")] {
        assert_eq!(cluster.plan(&target), []);
    }
}

#[test]
fn a_gateway_or_route_that_is_not_read_yet_loses_nothing() {
    let mut cluster = Cluster::new();
    cluster.node_pod("weir-1", "10.1.0.1");
    let (web, cart) = (id(Kind::Gateway, "web"), id(Kind::HttpRoute, "cart"));
    cluster.settle(&cart);
    cluster.settle(&web);
    cluster.set.gateways.remove(key_of(&web));
    cluster.set.http_routes.remove(key_of(&cart));
    cluster.compile();
    assert_eq!(cluster.plan(&cart), []);
    assert_eq!(cluster.plan(&web), []);
}

#[test]
fn a_class_that_is_gone_for_a_moment_costs_no_gateway_its_address() {
    let mut cluster = Cluster::new();
    cluster.node_pod("weir-1", "10.1.0.1");
    cluster.class_of_web("blue", crate::control::report::CONTROLLER_NAME);
    let web = id(Kind::Gateway, "web");
    cluster.settle(&web);
    cluster.set.gateway_classes.remove(&ObjectKey::new("", "blue"));
    cluster.compile();
    let taken = |write: &Write| matches!(write, Write::Delete { .. });
    assert!(!cluster.plan(&web).iter().any(taken));
}

#[test]
fn a_gateway_that_goes_to_another_class_leaves_no_service_behind() {
    let mut cluster = Cluster::new();
    cluster.node_pod("weir-1", "10.1.0.1");
    let web = id(Kind::Gateway, "web");
    cluster.settle(&web);
    cluster.class_of_web("other", "example.org/other");
    let deleted: Vec<Source> = cluster
        .plan(&web)
        .iter()
        .map(|write| match write {
            Write::Delete { source, .. } => *source,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(deleted, [Source::EndpointSlices, Source::Services]);
}

#[test]
fn a_gateway_whose_service_is_refused_says_why() {
    let mut cluster = Cluster::new();
    cluster.refused = Some("exceeded quota".to_owned());
    let web = id(Kind::Gateway, "web");
    let status = cluster.plan(&web).into_iter().find_map(|write| match write {
        Write::Status { fields, .. } => Some(fields),
        _ => None,
    });
    let conditions = status.unwrap()["conditions"].clone();
    assert_eq!((&conditions[0]["type"], &conditions[0]["status"]), (&json!("Accepted"), &json!("True")));
    let programmed = &conditions[1];
    assert_eq!((&programmed["status"], &programmed["reason"]), (&json!("False"), &json!("NoResources")));
    assert_eq!(programmed["message"], "exceeded quota");
}

#[test]
fn pods_that_are_not_listed_yet_empty_no_slice() {
    let mut cluster = Cluster::new();
    cluster.known = Known::default();
    cluster.known.wrote(Source::Gateways, &ObjectKey::new("shop", "web"), seen(3, Value::Null));
    assert_eq!(cluster.plan(&id(Kind::Gateway, "web")), []);
}

#[test]
fn a_service_of_that_name_that_was_made_for_something_else_is_left_alone() {
    let mut cluster = Cluster::new();
    let foreign = json!({"metadata": {"name": "web-weir"}, "spec": {"clusterIPs": ["10.96.0.1"]}});
    cluster.known.wrote(Source::Services, &ObjectKey::new("shop", "web-weir"), seen(0, foreign));
    let writes = cluster.plan(&id(Kind::Gateway, "web"));
    assert!(matches!(&*writes, [Write::Status { .. }]), "{writes:?}");
}

#[test]
fn two_plans_that_differ_in_time_alone_say_the_same() {
    let plan = |time: &str| {
        let fields =
            json!({"conditions": [{"type": "Accepted", "status": "True", "lastTransitionTime": time}]});
        status_write(Source::Gateways, &ObjectKey::new("shop", "web"), &seen(1, Value::Null), fields)
    };
    assert_eq!(content(&[plan("a")]), content(&[plan("b")]));
    assert_ne!(content(&[plan("a")]), content(&[plan("a"), plan("a")]));
}

#[test]
fn a_pod_says_whether_it_is_captured_and_a_new_one_of_its_name_does_not_inherit_that() {
    let mut cluster = Cluster::new();
    let key = ObjectKey::new("shop", "cart-1");
    let pod = Target::Pod(key.clone());
    cluster.known.wrote(Source::Pods, &key, seen(0, Value::Null));
    assert_eq!(cluster.plan(&pod), [], "no node speaks of it");
    let reported = json!([{"namespace": "shop", "name": "cart-1", "uid": "u-1", "state": "captured"}]);
    let report = json!({
        "apiVersion": "weir.dev/v1alpha1", "kind": "NodeReport", "metadata": {"name": "n1"},
        "status": {"pods": reported},
    });
    cluster.captures.take("n1", Some(&report));
    assert_eq!(cluster.settle(&pod), 1);
    assert_eq!(cluster.known.get(Source::Pods, &key).unwrap().content, "captured");
    let next = Seen { uid: "u-2".into(), ..seen(0, Value::Null) };
    cluster.known.wrote(Source::Pods, &key, next);
    assert_eq!(cluster.plan(&pod), []);
}
