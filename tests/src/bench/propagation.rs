//! From a change in the folder to the first request that it has an effect on, with nothing else going on and among 100 changes a second.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use gateway_bench::histogram::Histogram;

use super::Bench;
use super::large::Large;
use super::peer::HOST;
use super::report::{Report, Sample};
use crate::interrupt;

/// Changes of each kind.
const CHANGES: usize = 100;
const CHANGES_QUICK: usize = 6;
/// Between two requests of the prober; what is measured is at most so much too long.
const PAUSE: Duration = Duration::from_micros(300);
/// Between two of the changes that go on meanwhile.
const OTHER_CHANGES_EVERY: Duration = Duration::from_millis(10);
/// A change has an effect sooner or something is broken.
const EFFECT_WITHIN: Duration = Duration::from_secs(20);

/// What is changed.
#[derive(Debug, Clone, Copy)]
enum Change {
    Endpoint,
    Route,
}

impl Change {
    fn target(self) -> &'static str {
        match self {
            Self::Endpoint => "/live/x?bytes=1",
            Self::Route => "/live-by-route/x?bytes=1",
        }
    }

    fn apply(self, large: &Large, replica: usize) -> Result<()> {
        match self {
            Self::Endpoint => large.point_service(replica),
            Self::Route => large.point_route(replica),
        }
    }
}

/// Weir only: what it has to reach is an absolute figure.
pub(super) fn run(bench: &Bench<'_>, report: &mut Report) {
    let kinds = [
        ("endpoint, quiet", Change::Endpoint, false),
        ("endpoint, busy", Change::Endpoint, true),
        ("route, quiet", Change::Route, false),
        ("route, busy", Change::Route, true),
    ];
    for repetition in 0..bench.options.repetitions.min(2) {
        for (variant, change, busy) in kinds {
            let changes = if bench.options.quick { CHANGES_QUICK } else { CHANGES };
            let measured = Large::start(bench, "propagation").and_then(|large| {
                let mut sample = Sample::new("propagation", variant, "weir", repetition);
                measure(&large, change, changes, busy, &mut sample).map(|()| sample)
            });
            report.take(&format!("propagation, {variant}"), measured);
        }
    }
}

fn measure(large: &Large, change: Change, changes: usize, busy: bool, sample: &mut Sample) -> Result<()> {
    let over = AtomicBool::new(!busy);
    let (times, failed) = thread::scope(|scope| {
        let others = scope.spawn(|| change_others(large, &over));
        let measured = all(large, change, changes);
        over.store(true, Ordering::Relaxed);
        let others = others.join().unwrap_or_else(|_| bail!("the other changes panicked"));
        others.and(measured)
    })?;
    let in_ms = |share| times.quantile_ns(share) as f64 / 1e6;
    sample.set("p50_ms", in_ms(0.50));
    sample.set("p99_ms", in_ms(0.99));
    sample.set("max_ms", in_ms(1.0));
    sample.set("failed", failed as f64);
    Ok(())
}

fn change_others(large: &Large, over: &AtomicBool) -> Result<()> {
    let begun = Instant::now();
    let mut number = 0;
    while !over.load(Ordering::Relaxed) {
        large.change_loose(number, number / super::large::LOOSE + 1)?;
        number += 1;
        let due = begun + OTHER_CHANGES_EVERY * u32::try_from(number)?;
        thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    Ok(())
}

/// Changes back and forth; how long each took, and how many requests failed meanwhile.
fn all(large: &Large, change: Change, changes: usize) -> Result<(Histogram, u64)> {
    let mut prober = Prober { large, target: change.target(), stream: None };
    let mut times = Histogram::default();
    let mut failed = 0;
    for number in 0..changes {
        interrupt::check()?;
        let replica = (number + 1) % 2;
        let wanted = ["a", "b"][replica];
        let begun = Instant::now();
        change.apply(large, replica)?;
        loop {
            match prober.ask() {
                Ok(name) if name == wanted => break,
                Ok(_) => {}
                Err(_) => {
                    failed += 1;
                    prober.stream = None;
                }
            }
            ensure!(begun.elapsed() < EFFECT_WITHIN, "no effect within {EFFECT_WITHIN:?}");
            thread::sleep(PAUSE);
        }
        times.add(u64::try_from(begun.elapsed().as_nanos())?);
        // So that the next change falls somewhere else in whatever has a period.
        thread::sleep(Duration::from_millis(fastrand::u64(5..25)));
    }
    Ok((times, failed))
}

/// One keep-alive connection.
struct Prober<'l> {
    large: &'l Large,
    target: &'static str,
    stream: Option<TcpStream>,
}

impl Prober<'_> {
    /// Who answered; an error for anything but a whole 200.
    fn ask(&mut self) -> Result<String> {
        let stream = match &mut self.stream {
            Some(stream) => stream,
            none => {
                let stream = TcpStream::connect(self.large.address)?;
                stream.set_read_timeout(Some(EFFECT_WITHIN))?;
                stream.set_nodelay(true)?;
                none.insert(stream)
            }
        };
        write!(stream, "GET {} HTTP/1.1\r\nHost: {HOST}\r\n\r\n", self.target)?;
        let mut answer = Vec::new();
        let mut buffer = [0; 4096];
        // The body is one byte.
        while !answer.windows(5).any(|end| end.starts_with(b"\r\n\r\n")) {
            let read = stream.read(&mut buffer)?;
            ensure!(read > 0, "closed");
            answer.extend_from_slice(&buffer[..read]);
        }
        let text = String::from_utf8_lossy(&answer);
        ensure!(text.starts_with("HTTP/1.1 200"), "{}", text.lines().next().unwrap_or_default());
        let name = text.lines().find_map(|line| line.strip_prefix("x-replica: "));
        Ok(name.context("no name")?.to_owned())
    }
}
