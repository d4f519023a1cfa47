//! The provider `kubernetes` on a real API server: how soon a change is known, and what an outage leaves.

use std::time::{Duration, Instant};

use gateway_tests::cluster::Cluster;
use gateway_tests::wait::wait_for;
use gateway_userspace::control::config::meta::ObjectKey;
use gateway_userspace::control::provider::Desired;
use gateway_userspace::control::provider::kubernetes::{Kubernetes, Settings, client};
use gateway_userspace::limits::ApiLimits;
use http::Request;
use http::header::CONTENT_TYPE;
use serde_json::{Value, json};

const NAMESPACE: &str = "weir-provider";
const SERVICES: usize = 1000;
const CHANGES: usize = 200;
const DEADLINE: Duration = Duration::from_secs(60);

async fn follow(cluster: &Cluster) -> (kube::Client, Kubernetes) {
    let config = client::config(Some(cluster.kubeconfig())).await.expect("a kubeconfig");
    let api = client::client(&config, client::Agent::Follows).expect("a client");
    let limits = ApiLimits::default();
    let settings = Settings { node_name: "nobody".to_owned(), state_dir: None, limits };
    let mut kubernetes = Kubernetes::start(config, settings).expect("it follows");
    let first = tokio::time::timeout(DEADLINE, kubernetes.desired.changed()).await;
    first.expect("the first state within a minute").expect("it goes on");
    (api, kubernetes)
}

async fn until(kubernetes: &mut Kubernetes, what: &str, holds: impl Fn(&Desired) -> bool) {
    let found = tokio::time::timeout(DEADLINE, kubernetes.desired.wait_for(|desired| holds(desired))).await;
    assert!(found.is_ok_and(|state| state.is_ok()), "{what}: not within {DEADLINE:?}");
}

async fn post(api: &kube::Client, path: &str, object: &Value) {
    let request = Request::post(path).header(CONTENT_TYPE, "application/json");
    let request = request.body(object.to_string().into_bytes()).expect("a request");
    api.request_text(request).await.expect("created");
}

fn services_path() -> String {
    format!("/api/v1/namespaces/{NAMESPACE}/services")
}

fn service(name: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {"ports": [{"port": 80}], "selector": {"app": name}}})
}

/// The mark that the change of a test has left on a Service.
fn mark(desired: &Desired, name: &str) -> Option<String> {
    let service = desired.set.services.get(&ObjectKey::new(NAMESPACE, name))?;
    service.object.metadata.annotations.get("weir.dev/mark").cloned()
}

async fn set_mark(api: &kube::Client, name: &str, mark: &str) {
    let patch = json!({"metadata": {"annotations": {"weir.dev/mark": mark}}}).to_string().into_bytes();
    let request = Request::patch(format!("{}/{name}", services_path()));
    let request = request.header(CONTENT_TYPE, "application/merge-patch+json").body(patch);
    api.request_text(request.expect("a request")).await.expect("patched");
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

#[test]
fn a_change_among_a_thousand_services_is_known_soon_and_an_outage_loses_nothing() {
    let Some(cluster) = Cluster::find() else { return };
    cluster.kubectl(&["create", "namespace", NAMESPACE]).expect("a namespace");
    runtime().block_on(async {
        let (api, mut kubernetes) = follow(&cluster).await;
        let before = kubernetes.desired.borrow().set.services.len();
        let path = services_path();
        for chunk in (0..SERVICES).collect::<Vec<_>>().chunks(16) {
            let objects: Vec<Value> = chunk.iter().map(|index| service(&format!("s{index}"))).collect();
            futures_util::future::join_all(objects.iter().map(|object| post(&api, &path, object))).await;
        }
        let all = |desired: &Desired| desired.set.services.len() == before + SERVICES;
        until(&mut kubernetes, "every Service", all).await;
        changes_are_known_soon(&api, &kubernetes).await;

        cluster.stop_api().expect("stopped");
        let cut = kubernetes.freshness.clone();
        let aged = || cut.age().filter(|age| !age.is_zero());
        wait_for("the age of what is known to show the outage", DEADLINE * 2, aged).expect("an age");
        assert!(all(&kubernetes.desired.borrow()), "what was known is gone");
        cluster.start_api().expect("started");
        set_mark(&api, "s1", "after").await;
        until(&mut kubernetes, "a change after it", |d| mark(d, "s1").is_some_and(|m| m == "after")).await;
        assert!(all(&kubernetes.desired.borrow()), "something was lost");
        let kinds = kubernetes.freshness.kinds();
        let lists: u64 = kinds.iter().map(|kind| kind.lists).sum();
        println!("back after the outage: {lists} lists of {} kinds in all", kinds.len());
    });
    cluster.kubectl(&["delete", "namespace", NAMESPACE, "--wait=false"]).expect("deleted");
}

/// Prints how long it takes from the API server's answer to the change until the change is known here.
async fn changes_are_known_soon(api: &kube::Client, kubernetes: &Kubernetes) {
    let mut desired = kubernetes.desired.clone();
    let mut times = Vec::new();
    for index in 0..CHANGES {
        let text = index.to_string();
        let known = async {
            let found = desired.wait_for(|desired| mark(desired, "s7").is_some_and(|m| m == text)).await;
            found.expect("it goes on");
            Instant::now()
        };
        let answered = async {
            set_mark(api, "s7", &text).await;
            Instant::now()
        };
        let both = tokio::time::timeout(DEADLINE, futures_util::future::join(known, answered)).await;
        let (known, answered) = both.unwrap_or_else(|_| panic!("change {index}: not within {DEADLINE:?}"));
        times.push(known.saturating_duration_since(answered));
    }
    times.sort_unstable();
    let at = |part: usize| times.get((times.len() - 1) * part / 100).copied().unwrap_or_default();
    println!(
        "{CHANGES} changes among {SERVICES} Services, from the API server's answer to the desired state: p50 {:?} p99 {:?}",
        at(50),
        at(99)
    );
}
