//! What Weir has to reach, each as a ratio inside one run, and whether it did.

use std::collections::BTreeMap;

use super::profile;
use super::report::{Figure, Report, ratio};
use super::table::{aligned, shown};

/// What has to hold of a figure.
#[derive(Debug, Clone, Copy)]
enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

impl Bound {
    fn holds(self, value: f64) -> bool {
        match self {
            Self::AtLeast(least) => value >= least,
            Self::AtMost(most) => value <= most,
        }
    }

    fn text(self, unit: &str) -> String {
        match self {
            Self::AtLeast(least) => format!(">= {least}{unit}"),
            Self::AtMost(most) => format!("<= {most}{unit}"),
        }
    }
}

/// How a goal is measured.
#[derive(Debug, Clone, Copy)]
enum Measure {
    /// A median by itself.
    Value(Figure<'static>),
    /// One over another.
    Ratio(Figure<'static>, Figure<'static>),
    /// What a request takes longer than without a proxy, in the one scenario, over what it does with this peer.
    Added(&'static str),
    /// Requests a second with two workers over those with one, over the same of this peer.
    Scaling(&'static str),
}

struct Goal {
    what: &'static str,
    measure: Measure,
    bound: Bound,
    unit: &'static str,
}

/// One figure over the same of somebody else: (scenario, variant), metric, (who, over whom).
const fn against(
    what: &'static str,
    (scenario, variant): (&'static str, &'static str),
    metric: &'static str,
    (who, whom): (&'static str, &'static str),
    bound: Bound,
) -> Goal {
    let (ours, theirs) = (Figure(scenario, variant, who, metric), Figure(scenario, variant, whom, metric));
    Goal { what, measure: Measure::Ratio(ours, theirs), bound, unit: "x" }
}

const fn over(
    what: &'static str,
    at: (&'static str, &'static str),
    metric: &'static str,
    peer: &'static str,
    bound: Bound,
) -> Goal {
    against(what, at, metric, ("weir", peer), bound)
}

const fn steer(
    what: &'static str,
    variant: &'static str,
    metric: &'static str,
    way: &'static str,
    bound: Bound,
) -> Goal {
    against(what, ("steer", variant), metric, ("ebpf", way), bound)
}

const fn value(
    what: &'static str,
    (scenario, variant): (&'static str, &'static str),
    metric: &'static str,
    bound: Bound,
    unit: &'static str,
) -> Goal {
    Goal { what, measure: Measure::Value(Figure(scenario, variant, "weir", metric)), bound, unit }
}

/// Memory when all connections are gone, over what it was.
const fn memory(what: &'static str, was: &'static str) -> Goal {
    let measure = Measure::Ratio(Figure("idle", "", "weir", "after_mib"), Figure("idle", "", "weir", was));
    Goal { what, measure, bound: Bound::AtMost(1.05), unit: "x" }
}

const GOALS: [Goal; 29] = [
    over("HTTP/1.1 saturation against Envoy", ("sat", ""), "rps", "envoy", Bound::AtLeast(2.8)),
    over("HTTP/1.1 saturation against HAProxy", ("sat", ""), "rps", "haproxy", Bound::AtLeast(0.9)),
    over("HTTP/2 saturation against Envoy", ("h2", ""), "rps", "envoy", Bound::AtLeast(2.5)),
    over("HTTP/2 saturation against nginx", ("h2", ""), "rps", "nginx", Bound::AtLeast(0.9)),
    over("gRPC calls against Envoy", ("grpc", "unary"), "rps", "envoy", Bound::AtLeast(2.5)),
    Goal {
        // Whoever sends the messages and answers them is the limit, so the requests a second say little.
        what: "gRPC messages of streams a CPU second against Envoy",
        measure: Measure::Ratio(
            Figure("grpc", "streaming", "envoy", "cpu_us"),
            Figure("grpc", "streaming", "weir", "cpu_us"),
        ),
        bound: Bound::AtLeast(2.5),
        unit: "x",
    },
    Goal {
        what: "added latency (p50, one connection) against HAProxy",
        measure: Measure::Added("haproxy"),
        bound: Bound::AtMost(1.1),
        unit: "x",
    },
    Goal {
        what: "two CPUs against one, over HAProxy's",
        measure: Measure::Scaling("haproxy"),
        bound: Bound::AtLeast(1.0),
        unit: "x",
    },
    Goal {
        what: "CPU a request with 10,000 routes over 10",
        measure: Measure::Ratio(
            Figure("routes", "10000", "weir", "cpu_us"),
            Figure("routes", "10", "weir", "cpu_us"),
        ),
        bound: Bound::AtMost(1.1),
        unit: "x",
    },
    over("opaque TCP against a relay that copies", ("tcp", ""), "rps", "relay", Bound::AtLeast(0.95)),
    steer("a connect to the listener in the pod", "listener", "p50_us", "none", Bound::AtMost(1.15)),
    steer("a connect to an endpoint picked by the kernel", "echo", "p50_us", "none", Bound::AtMost(1.15)),
    steer("connects/s against iptables REDIRECT", "echo", "connects_s", "redirect", Bound::AtLeast(1.2)),
    value(
        "goodput at 3 times the capacity, of the peak",
        ("overload", "clients that wait"),
        "goodput",
        Bound::AtLeast(0.95),
        "",
    ),
    Goal {
        what: "p99 of what is accepted then, over that at the peak",
        measure: Measure::Ratio(
            Figure("overload", "clients that wait", "weir", "p99_ms"),
            Figure("overload", "clients that wait", "weir", "peak_p99_ms"),
        ),
        bound: Bound::AtMost(2.0),
        unit: "x",
    },
    value("memory when idle, 200 routes", ("idle", ""), "base_mib", Bound::AtMost(20.0), " MiB"),
    value("memory of an idle connection", ("idle", ""), "connection_kib", Bound::AtMost(16.0), " KiB"),
    memory("memory after 12,000 connections, of that of a fresh process", "base_mib"),
    memory("memory after 12,000 connections, of that after 4,000", "warm_mib"),
    value("memory with a large cluster", ("scale", ""), "pss_mib", Bound::AtMost(150.0), " MiB"),
    value("full compile of it", ("scale", ""), "full_compile_ms", Bound::AtMost(1000.0), " ms"),
    value(
        "change of an EndpointSlice, compiled",
        ("scale", ""),
        "endpoint_change_ms",
        Bound::AtMost(5.0),
        " ms",
    ),
    value("change of a route, compiled", ("scale", ""), "route_change_ms", Bound::AtMost(5.0), " ms"),
    value(
        "first effect (p99): endpoint, quiet",
        ("propagation", "endpoint, quiet"),
        "p99_ms",
        Bound::AtMost(50.0),
        " ms",
    ),
    value(
        "first effect (p99): endpoint, busy",
        ("propagation", "endpoint, busy"),
        "p99_ms",
        Bound::AtMost(50.0),
        " ms",
    ),
    value(
        "first effect (p99): route, quiet",
        ("propagation", "route, quiet"),
        "p99_ms",
        Bound::AtMost(50.0),
        " ms",
    ),
    value(
        "first effect (p99): route, busy",
        ("propagation", "route, busy"),
        "p99_ms",
        Bound::AtMost(50.0),
        " ms",
    ),
    value("failed requests: route, quiet", ("propagation", "route, quiet"), "failed", Bound::AtMost(0.0), ""),
    value("failed requests: route, busy", ("propagation", "route, busy"), "failed", Bound::AtMost(0.0), ""),
];

impl Measure {
    /// The scenario that a profile is taken of; none where the figure is no time.
    fn profiled(self) -> Option<&'static str> {
        match self {
            Self::Value(Figure(scenario, .., metric)) | Self::Ratio(Figure(scenario, .., metric), _) => {
                let is_time = !["_mib", "_kib", "failed"].iter().any(|end| metric.ends_with(end));
                is_time.then_some(scenario)
            }
            Self::Added(_) => Some("one"),
            Self::Scaling(_) => Some("sat2"),
        }
    }

    fn of(self, report: &Report) -> Option<f64> {
        match self {
            Self::Value(figure) => report.median(figure),
            Self::Ratio(of, over) => report.ratio(of, over),
            Self::Added(peer) => {
                let p50 = |subject| report.values(Figure("one", "", subject, "p50_us"));
                let direct = p50("direct");
                ratio(
                    &combined(&p50("weir"), &direct, |a, b| a - b),
                    &combined(&p50(peer), &direct, |a, b| a - b),
                )
            }
            Self::Scaling(peer) => {
                let rps = |scenario, subject| report.values(Figure(scenario, "", subject, "rps"));
                let scaling = |subject| combined(&rps("sat2", subject), &rps("sat", subject), |a, b| a / b);
                ratio(&scaling("weir"), &scaling(peer))
            }
        }
    }
}

fn combined(
    of: &BTreeMap<u32, f64>,
    with: &BTreeMap<u32, f64>,
    how: fn(f64, f64) -> f64,
) -> BTreeMap<u32, f64> {
    of.iter()
        .filter_map(|(repetition, value)| Some((*repetition, how(*value, *with.get(repetition)?))))
        .collect()
}

/// A goal that is not reached.
#[derive(Debug)]
pub(super) struct Missed {
    what: &'static str,
    must: String,
    measured: String,
    /// The scenario whose CPU time says why, if CPU time does.
    pub(super) profiled: Option<&'static str>,
}

impl Goal {
    fn measured(&self, value: f64) -> String {
        format!("{}{}", shown(value), self.unit)
    }

    fn missed(&self, report: &Report) -> Option<Missed> {
        let value = self.measure.of(report).filter(|value| !self.bound.holds(*value))?;
        Some(Missed {
            what: self.what,
            must: self.bound.text(self.unit),
            measured: self.measured(value),
            profiled: self.measure.profiled(),
        })
    }
}

/// All that are not reached.
pub(super) fn missed(report: &Report) -> Vec<Missed> {
    GOALS.iter().filter_map(|goal| goal.missed(report)).collect()
}

/// Each goal, what was measured, and whether it is met.
pub(super) fn table(report: &Report) -> String {
    let note = if report.machine.quick { ": a quick run, which measures nothing" } else { "" };
    format!("## goals{note}\n\n{}", rows(report))
}

/// The table alone.
pub(super) fn rows(report: &Report) -> String {
    let mut rows = vec![["goal", "must", "measured", ""].map(str::to_owned).to_vec()];
    for goal in &GOALS {
        let value = goal.measure.of(report);
        let verdict =
            value.map_or("not measured", |value| if goal.bound.holds(value) { "met" } else { "MISSED" });
        let measured = value.map_or_else(String::new, |value| goal.measured(value));
        rows.push(vec![goal.what.to_owned(), goal.bound.text(goal.unit), measured, verdict.to_owned()]);
    }
    aligned(&rows)
}

/// What is missed, and where its CPU time goes; empty when nothing is.
pub(super) fn misses(report: &Report) -> String {
    let missed = missed(report);
    if missed.is_empty() {
        return String::new();
    }
    let mut text = "## missed\n\n".to_owned();
    for Missed { what, must, measured, .. } in &missed {
        text.push_str(&format!("- {what}: {measured}, must be {must}\n"));
    }
    for (scenario, lines) in &report.profiles {
        text.push_str(&format!("\nWeir's CPU time in `{scenario}`:\n\n{}", profile::shown(lines)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::profile::Hot;
    use super::super::report::Sample;
    use super::{Report, missed, misses, table};

    #[test]
    fn a_goal_is_met_missed_or_not_measured() {
        let mut report = Report::default();
        for (subject, p50) in [("direct", 7.0), ("weir", 18.0), ("haproxy", 17.0)] {
            let mut sample = Sample::new("one", "", subject, 0);
            sample.set("p50_us", p50);
            report.samples.push(sample);
        }
        let mut idle = Sample::new("idle", "", "weir", 0);
        idle.set("base_mib", 36.0);
        report.samples.push(idle);
        let text = table(&report);
        let line =
            |start: &str| text.lines().find(|line| line.contains(start)).unwrap_or_default().to_owned();
        assert!(line("added latency").contains("1.10x") && line("added latency").contains("met"), "{text}");
        assert!(line("memory when idle").contains("MISSED"), "{text}");
        assert!(line("saturation against Envoy").contains("not measured"), "{text}");
    }
    #[test]
    fn what_is_missed_is_told_with_its_profile() {
        let mut report = Report::default();
        assert_eq!(misses(&report), "");
        for (subject, rps) in [("weir", 2000.0), ("envoy", 1000.0)] {
            let mut sample = Sample::new("sat", "", subject, 0);
            sample.set("rps", rps);
            report.samples.push(sample);
        }
        let mut idle = Sample::new("idle", "", "weir", 0);
        idle.set("base_mib", 36.0);
        report.samples.push(idle);
        // CPU time says nothing about memory.
        let profiled: Vec<_> = missed(&report).iter().map(|missed| missed.profiled).collect();
        assert_eq!(profiled, [Some("sat"), None]);
        let hot = Hot { share: 0.25, name: "memchr".to_owned() };
        report.profiles.insert("sat".to_owned(), vec![hot]);
        let text = misses(&report);
        assert!(text.contains("- HTTP/1.1 saturation against Envoy: 2.00x, must be >= 2.8x\n"), "{text}");
        assert!(text.contains("in `sat`:\n\n     25.0 % memchr\n"), "{text}");
    }
}
