//! Every trick that applications play with sockets, with and without the gateway between the two ends.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use gateway_tests::pod::battery::{DIFFERENCES, Server};
use gateway_tests::pod::stand_in::{Manner, StandIn, options, tables};
use gateway_tests::pod::{Node, Pod};
use gateway_userspace::snapshot::frontend::{FailPolicy, Mode};

use crate::fixture::{POD_PROGRAM, Pins, turn};

/// Three Services: two with the battery's server, one with nobody.
struct Family {
    services: [SocketAddr; 3],
    mapped: bool,
}

fn families() -> [Family; 3] {
    let services = |ips: [&str; 2]| {
        let ips = ips.map(|ip| ip.parse::<IpAddr>().unwrap());
        [(ips[0], 80), (ips[1], 80), (ips[0], 81)].map(SocketAddr::from)
    };
    let v4 = services(["10.96.0.8", "10.96.0.9"]);
    [
        Family { services: v4, mapped: false },
        Family { services: v4, mapped: true },
        Family { services: services(["fd96::8", "fd96::9"]), mapped: false },
    ]
}

/// The client's transcript, and what the server saw meanwhile.
fn transcript(pod: &Pod, server: &Server, family: &Family) -> (Vec<String>, BTreeSet<String>) {
    let own = if family.services[0].is_ipv4() { pod.ip_v4.into() } else { IpAddr::from(pod.ip_v6) };
    let mut command = pod.command(POD_PROGRAM);
    command.arg("battery").args(family.services.map(|service| service.to_string())).arg(own.to_string());
    if family.mapped {
        command.arg("--mapped");
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let lines = String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect();
    (lines, server.seen())
}

#[test]
fn sockets_behave_with_the_gateway_as_they_do_without() {
    let Some(_turn) = turn() else { return };
    let addresses = ["10.96.0.8/32", "10.96.0.9/32", "fd96::8/128", "fd96::9/128"];
    let node = Node::make("battery", 1, &addresses).unwrap();
    let listening: Vec<SocketAddr> =
        ["10.96.0.8:80", "10.96.0.9:80", "[fd96::8]:80", "[fd96::9]:80"].map(|a| a.parse().unwrap()).to_vec();
    let server = Server::start(&node, &listening).unwrap();
    let pod = node.pod(0);
    let without: Vec<_> = families().iter().map(|family| transcript(pod, &server, family)).collect();

    let options = options(&node);
    let _pins = Pins(options.clone());
    let proxy = StandIn::start("proxy", Manner::Relay, &options).unwrap();
    let names: Vec<String> = families().iter().flat_map(|f| f.services).map(|s| s.to_string()).collect();
    let lines: Vec<_> =
        names.iter().map(|name| (name.as_str(), Mode::L7, FailPolicy::Open, &[][..])).collect();
    proxy.datapath.sync(&tables(&lines).unwrap()).unwrap();
    proxy.enroll(pod).unwrap();

    for (family, (client, server_saw)) in families().iter().zip(without) {
        let (client_with, server_saw_with) = transcript(pod, &server, family);
        for (without, with) in client.iter().zip(&client_with) {
            let scenario = without.split(':').next().unwrap();
            if DIFFERENCES.contains(&scenario) {
                assert_ne!(without, with, "{scenario} is documented as a difference and is none");
                eprintln!("documented difference: {without}  ->  {with}");
            } else {
                assert_eq!(without, with);
            }
        }
        assert_eq!(client.len(), client_with.len());
        assert_eq!(server_saw, server_saw_with, "what the server saw");
    }
}
