//! `weir controller` with the rights of the chart and no more: what it writes, and that it needs each of them.

use std::time::Duration;

use gateway_tests::cluster::Cluster;
use gateway_tests::wait::wait_for;
use serde_json::json;

use crate::rights::{rights, take_out};
use crate::scene::{Scene, condition};

/// For all of a scene to be written, or for a refusal to be said.
const SOON: Duration = Duration::from_secs(30);

#[test]
fn with_the_rights_of_the_chart_everything_is_written_and_nothing_refused() {
    let Some(scene) = Scene::find() else { return };
    scene.set_up(&scene.roles()).expect("a scene");
    let controller = scene.controller().expect("a controller");
    let done = wait_for("everything is written", SOON, || scene.is_done().then_some(()));
    let log = controller.log();
    done.unwrap_or_else(|error| panic!("{error}\n{log}"));
    assert!(!log.contains("cannot") && !log.contains("WARN"), "{log}");

    let gateway = scene.object("gateway", "web");
    let status = &gateway["status"];
    let service = scene.object("service", "web-weir");
    assert_eq!(status["addresses"][0]["value"], service["spec"]["clusterIP"]);
    assert_eq!(status["listeners"][0]["attachedRoutes"], 2);
    let observed = status["conditions"][0]["observedGeneration"].as_i64();
    assert_eq!(observed, gateway["metadata"]["generation"].as_i64());
    let slice = scene.object("endpointslice", "web-weir-v4-0");
    assert_eq!(slice["endpoints"][0]["addresses"][0], "10.9.0.1");
    let route = scene.object("httproute", "cart");
    assert_eq!(condition(&route["status"]["parents"][0]["conditions"], "Accepted"), "True");
    let class = scene.cluster().get(&["gatewayclass", "weir"]).expect("the class");
    let features = class["status"]["supportedFeatures"].as_array().expect("features");
    assert!(features.contains(&json!({"name": "HTTPRoute"})), "{features:?}");
}

/// A kind that is only watched, or one verb of a kind that is written.
#[test]
fn each_right_of_the_chart_is_needed_and_named_when_it_lacks() {
    let Some(scene) = Scene::find() else { return };
    let roles = scene.roles();
    scene.set_up(&roles).expect("a scene");
    let mut cases = 0;
    for (role, rule, resource, verbs) in rights(&roles) {
        let mut lacking = roles.clone();
        take_out(&mut lacking[role], rule, &resource, &verbs);
        scene.start_over(&lacking).expect("the scene again");
        let controller = scene.controller().expect("a controller");
        let says = |verb: &str| format!("cannot {verb} resource \"{resource}\"").replace('"', "");
        let refused = wait_for("it says which right lacks", SOON, || {
            let log = controller.log().replace(['"', '\\'], "");
            verbs.iter().any(|verb| log.contains(&says(verb))).then_some(())
        });
        let log = controller.log();
        assert!(refused.is_ok(), "without {verbs:?} on {resource} nothing was refused:\n{log}");
        cases += 1;
    }
    println!("{cases} rights taken away in turn, each was missed");
    scene.start_over(&roles).expect("the rights again");
}

#[test]
fn a_node_writes_its_own_report_and_the_controller_one_annotation() {
    let Some(scene) = Scene::find() else { return };
    scene.set_up(&scene.roles()).expect("a scene");
    let cluster = scene.cluster();
    let node = scene.token("weir-node", &["--bound-object-kind=Pod", "--bound-object-name=weir-n1"]);
    let report = |name: &str| {
        format!(
            "{{apiVersion: weir.dev/v1alpha1, kind: NodeReport, metadata: {{name: {name}}}, status: {{ready: true}}}}"
        )
    };
    let node = Cluster::with_kubeconfig(cluster, &node.expect("a token"));
    wait_for("the policy is in force", SOON, || node.apply(&report("n2")).is_err().then_some(()))
        .expect("in force");
    let refused = node.apply(&report("n2")).expect_err("of another node").to_string();
    assert!(refused.contains("of its own node alone"), "{refused}");
    node.apply(&report("n1")).expect("its own");
    let unbound = scene.token("weir-node", &[]).expect("a token");
    let unbound = Cluster::with_kubeconfig(cluster, &unbound);
    unbound.apply(&report("n1")).expect_err("a token that was taken elsewhere");

    let controller = scene.token("weir-controller", &[]).expect("a token");
    let controller = Cluster::with_kubeconfig(cluster, &controller);
    let apply = |fields: &str| {
        let pod = format!("{{apiVersion: v1, kind: Pod, {fields}}}");
        let file = scene.file("pod.yaml", &pod).expect("a file");
        let file = file.to_string_lossy();
        let how = ["apply", "--server-side", "--force-conflicts", "--subresource=status", "-f", &file];
        controller.kubectl(&how)
    };
    let pod = "name: cart-1, namespace: weir-shop";
    apply(&format!("metadata: {{{pod}, annotations: {{weir.dev/capture-status: pending}}}}"))
        .expect("its annotation");
    for wrong in [
        "annotations: {theirs: changes}}",
        "annotations: {other: x}}",
        "labels: {app: x}}",
        "finalizers: [weir.dev/x]}",
        "}, status: {podIP: 10.9.9.9, podIPs: [{ip: 10.9.9.9}]}",
    ] {
        let refused = apply(&format!("metadata: {{{pod}, {wrong}")).expect_err(wrong).to_string();
        assert!(refused.contains("the controller of Weir changes"), "{refused}");
    }
}
