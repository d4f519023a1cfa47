//! What an idle keep-alive connection keeps in memory.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use gateway_bench::load::MEASURING;

use super::Bench;
use super::cpus::Sharing;
use super::measure::Stand;
use super::peer::{self, HOST, Peer, Speaks};
use super::process::Process;
use super::report::{Report, Sample};
use super::scenario::ROUTES;
use crate::wait::wait_for;

/// Connections; a proxy on the way may have 8,000.
const CONNECTIONS: u32 = 4000;
const CONNECTIONS_QUICK: u32 = 200;
/// So often they come and go: 12,000 in all.
const ROUNDS: u32 = 3;
/// So long a proxy may take to give back what the last request needed.
const SETTLES_WITHIN: Duration = Duration::from_secs(1);

/// After the connections are gone: as much again as before, or nearly, within so long.
const BACK: f64 = 1.05;
const GIVES_BACK_WITHIN: Duration = Duration::from_secs(15);

/// For every peer, so many times.
pub(super) fn run(bench: &Bench<'_>, report: &mut Report) {
    for repetition in 0..bench.options.repetitions {
        for peer in bench.order(repetition).into_iter().filter(|peer| *peer != Peer::Direct) {
            report.take(&format!("idle {peer}"), one(bench, peer, repetition));
        }
    }
}

fn one(bench: &Bench<'_>, peer: Peer, repetition: u32) -> Result<Sample> {
    let connections = if bench.options.quick { CONNECTIONS_QUICK } else { CONNECTIONS };
    let stand = Stand::start(bench, peer, Speaks::Http1, Sharing::Apart(1), ROUTES)?;
    let proxy = stand.proxy.as_ref().context("no proxy")?;
    let quick = bench.options.quick;
    // A process that has served nobody yet, and one that has: what is made once is made.
    let cold = settled_kib(proxy);
    let (with, warm) = round(bench, &stand, proxy, connections)?;
    let mut after = warm;
    for _ in 1..if quick { 2 } else { ROUNDS } {
        (_, after) = round(bench, &stand, proxy, connections)?;
    }
    let mut sample = Sample::new("idle", "", peer, repetition);
    sample.set("base_mib", cold / 1024.0);
    sample.set("connection_kib", (with - cold) / f64::from(connections));
    sample.set("warm_mib", warm / 1024.0);
    sample.set("after_mib", after / 1024.0);
    Ok(sample)
}

/// Memory with so many connections, and once they are gone.
fn round(bench: &Bench<'_>, stand: &Stand, proxy: &Process, connections: u32) -> Result<(f64, f64)> {
    let before = settled_kib(proxy);
    let mut command = Command::new(bench.part());
    command.args(["idle", "--connect", &stand.address.to_string(), "--target", &peer::target(ROUTES)]);
    command.args(["--host", HOST, "--connections", &connections.to_string()]);
    let errors = stand.folder.join("idle.errors");
    let mut idle = Process::start("the idle connections", command, &stand.place.others, &errors)?;
    let said = || std::fs::read_to_string(&errors).unwrap_or_default();
    let line = idle.line().with_context(said)?;
    ensure!(line == MEASURING, "the idle connections say {line}");
    let with = settled_kib(proxy);
    idle.finish()?;
    // Not an error when it is never back: the figure says so.
    let gone_within = if bench.options.quick { SETTLES_WITHIN } else { GIVES_BACK_WITHIN };
    let back = || (proxy.pss_kib() as f64 <= before * BACK).then_some(());
    let _ = wait_for("memory is given back", gone_within, back);
    Ok((with, proxy.pss_kib() as f64))
}

fn settled_kib(proxy: &Process) -> f64 {
    std::thread::sleep(SETTLES_WITHIN);
    proxy.pss_kib() as f64
}
