use std::sync::LazyLock;

use http::{HeaderName, HeaderValue};
use proptest::prelude::*;
use regex::Regex;

use super::*;

fn rule(name: impl Into<Arc<str>>, grpc: bool) -> Arc<Rule> {
    Arc::new(Rule {
        id: RuleId(0),
        name: name.into(),
        grpc,
        filters: Vec::new(),
        backends: WeightedBackends::default(),
        timeouts: Timeouts::default(),
        retry: None,
    })
}

fn entry(name: &str, hostname: Option<&str>, matcher: Matcher) -> RouteEntry {
    RouteEntry { hostname: hostname.map(Into::into), matcher, rule: rule(name, false) }
}

fn section(hostname: Option<&str>, entries: Vec<RouteEntry>) -> Section {
    Section { hostname: hostname.map(Into::into), entries }
}

fn router(entries: Vec<RouteEntry>) -> Router {
    Router::new(vec![section(None, entries)])
}

fn exact(path: &str) -> Matcher {
    Matcher { path: PathMatcher::Exact(path.into()), ..Matcher::default() }
}

fn prefix(path: &str) -> Matcher {
    Matcher { path: PathMatcher::Prefix(path.into()), ..Matcher::default() }
}

fn pattern(path: &str) -> Matcher {
    Matcher { path: PathMatcher::Regex(Regex::new(&format!("^(?:{path})$")).unwrap()), ..Matcher::default() }
}

fn with_header(matcher: Matcher, name: &'static str, value: &str) -> Matcher {
    let mut headers = matcher.headers;
    headers.push((HeaderName::from_static(name), ValueMatcher::Exact(value.into())));
    Matcher { headers, ..matcher }
}

fn with_query(matcher: Matcher, name: &str, value: &str) -> Matcher {
    let mut query = matcher.query;
    query.push((name.into(), ValueMatcher::Exact(value.into())));
    Matcher { query, ..matcher }
}

#[derive(Debug)]
struct Request {
    host: String,
    path: String,
    query: Option<String>,
    method: Method,
    headers: HeaderMap,
}

impl Request {
    fn to(host: &str, target: &str) -> Self {
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query.to_owned())),
            None => (target, None),
        };
        let (host, path) = (host.to_owned(), path.to_owned());
        Self { host, path, query, method: Method::GET, headers: HeaderMap::new() }
    }

    fn with(mut self, name: &'static str, value: &str) -> Self {
        self.headers.append(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
        self
    }

    fn head(&self) -> RequestHead<'_> {
        RequestHead {
            host: &self.host,
            path: &self.path,
            query: self.query.as_deref(),
            method: &self.method,
            headers: &self.headers,
        }
    }
}

fn found<'r>(router: &'r Router, request: &Request) -> Option<&'r str> {
    router.find(&request.head()).map(|found| &*found.rule.name)
}

#[test]
fn the_most_specific_path_wins_whatever_the_order_of_the_rules() {
    let router = router(vec![
        entry("root", None, prefix("/")),
        entry("a", None, prefix("/a")),
        entry("a/b", None, prefix("/a/b/")),
        entry("pattern", None, pattern("/a/b/[0-9]+")),
        entry("exact", None, exact("/a/b/1")),
    ]);
    let get = |path| found(&router, &Request::to("h", path));
    assert_eq!(get("/a/b/1"), Some("exact"));
    assert_eq!(get("/a/b/2"), Some("pattern"));
    assert_eq!(get("/a/b/x"), Some("a/b"));
    assert_eq!(get("/a/b"), Some("a/b"));
    assert_eq!(get("/a/bc"), Some("a"));
    assert_eq!(get("/ab"), Some("root"));
}

#[test]
fn after_the_path_come_method_headers_query_and_age() {
    let router = router(vec![
        entry("oldest", None, prefix("/")),
        entry("younger", None, prefix("/")),
        entry("query", None, with_query(prefix("/"), "q", "1")),
        entry("header", None, with_header(prefix("/"), "x-a", "1")),
        entry("two headers", None, with_header(with_header(prefix("/"), "x-a", "1"), "x-b", "1")),
        entry("method", None, Matcher { method: Some(Method::PUT), ..prefix("/") }),
    ]);
    let get = |request: Request| found(&router, &request);
    assert_eq!(get(Request::to("h", "/")), Some("oldest"));
    assert_eq!(get(Request::to("h", "/?q=1")), Some("query"));
    assert_eq!(get(Request::to("h", "/?q=1").with("x-a", "1")), Some("header"));
    assert_eq!(get(Request::to("h", "/").with("x-a", "1").with("x-b", "1")), Some("two headers"));
    let put = Request { method: Method::PUT, ..Request::to("h", "/").with("x-a", "1") };
    assert_eq!(get(put), Some("method"));
}

#[test]
fn a_listener_takes_its_hosts_alone_even_without_a_route_for_them() {
    let router = Router::new(vec![
        section(None, vec![entry("any", None, prefix("/"))]),
        section(Some("*.example.com"), vec![entry("wildcard", Some("*.example.com"), prefix("/w"))]),
        section(Some("shop.example.com"), vec![entry("shop", Some("shop.example.com"), prefix("/s"))]),
        section(Some("empty.example.com"), vec![]),
    ]);
    let get = |host, path| found(&router, &Request::to(host, path));
    assert_eq!(get("shop.example.com", "/s"), Some("shop"));
    assert_eq!(get("shop.example.com", "/w"), None);
    assert_eq!(get("other.example.com", "/w"), Some("wildcard"));
    assert_eq!(get("deep.other.example.com", "/w"), Some("wildcard"));
    assert_eq!(get("other.example.com", "/"), None);
    assert_eq!(get("empty.example.com", "/w"), None);
    assert_eq!(get("example.com", "/w"), Some("any"));
    assert_eq!(get(".example.com", "/w"), Some("any"));
}

#[test]
fn within_a_listener_the_most_specific_hostname_comes_first_and_the_others_follow() {
    let router = router(vec![
        entry("any", None, prefix("/")),
        entry("wide", Some("*.example.com"), exact("/x")),
        entry("narrow", Some("*.a.example.com"), prefix("/")),
        entry("exact", Some("b.a.example.com"), prefix("/only")),
    ]);
    let get = |host, path| found(&router, &Request::to(host, path));
    assert_eq!(get("b.a.example.com", "/only"), Some("exact"));
    assert_eq!(get("b.a.example.com", "/x"), Some("narrow"));
    assert_eq!(get("a.example.com", "/x"), Some("wide"));
    assert_eq!(get("a.example.com", "/y"), Some("any"));
    assert_eq!(get("elsewhere", "/x"), Some("any"));
}

#[test]
fn grpc_methods_come_before_services_before_methods_of_any_service() {
    let grpc = |name: &str, matcher| RouteEntry { hostname: None, matcher, rule: rule(name, true) };
    let router = router(vec![
        grpc("all", prefix("/")),
        grpc("method", pattern("/[^/]+/Get")),
        grpc("service", prefix("/shop.Cart")),
        grpc("both", exact("/shop.Cart/Get")),
    ]);
    let call = |path| found(&router, &Request::to("h", path));
    assert_eq!(call("/shop.Cart/Get"), Some("both"));
    assert_eq!(call("/shop.Cart/Put"), Some("service"));
    assert_eq!(call("/shop.Other/Get"), Some("method"));
    assert_eq!(call("/shop.Other/Put"), Some("all"));
}

#[test]
fn the_matched_prefix_is_told_without_its_slash() {
    let router = router(vec![
        entry("root", None, prefix("/")),
        entry("a", None, prefix("/a/")),
        entry("exact", None, exact("/a/x")),
    ]);
    let length = |path| router.find(&Request::to("h", path).head()).unwrap().prefix_len;
    assert_eq!((length("/"), length("/a/b"), length("/a"), length("/a/x")), (0, 2, 2, 0));
}

#[test]
fn values_are_compared_as_the_sender_meant_them() {
    let router = router(vec![
        entry("list", None, with_header(prefix("/"), "x-a", "1,2")),
        entry("blank", None, with_query(exact("/q"), "name", "a b")),
        entry("plus", None, with_query(exact("/q"), "name", "a+b")),
        entry("empty", None, with_query(exact("/q"), "flag", "")),
        entry("percent", None, with_query(exact("/q"), "name", "100%")),
    ]);
    let get = |request: Request| found(&router, &request);
    assert_eq!(get(Request::to("h", "/").with("x-a", "1").with("x-a", "2")), Some("list"));
    assert_eq!(get(Request::to("h", "/").with("x-a", "1")), None);
    assert_eq!(get(Request::to("h", "/q?name=a%20b")), Some("blank"));
    assert_eq!(get(Request::to("h", "/q?name=a+b&name=x")), Some("blank"));
    assert_eq!(get(Request::to("h", "/q?n%61me=a%2Bb")), Some("plus"));
    assert_eq!(get(Request::to("h", "/q?name=x&name=a+b")), None);
    assert_eq!(get(Request::to("h", "/q?flag")), Some("empty"));
    assert_eq!(get(Request::to("h", "/q?name=100%")), Some("percent"));
    assert_eq!(get(Request::to("h", "/q?Name=a+b")), None);
}

#[test]
fn a_header_value_that_is_not_text_matches_no_pattern() {
    let any = ValueMatcher::Regex(Regex::new("^(?:.*)$").unwrap());
    let matcher = Matcher { headers: vec![(HeaderName::from_static("x-a"), any)], ..Matcher::default() };
    let router = router(vec![entry("any", None, matcher)]);
    let mut request = Request::to("h", "/");
    request.headers.insert("x-a", HeaderValue::from_bytes(b"\xff").unwrap());
    assert_eq!(found(&router, &request), None);
    request.headers.insert("x-a", HeaderValue::from_static("text"));
    assert_eq!(found(&router, &request), Some("any"));
}

#[test]
fn an_explanation_names_the_winner_first_then_the_near_misses_and_is_bounded() {
    let mut entries = vec![
        entry("canary", None, with_header(prefix("/cart"), "x-version", "2")),
        entry("main", None, prefix("/cart")),
        entry("put", None, Matcher { method: Some(Method::PUT), ..prefix("/cart") }),
        entry("root", None, prefix("/")),
        entry("other host", Some("other.example"), prefix("/")),
    ];
    entries.extend((0..100).map(|i| entry(&format!("far {i}"), None, prefix(&format!("/far/{i}")))));
    let router = Router::new(vec![
        section(None, entries),
        section(Some("x.example"), vec![entry("x", None, prefix("/"))]),
    ]);
    let told = router.explain(&Request::to("shop.example", "/cart/1").head());
    assert_eq!(told.len(), crate::limits::EXPLAIN_VERDICTS_MAX);
    let told: Vec<(&str, &str)> = told.iter().map(|(rule, text)| (&**rule, text.as_str())).collect();
    assert_eq!(
        told[..4],
        [
            ("main", "serves the request: path prefix `/cart`"),
            ("root", "matches too, but another match comes first: path prefix `/`"),
            ("canary", "header `x-version` does not match"),
            ("put", "only for method PUT"),
        ]
    );
    assert!(told[4].1.ends_with("does not match"));
    let elsewhere = router.explain(&Request::to("x.example", "/").head());
    assert_eq!(elsewhere[0].0.as_ref(), "x");
    assert!(elsewhere[1].1.contains("the listener for `x.example` takes this host"));
}

/// Routes of one shape, a request that the last of them serves, and the worst a search may look at.
type Shape = (&'static str, fn(usize) -> Matcher, fn(usize) -> Option<String>, fn(usize) -> Request, usize);

#[test]
fn the_work_of_a_search_does_not_grow_with_the_number_of_routes() {
    let shapes: [Shape; 8] = [
        (
            "hosts",
            |_| prefix("/"),
            |i| Some(format!("h{i}.example")),
            |i| Request::to(&format!("h{i}.example"), "/"),
            1,
        ),
        (
            "wildcards",
            |_| prefix("/"),
            |i| Some(format!("*.h{i}.example")),
            |i| Request::to(&format!("a.b.h{i}.example"), "/"),
            1,
        ),
        (
            "exact paths",
            |i| exact(&format!("/api/{i}")),
            |_| None,
            |i| Request::to("h", &format!("/api/{i}")),
            1,
        ),
        (
            "prefixes",
            |i| prefix(&format!("/api/{i}")),
            |_| None,
            |i| Request::to("h", &format!("/api/{i}/x")),
            1,
        ),
        (
            "patterns",
            |i| pattern(&format!("/api/{i}/[a-z]+")),
            |_| None,
            |i| Request::to("h", &format!("/api/{i}/x")),
            1,
        ),
        (
            "headers",
            |i| with_header(prefix("/"), "x-tenant", &format!("t{i}")),
            |_| None,
            |i| Request::to("h", "/").with("x-tenant", &format!("t{i}")),
            1,
        ),
        (
            "versions of a path",
            |i| with_header(exact("/cart"), "x-version", &format!("{i}")),
            |_| None,
            |i| Request::to("h", "/cart").with("x-version", &format!("{i}")),
            1,
        ),
        ("no match", |i| prefix(&format!("/api/{i}")), |_| None, |_| Request::to("h", "/api/none"), 0),
    ];
    for (shape, matcher, hostname, request, most) in shapes {
        for routes in [10, 100, 1_000, 10_000] {
            if shape == "patterns" && routes > 1_000 {
                continue;
            }
            let entries: Vec<RouteEntry> =
                (0..routes).map(|i| entry(&format!("{i}"), hostname(i).as_deref(), matcher(i))).collect();
            let router = router(entries);
            let request = request(routes - 1);
            let mut examined = 0;
            let found = router.search(&request.head(), &mut examined);
            assert!(examined <= most, "{shape}: {examined} of {routes} entries were looked at");
            assert_eq!(found.is_some(), most > 0, "{shape} with {routes}");
            if let Some(found) = found {
                assert_eq!(*found.entry.rule.name, *format!("{}", routes - 1), "{shape}");
            }
        }
    }
}

static PATTERNS: LazyLock<Vec<Regex>> = LazyLock::new(|| {
    [
        "^(?:/a.*)$",
        "^(?:/a/[^/]+)$",
        "^(?:/[^/]+/b)$",
        "^(?:/(a|b)/.*)$",
        "^(?i:/A/b)$",
        "^(?:/a/b|/c)$",
        "^(?:/a/b/?)$",
        "/b",
    ]
    .iter()
    .map(|pattern| Regex::new(pattern).unwrap())
    .collect()
});

static DIGIT: LazyLock<Regex> = LazyLock::new(|| Regex::new("^(?:[0-9])$").unwrap());

fn any_hostname() -> impl Strategy<Value = Option<Box<str>>> {
    let names = [
        "a.example.com",
        "b.example.com",
        "x.a.example.com",
        "example.com",
        "*.example.com",
        "*.a.example.com",
        "*.com",
    ];
    prop_oneof![2 => Just(None), 3 => prop::sample::select(names.to_vec()).prop_map(|n| Some(n.into()))]
}

fn any_path() -> impl Strategy<Value = PathMatcher> {
    let text = || prop::sample::select(vec!["/", "/a", "/a/", "/a/b", "/a/b/", "/ab", "/a/b/c", "/c"]);
    prop_oneof![
        2 => text().prop_map(|p| PathMatcher::Exact(p.into())),
        4 => text().prop_map(|p| PathMatcher::Prefix(p.into())),
        2 => (0..PATTERNS.len()).prop_map(|i| PathMatcher::Regex(PATTERNS[i].clone())),
    ]
}

fn any_value() -> impl Strategy<Value = ValueMatcher> {
    prop_oneof![
        3 => prop::sample::select(vec!["1", "2", "1,2", "a b", ""]).prop_map(|v| ValueMatcher::Exact(v.into())),
        1 => Just(()).prop_map(|()| ValueMatcher::Regex(DIGIT.clone())),
    ]
}

fn any_matcher() -> impl Strategy<Value = Matcher> {
    let header = (prop::sample::select(vec!["x-a", "x-b"]).prop_map(HeaderName::from_static), any_value());
    let query = (prop::sample::select(vec!["q", "r"]).prop_map(Box::from), any_value());
    let method = prop_oneof![3 => Just(None), 1 => Just(Some(Method::GET)), 1 => Just(Some(Method::POST))];
    (any_path(), prop::collection::vec(header, 0..3), prop::collection::vec(query, 0..2), method)
        .prop_map(|(path, headers, query, method)| Matcher { path, headers, query, method })
}

fn any_section() -> impl Strategy<Value = Section> {
    (any_hostname(), prop::collection::vec((any_hostname(), any_matcher()), 0..25)).prop_map(
        |(hostname, entries)| Section {
            hostname,
            entries: entries
                .into_iter()
                .map(|(hostname, matcher)| RouteEntry { hostname, matcher, rule: rule("", false) })
                .collect(),
        },
    )
}

fn any_request() -> impl Strategy<Value = Request> {
    let host = prop::sample::select(vec![
        "a.example.com",
        "b.example.com",
        "x.a.example.com",
        "y.x.a.example.com",
        "example.com",
        "elsewhere",
        "com",
    ]);
    let target =
        prop::sample::select(vec!["/", "/a", "/a/", "/a/b", "/a/b/", "/ab", "/a/b/c", "/c", "/A/b", "/x/b"]);
    let query = prop::sample::select(vec![
        "",
        "?q=1",
        "?q=%31",
        "?q=2&q=1",
        "?r=a+b",
        "?r=a%20b&q=1",
        "?Q=1",
        "?q",
        "?q=1&r=a%2Bb",
        "?%71=1",
        "?&q=1",
        "?",
    ]);
    let headers = prop::collection::vec(
        (prop::sample::select(vec!["x-a", "x-b"]), prop::sample::select(vec!["1", "2", "1,2", "x"])),
        0..4,
    );
    (host, target, query, headers, prop::sample::select(vec![Method::GET, Method::POST])).prop_map(
        |(host, target, query, headers, method)| {
            let request = Request { method, ..Request::to(host, &format!("{target}{query}")) };
            headers.into_iter().fold(request, |request, (name, value)| request.with(name, value))
        },
    )
}

/// Names each rule after its place, so that the two answers can be compared.
fn named(sections: Vec<Section>, grpc: bool) -> Vec<Section> {
    let numbered = |s: usize, section: Section| Section {
        entries: (section.entries.into_iter().enumerate())
            .map(|(e, entry)| RouteEntry { rule: rule(format!("{s}/{e}"), grpc), ..entry })
            .collect(),
        ..section
    };
    sections.into_iter().enumerate().map(|(s, section)| numbered(s, section)).collect()
}

fn compare(sections: Vec<Section>, requests: &[Request]) -> Result<(), TestCaseError> {
    let wanted: Vec<Option<String>> = requests
        .iter()
        .map(|request| reference::find(&sections, &request.head()).map(|(s, e)| format!("{s}/{e}")))
        .collect();
    let router = Router::new(sections);
    for (request, wanted) in requests.iter().zip(wanted) {
        prop_assert_eq!(found(&router, request), wanted.as_deref());
        let told = router.explain(&request.head());
        let winner = told.first().filter(|(_, text)| text.starts_with("serves")).map(|(name, _)| &**name);
        prop_assert_eq!(winner, wanted.as_deref());
    }
    Ok(())
}

fn any_grpc_section() -> impl Strategy<Value = Section> {
    let name = || prop::sample::select(vec!["a", "b", "long"]);
    let path = prop_oneof![
        Just(PathMatcher::default()),
        name().prop_map(|s| PathMatcher::Prefix(format!("/{s}").into())),
        (name(), name()).prop_map(|(s, m)| PathMatcher::Exact(format!("/{s}/{m}").into())),
        name().prop_map(|m| PathMatcher::Regex(Regex::new(&format!("^(?:/[^/]+/{m})$")).unwrap())),
    ];
    let entry = (path, any_matcher(), any_hostname()).prop_map(|(path, matcher, hostname)| RouteEntry {
        hostname,
        matcher: Matcher { path, headers: matcher.headers, ..Matcher::default() },
        rule: rule("", true),
    });
    prop::collection::vec(entry, 0..20).prop_map(|entries| Section { hostname: None, entries })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_048))]

    #[test]
    fn the_router_finds_what_the_specification_finds(
        sections in prop::collection::vec(any_section(), 0..4),
        requests in prop::collection::vec(any_request(), 1..8),
    ) {
        compare(named(sections, false), &requests)?;
    }

    #[test]
    fn the_router_finds_grpc_methods_as_the_specification_does(
        section in any_grpc_section(),
        calls in prop::collection::vec(("a|b|long|other", "a|b|long|other", any_request()), 1..6),
    ) {
        let requests: Vec<Request> = calls
            .into_iter()
            .map(|(service, method, request)| Request { path: format!("/{service}/{method}"), ..request })
            .collect();
        compare(named(vec![section], true), &requests)?;
    }

    #[test]
    fn among_many_matches_of_one_path_the_router_finds_what_the_specification_finds(
        matchers in prop::collection::vec(any_matcher(), 5..40),
        requests in prop::collection::vec(any_request(), 1..8),
    ) {
        let crowd = |matcher| RouteEntry {
            hostname: None,
            matcher: Matcher { path: PathMatcher::default(), ..matcher },
            rule: rule("", false),
        };
        let entries = matchers.into_iter().map(crowd).collect();
        compare(named(vec![Section { hostname: None, entries }], false), &requests)?;
    }

    #[test]
    fn a_router_that_was_changed_finds_what_a_new_one_finds(
        mut sections in prop::collection::vec(any_section(), 1..3),
        removed in prop::collection::vec(any::<bool>(), 40),
        requests in prop::collection::vec(any_request(), 1..8),
    ) {
        let age = Arc::default();
        let hostnames: Vec<_> = sections.iter().map(|s| s.hostname.clone()).collect();
        let mut router = Router::of_hostnames(hostnames.clone());
        let mut kept: Vec<Section> = Vec::new();
        let mut number = 0;
        for section in named(std::mem::take(&mut sections), false) {
            let ranked: Vec<Arc<RankedEntry>> = section
                .entries
                .into_iter()
                .map(|entry| {
                    number += 1;
                    RankedEntry::new(entry, &age, number)
                })
                .collect();
            // What is there before, half of it gone again, and the rest added later.
            let (first, later) = ranked.split_at(ranked.len() / 2);
            let hostname = section.hostname.as_deref();
            router.change(hostname, &[], first);
            let before = router.clone();
            let is_removed = |at: &usize| removed[at % removed.len()];
            let gone: Vec<_> = (0..first.len()).filter(is_removed).map(|at| Arc::clone(&first[at])).collect();
            router.change(hostname, &gone, later);
            prop_assert!(before.entries().count() >= first.len() - gone.len(), "a copy was changed");
            let stays = |entry: &&Arc<RankedEntry>| !gone.iter().any(|g| Arc::ptr_eq(g, entry));
            let copy = |ranked: &Arc<RankedEntry>| RouteEntry {
                hostname: ranked.entry.hostname.clone(),
                matcher: ranked.entry.matcher.clone(),
                rule: Arc::clone(&ranked.entry.rule),
            };
            let entries = ranked.iter().filter(stays).map(copy).collect();
            kept.push(Section { hostname: section.hostname.clone(), entries });
        }
        let new = Router::new(kept);
        let names = |router: &Router| router.rules().map(|rule| rule.name.clone()).collect::<Vec<_>>();
        prop_assert_eq!(names(&router), names(&new));
        for request in &requests {
            prop_assert_eq!(found(&router, request), found(&new, request));
        }
    }
}

#[test]
fn one_route_of_many_is_changed_without_a_new_index_of_the_others() {
    let age = Arc::default();
    let ranked = |n: u32| RankedEntry::new(entry(&n.to_string(), None, prefix(&format!("/r{n}"))), &age, n);
    let all: Vec<Arc<RankedEntry>> = (0..5_000).map(ranked).collect();
    let mut router = Router::of_hostnames(vec![None]);
    router.change(None, &[], &all);
    let before = router.clone();
    let counts = || all.iter().map(Arc::strong_count).sum::<usize>();
    let held = counts();
    router.change(None, &all[77..78], &[ranked(5_000)]);
    assert_eq!(found(&router, &Request::to("h", "/r77")), None);
    assert_eq!(found(&router, &Request::to("h", "/r5000")), Some("5000"));
    assert_eq!(found(&before, &Request::to("h", "/r77")), Some("77"));
    // Lists of entries are shared: not one entry is in a list of its own in each router.
    assert_eq!(counts(), held);
}
