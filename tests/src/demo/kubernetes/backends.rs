//! Scenes: replicas that change under load, with and without the API server.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::{PATIENCE, Play, end};
use crate::demo::tell;
use crate::interrupt;
use crate::wait::wait_for;

/// Rolling updates of pods that know nothing of draining.
pub(super) fn rollouts(play: &mut Play, count: u32) -> Result<()> {
    tell::scene(4, &format!("{count} rolling updates of the backend, under load"));
    let through = play.loads("shop")?;
    let beside = play.loads("apart")?;
    for round in 1..=count {
        interrupt::check()?;
        let setting = format!("ROUND={round}");
        play.cluster.kubectl(&["--namespace", "shop", "set", "env", "deployment/cart", &setting])?;
        play.cluster.rolled_out("shop", "deployment/cart", PATIENCE)?;
    }
    let failed = end(through, "through Weir")?;
    let without = end(beside, "without Weir")?;
    tell::seen(&format!("failed through Weir: {failed}; without it: {without}"));
    play.promise(failed == 0, &format!("no call fails in {count} rolling updates, and {failed} did"));
    Ok(())
}

/// The API server goes, and then a replica does, which nobody can tell Weir.
pub(super) fn outage(play: &mut Play, _long: Duration) -> Result<()> {
    const CALLS: u64 = 500;
    const WITHIN: Duration = Duration::from_secs(60);
    tell::scene(9, "The API server stops, and a replica dies meanwhile, under load");
    let loads = play.loads("shop")?;
    let victim = play.cluster.get(&["--namespace", "shop", "pods", "--selector=app=cart"])?;
    let victim = &victim["items"][0];
    let node = victim["spec"]["nodeName"].as_str().context("the replica is on a node")?.to_owned();
    let name = victim["metadata"]["name"].as_str().context("the replica has a name")?.to_owned();
    let places = ["load-kept", "load-fresh"].map(|load| {
        let pod = play.cluster.get(&["--namespace", "shop", "pod", load])?;
        pod["status"]["podIP"].as_str().map(str::to_owned).context("the load has an address")
    });
    let good = |node: &str, address: &str| -> Option<u64> {
        let url = format!("http://{address}:8081/");
        let text = play.cluster.on_node(node, &["curl", "--silent", "--max-time", "2", &url]).ok()?;
        serde_json::from_str::<serde_json::Value>(&text).ok()?["good"].as_u64()
    };
    play.cluster.stop_api()?;
    let begun = Instant::now();
    // Its name is its host name, and that is where its process is told from those of other replicas.
    let kill = format!(
        "for p in $(pgrep -fx '/pod serve'); do \
         [ \"$(nsenter --target $p --uts hostname)\" = '{name}' ] && kill -9 $p && echo killed; done; true"
    );
    let killed = play.cluster.on_node(&node, &["sh", "-c", &kill])?;
    let mut served = Ok(());
    for (place, node) in places.into_iter().zip(&play.nodes) {
        let address = place?;
        let from = good(node, &address).unwrap_or_default();
        let more = || good(node, &address).filter(|now| *now >= from + CALLS);
        served = served.and(wait_for("calls without an API server", WITHIN, more).map(drop));
    }
    let took = begun.elapsed();
    // Before the verdict: what follows needs it.
    play.cluster.start_api()?;
    ensure!(killed.contains("killed"), "no process of replica {name} was found on {node}");
    served?;
    wait_for("the API server has the loads", PATIENCE, || loads[0].counts().ok())?;
    let failed = end(loads, &format!("in {:.0} s without an API server", took.as_secs_f64()))?;
    play.promise(failed == 0, &format!("no call fails while the API server is away, and {failed} did"));
    play.wait_routed(true)
}
