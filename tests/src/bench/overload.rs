//! Three times as many requests as can be served: how much is still served, how late, and what becomes of the rest.
//!
//! Each proxy has a sixth of a CPU, so that load and backend, on another one, can offer more than it serves.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use gateway_bench::load::Outcome;

use super::Bench;
use super::cpus::Sharing;
use super::measure::{Stand, span_of, watched};
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

/// Overload lasts so many times as long as what is measured elsewhere: what comes of a crowd's first second is another
/// matter. So long, one repetition is enough.
const LASTS: u32 = 10;

/// Clients that ask again only when they were answered, as services do.
const WAITING: &str = "clients that wait";
/// Clients that ask whatever becomes of what they asked for, as a crowd does.
const PUSHING: &str = "clients that push";

/// Once for every peer.
pub(super) fn run(bench: &Bench<'_>, report: &mut Report) {
    if !nix::unistd::geteuid().is_root() {
        println!("overload: a part of a CPU for each proxy needs root; left out");
        return;
    }
    let takes_part = |peer: &Peer| *peer != Peer::Direct;
    for peer in bench.order(0).into_iter().filter(takes_part) {
        match one(bench, peer) {
            Ok(samples) => samples.into_iter().for_each(|sample| report.samples.push(sample)),
            Err(error) => report.take(&format!("overload {peer}"), Err(error)),
        }
    }
}

fn one(bench: &Bench<'_>, peer: Peer) -> Result<Vec<Sample>> {
    let quota = Quota::of_a_sixth()?;
    let stand = Stand::start(bench, peer, Speaks::Http1, Sharing::Apart(1), ROUTES)?;
    let proxy = stand.proxy.as_ref().context("no proxy")?;
    quota.hold(&proxy.family())?;
    let short = bench.options.measured;
    let long = if bench.options.quick { short } else { short * LASTS };
    let peak = offer(bench, &stand, short, PEAK_CONNECTIONS, None)?;
    let quiet = offer(bench, &stand, short, CONNECTIONS_MAX, Some((peak.rate() * QUIET) as u32))?;
    let waiting = offer(bench, &stand, long, (peak.rate() * QUEUE * OVER) as usize, None)?;
    let pushing = offer(bench, &stand, long, CONNECTIONS_MAX, Some((peak.rate() * OVER) as u32))?;
    let of = |variant, over: &Outcome| {
        let mut sample = Sample::new("overload", variant, peer, 0);
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
fn offer(
    bench: &Bench<'_>,
    stand: &Stand,
    measured: Duration,
    connections: usize,
    rate: Option<u32>,
) -> Result<Outcome> {
    let mut command = Command::new(bench.part());
    command.args(["load", "--connect", &stand.address.to_string(), "--target", &peer::target(ROUTES)]);
    command.args(["--host", HOST, "--connections", &connections.to_string()]);
    if let Some(rate) = rate {
        command.args(["--rate", &rate.max(1).to_string()]);
    }
    span_of(measured, &mut command);
    watched(command, &stand.place.others, &stand.folder, || ())
}
