//! Every sample of a run, where and when it was taken, and ratios that are taken inside one repetition.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context;
use serde::{Deserialize, Serialize};

use super::profile::Hot;
use super::{Options, peer};
use crate::interrupt;

/// A whole run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Report {
    /// What it ran on.
    pub(super) machine: Machine,
    pub(super) samples: Vec<Sample>,
    /// What did not work, and why.
    pub(super) broken: Vec<String>,
    /// By scenario, where the CPU time of a missed goal went.
    #[serde(default)]
    pub(super) profiles: BTreeMap<String, Vec<Hot>>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Machine {
    /// Seconds since 1970.
    pub(super) time: u64,
    /// What git says of the checkout.
    pub(super) revision: String,
    pub(super) kernel: String,
    pub(super) cpu: String,
    pub(super) cpus: usize,
    pub(super) repetitions: u32,
    pub(super) measured_seconds: f64,
    pub(super) quick: bool,
    /// By peer.
    pub(super) versions: BTreeMap<String, String>,
}

/// One measurement of one subject in one repetition.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Sample {
    pub(super) scenario: String,
    /// Which of several measurements of a scenario, or empty.
    pub(super) variant: String,
    /// A peer, or a way to do it.
    pub(super) subject: String,
    pub(super) repetition: u32,
    /// By metric.
    pub(super) values: BTreeMap<String, f64>,
}

impl Sample {
    pub(super) fn new(scenario: &str, variant: &str, subject: impl ToString, repetition: u32) -> Self {
        let values = BTreeMap::new();
        Self {
            scenario: scenario.to_owned(),
            variant: variant.to_owned(),
            subject: subject.to_string(),
            repetition,
            values,
        }
    }

    pub(super) fn set(&mut self, metric: &str, value: f64) {
        self.values.insert(metric.to_owned(), value);
    }
}

/// Which figure: `scenario`, `variant`, `subject`, `metric`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Figure<'a>(pub(super) &'a str, pub(super) &'a str, pub(super) &'a str, pub(super) &'a str);

impl Report {
    pub(super) fn of_this_machine(options: &Options, cpus: &[usize]) -> Self {
        let versions = options.peers.iter().map(|peer| (peer.to_string(), peer.version(&options.tools)));
        let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let cpu = cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        let machine = Machine {
            time: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
            revision: said("git", &["describe", "--always", "--dirty", "--abbrev=10"]),
            kernel: said("uname", &["-sr"]),
            cpu: cpu.map_or_else(String::new, |(_, name)| name.to_owned()),
            cpus: cpus.len(),
            repetitions: options.repetitions,
            measured_seconds: options.measured.as_secs_f64(),
            quick: options.quick,
            versions: versions.filter(|(_, version)| !version.is_empty()).collect(),
        };
        Self { machine, ..Self::default() }
    }

    /// Takes a sample; what could not be measured is said at once and remembered.
    pub(super) fn take(&mut self, what: &str, sample: anyhow::Result<Sample>) {
        match sample {
            Ok(sample) => self.samples.push(sample),
            Err(_) if interrupt::came() => {}
            Err(error) => {
                let why = format!("{what}: {error:#}");
                eprintln!("{why}");
                self.broken.push(why);
            }
        }
    }

    /// Two lines for the top of the output.
    pub(super) fn heading(&self) -> String {
        let Machine { revision, kernel, cpu, cpus, repetitions, measured_seconds, .. } = &self.machine;
        let mut text = format!(
            "weir {revision} on {kernel}, {cpus} CPUs of {cpu}; {repetitions} repetitions of {measured_seconds} s, medians"
        );
        for (peer, version) in &self.machine.versions {
            text.push_str(&format!("\n  {peer}: {version}"));
        }
        text
    }

    /// The values of a figure by repetition.
    pub(super) fn values(&self, figure: Figure<'_>) -> BTreeMap<u32, f64> {
        values(&self.samples, figure)
    }

    /// The median of a figure.
    pub(super) fn median(&self, figure: Figure<'_>) -> Option<f64> {
        median(self.values(figure).into_values())
    }

    /// The median of the ratios of two figures, each taken inside one repetition.
    pub(super) fn ratio(&self, of: Figure<'_>, over: Figure<'_>) -> Option<f64> {
        ratio(&self.values(of), &self.values(over))
    }
}

/// What a run has written.
pub(super) fn read(path: &Path) -> anyhow::Result<Report> {
    let text = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_slice(&text).with_context(|| format!("{} is not of this benchmark", path.display()))
}

/// The values of a figure by repetition.
pub(super) fn values(samples: &[Sample], figure: Figure<'_>) -> BTreeMap<u32, f64> {
    let Figure(scenario, variant, subject, metric) = figure;
    let these = samples.iter().filter(|sample| {
        sample.scenario == scenario && sample.variant == variant && sample.subject == subject
    });
    these.filter_map(|sample| Some((sample.repetition, *sample.values.get(metric)?))).collect()
}

/// The median of the ratios, repetition by repetition.
pub(super) fn ratio(of: &BTreeMap<u32, f64>, over: &BTreeMap<u32, f64>) -> Option<f64> {
    median(of.iter().filter_map(|(repetition, value)| {
        let over = over.get(repetition).filter(|over| **over != 0.0)?;
        Some(value / over)
    }))
}

/// The middle one, or the mean of the two in the middle.
pub(super) fn median(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.into_iter().filter(|value| value.is_finite()).collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(values[middle]),
        _ => Some((values[middle - 1] + values[middle]) / 2.0),
    }
}

pub(super) fn said(program: &str, arguments: &[&str]) -> String {
    let output = peer::find(program).and_then(|program| Command::new(program).args(arguments).output().ok());
    output.map_or_else(String::new, |output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::{Figure, Report, Sample, median};

    #[test]
    fn ratios_are_taken_inside_a_repetition() {
        let mut report = Report::default();
        // The machine was half as fast in the second one.
        for (repetition, weir, nginx) in [(0, 90.0, 100.0), (1, 45.0, 50.0), (2, 80.0, 100.0)] {
            for (subject, value) in [("weir", weir), ("nginx", nginx)] {
                let mut sample = Sample::new("sat", "", subject, repetition);
                sample.set("rps", value);
                report.samples.push(sample);
            }
        }
        let (weir, nginx) = (Figure("sat", "", "weir", "rps"), Figure("sat", "", "nginx", "rps"));
        assert_eq!(report.ratio(weir, nginx), Some(0.9));
        assert_eq!(report.median(nginx), Some(100.0));
        assert_eq!(report.ratio(weir, Figure("sat", "", "envoy", "rps")), None);
    }

    #[test]
    fn the_median_of_an_even_number_lies_between() {
        assert_eq!(median([4.0, 1.0, 3.0, 2.0]), Some(2.5));
        assert_eq!(median([]), None);
    }
}
