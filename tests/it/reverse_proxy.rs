//! A folder of YAML is a reverse proxy that says what it did.

use std::collections::BTreeSet;

use gateway_tests::wait::wait_for;

use crate::fixture::{LONGEST, Replica, Site, ask_weir, route, service};

#[test]
fn requests_are_routed_by_path_and_header_and_spread_over_replicas() {
    let (one, two, beta) = (Replica::start("one"), Replica::start("two"), Replica::start("beta"));
    let site = Site::with_shop(&[&one, &two]);
    let beta_match = "path: {value: /cart}, headers: [{name: x-user, value: beta}]";
    site.write("beta.yaml", &(service("beta", "http") + &route("beta", beta_match, "beta")));
    site.endpoints("beta", &[&beta]);
    let _weir = site.start();
    let replicas: BTreeSet<String> = (0..40).map(|_| site.get("/").replica().to_owned()).collect();
    assert_eq!(replicas, BTreeSet::from(["one".to_owned(), "two".to_owned()]));
    assert_eq!(site.get_with("/cart/1", "x-user: beta\r\n").replica(), "beta");
    assert_ne!(site.get_with("/cart/1", "x-user: alpha\r\n").replica(), "beta");
    assert_ne!(site.get_with("/other", "x-user: beta\r\n").replica(), "beta");
}

#[test]
fn a_replica_gets_the_request_as_it_was_sent_with_an_id_and_who_asked() {
    let one = Replica::start("one");
    let site = Site::with_shop(&[&one]);
    let weir = site.start();
    let facts = site.get("/a%20path?q=1&q=2").facts();
    assert_eq!((&facts["path"], &facts["host"]), (&"/a%20path?q=1&q=2".into(), &"shop.test".into()));
    let id = facts["headers"]["x-request-id"].as_str().unwrap_or_default().to_owned();
    assert!(!id.is_empty(), "{facts}");
    assert_eq!(facts["headers"]["x-forwarded-for"], "127.0.0.1", "{facts}");
    wait_for("the request is in the access log", LONGEST, || weir.access_log().contains(&id).then_some(()))
        .unwrap();
}

#[test]
fn a_refusal_has_the_same_reason_in_the_answer_the_access_log_the_metric_and_explain() {
    let one = Replica::start("one");
    let site = Site::new();
    site.write("shop.yaml", &(service("shop", "http") + &route("shop", "path: {value: /shop}", "shop")));
    site.endpoints("shop", &[&one]);
    let weir = site.start();
    let answer = site.get_with("/nowhere", "x-request-id: lost-and-found\r\n");
    assert_eq!(answer.status(), 404, "{answer:?}");
    let proxy_status = answer.header("proxy-status").unwrap_or_default();
    assert!(proxy_status.contains("destination_not_found"), "{proxy_status}");
    assert!(proxy_status.contains("no_route"), "{proxy_status}");
    let line = wait_for("the refusal is in the access log", LONGEST, || {
        weir.access_log().lines().find(|line| line.contains("/nowhere")).map(str::to_owned)
    })
    .unwrap();
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(line["weir.reason"], "no_route", "{line}");
    let id = line["request_id"].as_str().unwrap().to_owned();
    wait_for("the refusal is counted", LONGEST, || {
        (weir.metric("weir_requests_total", "reason=\"no_route\"").unwrap() == 1.0).then_some(())
    })
    .unwrap();
    let (code, explained) = ask_weir(&weir, &["explain", "--id", &id]);
    assert!(explained.contains("no_route"), "{code} {explained}");
}

#[test]
fn a_replica_that_answers_itself_is_not_given_a_proxy_status() {
    let one = Replica::start("one");
    let site = Site::with_shop(&[&one]);
    let _weir = site.start();
    let answer = site.get("/status/503");
    assert_eq!((answer.status(), answer.header("proxy-status")), (503, None), "{answer:?}");
}

#[test]
fn a_service_without_endpoints_is_answered_503_and_the_reason_says_so() {
    let site = Site::with_shop(&[]);
    let _weir = site.start();
    let answer = site.get("/");
    assert_eq!(answer.status(), 503, "{answer:?}");
    assert!(answer.header("proxy-status").unwrap_or_default().contains("no_healthy_endpoint"), "{answer:?}");
}

#[test]
fn bodies_pass_whatever_the_method_and_however_their_length_is_said() {
    let one = Replica::start("one");
    let site = Site::with_shop(&[&one]);
    let _weir = site.start();
    for method in ["POST", "PUT", "GET", "DELETE"] {
        let head = format!("{method} /echo HTTP/1.1\r\nHost: shop.test\r\nConnection: close\r\n");
        let sized = site.ask(&format!("{head}Content-Length: 5\r\n\r\nhello"));
        assert!(sized.status() == 200 && sized.text.contains("hello"), "{method} {sized:?}");
        let chunked = site.ask(&format!("{head}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"));
        assert!(chunked.status() == 200 && chunked.text.contains("hello"), "{method} {chunked:?}");
    }
}
