//! Scene: pods come, call as their first act, and go; nothing of them is left.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde::Deserialize;

use super::usage::Usage;
use super::{PATIENCE, Play, maker};
use crate::cluster::{NAMESPACE, POD_IMAGE};
use crate::demo::tell;
use crate::interrupt;
use crate::wait::wait_for;

/// Pods that are made at once.
const BATCH: u32 = 50;

/// Pods whose calls passed, and of which is shown what Weir wrote.
const SHOWN_MAX: usize = 4;

/// Pods from which each worker of a new process has opened a connection: what each opens once is no leak. A pod is one
/// worker's, and the next one of its node another's.
const WARM_UP: u32 = 8;

/// What a pod says of its first calls; times since its creation was asked for.
#[derive(Debug, Deserialize)]
struct First {
    /// Its name, as the log's prefix has it.
    #[serde(skip)]
    pod: String,
    /// Calls that Weir had nothing to do with.
    passed: u64,
    failed: u64,
    enrolled: bool,
    /// When the pod's process began.
    begun_ms: f64,
    /// When Weir had answered for the first time.
    enrolled_ms: f64,
}

pub(super) fn come_and_go(play: &mut Play, count: u32) -> Result<()> {
    play.scene(&format!("{count} pods are created, call as their first act, and are deleted"));
    maker::make(play)?;
    let cart = play.cluster.get(&["--namespace", "shop", "service", "cart"])?;
    let address = cart["spec"]["clusterIP"].as_str().context("the Service has an address")?.to_owned();
    let url = format!("http://{address}/");
    let before = usages(play)?;
    let found = batches(play, count / 2, "found", &url)?;
    say(play, &found);
    has_left(play, count / 2, &before)?;
    tell::command("helm upgrade weir deploy/charts/weir --set cni.enabled=true");
    play.helm.install(&["cni.enabled=true"])?;
    play.cluster.rolled_out(NAMESPACE, "daemonset/weir", PATIENCE)?;
    wait_listed(play)?;
    batches(play, WARM_UP, "warm-up", &url)?;
    let before = usages(play)?;
    let waited_for = batches(play, count - count / 2, "waited-for", &url)?;
    let passed = say(play, &waited_for);
    play.promise(passed == 0, &format!("no call passes where the runtime waits for Weir, and {passed} did"));
    show_passed(play, &waited_for);
    has_left(play, count - count / 2, &before)?;
    maker::remove(play)
}

/// Waits until the runtime of each node asks Weir about new pods.
fn wait_listed(play: &Play) -> Result<()> {
    for node in &play.nodes {
        wait_for(&format!("the plugin is in the list of {node}"), PATIENCE, || {
            play.cluster.on_node(node, &["grep", "-rq", "weir-cni", "/etc/cni/net.d"]).ok()
        })?;
    }
    Ok(())
}

fn batches(play: &Play, count: u32, name: &str, url: &str) -> Result<Vec<First>> {
    let mut all = Vec::new();
    while (all.len() as u64) < u64::from(count) {
        interrupt::check()?;
        let batch = BATCH.min(count - u32::try_from(all.len())?);
        all.extend(one_batch(play, batch, &format!("{name}-{}", all.len()), url)?);
    }
    Ok(all)
}

/// Once everything is as it was before.
fn has_left(play: &mut Play, count: u32, before: &BTreeMap<String, Usage>) -> Result<()> {
    let mut after = BTreeMap::new();
    let gone = wait_for("nothing is left of them", PATIENCE, || {
        after = usages(play).ok()?;
        let left = after.iter().any(|(node, now)| !now.more_than(&before[node]).is_empty());
        (!left).then_some(())
    });
    for (node, now) in &after {
        tell::seen(&format!("{node} before: {}", before[node]));
        tell::seen(&format!("{node} after:  {now}"));
        let left = now.more_than(&before[node]);
        play.promise(
            gone.is_ok() || left.is_empty(),
            &format!("{count} pods leave nothing on {node}: {left:?}"),
        );
    }
    Ok(())
}

fn usages(play: &Play) -> Result<BTreeMap<String, Usage>> {
    play.nodes.iter().map(|node| Ok((node.clone(), Usage::of(play, node)?))).collect()
}

/// Makes them, hears what they have to say, and deletes them.
fn one_batch(play: &Play, count: u32, round: &str, url: &str) -> Result<Vec<First>> {
    let count = count.to_string();
    maker::run(play, &["pods", "--count", &count, "--round", round, "--image", POD_IMAGE, url])?;
    play.cluster.pods_ready("shop", "app=first", PATIENCE)?;
    let of_them = [
        "--namespace",
        "shop",
        "logs",
        "--selector=app=first",
        "--tail=-1",
        "--max-log-requests=50",
        "--prefix",
    ];
    let firsts = wait_for("all of the pods have called", PATIENCE, || {
        let text = play.cluster.kubectl(&of_them).ok()?;
        let firsts: Vec<First> = text.lines().filter_map(first).collect();
        (firsts.len().to_string() == count).then_some(firsts)
    })?;
    let delete = ["--namespace", "shop", "delete", "pods", "--selector=app=first", "--now"];
    play.cluster.kubectl(&delete)?;
    Ok(firsts)
}

/// Of a line as `[pod/NAME/CONTAINER] {…}`.
fn first(line: &str) -> Option<First> {
    let (prefix, said) = line.split_once(' ')?;
    let pod = prefix.split('/').nth(1)?.to_owned();
    Some(First { pod, ..serde_json::from_str(said).ok()? })
}

/// What Weir wrote of the pods whose calls passed, on whichever node they were.
fn show_passed(play: &Play, all: &[First]) {
    let mut passed = all.iter().filter(|first| first.passed > 0).take(SHOWN_MAX).peekable();
    if passed.peek().is_none() {
        return;
    }
    let words =
        ["--namespace", NAMESPACE, "logs", "--selector=app.kubernetes.io/name=weir", "--tail=-1", "--prefix"];
    let log = play.cluster.kubectl(&words).unwrap_or_default();
    for first in passed {
        tell::seen(&format!("{}: {} calls passed; Weir says of it:", first.pod, first.passed));
        for line in log.lines().filter(|line| line.contains(&first.pod)) {
            tell::seen(&format!("  {line}"));
        }
    }
}

/// How many calls have passed.
fn say(play: &mut Play, all: &[First]) -> u64 {
    let of = |value: fn(&First) -> f64| -> Vec<f64> {
        let mut values: Vec<f64> = all.iter().map(value).collect();
        values.sort_by(f64::total_cmp);
        values
    };
    let at = |values: &[f64], percent: usize| values[(values.len() - 1) * percent / 100];
    let (begun, enrolled) = (of(|first| first.begun_ms), of(|first| first.enrolled_ms));
    let late = of(|first| first.enrolled_ms - first.begun_ms);
    tell::seen(&format!(
        "from a pod's creation to its first call through Weir: p50 {:.0} ms, p99 {:.0} ms; to the start of its process p50 \
         {:.0} ms, p99 {:.0} ms; between the two p50 {:.1} ms, p99 {:.1} ms",
        at(&enrolled, 50),
        at(&enrolled, 99),
        at(&begun, 50),
        at(&begun, 99),
        at(&late, 50),
        at(&late, 99)
    ));
    let passed: Vec<&First> = all.iter().filter(|first| first.passed > 0).collect();
    let longest = passed.iter().map(|first| first.enrolled_ms - first.begun_ms).fold(0.0, f64::max);
    let calls = passed.iter().map(|first| first.passed).sum::<u64>();
    tell::seen(&format!(
        "calls that passed before enrolment: {} of {} of the {} pods, the last {longest:.1} ms after its process began",
        calls,
        passed.len(),
        all.len()
    ));
    let failed: u64 = all.iter().map(|first| first.failed).sum();
    play.promise(failed == 0, &format!("no first call fails, and {failed} did"));
    play.promise(all.iter().all(|first| first.enrolled), "all pods are enrolled");
    calls
}
