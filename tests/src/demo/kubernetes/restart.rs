//! Part of a scene: a node's Weir is killed while the API server is away, and comes up from what its disk keeps.

use anyhow::{Context, Result};

use super::{PATIENCE, Play, end};
use crate::cluster::NAMESPACE;
use crate::demo::tell;
use crate::wait::wait_for;

/// From the first sight of the process until it serves. What comes before is the kubelet's and the runtime's.
const BACK_WITHIN_MS: u64 = 1000;
/// Kills it, waits for the next process, and asks that until it is ready: the milliseconds between.
const RESTART: &str = r#"
of() { pgrep -of '^/usr/bin/weir node'; }
killed=$(of) && kill -KILL "$killed" || exit 1
until next=$(of) && [ "$next" != "$killed" ]; do :; done
read -r seen _ < /proc/uptime
until curl --silent --fail --max-time 1 --output /dev/null "$1"; do sleep 0.005; done
read -r now _ < /proc/uptime
echo $(( (${now%.*}${now#*.} - ${seen%.*}${seen#*.}) * 10 ))
"#;

/// With a Service that must be on the disk by then.
pub(super) fn from_disk(play: &mut Play, service: &str) -> Result<()> {
    let node = play.nodes[1].clone();
    let url = readiness(play, &node)?;
    let loads = play.loads("shop")?;
    let known = ["grep", "--recursive", "--quiet", "--include=known.jsonl", service, "/var/run/weir"];
    wait_for("what is known is on the disk", PATIENCE, || play.cluster.on_node(&node, &known).ok())?;
    play.cluster.stop_api()?;
    let took = play.cluster.on_node(&node, &["sh", "-c", RESTART, "restart", &url]);
    play.cluster.start_api()?;
    let took: u64 = took?.trim().parse().context("milliseconds")?;
    wait_for("the API server has the loads", PATIENCE, || loads[0].counts().ok())?;
    play.cluster.rolled_out(NAMESPACE, "daemonset/weir", PATIENCE)?;
    // Calls on their way were lost with the process; the scene of the kill counts them.
    end(loads, "while it restarted without an API server")?;
    tell::seen(&format!(
        "restarted without an API server: serves {took} ms after its start (bar {BACK_WITHIN_MS} ms)"
    ));
    let soon = took < BACK_WITHIN_MS;
    play.promise(soon, &format!("a restart without an API server takes less than a second, not {took} ms"));
    play.wait_routed(true)
}

/// Where the kubelet asks a node's pod whether it is ready.
fn readiness(play: &Play, node: &str) -> Result<String> {
    let on_node = format!("--field-selector=spec.nodeName={node}");
    let words = ["--namespace", NAMESPACE, "pods", "--selector=app.kubernetes.io/component=node", &on_node];
    let pods = play.cluster.get(&words)?;
    let pod = &pods["items"][0];
    let address = pod["status"]["podIP"].as_str().context("Weir's pod has an address")?;
    let container = &pod["spec"]["containers"][0];
    let path = container["readinessProbe"]["httpGet"]["path"].as_str().context("it has a readiness probe")?;
    let port = container["ports"][0]["containerPort"].as_u64().context("it has a port")?;
    Ok(format!("http://{address}:{port}{path}"))
}
