//! Scene: every node's Weir is replaced, while streams are held and calls are made.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::json;

use super::{PATIENCE, Play, end};
use crate::cluster::{Inside, NAMESPACE};
use crate::demo::tell;
use crate::streams::Kept;

/// What is held on each node: connections kept for long polls are keep-alive clients, too.
const STREAMS: &str = "--websockets 10 --grpc 20 --polls 5 --lifetime-ms 6000";
/// Theirs is longer than any drain.
const ENDLESS: &str = "--websockets 5 --grpc 5 --lifetime-ms 3600000";
/// `node.terminationGracePeriodSeconds` of the upgraded pods. Half of it is the drain time, which must be longer than
/// one and a half lifetimes of a stream: so long the longest of them lives.
const GRACE: &str = "node.terminationGracePeriodSeconds=30";

pub(super) fn upgraded(play: &mut Play) -> Result<()> {
    play.scene("The DaemonSet is upgraded, under load and with streams held");
    // What ends in the upgrade is what this one starts.
    play.helm.install(&[GRACE])?;
    play.cluster.rolled_out(NAMESPACE, "daemonset/weir", PATIENCE)?;
    let cluster = play.cluster.clone();
    let backend = Inside::make(&cluster, "shop", "streams", &play.nodes[0])?;
    let echo = backend.server("weir-echo", "--name streams --port 8080")?;
    let address = service(play)?;
    let pods = play
        .nodes
        .iter()
        .enumerate()
        .map(|(number, node)| Inside::make(&cluster, "shop", &format!("holder-{number}"), node));
    let pods = pods.collect::<Result<Vec<_>>>()?;
    let hold = |what: &str| -> Result<Vec<_>> {
        let arguments = format!("--address {address}:80 --host streams.shop --pause-ms 100 {what}");
        pods.iter().map(|pod| pod.client("weir-streams", &arguments)).collect()
    };
    let (streams, endless) = (hold(STREAMS)?, hold(ENDLESS)?);
    let loads = play.loads("shop")?;

    tell::command("helm upgrade weir deploy/charts/weir --set node.podAnnotations.round=two");
    let begun = Instant::now();
    play.helm.install(&[GRACE, "node.podAnnotations.round=two"])?;
    play.cluster.rolled_out(NAMESPACE, "daemonset/weir", PATIENCE)?;
    wait_only_new(play)?;
    let took = begun.elapsed();
    for load in &loads {
        load.more(100, PATIENCE)?;
    }
    play.wait_routed(true)?;
    let failed = end(loads, "while every node's Weir was replaced")?;
    let mut kept = Kept::default();
    for running in streams {
        kept.add(running.finish()?);
    }
    let mut held = Kept::default();
    for running in endless {
        held.add(running.finish()?);
    }
    drop(echo);
    for pod in pods.into_iter().chain([backend]) {
        pod.end()?;
    }
    say(play, took, failed, &kept, &held)
}

/// The figures and what is promised of them.
fn say(play: &mut Play, took: Duration, failed: u64, kept: &Kept, held: &Kept) -> Result<()> {
    let counts = |kept: &Kept| {
        let opened: Vec<String> = kept.opened.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
        opened.join(", ")
    };
    let why = |kept: &Kept| -> String {
        kept.broken.iter().map(|(why, count)| format!("; {count} × {why}")).collect()
    };
    let seconds = took.as_secs_f64();
    tell::seen(&format!(
        "upgraded in {seconds:.1} s: {failed} failed calls (bar 0); {} of the streams ({}) cut within the drain time (bar 0){}",
        kept.breaks(),
        counts(kept),
        why(kept)
    ));
    tell::seen(&format!(
        "streams without end ({}) are cut when the drain time is over: {}{}",
        counts(held),
        held.breaks(),
        why(held)
    ));
    play.promise(failed == 0, &format!("no call fails in an upgrade, and {failed} did"));
    let cut = kept.breaks();
    play.promise(cut == 0, &format!("no stream is cut within the drain time, and {cut} were"));
    let all_kinds = ["websocket", "grpc", "poll"].iter().all(|kind| kept.opened.contains_key(*kind));
    play.promise(all_kinds, "WebSockets, gRPC streams and keep-alive clients were all there");
    Ok(())
}

/// Waits until no pod of before is left, not even one that drains.
fn wait_only_new(play: &Play) -> Result<()> {
    let of_node = "--selector=app.kubernetes.io/name=weir,app.kubernetes.io/component=node";
    let count = play.nodes.len();
    play.cluster.wait(
        "the old pods are gone",
        PATIENCE,
        &["--namespace", NAMESPACE, "pods", of_node],
        |pods| (pods["items"].as_array()?.len() == count).then_some(()),
    )
}

/// In front of the backend. Its answers to HTTP/1 and to HTTP/2 both come from one port.
fn service(play: &Play) -> Result<String> {
    let service = json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": { "namespace": "shop", "name": "streams" },
        "spec": {
            "selector": { "app": "streams" },
            "ports": [{ "name": "http", "port": 80, "targetPort": 8080, "appProtocol": "http" }],
        },
    });
    play.cluster.apply(&service.to_string())?;
    let made = play.cluster.get(&["--namespace", "shop", "service", "streams"])?;
    Ok(made["spec"]["clusterIP"].as_str().context("the Service has an address")?.to_owned())
}
