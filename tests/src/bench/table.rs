//! Pure: samples as tables, medians of each metric and ratios of Weir to each peer.

use std::fmt::Write;

use super::report::{Figure, Sample, median, ratio, values};

/// Who is compared with everybody else.
const OURS: &str = "weir";
/// Metrics of which more is better.
const MORE_IS_BETTER: [&str; 2] = ["rps", "connects_s"];

/// Metrics that come first, in this order; the others follow by name.
const FIRST: [&str; 6] = ["rps", "cpu_us", "mean_us", "p50_us", "p99_us", "pss_mib"];

/// One table for each scenario and variant.
pub(super) fn of(samples: &[Sample]) -> String {
    let mut text = String::new();
    for (scenario, variant) in distinct(samples.iter().map(|s| (s.scenario.as_str(), s.variant.as_str()))) {
        let these: Vec<Sample> =
            samples.iter().filter(|s| s.scenario == scenario && s.variant == variant).cloned().collect();
        // Writing to a string cannot fail.
        let _ = writeln!(text, "\n## {}\n", format!("{scenario} {variant}").trim());
        text.push_str(&one(&these, scenario, variant));
    }
    text
}

/// Metrics are columns, subjects are rows.
fn one(samples: &[Sample], scenario: &str, variant: &str) -> String {
    let mut metrics = distinct(samples.iter().flat_map(|s| s.values.keys().map(String::as_str)));
    metrics.sort_by_key(|metric| FIRST.iter().position(|first| first == metric).unwrap_or(FIRST.len()));
    let subjects = distinct(samples.iter().map(|s| s.subject.as_str()));
    let compared: Vec<&str> = metrics
        .iter()
        .copied()
        .filter(|m| MORE_IS_BETTER.contains(m) || *m == "cpu_us" || *m == "mean_us")
        .collect();
    let has_ours = subjects.contains(&OURS) && subjects.len() > 1;
    let mut head = vec!["".to_owned()];
    head.extend(metrics.iter().map(|metric| (*metric).to_owned()));
    if has_ours {
        head.extend(compared.iter().map(|metric| format!("{OURS}'s {metric} /")));
    }
    let mut rows = vec![head];
    for subject in subjects {
        let of = |subject, metric| values(samples, Figure(scenario, variant, subject, metric));
        let mut row = vec![subject.to_owned()];
        row.extend(
            metrics
                .iter()
                .map(|metric| median(of(subject, metric).into_values()).map_or_else(String::new, shown)),
        );
        if has_ours {
            let ratios = compared.iter().map(|metric| ratio(&of(OURS, metric), &of(subject, metric)));
            row.extend(ratios.map(|ratio| ratio.map_or_else(String::new, |ratio| format!("{ratio:.2}"))));
        }
        rows.push(row);
    }
    aligned(&rows)
}

/// As many digits as mean something.
pub(super) fn shown(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        1000.0.. => format!("{value:.0}"),
        100.0.. => format!("{value:.1}"),
        1.0.. => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

/// Markdown, and columns for whoever reads it in a terminal.
pub(super) fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width =
        |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0).max(3)).collect();
    let mut text = String::new();
    for (number, row) in rows.iter().enumerate() {
        for (column, width) in widths.iter().enumerate() {
            let cell = row.get(column).map_or("", String::as_str);
            let _ = if column == 0 {
                write!(text, "| {cell:width$} ")
            } else {
                write!(text, "| {cell:>width$} ")
            };
        }
        text.push_str("|\n");
        if number == 0 {
            for (column, width) in widths.iter().enumerate() {
                let end = if column == 0 { "-" } else { ":" };
                let _ = write!(text, "|{}{end}", "-".repeat(width + 1));
            }
            text.push_str("|\n");
        }
    }
    text
}

/// Each once, in the order of first appearance.
fn distinct<T: PartialEq>(all: impl Iterator<Item = T>) -> Vec<T> {
    let mut found = Vec::new();
    for one in all {
        if !found.contains(&one) {
            found.push(one);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::{Sample, of};

    #[test]
    fn a_table_has_medians_and_ratios() {
        let mut samples = Vec::new();
        for (subject, rps) in [("weir", 3000.0), ("envoy", 1000.0)] {
            let mut sample = Sample::new("sat", "", subject, 0);
            sample.set("rps", rps);
            samples.push(sample);
        }
        let text = of(&samples);
        let rows: Vec<String> =
            text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        assert!(rows.contains(&"| envoy | 1000 | 3.00 |".to_owned()), "{text}");
    }
}
