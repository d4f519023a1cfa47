use http::Request;

use super::*;

fn request(target: &str) -> request::Parts {
    Request::builder().uri(target).header("host", "shop.example").body(()).unwrap().into_parts().0
}

fn context(prefix_len: usize) -> FilterContext<'static> {
    FilterContext { prefix_len, scheme: "http", listener_port: 8080, host: "shop.example" }
}

fn pair(name: &'static str, value: &'static str) -> (HeaderName, HeaderValue) {
    (HeaderName::from_static(name), HeaderValue::from_static(value))
}

fn redirect() -> Redirect {
    Redirect { scheme: None, hostname: None, port: None, path: None, status: StatusCode::FOUND }
}

fn redirected(to: Redirect, target: &str, context: &FilterContext<'_>) -> String {
    match on_request(&[Filter::Redirect(to)], &mut request(target), context) {
        Outcome::Redirect { location, .. } => location.to_str().unwrap().to_owned(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn set_replaces_add_appends_remove_removes() {
    let modifier = HeaderModifier {
        set: vec![pair("a", "new")],
        add: vec![pair("b", "two"), pair("c", "only")],
        remove: vec![HeaderName::from_static("d")],
    };
    let mut parts = request("/");
    for (name, value) in [pair("a", "1"), pair("a", "2"), pair("b", "one"), pair("d", "x")] {
        parts.headers.append(name, value);
    }
    let filters = [Filter::RequestHeaders(modifier.clone()), Filter::ResponseHeaders(modifier)];
    assert_eq!(on_request(&filters, &mut parts, &context(0)), Outcome::Continue);
    let values = |name: &str| parts.headers.get_all(name).iter().collect::<Vec<_>>();
    assert_eq!(values("a"), ["new"]);
    assert_eq!(values("b"), ["one", "two"]);
    assert_eq!(values("c"), ["only"]);
    assert!(values("d").is_empty());
}

#[test]
fn a_response_gets_the_response_filters_only() {
    let set = |value| HeaderModifier { set: vec![pair("x", value)], ..HeaderModifier::default() };
    let mut parts = http::Response::new(()).into_parts().0;
    on_response(&[Filter::ResponseHeaders(set("yes")), Filter::RequestHeaders(set("no"))], &mut parts);
    assert_eq!(parts.headers["x"], "yes");
}

#[test]
fn a_prefix_is_replaced_as_the_gateway_api_tabulates_it() {
    let cases = [
        ("/foo/bar", "/xyz", "/xyz/bar"),
        ("/foo/bar", "/xyz/", "/xyz/bar"),
        ("/foo", "/xyz", "/xyz"),
        ("/foo/", "/xyz", "/xyz/"),
        ("/foo/bar", "", "/bar"),
        ("/foo/", "", "/"),
        ("/foo", "", "/"),
        ("/foo/", "/", "/"),
        ("/foo", "/", "/"),
        ("/foo", "/xyz/", "/xyz/"),
    ];
    for (path, replacement, wanted) in cases {
        for query in ["", "?a=b&c"] {
            let mut parts = request(&format!("{path}{query}"));
            let to = Rewrite { hostname: None, path: Some(PathModifier::ReplacePrefix(replacement.into())) };
            assert_eq!(on_request(&[Filter::Rewrite(to)], &mut parts, &context(4)), Outcome::Continue);
            assert_eq!(parts.uri.to_string(), format!("{wanted}{query}"), "{path} with {replacement:?}");
        }
    }
}

#[test]
fn the_root_prefix_can_be_replaced_too() {
    let to = Rewrite { hostname: None, path: Some(PathModifier::ReplacePrefix("/v1".into())) };
    let mut parts = request("/a/b");
    on_request(&[Filter::Rewrite(to)], &mut parts, &context(0));
    assert_eq!(parts.uri, "/v1/a/b");
}

#[test]
fn a_rewrite_changes_host_and_whole_path_and_keeps_the_query() {
    let to = Rewrite {
        hostname: Some(HeaderValue::from_static("inner.example")),
        path: Some(PathModifier::ReplaceFull("/one".into())),
    };
    let mut parts = request("/a?b=c");
    on_request(&[Filter::Rewrite(to.clone())], &mut parts, &context(0));
    assert_eq!(
        (parts.uri.to_string().as_str(), &parts.headers["host"]),
        ("/one?b=c", &to.hostname.clone().unwrap())
    );
    let mut parts = request("http://shop.example:80/a");
    on_request(&[Filter::Rewrite(to)], &mut parts, &context(0));
    assert_eq!(parts.uri, "http://inner.example/one");
}

#[test]
fn a_redirect_keeps_what_it_does_not_name() {
    assert_eq!(redirected(redirect(), "/a?b=c", &context(0)), "http://shop.example:8080/a?b=c");
}

#[test]
fn the_port_of_a_redirect_follows_the_scheme_then_the_listener() {
    let port_of = |scheme: Option<&str>, port, listener_port, spoken| {
        let to = Redirect { scheme: scheme.map(Into::into), port, ..redirect() };
        redirected(to, "/", &FilterContext { listener_port, scheme: spoken, ..context(0) })
    };
    assert_eq!(port_of(Some("https"), None, 8080, "http"), "https://shop.example/");
    assert_eq!(port_of(Some("http"), None, 8443, "https"), "http://shop.example/");
    assert_eq!(port_of(Some("https"), Some(8443), 80, "http"), "https://shop.example:8443/");
    assert_eq!(port_of(Some("https"), Some(443), 80, "http"), "https://shop.example/");
    assert_eq!(port_of(Some("http"), Some(443), 80, "http"), "http://shop.example:443/");
    assert_eq!(port_of(None, None, 80, "http"), "http://shop.example/");
    assert_eq!(port_of(None, None, 443, "https"), "https://shop.example/");
    assert_eq!(port_of(None, Some(8083), 80, "http"), "http://shop.example:8083/");
    assert_eq!(port_of(None, Some(80), 8080, "http"), "http://shop.example/");
}

#[test]
fn a_redirect_changes_host_and_path() {
    let to = Redirect {
        hostname: Some("example.org".into()),
        path: Some(PathModifier::ReplacePrefix("/new".into())),
        port: Some(80),
        ..redirect()
    };
    assert_eq!(redirected(to.clone(), "/old/x?q", &context(4)), "http://example.org/new/x?q");
    let to = Redirect { path: Some(PathModifier::ReplaceFull("/full".into())), ..to };
    assert_eq!(redirected(to, "/old/x", &context(4)), "http://example.org/full");
}

#[test]
fn what_this_version_cannot_do_refuses_the_request() {
    let outcome = on_request(&[Filter::Unsupported("ExtensionRef".into())], &mut request("/"), &context(0));
    assert_eq!(outcome, Outcome::Refuse(Reason::UnsupportedFilter));
}
