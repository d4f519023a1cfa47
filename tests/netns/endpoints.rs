//! Which endpoint a pod's call gets: of the family that it dialled, of its node, and the one it had before.

use std::collections::BTreeMap;
use std::net::IpAddr;

use gateway_tests::load::Tally;
use gateway_tests::namespaces::turn;
use gateway_tests::stage::Stage;

use crate::gateway::stage;

const NODE: &str = "---\napiVersion: v1\nkind: Node\nmetadata: {name: here}\n";

/// A Service with two addresses, further fields of its spec and annotations.
fn service(name: &str, number: u8, fields: &str, annotations: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: demo, annotations: {{{annotations}}}}}\n\
         spec: {{clusterIPs: [10.96.0.{number}, 'fd96::{number}'], ports: [{{name: http, port: 80, appProtocol: http}}]{fields}}}\n"
    )
}

/// An EndpointSlice with one endpoint and further fields of it.
fn slice(service: &str, name: &str, address: IpAddr, fields: &str) -> String {
    let family = if address.is_ipv4() { "IPv4" } else { "IPv6" };
    format!(
        "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: {service}-{name}, namespace: demo, \
         labels: {{kubernetes.io/service-name: {service}}}}}\naddressType: {family}\nports: [{{name: http, port: 8080}}]\n\
         endpoints: [{{addresses: ['{address}']{fields}}}]\n"
    )
}

/// How many of 60 calls, each on a connection of its own, each replica answers.
fn answering(stage: &Stage, url: &str) -> BTreeMap<String, u64> {
    let tally: Tally = stage.run("weir-load", &format!("--url {url} --requests 60 --no-keepalive")).unwrap();
    assert_eq!(tally.failed, 0, "{url}: {tally:?}");
    tally.replicas
}

fn only(replica: &str) -> BTreeMap<String, u64> {
    [(replica.to_owned(), 60)].into()
}

#[test]
fn a_pod_reaches_endpoints_of_the_family_that_it_dialled_and_the_others_where_there_is_none() {
    let Some(_turn) = turn() else { return };
    let Some(stage) = stage("dual") else { return };
    let dual = service("dual", 20, "", "");
    let [v4, v6] = [stage.address(0), stage.pod(2).ip_v6.into()];
    let both = slice("dual", "4", v4, "") + &slice("dual", "6", v6, "");
    stage.write("dual.yaml", &(dual.clone() + &both)).unwrap();
    for (url, replica) in [("http://10.96.0.20/", "one"), ("http://[fd96::20]/", "two")] {
        stage.wait_answer(&[url], replica).unwrap();
        assert_eq!(answering(&stage, url), only(replica), "{url}");
    }
    stage.write("dual.yaml", &(dual + &slice("dual", "6", v6, ""))).unwrap();
    stage.wait_answer(&["http://10.96.0.20/"], "two").unwrap();
}

#[test]
fn a_service_that_keeps_calls_on_the_node_does_so_in_the_proxy_and_in_the_kernel() {
    let Some(_turn) = turn() else { return };
    let Some(stage) = stage("local") else { return };
    let [here, there] = [stage.address(0), stage.address(1)];
    let local = ", internalTrafficPolicy: Local";
    for (number, mode) in [(21, "l7"), (22, "l4")] {
        let service = service(mode, number, local, &format!("weir.dev/mode: {mode}"));
        let far = slice(mode, "far", there, ", nodeName: there");
        let yaml = format!("{service}{far}{}", slice(mode, "near", here, ", nodeName: here"));
        stage.write("node.yaml", NODE).unwrap();
        stage.write("local.yaml", &yaml).unwrap();
        let url = format!("http://10.96.0.{number}/");
        stage.wait_answer(&[&url], "\"replica\"").unwrap();
        assert_eq!(answering(&stage, &url), only("one"), "{mode}");
        if mode == "l7" {
            stage.write("local.yaml", &(service + &far)).unwrap();
            stage.wait_answer(&["--include", &url], "no_healthy_endpoint").unwrap();
        }
    }
}

#[test]
fn a_pod_stays_with_its_endpoint_and_the_kernel_picks_by_weight() {
    let Some(_turn) = turn() else { return };
    let Some(stage) = stage("stay") else { return };
    let all = |service: &str| -> String {
        (0..3).map(|n| slice(service, &n.to_string(), stage.address(n), "")).collect()
    };
    let sticky = service("sticky", 23, ", sessionAffinity: ClientIP", "") + &all("sticky");
    stage.write("sticky.yaml", &sticky).unwrap();
    let url = "http://10.96.0.23/";
    stage.wait_answer(&[url], "\"replica\"").unwrap();
    let stays = answering(&stage, url);
    assert_eq!(stays.len(), 1, "{stays:?}");
    assert_eq!(answering(&stage, url), stays);

    let heavy = slice("weighed", "0", stage.address(0), "")
        .replace("labels:", "annotations: {weir.dev/weight: '9'}, labels:");
    let weighed = service("weighed", 24, "", "weir.dev/mode: l4");
    let yaml = format!("{weighed}{heavy}{}", slice("weighed", "1", stage.address(1), ""));
    stage.write("weighed.yaml", &yaml).unwrap();
    let url = "http://10.96.0.24/";
    stage.wait_answer(&[url], "\"replica\"").unwrap();
    let shares = answering(&stage, url);
    assert!(shares["one"] > 40, "nine of ten are its share: {shares:?}");
}
