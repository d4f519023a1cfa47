//! What Weir has to reach, each as a ratio inside one run, and whether it did.

use std::collections::BTreeMap;

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

const fn over(
    what: &'static str,
    (scenario, variant): (&'static str, &'static str),
    metric: &'static str,
    peer: &'static str,
    bound: Bound,
) -> Goal {
    let (ours, theirs) = (Figure(scenario, variant, "weir", metric), Figure(scenario, variant, peer, metric));
    Goal { what, measure: Measure::Ratio(ours, theirs), bound, unit: "x" }
}

const fn steer(
    what: &'static str,
    variant: &'static str,
    metric: &'static str,
    way: &'static str,
    bound: Bound,
) -> Goal {
    let (ours, theirs) = (Figure("steer", variant, "ebpf", metric), Figure("steer", variant, way, metric));
    Goal { what, measure: Measure::Ratio(ours, theirs), bound, unit: "x" }
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

const GOALS: [Goal; 27] = [
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

/// Each goal, what was measured, and whether it is met.
pub(super) fn table(report: &Report) -> String {
    let mut rows = vec![["goal", "must", "measured", ""].map(str::to_owned).to_vec()];
    for Goal { what, measure, bound, unit } in &GOALS {
        let measured = measure.of(report);
        let verdict =
            measured.map_or("not measured", |value| if bound.holds(value) { "met" } else { "MISSED" });
        let measured = measured.map_or_else(String::new, |value| format!("{}{unit}", shown(value)));
        rows.push(vec![(*what).to_owned(), bound.text(unit), measured, verdict.to_owned()]);
    }
    let note = if report.machine.quick { ": a quick run, which measures nothing" } else { "" };
    format!("## goals{note}\n\n{}", aligned(&rows))
}

#[cfg(test)]
mod tests {
    use super::super::report::Sample;
    use super::{Report, table};

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
}
