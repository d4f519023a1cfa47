//! What a large configuration costs: memory, the time to compile all of it and to follow one change.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::Bench;
use super::large::Large;
use super::report::{Report, Sample, median};
use super::told;
use crate::wait::wait_for;

/// How Weir says that a configuration is live, and that endpoints are; both say how long it took.
const ALL_LIVE: &str = "configuration live";
const ENDPOINTS_LIVE: &str = "endpoints live";
/// Changes of each kind.
const CHANGES: usize = 9;
/// Longest wait for one.
const LIVE_WITHIN: Duration = Duration::from_secs(20);
/// Memory is given back to the system some time after it is free.
const SETTLES_WITHIN: Duration = Duration::from_secs(5);

/// Weir only: what it has to reach is an absolute figure.
pub(super) fn run(bench: &Bench<'_>, report: &mut Report) {
    for repetition in 0..bench.options.repetitions.min(3) {
        report.take("scale", one(bench, repetition));
    }
}

fn one(bench: &Bench<'_>, repetition: u32) -> Result<Sample> {
    let begun = Instant::now();
    let large = Large::start(bench, "scale")?;
    let mut sample = Sample::new("scale", "", "weir", repetition);
    sample.set("ready_s", begun.elapsed().as_secs_f64());
    let first = took(&large.said(), ALL_LIVE).into_iter().next();
    sample.set("full_compile_ms", first.context("weir did not say how long it took")?);
    std::thread::sleep(if bench.options.quick { SETTLES_WITHIN / 5 } else { SETTLES_WITHIN });
    sample.set("pss_mib", large.weir.pss_kib() as f64 / 1024.0);
    let endpoints = changes(&large, ENDPOINTS_LIVE, |turn| large.change_loose(7, turn + 1))?;
    sample.set("endpoint_change_ms", endpoints);
    sample.set("route_change_ms", changes(&large, ALL_LIVE, |turn| large.point_route((turn + 1) % 2))?);
    sample.set("pss_after_changes_mib", large.weir.pss_kib() as f64 / 1024.0);
    Ok(sample)
}

/// Changes one object, over and over; the median of what Weir says it took, milliseconds.
fn changes(large: &Large, word: &str, change: impl Fn(usize) -> Result<()>) -> Result<f64> {
    let before = took(&large.said(), word).len();
    for turn in 0..CHANGES {
        change(turn)?;
        wait_for("a change is live", LIVE_WITHIN, || {
            (took(&large.said(), word).len() > before + turn).then_some(())
        })?;
    }
    median(took(&large.said(), word).into_iter().skip(before)).context("no change was live")
}

/// Every time in milliseconds that a line with this word tells.
fn took(log: &str, word: &str) -> Vec<f64> {
    let lines = log.lines().filter(|line| line.contains(word));
    let times =
        lines.filter_map(|line| told::seconds(line.split("took=").nth(1)?.split_whitespace().next()?));
    times.map(|seconds| seconds * 1e3).collect()
}

#[cfg(test)]
mod tests {
    use super::took;

    #[test]
    fn what_a_change_took_is_read_from_the_log() {
        let log = "INFO weir: configuration live generation=1 took=1.25s\nINFO weir: endpoints live took=810.5µs\n\
                   INFO weir: configuration live took=3ms objects=4\n";
        assert_eq!(took(log, "configuration live"), [1250.0, 3.0]);
        assert!(took(log, "endpoints live").iter().all(|took| (took - 0.8105).abs() < 1e-9));
    }
}
