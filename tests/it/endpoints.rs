//! Which endpoint a call through a Gateway gets: near ones, terminating ones, and the one it had before.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use gateway_tests::wait::wait_for;
use gateway_tests::weir::Weir;

use crate::fixture::{LONGEST, Replica, Site, connect_as, exchange, route};

/// An EndpointSlice of `shop` with one replica, and further fields of its endpoint.
fn slice(replica: &str, port: u16, fields: &str) -> String {
    format!(
        "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: shop-{replica}, namespace: demo, \
         labels: {{kubernetes.io/service-name: shop}}}}\naddressType: IPv4\nports: [{{name: http, port: {port}}}]\n\
         endpoints: [{{addresses: [127.0.0.1]{fields}}}]\n"
    )
}

/// A Gateway whose only Service is `shop`, with these fields of its spec.
fn site(fields: &str) -> Site {
    let site = Site::new();
    let service = format!(
        "---\napiVersion: v1\nkind: Service\nmetadata: {{name: shop, namespace: demo}}\nspec: {{ports: [{{name: http, port: \
         80, appProtocol: http}}]{fields}}}\n"
    );
    site.write("shop.yaml", &(service + &route("shop", "path: {value: /}", "shop")));
    site
}

/// Who answers so many calls, each on a connection of its own.
fn answering(site: &Site, calls: usize) -> BTreeSet<String> {
    (0..calls).map(|_| site.get("/").replica().to_owned()).collect()
}

/// Waits until nobody but these answers.
fn wait_answering(site: &Site, replicas: &[&str]) {
    let wanted: BTreeSet<String> = replicas.iter().map(|replica| (*replica).to_owned()).collect();
    let what = format!("{replicas:?} answer");
    wait_for(&what, LONGEST, || (answering(site, 30) == wanted).then_some(())).unwrap();
}

#[test]
fn calls_stay_in_the_zone_and_leave_it_when_its_endpoint_is_gone() {
    let [near, far] = ["near", "far"].map(Replica::start);
    let site = site(", trafficDistribution: PreferSameZone");
    let slices = slice("near", near.port, ", zone: a") + &slice("far", far.port, ", zone: b");
    site.write("endpoints.yaml", &slices);
    let weir = Weir::start(site.options().with(["--zone", "a"])).unwrap();
    wait_answering(&site, &["near"]);
    let (_, clusters) = weir.get("/clusters").unwrap();
    assert!(clusters.contains("standby"), "{clusters}");
    near.kill();
    for call in 0..30 {
        let answer = site.get("/");
        assert_eq!((answer.status(), answer.replica()), (200, "far"), "call {call}");
    }
    let hints = |zone: &str| format!(", hints: {{forZones: [{{name: {zone}}}]}}");
    // Hints of the slices count before what can be guessed of zones.
    site.write("endpoints.yaml", &slice("far", far.port, &(", zone: b".to_owned() + &hints("a"))));
    wait_answering(&site, &["far"]);
}

#[test]
fn terminating_endpoints_get_calls_only_while_no_other_is_ready() {
    let [ready, leaving] = ["ready", "leaving"].map(Replica::start);
    let site = site("");
    let ending = ", conditions: {ready: false, serving: true, terminating: true}";
    let write = |first: &str| {
        site.write("endpoints.yaml", &(slice("a", ready.port, first) + &slice("b", leaving.port, ending)));
    };
    write("");
    let _weir = site.start();
    wait_answering(&site, &["ready"]);
    write(", conditions: {ready: false}");
    wait_answering(&site, &["leaving"]);
    write("");
    wait_answering(&site, &["ready"]);
}

/// Where each client is answered; one that is answered at two places has two.
fn homes(site: &Site) -> BTreeMap<u8, BTreeSet<String>> {
    let home = |client: u8| {
        let replica = |_| {
            let mut stream = connect_as(Ipv4Addr::new(127, 0, 0, client), site.address()).unwrap();
            let request = "GET / HTTP/1.1\r\nHost: shop.test\r\nConnection: close\r\n\r\n";
            exchange(&mut stream, request).replica().to_owned()
        };
        (client, (0..6).map(replica).collect())
    };
    (2..34).map(home).collect()
}

#[test]
fn a_client_stays_with_its_endpoint_while_others_come_and_go() {
    let replicas = ["one", "two", "three"].map(Replica::start);
    let site = site(", sessionAffinity: ClientIP");
    let slices = |names: &[usize]| -> String {
        names.iter().map(|n| slice(&n.to_string(), replicas[*n].port, "")).collect()
    };
    site.write("endpoints.yaml", &slices(&[0, 1]));
    let weir = site.start();
    let in_force = |count: usize| {
        let shown = || Some(weir.get("/clusters").ok()?.1.matches("127.0.0.1:").count());
        wait_for("the endpoints are in force", LONGEST, || (shown()? == count).then_some(())).unwrap();
    };
    in_force(2);
    let first = homes(&site);
    assert!(first.values().all(|homes| homes.len() == 1), "{first:?}");
    assert_eq!(first.values().flatten().collect::<BTreeSet<_>>().len(), 2, "clients are spread");
    site.write("endpoints.yaml", &slices(&[0, 1, 2]));
    in_force(3);
    assert_eq!(homes(&site), first, "an endpoint that comes takes no client away");
    site.write("endpoints.yaml", &slices(&[1, 2]));
    in_force(2);
    let after = homes(&site);
    for (client, homes) in &after {
        let stays = first[client].contains("two");
        assert!(homes.len() == 1 && (!stays || *homes == first[client]), "{client}: {first:?} {after:?}");
    }
}
