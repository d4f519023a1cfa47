//! h2load of nghttp2, and what it says.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use gateway_bench::load::{Outcome, TRACE};

use super::peer::{HOST, find};
use super::told;

/// Connections and streams at once on each.
const CONNECTIONS: &str = "8";
const STREAMS: &str = "32";

/// Where it is.
pub(super) fn program() -> Result<PathBuf> {
    find("h2load").context("h2load (Debian's nghttp2-client) is not installed: --install gets it")
}

/// The command that asks for this so long.
pub(super) fn command(url: &str, length: Duration) -> Result<Command> {
    let mut command = Command::new(program()?);
    // Whole seconds only.
    command.arg("-D").arg(length.as_secs().max(1).to_string());
    command.args(["-t", "1", "-c", CONNECTIONS, "-m", STREAMS]);
    command.arg("-H").arg(format!(":authority: {HOST}"));
    command.arg("-H").arg(format!("traceparent: {TRACE}"));
    command.arg(url);
    Ok(command)
}

/// What it printed. It tells no quantiles, and its mean is what it is.
pub(super) fn parse(text: &str) -> Result<Outcome> {
    let line = |start: &str| text.lines().find_map(|line| line.strip_prefix(start));
    let finished = line("finished in ").context("h2load did not finish")?;
    let seconds = told::seconds(finished.split(',').next().unwrap_or_default()).context("h2load's time")?;
    let requests = line("requests: ").context("h2load's requests")?;
    let status = line("status codes: ").context("h2load's status codes")?;
    let count = |text: &str, what: &str| -> u64 {
        let part = text.split(", ").find_map(|part| part.strip_suffix(what));
        part.and_then(|count| count.trim().parse().ok()).unwrap_or(0)
    };
    let completed = count(status, " 2xx");
    let mut outcome = Outcome { completed, seconds, ..Outcome::default() };
    let failures = [
        ("failed", count(requests, " failed")),
        ("timeout", count(requests, " timeout")),
        ("3xx", count(status, " 3xx")),
        ("4xx", count(status, " 4xx")),
        ("5xx", count(status, " 5xx")),
    ];
    outcome.failed =
        failures.into_iter().filter(|(_, n)| *n > 0).map(|(what, n)| (what.to_owned(), n)).collect();
    let times = line("time for request:").context("h2load's times")?;
    let mean = times.split_whitespace().nth(2).and_then(told::seconds);
    outcome.latency.mean = mean.map_or(f64::NAN, |mean| mean * 1e6);
    Ok(outcome)
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn what_h2load_says_is_understood() {
        let text = "\
finished in 2.00s, 52341.50 req/s, 54.21MB/s
requests: 104683 total, 104939 started, 104683 done, 104680 succeeded, 3 failed, 3 errored, 0 timeout
status codes: 104680 2xx, 0 3xx, 0 4xx, 3 5xx
traffic: 108.43MB (113694528) total, 1.30MB (1361023) headers (space savings 94.49%), 102.24MB (107195392) data
                     min         max         mean         sd        +/- sd
time for request:      512us     15.92ms      4.85ms       741us    92.86%
";
        let outcome = parse(text).expect("it is whole");
        assert_eq!((outcome.completed, outcome.failed["5xx"], outcome.seconds), (104_680, 3, 2.0));
        assert!((outcome.latency.mean - 4850.0).abs() < 1e-6);
        assert!(parse("nothing\n").is_err());
    }
}
