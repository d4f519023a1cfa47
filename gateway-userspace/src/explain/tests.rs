//! The way of calls through a small world, as its users read it.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use http::{HeaderName, HeaderValue, Method, StatusCode};

use super::*;
use crate::snapshot::cluster::{
    BalancePolicy, ClusterId, ClusterKey, Endpoint, EndpointSet, UpstreamProtocol,
};
use crate::snapshot::filter::{Filter, HeaderModifier, PathModifier, Redirect, Rewrite};
use crate::snapshot::frontend::{FailPolicy, Mode};
use crate::snapshot::router::{
    Backend, Matcher, PathMatcher, RetryPolicy, RouteEntry, Router, Rule, Section, Timeouts, ValueMatcher,
    WeightedBackends,
};
use crate::snapshot::store::EndpointSlot;
use crate::telemetry::endpoint_state::{Ejection, EndpointState};
use crate::telemetry::pods::PodName;
use crate::telemetry::recent::Recent;
use crate::telemetry::record::text::Text;
use crate::telemetry::record::{PodId, Record, example};

fn cluster(directory: &Directory, service: &str, port: u16, endpoints: &[u8]) -> Arc<Cluster> {
    let key = ClusterKey { namespace: "shop".into(), service: service.into(), port };
    let endpoint = |last: &u8| Endpoint::at(SocketAddr::from(([10, 1, 2, *last], 8080)));
    let set = EndpointSet { endpoints: endpoints.iter().map(endpoint).collect(), ..EndpointSet::default() };
    Arc::new(Cluster {
        id: directory.names.add_cluster(key.to_string().into()),
        key,
        protocol: UpstreamProtocol::Http,
        balance: BalancePolicy::LeastRequest,
        affinity: None,
        circuit: None,
        connect_timeout: Duration::from_secs(1),
        endpoints: Arc::new(EndpointSlot::new(set)),
    })
}

fn frontend(cluster: &Arc<Cluster>, last: u8, mode: Mode, routes: Option<Router>) -> Arc<Frontend> {
    let protocol = if mode == Mode::L7 { PortProtocol::Http } else { PortProtocol::Opaque };
    Arc::new(Frontend {
        key: cluster.key.clone(),
        addresses: vec![[10, 96, 4, last].into()],
        protocol,
        mode,
        fail_policy: FailPolicy::Open,
        routes,
        cluster: Arc::clone(cluster),
    })
}

fn backend(weight: u32, cluster: &Arc<Cluster>) -> Backend {
    Backend { weight, cluster: Ok(Arc::clone(cluster)), filters: Vec::new() }
}

fn rule(directory: &Directory, name: &str, backends: Vec<Backend>) -> Rule {
    Rule {
        id: directory.names.add_rule(name.into()),
        name: name.into(),
        grpc: false,
        filters: Vec::new(),
        backends: WeightedBackends::new(backends),
        timeouts: Timeouts::default(),
        retry: None,
    }
}

fn entry(rule: Rule, path: &str, method: Option<Method>) -> RouteEntry {
    let matcher = Matcher { path: PathMatcher::Prefix(path.into()), method, ..Matcher::default() };
    RouteEntry { hostname: None, matcher, rule: Arc::new(rule) }
}

/// Cart has routes, plain has none, db is l4, empty has no endpoints; and a gateway stands on port 8000.
pub(crate) struct Shop {
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) directory: Directory,
    ejected: HashMap<SocketAddr, Ejection>,
    not_captured: Option<String>,
}

impl EndpointStates for Shop {
    fn state(&self, _: ClusterId, address: SocketAddr) -> Option<EndpointState> {
        Some(EndpointState { ejection: self.ejected.get(&address).copied() })
    }
}

impl Shop {
    pub(crate) fn new() -> Self {
        let directory = Directory::default();
        let cart = cluster(&directory, "cart", 80, &[9, 10]);
        let cart_v2 = cluster(&directory, "cart-v2", 80, &[20]);
        let plain = cluster(&directory, "plain", 8080, &[30]);
        let db = cluster(&directory, "db", 5432, &[40]);
        let empty = cluster(&directory, "empty", 80, &[]);
        let frontends = vec![
            frontend(&cart, 7, Mode::L7, Some(cart_routes(&directory, &cart, &cart_v2))),
            frontend(&plain, 8, Mode::L7, None),
            frontend(&db, 9, Mode::L4, None),
            frontend(&empty, 10, Mode::L7, None),
        ];
        let redirect = Redirect {
            scheme: Some("https".into()),
            hostname: None,
            port: None,
            path: None,
            status: StatusCode::MOVED_PERMANENTLY,
        };
        let mut to_https = rule(&directory, "edge/web/0", Vec::new());
        to_https.filters = vec![Filter::Redirect(redirect)];
        let section =
            Section { hostname: Some("shop.example.com".into()), entries: vec![entry(to_https, "/", None)] };
        let listener = Listener {
            address: SocketAddr::from(([0, 0, 0, 0], 8000)),
            port: 8000,
            name: "edge/web/http".into(),
            kind: ListenerKind::Http(Router::new(vec![section])),
        };
        let name = PodName { namespace: "shop".into(), name: "web-7d9f".into(), service: "web".into() };
        directory.pods.insert(PodId(1), name);
        Self {
            snapshot: Arc::new(Snapshot {
                generation: 7,
                listeners: vec![Arc::new(listener)],
                frontends: frontends.into_iter().collect(),
                clusters: [cart, cart_v2, plain, db, empty].into_iter().collect(),
            }),
            directory,
            ejected: HashMap::new(),
            not_captured: None,
        }
    }

    fn within<T>(&self, look: impl FnOnce(&World<'_>) -> T) -> T {
        look(&World {
            snapshot: &self.snapshot,
            directory: &self.directory,
            endpoint_states: self,
            not_captured: &|_| self.not_captured.clone(),
            panic_threshold_percent: 50,
        })
    }

    fn ask(&self, caller: &str, method: &str, url: &str) -> Explanation {
        let question = Question::parse(caller, url, method, &[]).unwrap();
        self.within(|world| answer(&question, world))
    }
}

fn cart_routes(directory: &Directory, cart: &Arc<Cluster>, cart_v2: &Arc<Cluster>) -> Router {
    let read = rule(directory, "shop/cart/read", vec![backend(1, cart)]);
    let mut write = rule(directory, "shop/cart/write", vec![backend(90, cart), backend(10, cart_v2)]);
    write.timeouts.request = Some(Duration::from_secs(2));
    write.retry = Some(RetryPolicy { attempts: 3, codes: vec![503], backoff: Duration::from_millis(25) });
    write.filters = vec![
        Filter::RequestHeaders(HeaderModifier {
            set: vec![(HeaderName::from_static("x-by"), HeaderValue::from_static("weir"))],
            ..HeaderModifier::default()
        }),
        Filter::Rewrite(Rewrite { hostname: None, path: Some(PathModifier::ReplaceFull("/v2".into())) }),
    ];
    let mut broken = rule(directory, "shop/cart/broken", vec![backend(1, cart)]);
    broken.filters = vec![Filter::Unsupported("RequestMirror".into())];
    let nowhere = Backend { weight: 1, cluster: Err(Reason::InvalidBackend), filters: Vec::new() };
    let nowhere = rule(directory, "shop/cart/nowhere", vec![nowhere]);
    let canary = Matcher {
        headers: vec![(HeaderName::from_static("x-canary"), ValueMatcher::Exact("yes".into()))],
        ..Matcher::default()
    };
    let canary = RouteEntry {
        hostname: None,
        matcher: canary,
        rule: Arc::new(rule(directory, "shop/cart/canary", vec![backend(1, cart_v2)])),
    };
    Router::new(vec![Section {
        hostname: None,
        entries: vec![
            entry(read, "/items", Some(Method::GET)),
            entry(write, "/items", Some(Method::POST)),
            entry(broken, "/broken", None),
            entry(nowhere, "/nowhere", None),
            canary,
        ],
    }])
}

#[test]
fn a_call_is_followed_from_the_kernel_to_its_endpoints() {
    let mut shop = Shop::new();
    let ejection = Ejection { cause: Some(Reason::ConnectRefused), remaining: Duration::from_secs(3) };
    shop.ejected.insert(SocketAddr::from(([10, 1, 2, 10], 8080)), ejection);
    let text = shop.ask("shop/web-7d9f", "POST", "http://cart/items").to_string();
    assert_eq!(
        text,
        "\
shop/web-7d9f: POST http://cart/items
 1 kernel       connect4 10.96.4.7:80: service shop/cart:80, mode l7, fail-policy open; to the proxy
 2 listener     pod shop/web-7d9f, HTTP/1.1, or HTTP/2 with prior knowledge
 3 route        shop/cart/write: serves the request: path prefix `/items`
                request timeout 2s
                up to 3 retries on 503, at least 25ms apart
                not shop/cart/canary: header `x-canary` does not match
                not shop/cart/read: only for method GET
                not shop/cart/nowhere: path prefix `/nowhere` does not match
                not shop/cart/broken: path prefix `/broken` does not match
 4 filters      request headers: set x-by=weir
                rewrite path /v2
 5 endpoints    shop/cart:80 (90 %)
                  10.1.2.9:8080 ok
                  10.1.2.10:8080 out: EJECTED connect_refused, back in 3.0 s
                shop/cart-v2:80 (10 %)
                  10.1.2.20:8080 ok
 6 would answer proxied to shop/cart:80 10.1.2.9:8080 (90 %), or proxied to shop/cart-v2:80 10.1.2.20:8080 (10 %)
"
    );
}

#[test]
fn each_way_to_be_refused_names_its_status_and_reason() {
    let shop = Shop::new();
    let ask = |url: &str| {
        let answer = shop.ask("shop/web-7d9f", "GET", url).answer;
        (answer.status, answer.reason)
    };
    assert_eq!(ask("http://cart/other"), (Some(404), Some("no_route")));
    assert_eq!(ask("http://cart/broken"), (Some(500), Some("unsupported_filter")));
    assert_eq!(ask("http://cart/nowhere"), (Some(500), Some("invalid_backend")));
    assert_eq!(ask("http://empty/"), (Some(503), Some("no_healthy_endpoint")));
    assert_eq!(ask("http://cart/%zz"), (Some(400), Some("client_protocol")));
    assert_eq!(ask("http://plain:8080/"), (None, None));
}

#[test]
fn a_service_without_routes_is_its_own_destination() {
    let explanation = Shop::new().ask("shop/web-7d9f", "GET", "http://10.96.4.8:8080/x");
    assert_eq!(explanation.answer.text, "proxied to shop/plain:8080 10.1.2.30:8080");
    assert!(explanation.route.unwrap().why.contains("no route is attached"));
}

#[test]
fn what_the_kernel_does_alone_ends_there() {
    let shop = Shop::new();
    let l4 = shop.ask("shop/web-7d9f", "GET", "http://db:5432/");
    assert_eq!(l4.kernel.as_ref().unwrap().verdict, Some("picked_l4"));
    assert!(l4.listener.is_none() && l4.answer.text.contains("nothing of Weir is on the path"));
    let unknown = shop.ask("shop/web-7d9f", "GET", "http://cart:81/");
    assert_eq!(unknown.kernel.unwrap().why, "Service shop/cart has no port 81; it has 80");
    let foreign = shop.ask("shop/web-7d9f", "GET", "http://www.example.com/");
    assert_eq!(foreign.kernel.unwrap().why, "www.example.com is no name of a Service");
}

#[test]
fn a_pod_that_is_not_captured_is_said_to_be_and_why() {
    let mut shop = Shop::new();
    shop.not_captured = Some("not intercepted: shop/web-7d9f is not captured (no such namespace)".into());
    let explanation = shop.ask("shop/web-7d9f", "GET", "http://cart/items");
    assert!(explanation.kernel.unwrap().why.contains("no such namespace"));
    assert!(explanation.answer.text.contains("without Weir"));
}

#[test]
fn a_call_to_a_gateway_begins_at_its_listener() {
    let shop = Shop::new();
    let redirect = shop.ask("gateway", "GET", "http://shop.example.com:8000/a?b=c");
    assert_eq!(redirect.kernel, None);
    assert_eq!(redirect.listener.as_deref(), Some("gateway edge/web/http on 0.0.0.0:8000"));
    assert_eq!(redirect.answer.status, Some(301));
    assert!(
        redirect.answer.text.starts_with("301 to https://shop.example.com/a"),
        "{}",
        redirect.answer.text
    );
    let other_host = shop.ask("gateway", "GET", "http://other.example.com:8000/");
    assert_eq!(other_host.answer.reason, Some("no_route"));
    let other_port = shop.ask("gateway", "GET", "http://shop.example.com:9/");
    assert!(other_port.answer.text.contains("(open: 8000)"), "{}", other_port.answer.text);
}

#[test]
fn ejections_are_ignored_when_too_few_endpoints_are_left() {
    let mut shop = Shop::new();
    for last in [9, 10] {
        let ejection = Ejection { cause: None, remaining: Duration::from_secs(3) };
        shop.ejected.insert(SocketAddr::from(([10, 1, 2, last], 8080)), ejection);
    }
    let explanation = shop.ask("shop/web-7d9f", "GET", "http://cart/items");
    assert!(explanation.backends[0].panic);
    assert_eq!(explanation.answer.text, "proxied to shop/cart:80 one of 2");
}

#[test]
fn a_call_that_was_made_is_shown_in_the_same_steps() {
    let shop = Shop::new();
    let record = Record {
        attempts: 2,
        method: Some(Method::POST),
        rule: Some(crate::snapshot::router::RuleId(1)),
        ..example()
    };
    let explanation = shop.within(|world| happened(&record, world));
    let text = explanation.to_string();
    for line in [
        "shop/web-7d9f: POST http://cart.shop/items\n",
        " 1 kernel       connect4 10.96.4.7:80: service shop/cart:80, mode l7, fail-policy open; to the proxy\n",
        " 2 listener     pod shop/web-7d9f, HTTP/1.1\n",
        " 3 route        shop/cart/write: served the request\n",
        " 5 answered     200, from 10.1.2.9:8080 at attempt 2, in 1.5 ms (endpoint 1.2 ms), at 2026-09-21T14:13:20.123Z\n",
    ] {
        assert!(text.contains(line), "{line}\nis not in\n{text}");
    }
}

#[test]
fn a_record_of_a_pod_and_service_that_are_gone_can_still_be_shown() {
    let shop = Shop::new();
    let gone = Record {
        pod: PodId(99),
        frontend: Some(ClusterId(77)),
        cluster: Some(ClusterId(77)),
        rule: None,
        text: Text::new(b"cart.shop", b"/\xff", b""),
        ..example()
    };
    let explanation = shop.within(|world| happened(&gone, world));
    assert_eq!(explanation.listener.as_deref(), Some("a pod that is gone, HTTP/1.1"));
}

#[test]
fn recent_calls_of_the_same_kind_are_summed_up() {
    let shop = Shop::new();
    let explanation = shop.ask("shop/web-7d9f", "GET", "http://cart/items");
    let mut recent = Recent::new(1000);
    let start = example().start;
    for n in 1..=100 {
        let status = if n == 100 { StatusCode::BAD_GATEWAY } else { StatusCode::OK };
        let record = Record { duration: Duration::from_millis(n), status: Some(status), ..example() };
        recent.push([record].into());
    }
    recent.push([Record { frontend: Some(ClusterId(2)), ..example() }].into());
    recent.push([Record { pod: PodId(2), ..example() }].into());
    let caller = Caller::Pod { namespace: "shop".into(), name: "web-7d9f".into() };
    let like = |now| RecentView::like(&explanation, &caller, &recent, &shop.directory, now);
    let expected = RecentView { requests: 100, failed_percent: 1.0, p50_ms: 50.0, p99_ms: 99.0 };
    assert_eq!(like(start + Duration::from_secs(10)), Some(expected));
    assert_eq!(like(start + WINDOW + Duration::from_secs(1)), None);
    assert_eq!(like(SystemTime::UNIX_EPOCH), None);
}

#[test]
fn json_has_the_names_of_the_steps() {
    let explanation = Shop::new().ask("shop/web-7d9f", "POST", "http://cart/items");
    let value = serde_json::to_value(&explanation).unwrap();
    assert_eq!(value["kernel"]["mode"], "l7");
    assert_eq!(value["route"]["rule"], "shop/cart/write");
    assert_eq!(value["backends"][0]["endpoints"][0]["state"], "ready");
    assert_eq!(value["answer"]["happened"], false);
}
