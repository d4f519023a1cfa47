//! What a route does to its requests, through the whole gateway.

use std::io::Read;
use std::time::Duration;

use crate::fixture::{Replica, Site, route, service};

/// A site whose route has these fields besides its match and its backend.
fn site(fields: &str, replica: &Replica) -> Site {
    let site = Site::new();
    site.write(
        "shop.yaml",
        &(service("shop", "http") + &route("shop", "path: {value: /old}", "shop") + fields),
    );
    site.endpoints("shop", &[replica]);
    site
}

#[test]
fn a_path_is_rewritten_and_headers_are_set_on_the_way_there_and_back() {
    let one = Replica::start("one");
    let fields = "      filters:\n        - type: URLRewrite\n          urlRewrite: {hostname: inner.test, path: {type: \
                  ReplacePrefixMatch, replacePrefixMatch: /new}}\n        - type: RequestHeaderModifier\n          \
                  requestHeaderModifier: {set: [{name: x-way, value: there}], remove: [x-secret]}\n        - type: \
                  ResponseHeaderModifier\n          responseHeaderModifier: {set: [{name: x-way, value: back}]}\n";
    let site = site(fields, &one);
    let _weir = site.start();
    let answer = site.get_with("/old/items?q=1", "x-secret: yes\r\n");
    let facts = answer.facts();
    assert_eq!((&facts["path"], &facts["host"]), (&"/new/items?q=1".into(), &"inner.test".into()), "{facts}");
    assert_eq!((&facts["headers"]["x-way"], &facts["headers"]["x-secret"]), (&"there".into(), &().into()));
    assert_eq!(answer.header("x-way"), Some("back"));
}

#[test]
fn a_redirect_is_answered_by_the_gateway_itself() {
    let one = Replica::start("one");
    let redirect = "      filters:\n        - type: RequestRedirect\n          requestRedirect: {scheme: https, hostname: \
                    new.test, statusCode: 301}\n";
    let site = Site::new();
    let backend = "      backendRefs:\n        - name: shop\n          port: 80\n";
    let route = route("shop", "path: {value: /old}", "shop").replace(backend, redirect);
    site.write("shop.yaml", &(service("shop", "http") + &route));
    site.endpoints("shop", &[&one]);
    let _weir = site.start();
    let answer = site.get("/old/items?q=1");
    assert_eq!((answer.status(), answer.header("location")), (301, Some("https://new.test/old/items?q=1")));
}

#[test]
fn a_split_by_weight_gives_each_backend_its_share_and_none_to_a_weight_of_0() {
    let (one, two, none) = (Replica::start("one"), Replica::start("two"), Replica::start("none"));
    let site = site(
        "          weight: 90\n        - {name: two, port: 80, weight: 10}\n        - {name: none, port: 80, weight: 0}\n",
        &one,
    );
    for (name, replica) in [("two", &two), ("none", &none)] {
        site.write(&format!("{name}.yaml"), &service(name, "http"));
        site.endpoints(name, &[replica]);
    }
    let _weir = site.start();
    let answers: Vec<String> = (0..400).map(|_| site.get("/old").replica().to_owned()).collect();
    let share = |name: &str| answers.iter().filter(|answer| *answer == name).count();
    assert_eq!((share("one") + share("two"), share("none")), (400, 0));
    // 40 are expected; fewer than 10 or more than 90 come less than once in a million runs.
    assert!((10..=90).contains(&share("two")), "{}", share("two"));
}

#[test]
fn a_replica_that_takes_longer_than_the_timeout_is_answered_504() {
    let slow = Replica::start_slow("slow", Duration::from_secs(20));
    let site = site("      timeouts: {request: 200ms}\n", &slow);
    let _weir = site.start();
    let answer = site.get("/old");
    assert_eq!(answer.status(), 504, "{answer:?}");
    assert!(answer.header("proxy-status").unwrap_or_default().contains("upstream_timeout"), "{answer:?}");
}

#[test]
fn a_client_that_goes_away_does_not_disturb_the_next() {
    let slow = Replica::start_slow("slow", Duration::from_millis(200));
    let site = site("", &slow);
    let _weir = site.start();
    for _ in 0..20 {
        let mut stream = site.connect();
        std::io::Write::write_all(&mut stream, b"GET /old HTTP/1.1\r\nHost: shop.test\r\n\r\n").unwrap();
        stream.set_nonblocking(true).unwrap();
        assert!(stream.read(&mut [0; 1]).is_err());
    }
    assert_eq!(site.get("/old").replica(), "slow");
}
