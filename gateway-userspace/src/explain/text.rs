//! Pure: an explanation as numbered lines.

use std::fmt;

use super::{BackendView, Explanation, KernelView, RouteView};

/// Other rules that are shown; all of them are in the JSON form.
const OTHERS_MAX: usize = 5;
/// Endpoints of one backend that are shown.
const ENDPOINTS_MAX: usize = 10;

/// One step: its name, and the lines of it.
struct Step {
    name: &'static str,
    lines: Vec<String>,
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}", self.from, self.call)?;
        let steps = [
            self.kernel.as_ref().map(|kernel| Step { name: "kernel", lines: kernel.lines() }),
            self.listener.clone().map(|listener| Step { name: "listener", lines: vec![listener] }),
            self.route.as_ref().map(|route| Step { name: "route", lines: route.lines() }),
            (!self.filters.is_empty()).then(|| Step { name: "filters", lines: self.filters.clone() }),
            self.endpoint_step(),
            Some(Step {
                name: if self.answer.happened { "answered" } else { "would answer" },
                lines: self.answer_lines(),
            }),
        ];
        for (index, step) in steps.into_iter().flatten().enumerate() {
            for (line, text) in step.lines.iter().enumerate() {
                if line == 0 {
                    writeln!(f, "{:>2} {:<12} {text}", index + 1, step.name)?;
                } else {
                    writeln!(f, "{:16}{text}", "")?;
                }
            }
        }
        Ok(())
    }
}

impl Explanation {
    fn endpoint_step(&self) -> Option<Step> {
        let lines: Vec<String> =
            self.backends.iter().flat_map(|b| b.lines(self.backends.len() > 1)).collect();
        (!lines.is_empty()).then_some(Step { name: "endpoints", lines })
    }

    fn answer_lines(&self) -> Vec<String> {
        let recent = self.recent.as_ref().map(|r| {
            format!(
                "last 5 min: {} requests, {:.1} % failed, p50 {:.1} ms, p99 {:.1} ms",
                r.requests, r.failed_percent, r.p50_ms, r.p99_ms
            )
        });
        std::iter::once(self.answer.text.clone()).chain(recent).collect()
    }
}

impl fmt::Display for KernelView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(address) = self.address {
            let hook = if address.is_ipv4() { "connect4" } else { "connect6" };
            write!(f, "{hook} {address}: ")?;
        }
        if let Some(service) = &self.service {
            write!(f, "service {service}")?;
            if let (Some(mode), Some(policy)) = (self.mode, self.fail_policy) {
                write!(f, ", mode {mode}, fail-policy {policy}")?;
            }
            f.write_str("; ")?;
        }
        f.write_str(&self.why)
    }
}

impl KernelView {
    fn lines(&self) -> Vec<String> {
        std::iter::once(self.to_string()).chain(self.seen.iter().map(ToString::to_string)).collect()
    }
}

impl RouteView {
    fn lines(&self) -> Vec<String> {
        let first = match &self.rule {
            Some(rule) => format!("{rule}: {}", self.why),
            None => self.why.clone(),
        };
        let others =
            self.others.iter().take(OTHERS_MAX).map(|other| format!("not {}: {}", other.rule, other.why));
        let more = self.others.len().saturating_sub(OTHERS_MAX);
        let more = (more > 0).then(|| format!("not {more} others (all with --output json)"));
        std::iter::once(first).chain(self.limits.iter().cloned()).chain(others).chain(more).collect()
    }
}

impl BackendView {
    fn lines(&self, with_share: bool) -> Vec<String> {
        let name = self.service.as_deref().unwrap_or("a reference that leads nowhere");
        let share = if with_share { format!(" ({:.0} %)", self.percent) } else { String::new() };
        let problem = match (self.reason, self.panic) {
            (Some(reason), _) => format!(": {reason}"),
            (None, true) => ": too many are ejected, so ejections are ignored".to_owned(),
            (None, false) => String::new(),
        };
        let mut lines = vec![format!("{name}{share}{problem}")];
        lines.extend(self.filters.iter().map(|filter| format!("  {filter}")));
        lines.extend(self.endpoints.iter().take(ENDPOINTS_MAX).map(|endpoint| format!("  {endpoint}")));
        let more = self.endpoints.len().saturating_sub(ENDPOINTS_MAX);
        if more > 0 {
            lines.push(format!("  and {more} more (all with --output json)"));
        }
        lines
    }
}
