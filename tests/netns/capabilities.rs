//! The capabilities of the chart: enough, and each of them needed, missed by name.

use std::process::Command;
use std::time::Duration;

use gateway_tests::namespaces::turn;
use gateway_tests::stage::Stage;
use gateway_tests::wait::wait_for;
use gateway_tests::weir::{Weir, binary, bounded, chart_capabilities};
use nix::sys::signal::Signal;

use crate::gateway::{URL, stage};

const LONGEST: Duration = Duration::from_secs(30);

/// A port that only root may open, on the node.
const GATEWAY: &str = "apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: low}
spec:
  gatewayClassName: weir
  listeners: [{name: http, port: 80, protocol: HTTP}]
";

/// The chart's, and what opens that port: in a cluster, nodes open no port that only root may.
fn all() -> Vec<String> {
    [chart_capabilities(), vec!["NET_BIND_SERVICE".to_owned()]].concat()
}

fn without(capability: &str) -> Vec<String> {
    chart_capabilities().into_iter().filter(|name| name != capability).collect()
}

/// Weir with these capabilities instead of the one that runs; what it says until `enough` does hold of that.
fn say(stage: &mut Stage, capabilities: Vec<String>, enough: impl Fn(&str) -> bool) -> (Weir, String) {
    drop(stage.take_weir());
    let mut options = stage.options("bounded");
    options.capabilities = Some(capabilities);
    let weir = Weir::spawn(options).unwrap();
    let said =
        wait_for("it says what is to be said", LONGEST, || Some(weir.errors()).filter(|said| enough(said)));
    let said = said.unwrap_or_else(|error| panic!("{error}: {}", weir.errors()));
    (weir, said)
}

#[test]
fn each_capability_of_the_chart_is_needed_and_named_and_all_together_are_enough() {
    let Some(_turn) = turn() else { return };
    let Some(mut stage) = stage("caps") else { return };
    stage.write("gateway.yaml", GATEWAY).unwrap();

    let (mut weir, said) = say(&mut stage, all(), |said| said.contains("gateway port open"));
    stage.wait_answer(&[URL], "\"replica\"").unwrap();
    assert!(!said.contains("CAP_"), "{said}");
    // In order, so that nobody holds its port for the next, which could not open it.
    weir.signal(Signal::SIGTERM).unwrap();
    assert_eq!(weir.wait(LONGEST).unwrap().code(), Some(0), "{}", weir.errors());

    for (capability, named) in [("SYS_ADMIN", "CAP_SYS_ADMIN"), ("NET_ADMIN", "CAP_NET_ADMIN")] {
        let (mut weir, _) = say(&mut stage, without(capability), |said| said.contains(named));
        assert_eq!(weir.wait(LONGEST).unwrap().code(), Some(1), "without {capability}");
    }
    // The rest is served.
    let (_weir, said) = say(&mut stage, chart_capabilities(), |said| said.contains("CAP_NET_BIND_SERVICE"));
    stage.wait_answer(&[URL], "\"replica\"").unwrap();
    assert!(said.contains("port 80 needs a privilege"), "{said}");
}

/// What it takes to find the processes of pods is needed by `weir node` alone; the ring `apiserver` shows that.
#[test]
fn check_names_each_capability_of_the_chart_that_lacks_and_what_is_lost() {
    let Some(_turn) = turn() else { return };
    let check = |capabilities: &[String]| {
        let [first, rest @ ..] = bounded(capabilities);
        let mut command = Command::new(first);
        command.args(rest).arg(binary()).args(["check", "--node", "--output", "json"]);
        let output = command.output().unwrap();
        serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap()["findings"].clone()
    };
    let capability = |finding: &serde_json::Value| {
        let problem = finding["problem"].as_str().unwrap_or_default();
        problem.strip_prefix("CAP_").map(|rest| rest.trim_end_matches(" is missing").to_owned())
    };
    let missing = |capabilities: &[String]| -> Vec<String> {
        check(capabilities).as_array().unwrap().iter().filter_map(capability).collect()
    };
    assert_eq!(missing(&chart_capabilities()), Vec::<String>::new());
    for capability in chart_capabilities() {
        let found = missing(&without(&capability));
        assert!(found.contains(&capability), "without {capability} only {found:?} is missed");
    }
}
