//! One measurement: backend and proxy launched, load run against them, CPU time and memory taken from outside.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use gateway_bench::load::{MEASURING, Outcome};
use serde::de::DeserializeOwned;

use super::cpus::{self, Placement, Sharing};
use super::peer::{self, HOST, Peer, Speaks, Task};
use super::process::Process;
use super::report::{Report, Sample};
use super::{Bench, h2load};
use crate::wait::wait_for;

/// Longest wait until a proxy serves.
const READY_WITHIN: Duration = Duration::from_secs(30);
/// How long is looked whether the CPUs are free.
const LOOK: Duration = Duration::from_millis(100);
/// A CPU that is busier than this with something else spoils a sample.
const NOISE_MAX: f64 = 0.05;
/// Longest wait for free CPUs; then the sample is taken anyhow, and says so.
const QUIET_WITHIN: Duration = Duration::from_secs(2);

/// What the load does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Requests {
    /// HTTP/1.1 in a closed loop: connections, bytes of an answer.
    Http1 { connections: usize, bytes: usize },
    /// A connection for each request.
    Churn { connections: usize },
    /// h2load.
    Http2,
    /// gRPC calls, or messages of streams.
    Grpc { streaming: bool },
}

/// A way to load a proxy.
#[derive(Debug, Clone, Copy)]
pub(super) struct Traffic {
    pub(super) scenario: &'static str,
    pub(super) variant: &'static str,
    pub(super) sharing: Sharing,
    pub(super) requests: Requests,
    pub(super) routes: usize,
}

impl Requests {
    pub(super) fn speaks(self) -> Speaks {
        match self {
            Self::Http1 { .. } | Self::Churn { .. } => Speaks::Http1,
            Self::Http2 => Speaks::Http2,
            Self::Grpc { .. } => Speaks::Grpc,
        }
    }
}

/// A backend and, unless the load asks it directly, a proxy before it.
pub(super) struct Stand {
    pub(super) proxy: Option<Process>,
    _backend: Process,
    /// Where the load connects.
    pub(super) address: SocketAddr,
    pub(super) place: Placement,
    pub(super) folder: PathBuf,
}

impl Stand {
    /// Starts both and waits until they serve.
    pub(super) fn start(
        bench: &Bench<'_>,
        peer: Peer,
        speaks: Speaks,
        sharing: Sharing,
        routes: usize,
    ) -> Result<Self> {
        let place = sharing.place(&bench.cpus);
        let folder = bench.folder(&peer.to_string())?;
        let ports = peer::free_ports(2)?;
        let (listen, upstream) = (ports[0], ports[1]);
        let backend = backend(bench.part(), speaks, upstream, "a", &place.others, &folder)?;
        if peer == Peer::Direct {
            return Ok(Self { proxy: None, _backend: backend, address: upstream, place, folder });
        }
        let task = Task { folder: &folder, listen, upstream, speaks, routes, workers: sharing.workers() };
        let command = peer.command(&bench.options.tools, &task)?;
        let errors = folder.join("proxy.errors");
        let mut proxy = Process::start_silent(&peer.to_string(), command, &place.proxy, &errors)?;
        ready(peer, &mut proxy, listen, speaks, &folder, routes)?;
        Ok(Self { proxy: Some(proxy), _backend: backend, address: listen, place, folder })
    }
}

/// Starts a backend and waits until it listens.
pub(super) fn backend(
    part: &Path,
    speaks: Speaks,
    listen: SocketAddr,
    name: &str,
    cpus: &[usize],
    folder: &Path,
) -> Result<Process> {
    let mut command = Command::new(part);
    match speaks {
        Speaks::Http1 | Speaks::Http2 => command.args(["backend", "--name", name]),
        Speaks::Grpc => command.arg("grpc-backend"),
    };
    command.arg("--listen").arg(listen.to_string());
    let errors = folder.join(format!("backend-{name}.errors"));
    let process = Process::start_silent("the backend", command, cpus, &errors)?;
    wait_for("the backend listens", READY_WITHIN, || TcpStream::connect(listen).ok())?;
    Ok(process)
}

fn ready(
    peer: Peer,
    proxy: &mut Process,
    listen: SocketAddr,
    speaks: Speaks,
    folder: &Path,
    routes: usize,
) -> Result<()> {
    let waited = wait_for(&format!("{peer} serves"), READY_WITHIN, || {
        if !proxy.runs() {
            return Some(false);
        }
        let says_so = peer != Peer::Weir
            || matches!(crate::weir::get(&folder.join("admin.sock"), "/readyz"), Ok((200, _)));
        let serves = match speaks {
            Speaks::Http1 => {
                says_so && asked(listen, &peer::target(routes)).is_ok_and(|status| status == 200)
            }
            Speaks::Http2 | Speaks::Grpc => says_so && TcpStream::connect(listen).is_ok(),
        };
        serves.then_some(true)
    });
    let said = || std::fs::read_to_string(folder.join("proxy.errors")).unwrap_or_default();
    ensure!(waited.with_context(said)?, "{peer} ended:\n{}", said());
    Ok(())
}

/// The status of one answer.
pub(super) fn asked(address: SocketAddr, target: &str) -> Result<u16> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    write!(stream, "GET {target} HTTP/1.1\r\nHost: {HOST}\r\n\r\n")?;
    let mut head = [0; 12];
    stream.read_exact(&mut head)?;
    Ok(std::str::from_utf8(&head)?.split(' ').nth(1).context("no status")?.parse()?)
}

/// Every peer, so many times, each time with new processes. One that does not work does not stop the others.
pub(super) fn traffic(bench: &Bench<'_>, traffic: &Traffic, report: &mut Report) {
    // The backend does not speak HTTP/2 and HTTP/1.1 at once.
    let takes_part = |peer: &Peer| *peer != Peer::Direct || traffic.requests != Requests::Http2;
    for repetition in 0..bench.options.repetitions {
        for peer in bench.order(repetition).into_iter().filter(takes_part) {
            let what = format!("{} {} {peer}", traffic.scenario, traffic.variant);
            report.take(&what, one(bench, traffic, peer, repetition));
        }
    }
}

fn one(bench: &Bench<'_>, traffic: &Traffic, peer: Peer, repetition: u32) -> Result<Sample> {
    let Traffic { scenario, variant, sharing, requests, routes } = *traffic;
    let stand = Stand::start(bench, peer, requests.speaks(), sharing, routes)?;
    let mut sample = Sample::new(scenario, variant, peer, repetition);
    let patience = if bench.options.quick { Duration::ZERO } else { QUIET_WITHIN };
    sample.set("noise", noise(&stand.place, patience)?);
    let cpu = || stand.proxy.as_ref().map_or(0, Process::cpu_ns);
    let (outcome, spent) = match requests {
        Requests::Http2 => with_h2load(bench, &stand, cpu)?,
        _ => with_part(bench, &stand, requests, routes, cpu)?,
    };
    ensure!(outcome.completed > 0, "nothing was answered: {:?}", outcome.failed);
    sample.set("rps", outcome.rate());
    sample.set("mean_us", outcome.latency.mean);
    if requests != Requests::Http2 {
        sample.set("p50_us", outcome.latency.p50);
        sample.set("p99_us", outcome.latency.p99);
    }
    sample.set("failed", outcome.failures() as f64);
    if let Some(proxy) = &stand.proxy {
        sample.set("cpu_us", spent as f64 / 1000.0 / outcome.completed as f64);
        sample.set("pss_mib", proxy.pss_kib() as f64 / 1024.0);
    }
    Ok(sample)
}

/// How busy the CPUs are with something else, after some patience.
fn noise(place: &Placement, patience: Duration) -> Result<f64> {
    let mut all = [place.proxy.as_slice(), place.others.as_slice()].concat();
    all.sort_unstable();
    all.dedup();
    let begun = Instant::now();
    loop {
        let busy = cpus::busy(&all, LOOK)?;
        if busy <= NOISE_MAX || begun.elapsed() >= patience {
            return Ok(busy);
        }
    }
}

/// Runs our own load; what became of it, and the CPU time of the proxy meanwhile in nanoseconds.
fn with_part(
    bench: &Bench<'_>,
    stand: &Stand,
    requests: Requests,
    routes: usize,
    cpu: impl Fn() -> u64,
) -> Result<(Outcome, u64)> {
    let mut command = Command::new(bench.part());
    let mut target = peer::target(routes);
    let connections = match requests {
        Requests::Http1 { connections, bytes } => {
            command.arg("load");
            target.push_str(&format!("?bytes={bytes}"));
            connections
        }
        Requests::Churn { connections } => {
            command.args(["load", "--churn"]);
            connections
        }
        Requests::Grpc { streaming } => {
            command.arg("grpc-load");
            if streaming {
                command.arg("--streaming");
            }
            8
        }
        Requests::Http2 => 8,
    };
    command.args(["--connect", &stand.address.to_string(), "--target", &target, "--host", HOST]);
    command.args(["--connections", &connections.to_string()]);
    span(bench, &mut command);
    let mut before = 0;
    let outcome = watched(command, &stand.place.others, &stand.folder, || before = cpu())?;
    Ok((outcome, cpu() - before))
}

/// Runs one of our loads and looks when it begins to count; what it says at its end.
pub(super) fn watched<T: DeserializeOwned>(
    command: Command,
    cpus: &[usize],
    folder: &Path,
    measuring: impl FnOnce(),
) -> Result<T> {
    let errors = folder.join("load.errors");
    let mut load = Process::start("the load", command, cpus, &errors)?;
    let said = || std::fs::read_to_string(&errors).unwrap_or_default();
    let line = load.line().with_context(said)?;
    ensure!(line == MEASURING, "the load says {line}");
    measuring();
    load.result().with_context(said)
}

/// Warm-up and measured time, as our parts take them.
pub(super) fn span(bench: &Bench<'_>, command: &mut Command) {
    span_of(bench.options.measured, command);
}

/// The same for a time of its own.
pub(super) fn span_of(measured: Duration, command: &mut Command) {
    let measured = measured.as_millis();
    command.args(["--warm-up-ms", &(measured / 4).to_string(), "--measured-ms", &measured.to_string()]);
}

fn with_h2load(bench: &Bench<'_>, stand: &Stand, cpu: impl Fn() -> u64) -> Result<(Outcome, u64)> {
    // All peers have at least the number of routes that this scenario has.
    let url = format!("http://{}{}", stand.address, peer::target(super::scenario::ROUTES));
    let errors = stand.folder.join("load.errors");
    let run = |length| -> Result<Outcome> {
        let command = h2load::command(&url, length)?;
        h2load::parse(&Process::start("h2load", command, &stand.place.others, &errors)?.finish()?)
    };
    run(Duration::from_secs(1))?;
    let before = cpu();
    let outcome = run(bench.options.measured)?;
    Ok((outcome, cpu() - before))
}
