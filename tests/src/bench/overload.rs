//! Three times as many requests as can be served: how much is still served, how late, and what becomes of the rest.
//!
//! Each proxy has a sixth of a CPU, so that load and backend, on another one, can offer more than it serves.

use std::process::Command;

use anyhow::{Context, Result};
use gateway_bench::load::Outcome;

use super::Bench;
use super::cpus::Sharing;
use super::measure::{Stand, span, watched};
use super::peer::{self, HOST, Peer, Speaks};
use super::quota::Quota;
use super::report::{Report, Sample};
use super::scenario::ROUTES;

/// Connections of the closed loop that finds the peak.
const PEAK_CONNECTIONS: usize = 64;
/// Connections that there may be at most when more is asked for than is answered.
const CONNECTIONS_MAX: usize = 12_000;
/// Of the peak, what is offered: hardly anything, and far too much.
const QUIET: f64 = 0.5;
const OVER: f64 = 3.0;
/// Longest queue that is no overload, seconds: clients that wait for their answers are as many as
/// `OVER` such queues.
const QUEUE: f64 = 0.1;

/// Clients that ask again only when they were answered, as services do.
const WAITING: &str = "clients that wait";
/// Clients that ask whatever becomes of what they asked for, as a crowd does.
const PUSHING: &str = "clients that push";

/// For every peer, so many times.
pub(super) fn run(bench: &Bench<'_>, report: &mut Report) {
    if !nix::unistd::geteuid().is_root() {
        println!("overload: a part of a CPU for each proxy needs root; left out");
        return;
    }
    for repetition in 0..bench.options.repetitions {
        let takes_part = |peer: &Peer| *peer != Peer::Direct;
        for peer in bench.order(repetition).into_iter().filter(takes_part) {
            match one(bench, peer, repetition) {
                Ok(samples) => samples.into_iter().for_each(|sample| report.samples.push(sample)),
                Err(error) => report.take(&format!("overload {peer}"), Err(error)),
            }
        }
    }
}

fn one(bench: &Bench<'_>, peer: Peer, repetition: u32) -> Result<Vec<Sample>> {
    let quota = Quota::of_a_sixth()?;
    let stand = Stand::start(bench, peer, Speaks::Http1, Sharing::Apart(1), ROUTES)?;
    let proxy = stand.proxy.as_ref().context("no proxy")?;
    quota.hold(&proxy.family())?;
    let peak = offer(bench, &stand, PEAK_CONNECTIONS, None)?;
    let quiet = offer(bench, &stand, CONNECTIONS_MAX, Some((peak.rate() * QUIET) as u32))?;
    let waiting = offer(bench, &stand, (peak.rate() * QUEUE * OVER) as usize, None)?;
    let pushing = offer(bench, &stand, CONNECTIONS_MAX, Some((peak.rate() * OVER) as u32))?;
    let of = |variant, over: &Outcome| {
        let mut sample = Sample::new("overload", variant, peer, repetition);
        sample.set("peak_rps", peak.rate());
        sample.set("goodput", over.rate() / peak.rate());
        sample.set("p50_ms", over.latency.p50 / 1000.0);
        sample.set("p99_ms", over.latency.p99 / 1000.0);
        sample.set("half_load_p99_ms", quiet.latency.p99 / 1000.0);
        sample.set("peak_p99_ms", peak.latency.p99 / 1000.0);
        let refused = over.failed.get("503").copied().unwrap_or(0);
        sample.set("refused_rps", refused as f64 / over.seconds);
        sample.set("failed_rps", (over.failures() - refused) as f64 / over.seconds);
        sample
    };
    let samples = vec![of(WAITING, &waiting), of(PUSHING, &pushing)];
    // Its processes first: what is in use cannot be removed.
    drop(stand);
    Ok(samples)
}

/// Asks so many times a second, or else as fast as answers come.
fn offer(bench: &Bench<'_>, stand: &Stand, connections: usize, rate: Option<u32>) -> Result<Outcome> {
    let mut command = Command::new(bench.part());
    command.args(["load", "--connect", &stand.address.to_string(), "--target", &peer::target(ROUTES)]);
    command.args(["--host", HOST, "--connections", &connections.to_string()]);
    if let Some(rate) = rate {
        command.args(["--rate", &rate.max(1).to_string()]);
    }
    span(bench, &mut command);
    watched(command, &stand.place.others, &stand.folder, || ())
}
