//! Two runs side by side: what has changed by more than one run differs from the next.

use std::path::Path;

use anyhow::{Context, Result};

use super::report::{Figure, Report};
use super::table::{aligned, shown};

/// A smaller change of a median is not worth a line's mark.
const NOTABLE: f64 = 0.05;

/// The medians of Weir in two runs, alone and against each peer, as a table.
pub fn compare(old: &Path, new: &Path) -> Result<String> {
    let (old, new) = (read(old)?, read(new)?);
    let mut rows = vec![["", "old", "new", "new / old", ""].map(str::to_owned).to_vec()];
    let mut seen = Vec::new();
    for sample in new.samples.iter().filter(|sample| sample.subject == "weir") {
        for metric in sample.values.keys().filter(|metric| *metric != "noise") {
            let of = |subject| Figure(&sample.scenario, &sample.variant, subject, metric);
            let name =
                [&sample.scenario, &sample.variant, metric].map(String::as_str).join(" ").replace("  ", " ");
            if seen.contains(&name) {
                continue;
            }
            rows.extend(row(&name, old.median(of("weir")), new.median(of("weir"))));
            for peer in ["nginx", "haproxy", "envoy", "floor"]
                .into_iter()
                .filter(|_| metric == "rps" || metric == "cpu_us")
            {
                let against = |report: &Report| report.ratio(of("weir"), of(peer));
                rows.extend(row(&format!("{name} / {peer}'s"), against(&old), against(&new)));
            }
            seen.push(name);
        }
    }
    Ok(aligned(&rows))
}

fn read(path: &Path) -> Result<Report> {
    let text = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_slice(&text).with_context(|| format!("{} is not of this benchmark", path.display()))
}

fn row(name: &str, old: Option<f64>, new: Option<f64>) -> Option<Vec<String>> {
    let (old, new) = (old?, new?);
    let change = new / old;
    let mark = if change.is_finite() && (change - 1.0).abs() > NOTABLE { "*" } else { "" };
    Some(vec![name.to_owned(), shown(old), shown(new), format!("{change:.2}"), mark.to_owned()])
}
