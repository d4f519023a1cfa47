//! The compiler: whatever objects there are, it makes a snapshot whose routers find what the slow matcher finds.

use gateway_userspace::control::compile::Compiler;
use gateway_userspace::control::provider::file;
use gateway_userspace::control::render;
use gateway_userspace::limits::Limits;
use gateway_userspace::snapshot::listener::ListenerKind;
use gateway_userspace::snapshot::router::{PathMatcher, RouteEntry, Router, ValueMatcher};
use http::{HeaderMap, HeaderValue};

use crate::router::{Request, assert_agreement};

/// Entries of a router that requests are made for.
const ENTRIES_MAX: usize = 24;

/// The bytes are a file of the folder.
pub(crate) fn compile(data: &[u8]) {
    let desired = file::from_text("fuzzed.yaml", &String::from_utf8_lossy(data));
    let mut compiler = Compiler::new(Default::default(), &Limits::default());
    let first = compiler.compile(&desired);
    let again = compiler.compile(&desired);
    assert!(
        again.changed.is_empty() && again.snapshot.is_none(),
        "the second compile of the same found more"
    );
    assert_eq!(first.report, again.report);
    let style = render::Style { colour: false };
    render::statuses(&first.report, style);
    serde_json::from_str::<serde_json::Value>(&render::json(&first.report)).expect("a report is JSON");

    let snapshot = first.snapshot.unwrap_or_default();
    let of_listeners = snapshot.listeners.iter().filter_map(|listener| match &listener.kind {
        ListenerKind::Http(router) => Some(router),
        ListenerKind::Tcp(_) => None,
    });
    let of_services = snapshot.frontends.iter().filter_map(|frontend| frontend.routes.as_ref());
    of_listeners.chain(of_services).for_each(ask);
}

/// Asks for what each entry wants, and for what it nearly wants.
fn ask(router: &Router) {
    for entry in router.entries().take(ENTRIES_MAX) {
        let request = wanted(entry);
        assert_agreement(router, &request);
        let elsewhere = format!("x{}", request.host);
        assert_agreement(router, &Request { host: elsewhere, ..request.clone() });
        let below = format!("{}/x", request.path.trim_end_matches('/'));
        assert_agreement(router, &Request { path: below, ..request.clone() });
        assert_agreement(router, &Request { headers: HeaderMap::new(), query: None, ..request });
    }
}

/// A request that an entry is there for, as far as that can be told.
fn wanted(entry: &RouteEntry) -> Request {
    let matcher = &entry.matcher;
    let text = |value: &ValueMatcher| match value {
        ValueMatcher::Exact(text) => text.to_string(),
        ValueMatcher::Regex(_) => "1".to_owned(),
    };
    let mut headers = HeaderMap::new();
    for (name, value) in &matcher.headers {
        if let Ok(value) = HeaderValue::from_str(&text(value)) {
            headers.append(name, value);
        }
    }
    let pairs: Vec<String> =
        matcher.query.iter().map(|(name, value)| format!("{name}={}", text(value))).collect();
    Request {
        host: entry.hostname.as_deref().unwrap_or("shop.example").replace('*', "a"),
        path: match &matcher.path {
            PathMatcher::Exact(path) | PathMatcher::Prefix(path) => path.to_string(),
            PathMatcher::Regex(_) => "/a/1".to_owned(),
        },
        query: (!pairs.is_empty()).then(|| pairs.join("&")),
        method: matcher.method.clone().unwrap_or_default(),
        headers,
    }
}
