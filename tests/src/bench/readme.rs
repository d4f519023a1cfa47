//! The figures of a run in the README, between two marks.

use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::goals;
use super::report::{Figure, Machine, Report, read, said};
use super::table::{aligned, shown};

/// What stands between these lines belongs to this program.
const BEGIN: &str = "<!-- figures: written by `cargo xtask bench bless` -->\n";
const END: &str = "<!-- /figures -->\n";

/// Who has a column, and how it is called.
const COLUMNS: [(&str, &str); 5] = [
    ("weir", "Weir"),
    ("floor", "bare hyper"),
    ("nginx", "nginx"),
    ("haproxy", "HAProxy"),
    ("envoy", "Envoy"),
];
/// Scenario and variant of each row, and how it is called.
const ROWS: [(&str, &str, &str); 9] = [
    ("one", "", "HTTP/1.1, one connection, one core (`one`)"),
    ("sat", "", "HTTP/1.1, 64 connections, one core (`sat`)"),
    ("sat2", "", "the same, two cores (`sat2`)"),
    ("h2", "", "HTTP/2 from the client (`h2`)"),
    ("grpc", "unary", "gRPC calls (`grpc`)"),
    ("grpc", "streaming", "gRPC messages of streams"),
    ("churn", "", "a connection for each request (`churn`)"),
    ("big", "", "answers of 256 KiB (`big`)"),
    ("routes", "10000", "10,000 routes, otherwise as `one` (`routes`)"),
];

/// Writes what this run has measured into this README.
pub fn bless(samples: &Path, readme: &Path) -> Result<()> {
    let report = read(samples)?;
    ensure!(!report.machine.quick, "a quick run measures nothing");
    let text = std::fs::read_to_string(readme)?;
    let seconds = format!("@{}", report.machine.time);
    let day = said("date", &["--utc", "--date", &seconds, "+%F"]);
    let text = replaced(&text, &section(&report, &day)).with_context(|| readme.display().to_string())?;
    Ok(std::fs::write(readme, text)?)
}

/// The text with other figures in it.
fn replaced(text: &str, figures: &str) -> Result<String> {
    let (before, rest) = text.split_once(BEGIN).context("there is no mark for figures")?;
    let (_, after) = rest.split_once(END).context("the figures have no end")?;
    Ok([before, BEGIN, figures, END, after].concat())
}

fn section(report: &Report, day: &str) -> String {
    let Machine { revision, kernel, cpu, cpus, repetitions, measured_seconds, .. } = &report.machine;
    let kernel = version_in(kernel).map_or_else(|| kernel.clone(), |version| format!("Linux {version}"));
    let mut text = format!(
        "On {day} at {revision}, {cpus} CPUs ({cpu}), {kernel}, medians of {repetitions} repetitions of {measured_seconds} seconds:\n\n"
    );
    text.push_str(&costs(report));
    text.push('\n');
    text.push_str(&goals::rows(report));
    text
}

/// CPU time a request of everybody.
fn costs(report: &Report) -> String {
    let mut head = vec!["CPU a request, µs".to_owned()];
    head.extend(COLUMNS.map(|(peer, name)| {
        let version = report.machine.versions.get(peer).filter(|_| peer != "weir");
        version.and_then(|said| version_in(said)).map_or_else(|| name.to_owned(), |v| format!("{name} {v}"))
    }));
    let mut rows = vec![head];
    for (scenario, variant, name) in ROWS {
        let median = |peer| report.median(Figure(scenario, variant, peer, "cpu_us"));
        if median("weir").is_none() {
            continue;
        }
        let mut row = vec![name.to_owned()];
        row.extend(COLUMNS.map(|(peer, _)| median(peer).map_or_else(String::new, shown)));
        rows.push(row);
    }
    aligned(&rows)
}

/// `1.22` in `nginx version: nginx/1.22.1`.
fn version_in(said: &str) -> Option<String> {
    let is_part = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    said.split(|c: char| !c.is_ascii_digit() && c != '.').find_map(|word| {
        let mut parts = word.split('.').filter(|part| is_part(part));
        Some(format!("{}.{}", parts.next()?, parts.next()?))
    })
}

#[cfg(test)]
mod tests {
    use super::super::report::{Report, Sample};
    use super::{BEGIN, END, replaced, section, version_in};

    #[test]
    fn figures_stand_between_their_marks_and_nothing_else_changes() {
        let text = format!("before\n{BEGIN}old\n{END}after\n");
        let new = replaced(&text, "new\n").expect("it has marks");
        assert_eq!(new, format!("before\n{BEGIN}new\n{END}after\n"));
        assert!(replaced("nothing", "new\n").is_err());
    }

    #[test]
    fn a_row_is_there_when_it_was_measured() {
        let mut report = Report::default();
        report.machine.versions.insert("nginx".to_owned(), "nginx version: nginx/1.22.1".to_owned());
        for (subject, cpu) in [("weir", 19.1), ("nginx", 18.5)] {
            let mut sample = Sample::new("one", "", subject, 0);
            sample.set("cpu_us", cpu);
            report.samples.push(sample);
        }
        let text = section(&report, "2026-11-23");
        let rows: Vec<String> =
            text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        assert!(text.contains("nginx 1.22 |"), "{text}");
        assert!(rows.iter().any(|row| row.ends_with("(`one`) | 19.10 | | 18.50 | | |")), "{text}");
        assert!(!text.contains("`churn`"), "{text}");
    }

    #[test]
    fn a_version_is_found_in_what_a_program_says() {
        let said = |text| version_in(text).unwrap_or_default();
        assert_eq!(said("HAProxy version 2.6.12-1+deb12u3 2026/01/02"), "2.6");
        assert_eq!(said("envoy  version: 9f/1.40.0/Clean/RELEASE/BoringSSL"), "1.40");
        assert_eq!(said("none"), "");
    }
}
