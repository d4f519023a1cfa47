//! Two runs side by side: what has changed by more than one run differs from the next.

use std::path::Path;

use anyhow::Result;

use super::report::{Figure, Report, read};
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

fn row(name: &str, old: Option<f64>, new: Option<f64>) -> Option<Vec<String>> {
    let (old, new) = (old?, new?);
    if old == new {
        return None;
    }
    let change = new / old;
    let mark = if (change - 1.0).abs() > NOTABLE { "*" } else { "" };
    Some(vec![name.to_owned(), shown(old), shown(new), format!("{change:.2}"), mark.to_owned()])
}

#[cfg(test)]
mod tests {
    use super::super::report::{Report, Sample};
    use super::compare;

    #[test]
    fn a_run_that_became_slower_is_marked() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name: &str, rps: f64| {
            let mut report = Report::default();
            for (subject, rps) in [("weir", rps), ("nginx", 1000.0)] {
                let mut sample = Sample::new("sat", "", subject, 0);
                sample.set("rps", rps);
                report.samples.push(sample);
            }
            let path = folder.path().join(name);
            std::fs::write(&path, serde_json::to_vec(&report).expect("it is plain")).expect("it fits");
            path
        };
        let text = compare(&write("old", 1000.0), &write("new", 900.0)).expect("both are there");
        let rows: Vec<String> =
            text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        assert!(rows.contains(&"| sat rps | 1000 | 900.0 | 0.90 | * |".to_owned()), "{text}");
        assert!(rows.contains(&"| sat rps / nginx's | 1.00 | 0.900 | 0.90 | * |".to_owned()), "{text}");
    }
}
