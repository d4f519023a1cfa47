//! Scene: endpoints change among many Services; how soon calls follow.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde_json::json;

use super::usage::Usage;
use super::{Effort, PATIENCE, Play, maker, restart};
use crate::demo::tell;
use crate::wait::wait_for;

/// The bar, on a machine with nothing else to do.
const WANTED_MS: f64 = 10.0;
/// What no machine is too busy for.
const WITHIN_MS: f64 = 1000.0;
/// Resident memory of a node's process, MiB.
const MEMORY_MIB: u64 = 150;

#[derive(Debug, Deserialize)]
struct Delays {
    count: u64,
    p50_ms: f64,
    p99_ms: f64,
    most_ms: f64,
}

#[derive(Debug, Deserialize)]
struct Followed {
    /// From the API server's answer to the first call of a new endpoint.
    first: Delays,
    /// To the last of a removed one.
    last: Delays,
    calls: u64,
    failed: u64,
}

pub(super) fn follow(play: &mut Play, effort: &Effort) -> Result<()> {
    let Effort { changes, services, endpoints, .. } = *effort;
    let title = format!("{changes} changes of endpoints, {services} Services with {endpoints} endpoints");
    play.scene(&title);
    maker::make(play)?;
    fill(play, services, endpoints)?;
    let carts = play.cluster.get(&["--namespace", "shop", "pods", "--selector=app=cart"])?;
    let carts: Vec<(&str, &str)> = carts["items"]
        .as_array()
        .context("pods")?
        .iter()
        .filter(|pod| pod["metadata"]["deletionTimestamp"].is_null())
        .filter_map(|pod| Some((pod["metadata"]["name"].as_str()?, pod["status"]["podIP"].as_str()?)))
        .collect();
    ensure!(carts.len() >= 2, "two replicas to change between: {carts:?}");
    let [(_, stays), (pod, comes)] = [carts[0], carts[1]];
    play.cluster.apply(&slice(stays).to_string())?;
    let made = play.cluster.get(&["--namespace", "shop", "service", "changing"])?;
    let address = made["spec"]["clusterIP"].as_str().context("the Service has an address")?.to_owned();
    let (count, url) = (changes.to_string(), format!("http://{address}/"));
    let calls = ["get", &url];
    wait_for("the Service is served", PATIENCE, || maker::run(play, &calls).ok())?;
    let said = maker::run(
        play,
        &["changes", "--count", &count, "--stays", stays, "--comes", comes, "--pod", pod, &url],
    )?;
    let followed: Followed = serde_json::from_str(&said).context("what the changes came to")?;
    say(play, &followed);
    for node in play.nodes.clone() {
        let memory = Usage::of(play, &node)?.memory.div_ceil(1024);
        tell::seen(&format!("{node}: {memory} MiB resident with {services} Services (bar {MEMORY_MIB} MiB)"));
        play.promise(memory <= MEMORY_MIB, &format!("at most {MEMORY_MIB} MiB on {node}, not {memory}"));
    }
    restart::from_disk(play, &format!("many-{}", services.saturating_sub(1)))?;
    empty(play, services)?;
    maker::remove(play)
}

fn slice(stays: &str) -> serde_json::Value {
    json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "namespace": "shop",
            "name": "changing",
            "labels": { "kubernetes.io/service-name": "changing" },
        },
        "addressType": "IPv4",
        "endpoints": [{ "addresses": [stays], "conditions": { "ready": true } }],
        "ports": [{ "name": "http", "port": 8080, "protocol": "TCP" }],
    })
}

/// Makes the many Services and waits until every node's kernel tables have them.
fn fill(play: &Play, services: u32, endpoints: u32) -> Result<()> {
    let begun = Instant::now();
    let each = (endpoints / services.max(1)).to_string();
    maker::run(play, &["services", "--count", &services.to_string(), "--endpoints", &each])?;
    let made = begun.elapsed();
    for node in &play.nodes {
        wait_for(&format!("{services} Services on {node}"), patience(services), || {
            Usage::of(play, node).ok().filter(|now| now.count("WEIR_SERVICES") >= u64::from(services))
        })?;
    }
    let late = begun.elapsed().saturating_sub(made);
    tell::seen(&format!(
        "{services} Services made in {:.1} s; the nodes have all of them {:.1} s later",
        made.as_secs_f64(),
        late.as_secs_f64()
    ));
    Ok(())
}

/// The more there are, the longer everybody is busy with them.
fn patience(services: u32) -> Duration {
    const EACH: Duration = Duration::from_millis(60);
    PATIENCE + EACH * services
}

/// Removes them, and waits until the kernel's tables are as before.
fn empty(play: &Play, services: u32) -> Result<()> {
    const FEW: u64 = 50;
    for path in
        ["/api/v1/namespaces/shop/services", "/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices"]
    {
        let raw = format!("{path}?labelSelector=app%3Dmany");
        // The API server ends a request after a minute; what it has removed by then is gone.
        wait_for("they are removed", patience(services), || {
            play.cluster.kubectl(&["delete", "--raw", &raw]).ok()
        })?;
    }
    for node in &play.nodes {
        wait_for(&format!("the Services are gone from {node}"), patience(services), || {
            Usage::of(play, node).ok().filter(|now| now.count("WEIR_SERVICES") < FEW)
        })?;
    }
    Ok(())
}

fn say(play: &mut Play, followed: &Followed) {
    let line = |what: &str, delays: &Delays| {
        format!(
            "{what}: p50 {:.1} ms, p99 {:.1} ms, at most {:.1} ms ({} changes; bar {WANTED_MS} ms p99)",
            delays.p50_ms, delays.p99_ms, delays.most_ms, delays.count
        )
    };
    tell::seen("from the API server's answer");
    tell::seen(&line("  to the first call of a new endpoint", &followed.first));
    tell::seen(&line("  to the last call of a removed one", &followed.last));
    tell::seen(&format!("{} calls meanwhile, {} failed", followed.calls, followed.failed));
    play.promise(
        followed.failed == 0,
        &format!("no call fails while endpoints change, and {} did", followed.failed),
    );
    for (what, delays) in [("added", &followed.first), ("removed", &followed.last)] {
        let kept = delays.p99_ms <= WITHIN_MS;
        play.promise(
            kept,
            &format!("what is {what} is followed within a second, not {:.0} ms", delays.p99_ms),
        );
    }
}
