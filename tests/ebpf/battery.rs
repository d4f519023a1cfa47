//! Every trick that applications play with sockets, with and without the gateway between the two ends.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use gateway_tests::pod::battery::{DIFFERENCES, Server};
use gateway_tests::pod::stand_in::{Manner, StandIn, options, tables};
use gateway_tests::pod::{Node, Pod};
use gateway_tests::{manifests, weir};
use gateway_userspace::snapshot::frontend::{FailPolicy, Mode};

use crate::fixture::{POD_PROGRAM, Pins, counter, turn, wait_for};

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
    let lines = transcript_of(pod, family);
    (lines, server.seen())
}

fn transcript_of(pod: &Pod, family: &Family) -> Vec<String> {
    let own = if family.services[0].is_ipv4() { pod.ip_v4.into() } else { IpAddr::from(pod.ip_v6) };
    let mut command = pod.command(POD_PROGRAM);
    command.arg("battery").args(family.services.map(|service| service.to_string())).arg(own.to_string());
    if family.mapped {
        command.arg("--mapped");
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

/// A node with a pod and the battery's server, and the transcripts without any gateway.
struct Ground {
    node: Node,
    server: Server,
    without: Vec<(Vec<String>, BTreeSet<String>)>,
}

impl Ground {
    fn lay(label: &str) -> Self {
        let addresses = ["10.96.0.8/32", "10.96.0.9/32", "fd96::8/128", "fd96::9/128"];
        let node = Node::make(label, 1, &addresses).unwrap();
        let listening = ["10.96.0.8:80", "10.96.0.9:80", "[fd96::8]:80", "[fd96::9]:80"];
        let server = Server::start(&node, &listening.map(|address| address.parse().unwrap())).unwrap();
        let without = families().iter().map(|family| transcript(node.pod(0), &server, family)).collect();
        Self { node, server, without }
    }

    /// Runs the battery again, now that something is in between.
    fn compare(&self) {
        for (family, (client, server_saw)) in families().iter().zip(&self.without) {
            let (client_with, server_saw_with) = transcript(self.node.pod(0), &self.server, family);
            for (without, with) in client.iter().zip(&client_with) {
                let scenario = without.split(':').next().unwrap();
                if DIFFERENCES.contains(&scenario) {
                    assert_ne!(without, with, "{scenario} is documented as a difference and is none");
                } else {
                    assert_eq!(without, with);
                }
            }
            assert_eq!(client.len(), client_with.len());
            assert_eq!(*server_saw, server_saw_with, "what the server saw");
        }
    }
}

#[test]
fn sockets_behave_with_the_datapath_as_they_do_without() {
    let Some(_turn) = turn() else { return };
    let ground = Ground::lay("battery");
    let options = options(&ground.node);
    let _pins = Pins(options.clone());
    let proxy = StandIn::start("proxy", Manner::Relay, &options).unwrap();
    let names: Vec<String> = families().iter().flat_map(|f| f.services).map(|s| s.to_string()).collect();
    let lines: Vec<_> =
        names.iter().map(|name| (name.as_str(), Mode::L7, FailPolicy::Open, &[][..])).collect();
    proxy.datapath.sync(&tables(&lines).unwrap()).unwrap();
    proxy.enroll(ground.node.pod(0)).unwrap();
    ground.compare();
    assert!(counter(&proxy.datapath, "steered") > 30);
}

#[test]
fn sockets_behave_with_the_whole_gateway_as_they_do_without() {
    let Some(_turn) = turn() else { return };
    if !weir::binary().is_file() {
        eprintln!("SKIPPED: no weir was built beside this test (`cargo xtask build`)");
        assert!(std::env::var_os("CI").is_none_or(|v| v != "true"), "CI skips nothing");
        return;
    }
    let ground = Ground::lay("weir");
    let options = options(&ground.node);
    let pins = Pins(options.clone());
    let scratch = tempfile::tempdir().unwrap();
    let config = scratch.path().join("config");
    std::fs::create_dir(&config).unwrap();
    let services = [("a4", "10.96.0.8"), ("b4", "10.96.0.9"), ("a6", "fd96::8"), ("b6", "fd96::9")];
    let mut yaml: String = services.iter().map(|(name, address)| service(name, address)).collect();
    yaml += &manifests::captured_pod("client", &ground.node.pod(0).netns);
    manifests::write(&config, "battery.yaml", &yaml).unwrap();
    let arguments = [
        "--cgroup".to_owned(),
        options.cgroup.display().to_string(),
        "--bpf-root".to_owned(),
        options.pin_root.display().to_string(),
    ];
    let mut gateway = weir::Weir::start(weir::Options::new(&config, scratch.path()).with(arguments)).unwrap();
    wait_for("capture", || {
        transcript_of(ground.node.pod(0), &families()[0])
            .iter()
            .any(|line| line == "refused: false, SO_ERROR None")
    });
    ground.server.seen();
    ground.compare();
    gateway.kill().unwrap();
    drop(pins);
}

/// A Service of plain TCP whose server listens at the Service's own address: the gateway's own connects
/// are left alone. Behind port 81 is nobody.
fn service(name: &str, address: &str) -> String {
    let family = if address.contains(':') { "IPv6" } else { "IPv4" };
    let metadata = format!("metadata:\n  name: {name}\n  namespace: demo\n  ");
    let ports = "- {name: tcp, port: 80}\n  - {name: nobody, port: 81}\n";
    format!(
        "---\napiVersion: v1\nkind: Service\n{metadata}annotations: {{weir.dev/mode: l7}}\nspec:\n  \
         clusterIP: \"{address}\"\n  ports:\n  {ports}\
         ---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n{metadata}labels: {{kubernetes.io/service-name: {name}}}\n\
         addressType: {family}\nports:\n  {ports}endpoints:\n- addresses: [\"{address}\"]\n"
    )
}
