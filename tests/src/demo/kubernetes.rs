//! The demo in a real cluster, from `helm install` to `helm uninstall`; the suite of the ring `cluster` plays it too.

mod asked;
mod backends;
mod changes;
mod effort;
mod gateways;
mod install;
mod maker;
mod outage;
mod pods;
mod restart;
mod upgrade;
mod usage;
mod weir;

use std::cell::Cell;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

pub use effort::{Effort, Scene};

use super::tell;
use crate::cluster::{Cluster, Helm, Load};
use crate::interrupt;
use crate::wait::wait_for;

/// The longest wait for anything that happens by itself.
const PATIENCE: Duration = Duration::from_secs(120);
/// The Service that everything calls, by a name that both namespaces have.
const URL: &str = "http://cart.shop/";
/// What the route adds to answers: who has it was routed by Weir.
const ROUTED: &str = "x-routed-by: weir";

/// What the scenes play with.
struct Play {
    cluster: Cluster,
    helm: Helm,
    nodes: Vec<String>,
    /// Scenes begun.
    scenes: Cell<u32>,
    /// Promises that were not kept.
    broken: Vec<String>,
}

/// What a client pod was answered.
struct Answer {
    /// Status and headers, in lower case.
    head: String,
    /// What the replica says.
    body: Value,
}

/// The demo, in the cluster of `WEIR_KUBECONFIG`.
pub fn show(effort: &Effort) -> Result<()> {
    let cluster = Cluster::find().context("WEIR_KUBECONFIG names no cluster")?;
    interrupt::watch()?;
    run(cluster, effort)
}

/// Plays the scenes; fails when a promise is not kept. Whatever it makes in the cluster it removes.
pub fn run(cluster: Cluster, effort: &Effort) -> Result<()> {
    let begun = Instant::now();
    if let Some(archive) = std::env::var_os("WEIR_IMAGE_ARCHIVE") {
        cluster.load_image(archive.as_ref())?;
    }
    let helm = Helm::new(&cluster);
    let nodes = cluster.nodes()?;
    ensure!(nodes.len() >= 2, "the demo wants two nodes, and there are {}", nodes.len());
    let mut play = Play { cluster, helm, nodes, scenes: Cell::new(0), broken: Vec::new() };
    let played = play.scenes(effort);
    if played.is_err() {
        play.show_weir();
    }
    played?;
    println!("\nAll scenes in {:.1} s.", begun.elapsed().as_secs_f64());
    ensure!(play.broken.is_empty(), "not as promised: {}", play.broken.join("; "));
    Ok(())
}

impl Play {
    fn scenes(&mut self, effort: &Effort) -> Result<()> {
        install::before(self)?;
        install::install(self)?;
        install::captured(self)?;
        for scene in &effort.scenes {
            let begun = Instant::now();
            match scene {
                Scene::Gateways => gateways::side_by_side(self)?,
                Scene::Rollouts => backends::rollouts(self, effort.rollouts)?,
                Scene::Killed => weir::killed(self)?,
                Scene::Upgrade => upgrade::upgraded(self)?,
                Scene::Pods => pods::come_and_go(self, effort.pods)?,
                Scene::Changes => changes::follow(self, effort)?,
                Scene::Outage => outage::away(self, effort.outage)?,
            }
            tell::seen(&format!("(this scene took {:.1} s)", begun.elapsed().as_secs_f64()));
        }
        install::uninstall(self)
    }

    /// Begins the next one.
    fn scene(&self, title: &str) {
        self.scenes.set(self.scenes.get() + 1);
        tell::scene(self.scenes.get(), title);
    }

    /// Notes a promise that was not kept.
    fn promise(&mut self, kept: bool, what: &str) {
        if !kept {
            tell::seen(&format!("× not so: {what}"));
            self.broken.push(what.to_owned());
        }
    }

    /// A pod that does nothing by itself, to be called from.
    fn make_client(&self, namespace: &str, node: &str) -> Result<()> {
        self.cluster.make_pod((namespace, &client(node)), "client", node, &["sleep"])
    }

    /// One call from the client pod of a node.
    fn call(&self, namespace: &str, node: &str, headers: &[&str]) -> Result<Answer> {
        self.call_at(namespace, node, URL, headers)
    }

    /// The same to another URL.
    fn call_at(&self, namespace: &str, node: &str, url: &str, headers: &[&str]) -> Result<Answer> {
        interrupt::check()?;
        let words = [&["/pod", "get", url], headers].concat();
        let output = self.cluster.exec(namespace, &client(node), &words)?;
        let head = String::from_utf8_lossy(&output.stderr).to_lowercase();
        ensure!(output.status.success(), "the call fails: {}", head.trim());
        let body = serde_json::from_slice(&output.stdout).context("the answer is no JSON")?;
        Ok(Answer { head, body })
    }

    /// Calls from every node until all or none of the answers are routed by Weir.
    fn wait_routed(&self, routed: bool) -> Result<()> {
        for node in &self.nodes {
            wait_for(&format!("answers on {node}, routed by Weir: {routed}"), PATIENCE, || {
                self.call("shop", node, &[]).ok().filter(|answer| answer.is_routed() == routed)
            })?;
        }
        Ok(())
    }

    /// Two clients on two nodes: one keeps its connections, one makes a new one for each call.
    fn loads(&self, namespace: &'static str) -> Result<[Load<'_>; 2]> {
        let (first, second) = (&self.nodes[0], &self.nodes[1]);
        let kept = Load::start(&self.cluster, (namespace, "load-kept"), first, &[], URL)?;
        let fresh = Load::start(&self.cluster, (namespace, "load-fresh"), second, &["--fresh"], URL)?;
        Ok([kept, fresh])
    }

    fn show_weir(&self) {
        let words = [
            "--namespace",
            crate::cluster::NAMESPACE,
            "logs",
            "--selector=app.kubernetes.io/name=weir",
            "--tail=30",
        ];
        for words in [&words[..], &["get", "pods", "--all-namespaces", "--output=wide"]] {
            println!("{}", self.cluster.kubectl(words).unwrap_or_default());
        }
    }
}

impl Answer {
    fn is_routed(&self) -> bool {
        self.head.contains(ROUTED)
    }
}

fn client(node: &str) -> String {
    format!("client-{node}")
}

/// Ends loads; what failed in all of them, after saying the counts.
fn end(loads: [Load<'_>; 2], who: &str) -> Result<u64> {
    let mut failed = 0;
    for (load, kind) in loads.into_iter().zip(["kept connections", "new connections"]) {
        let counts = load.end()?;
        let why: String = counts.why.iter().map(|(why, count)| format!("; {count} × {why}")).collect();
        tell::seen(&format!(
            "{who}, {kind}: {} calls, {} failed{why}; slowest {} ms",
            counts.asked, counts.failed, counts.slowest_ms
        ));
        failed += counts.failed;
    }
    Ok(failed)
}
