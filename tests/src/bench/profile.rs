//! Where Weir's CPU time goes in a scenario, as perf sees it: what there is to say about a goal that is missed.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use super::process::Process;
use super::report::Report;
use super::{Bench, Options, Scenario, goals, peer};
use crate::interrupt;

/// Samples a second and CPU; no divisor of a timer's period.
const HERTZ: &str = "499";
/// Measured at least, for as many samples as make a profile.
const LONG_ENOUGH: Duration = Duration::from_secs(2);
/// Lines of a profile that are kept.
const LINES: usize = 10;
/// A name is cut after so many characters: generics are long.
const NAME_MAX: usize = 100;
/// Threads of Weir that are not named after it, and the program whose connects run Weir's hooks in the kernel.
const ACCESS_LOG: &str = "access-log";
const WORKER: &str = "worker-";
const CONNECTING: &str = "weir-bench-part";

/// A function, and its share of the CPU time that Weir had.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Hot {
    /// Of 1.
    pub(super) share: f64,
    /// `[k]` before it says that it is the kernel's.
    pub(super) name: String,
}

/// Profiles the scenarios in which CPU time decides a goal that is missed.
pub(super) fn missed(bench: &Bench<'_>, report: &mut Report) {
    let scenarios: BTreeSet<&str> =
        goals::missed(report).iter().filter_map(|missed| missed.profiled).collect();
    if scenarios.is_empty() || bench.options.quick {
        return;
    }
    let Some(perf) = peer::find("perf") else {
        println!("\nperf (Debian's linux-perf) is not installed: no profile of what is missed");
        return;
    };
    for name in scenarios {
        let Ok(scenario) = Scenario::from_str(name, false) else { continue };
        match of(bench, &perf, scenario) {
            Ok(lines) => drop(report.profiles.insert(name.to_owned(), lines)),
            Err(_) if interrupt::came() => return,
            Err(error) => println!("\nno profile of {name}: {error:#}"),
        }
    }
}

/// Runs the scenario once more, for Weir alone.
fn of(bench: &Bench<'_>, perf: &Path, scenario: Scenario) -> Result<Vec<Hot>> {
    let measured = bench.options.measured.max(LONG_ENOUGH);
    let options = Options { repetitions: 1, measured, ..bench.options.clone() };
    let alone = bench.of_weir(&options)?;
    let folder = alone.folder("profile")?;
    let (data, errors) = (folder.join("perf.data"), folder.join("perf.errors"));
    let mut record = Command::new(perf);
    record.args(["record", "--all-cpus", "--event", "cpu-clock", "--freq", HERTZ, "--output"]).arg(&data);
    let recording = Process::start_silent("perf", record, &alone.cpus, &errors)?;
    let mut found = Report::default();
    scenario.run(&alone, &mut found);
    recording.interrupt()?;
    ensure!(!found.samples.is_empty(), "nothing was measured");
    let mut tell = Command::new(perf);
    tell.args(["report", "--stdio", "--no-children", "--fields", "overhead,comm,symbol"]);
    tell.args(["--field-separator", "|", "--input"]).arg(&data);
    let text = Process::start("perf report", tell, &alone.cpus, &errors)?.finish()?;
    let lines = hottest(&text, scenario == Scenario::Steer);
    ensure!(!lines.is_empty(), "perf has seen nothing of Weir");
    Ok(lines)
}

/// The first lines of what perf tells, of Weir alone; of those who connect alone where connects are what is measured.
fn hottest(text: &str, connects: bool) -> Vec<Hot> {
    let ours = |thread: &str| match thread {
        _ if connects => thread == CONNECTING,
        ACCESS_LOG => true,
        _ if thread.starts_with(WORKER) => true,
        _ => thread == "weir" || thread.starts_with("weir-") && !thread.starts_with("weir-bench"),
    };
    let lines = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| {
        let mut fields = line.splitn(3, '|').map(str::trim);
        let share: f64 = fields.next()?.strip_suffix('%')?.parse().ok()?;
        let (thread, symbol) = (fields.next()?, fields.next()?);
        ours(thread).then(|| (share, name_of(symbol)))
    });
    let mut lines: Vec<(f64, String)> = lines.collect();
    let all: f64 = lines.iter().map(|(share, _)| share).sum();
    lines.sort_by(|(a, _), (b, _)| b.total_cmp(a));
    lines.into_iter().take(LINES).map(|(share, name)| Hot { share: share / all, name }).collect()
}

fn name_of(symbol: &str) -> String {
    symbol.trim_start_matches("[.] ").chars().take(NAME_MAX).collect()
}

/// As text, one a line.
pub(super) fn shown(lines: &[Hot]) -> String {
    lines.iter().map(|Hot { share, name }| format!("    {:>5.1} % {name}\n", share * 100.0)).collect()
}

#[cfg(test)]
mod tests {
    use super::{hottest, shown};

    const TOLD: &str = "\
# Samples: 1K of event 'cpu-clock'
#
    40.00%|worker-0       |[.] weir::proxy::serve
    10.00%|weir-bench-part|[k] __inet_hash_connect
    20.00%|nginx          |[.] ngx_http_parse_request_line
    10.00%|access-log     |[k] clear_page_erms
";

    #[test]
    fn a_profile_counts_what_is_weirs() {
        let text = shown(&hottest(TOLD, false));
        assert_eq!(text, "     80.0 % weir::proxy::serve\n     20.0 % [k] clear_page_erms\n");
        assert_eq!(shown(&hottest(TOLD, true)), "    100.0 % [k] __inet_hash_connect\n");
    }
}
