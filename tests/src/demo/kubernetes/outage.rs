//! Scene: the API server goes, replicas die, which nobody can tell Weir, and it comes back.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::asked::{Asked, AuditLog};
use super::usage::Usage;
use super::{PATIENCE, Play, end};
use crate::cluster::{Load, NAMESPACE};
use crate::demo::tell;
use crate::wait::wait_for;

/// Calls of each load while it is away, at least.
const CALLS: u64 = 500;
/// From one death to the next: the kubelet has brought the one before back.
const BETWEEN: Duration = Duration::from_secs(75);
/// A longer absence than this sees more than one death, and has more replicas.
const SHORT: Duration = Duration::from_secs(60);
/// How often a process may ask for each thing on return: it goes on where it was, or asks anew, once or twice.
const ASKED_MOST: u64 = 4;

/// A replica, and where its process is told from those of others by its host name.
struct Replica {
    name: String,
    node: String,
}

pub(super) fn away(play: &mut Play, long: Duration) -> Result<()> {
    play.scene(&format!("The API server stops for {} s, and replicas die, under load", long.as_secs()));
    let replicas = replicas(play, if long > SHORT { 4 } else { 2 })?;
    let loads = play.loads("shop")?;
    let audit = AuditLog::find();
    let known = audit.as_ref().map(|audit| living(play, audit.asked())).transpose()?;
    let before = usages(play)?;
    play.cluster.stop_api()?;
    let begun = Instant::now();
    let without = stand(play, &loads, &replicas, long);
    let took = begun.elapsed();
    // Before the verdict: what follows needs it.
    let audit = audit.map(|audit| audit.onward());
    play.cluster.start_api()?;
    let deaths = without?;
    let back = Instant::now();
    let lowest = returned(play, audit.as_ref().zip(known.as_ref()))?;
    let settled = back.elapsed();
    wait_for("the API server has the loads", PATIENCE, || loads[0].counts().ok())?;
    let failed =
        end(loads, &format!("in {:.0} s without an API server and {deaths} deaths", took.as_secs_f64()))?;
    play.promise(failed == 0, &format!("no call fails while the API server is away, and {failed} did"));
    for (node, now) in &lowest {
        let was = &before[node];
        let least = |map: &str| (now.get(map).copied().unwrap_or_default(), was.count(map));
        let (services, endpoints) = (least("WEIR_SERVICES"), least("WEIR_ENDPOINTS"));
        tell::seen(&format!(
            "{node} on return: never less than {} of {} Services and {} of {} endpoints",
            services.0, services.1, endpoints.0, endpoints.1
        ));
        let flapped = services.0 < services.1 || endpoints.0 * 2 < endpoints.1;
        play.promise(!flapped, &format!("nothing flaps on {node} when the API server returns"));
    }
    if let Some((audit, known)) = audit.zip(known) {
        say_asked(play, &audit.asked(), &known, settled);
    }
    play.wait_routed(true)
}

/// Without processes whose pods are gone: their log stays.
fn living(play: &Play, mut asked: BTreeMap<String, Asked>) -> Result<BTreeMap<String, Asked>> {
    let pods = play.cluster.get(&["--namespace", NAMESPACE, "pods"])?;
    let addresses: Vec<String> = (pods["items"].as_array().into_iter().flatten())
        .filter_map(|pod| Some(format!(" at {}", pod["status"]["podIP"].as_str()?)))
        .collect();
    asked.retain(|who, _| addresses.iter().any(|address| who.ends_with(address.as_str())));
    Ok(asked)
}

/// So many, ready.
fn replicas(play: &Play, count: usize) -> Result<Vec<Replica>> {
    let scale = ["--namespace", "shop", "scale", "deployment/cart", &format!("--replicas={count}")];
    play.cluster.kubectl(&scale)?;
    play.cluster.rolled_out("shop", "deployment/cart", PATIENCE)?;
    let of_cart = ["--namespace", "shop", "pods", "--selector=app=cart"];
    play.cluster.wait("the replicas", PATIENCE, &of_cart, |pods| {
        let found = pods["items"].as_array()?.iter().map(|pod| {
            let name = pod["metadata"]["name"].as_str()?.to_owned();
            Some(Replica { name, node: pod["spec"]["nodeName"].as_str()?.to_owned() })
        });
        let found = found.collect::<Option<Vec<_>>>()?;
        (found.len() == count).then_some(found)
    })
}

/// The time without an API server; how many replicas died.
fn stand(play: &Play, loads: &[Load<'_>; 2], replicas: &[Replica], long: Duration) -> Result<usize> {
    const WITHIN: Duration = Duration::from_secs(60);
    let begun = Instant::now();
    let from = loads.iter().map(Load::good_on_node).collect::<Result<Vec<_>>>()?;
    let mut deaths = 0;
    for replica in replicas.iter().cycle() {
        kill(play, replica)?;
        deaths += 1;
        let next = long.min(BETWEEN * u32::try_from(deaths)?);
        wait_for("the next death", BETWEEN * 2, || (begun.elapsed() >= next).then_some(()))?;
        if next == long {
            break;
        }
    }
    for (load, from) in loads.iter().zip(from) {
        let more = || load.good_on_node().ok().filter(|now| *now >= from + CALLS);
        wait_for("calls without an API server", WITHIN, more)?;
    }
    Ok(deaths)
}

fn kill(play: &Play, Replica { name, node }: &Replica) -> Result<()> {
    let kill = format!(
        "for p in $(pgrep -fx '/pod serve'); do \
         [ \"$(nsenter --target $p --uts hostname)\" = '{name}' ] && kill -9 $p && echo killed; done; true"
    );
    let killed = play.cluster.on_node(node, &["sh", "-c", &kill])?;
    ensure!(killed.contains("killed"), "no process of replica {name} was found on {node}");
    Ok(())
}

fn usages(play: &Play) -> Result<BTreeMap<String, Usage>> {
    play.nodes.iter().map(|node| Ok((node.clone(), Usage::of(play, node)?))).collect()
}

/// Waits until every process watches again what it had watched; the fewest entries of each node's maps meanwhile.
fn returned(
    play: &Play,
    audit: Option<(&AuditLog, &BTreeMap<String, Asked>)>,
) -> Result<BTreeMap<String, BTreeMap<String, u64>>> {
    let mut lowest: BTreeMap<String, BTreeMap<String, u64>> = BTreeMap::new();
    let mut look = || -> Result<()> {
        for (node, now) in usages(play)? {
            let least = lowest.entry(node).or_default();
            for (name, count) in now.counts() {
                let kept = least.entry(name.clone()).or_insert(*count);
                *kept = (*kept).min(*count);
            }
        }
        Ok(())
    };
    look()?;
    wait_for("everybody watches again", PATIENCE, || {
        look().ok()?;
        let Some((audit, known)) = audit else { return Some(()) };
        let now = audit.asked();
        let watches = |who: &String, before: &Asked| {
            now.get(who).is_some_and(|asked| asked.things.is_superset(&before.things))
        };
        known.iter().all(|(who, before)| !who.starts_with("weir-node") || watches(who, before)).then_some(())
    })?;
    Ok(lowest)
}

fn say_asked(
    play: &mut Play,
    now: &BTreeMap<String, Asked>,
    known: &BTreeMap<String, Asked>,
    settled: Duration,
) {
    tell::seen(&format!("watched again after {:.1} s:", settled.as_secs_f64()));
    for (who, asked) in now {
        let things = known.get(who).map_or(asked.things.len(), |before| before.things.len());
        let (lists, watches) = (asked.lists, asked.watches);
        tell::seen(&format!("  {who}: {lists} lists, {watches} watches of {things} things"));
        let storm = lists + watches > ASKED_MOST * things as u64;
        play.promise(!storm, &format!("{who} does not storm: {lists} lists, {watches} watches"));
    }
}
