//! Pure: Weir's annotations. A value that it does not know is reported and the default serves.

use super::conditions::Subject;
use crate::control::config::meta::ObjectMeta;
use crate::control::diagnostic::{Code, Diagnostic};
use crate::snapshot::cluster::BalancePolicy;
use crate::snapshot::frontend::{FailPolicy, Mode};

/// What the kernel does with a connect to the Service: `l7`, `l4` or `pass`.
pub(super) const MODE: &str = "weir.dev/mode";
/// What it does without Weir: `open` or `closed`.
pub(super) const FAIL_POLICY: &str = "weir.dev/fail-policy";
/// How an endpoint is chosen: `least-request`, `round-robin` or `random`.
pub(super) const LOAD_BALANCER: &str = "weir.dev/load-balancer";
/// Most requests and relayed connections to the Service at once, from this node.
pub(super) const REQUESTS_MAX: &str = "weir.dev/max-requests";
/// `disabled`: calls to the Service are left alone. Label or annotation.
pub(super) const CAPTURE: &str = "weir.dev/capture";
/// Relative share of each endpoint of a slice, 1 to 100,000.
pub(super) const WEIGHT: &str = "weir.dev/weight";
/// Largest weight of an endpoint.
pub(super) const WEIGHT_MAX: u32 = 100_000;

/// Looks the value of an annotation up in a table of words.
fn word<T: Copy>(
    meta: &ObjectMeta,
    name: &str,
    words: &[(&str, T)],
    subject: &Subject,
    findings: &mut Vec<Diagnostic>,
) -> Option<T> {
    let value = meta.annotations.get(name)?;
    let known = words.iter().find(|(word, _)| word == value).map(|(_, meaning)| *meaning);
    if known.is_none() {
        let allowed: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let finding = subject.warning(Code::BadAnnotation).field(format!("metadata.annotations[{name}]"));
        findings.push(
            finding
                .message(format!("`{value}` is not a value of {name}; the default serves"))
                .fix(format!("use one of: {}", allowed.join(", "))),
        );
    }
    known
}

/// True for a Service that Weir is not to touch calls to.
pub(super) fn is_left_alone(meta: &ObjectMeta) -> bool {
    let off = |value: Option<&String>| value.is_some_and(|v| v == "disabled");
    off(meta.labels.get(CAPTURE)) || off(meta.annotations.get(CAPTURE))
}

/// The mode that a Service asks for.
pub(super) fn mode(meta: &ObjectMeta, subject: &Subject, findings: &mut Vec<Diagnostic>) -> Option<Mode> {
    if is_left_alone(meta) {
        return Some(Mode::Pass);
    }
    word(meta, MODE, &[("l7", Mode::L7), ("l4", Mode::L4), ("pass", Mode::Pass)], subject, findings)
}

/// The fail policy of a Service.
pub(super) fn fail_policy(
    meta: &ObjectMeta,
    subject: &Subject,
    findings: &mut Vec<Diagnostic>,
) -> FailPolicy {
    let words = [("open", FailPolicy::Open), ("closed", FailPolicy::Closed)];
    word(meta, FAIL_POLICY, &words, subject, findings).unwrap_or_default()
}

/// The balance policy of a Service.
pub(super) fn balance(meta: &ObjectMeta, subject: &Subject, findings: &mut Vec<Diagnostic>) -> BalancePolicy {
    let words = [
        ("least-request", BalancePolicy::LeastRequest),
        ("round-robin", BalancePolicy::RoundRobin),
        ("random", BalancePolicy::Random),
    ];
    word(meta, LOAD_BALANCER, &words, subject, findings).unwrap_or_default()
}

/// The limit on what a Service has in flight.
pub(super) fn requests_max(
    meta: &ObjectMeta,
    subject: &Subject,
    findings: &mut Vec<Diagnostic>,
) -> Option<u32> {
    let text = meta.annotations.get(REQUESTS_MAX)?;
    let max = text.parse().ok().filter(|max| *max >= 1);
    if max.is_none() {
        let finding =
            subject.warning(Code::BadAnnotation).field(format!("metadata.annotations[{REQUESTS_MAX}]"));
        findings.push(
            finding
                .message(format!("`{text}` is not a number of requests; there is no limit"))
                .fix("use a whole number from 1, in quotes"),
        );
    }
    max
}

/// The weight of a slice's endpoints.
pub(super) fn weight(meta: &ObjectMeta, subject: &Subject, findings: &mut Vec<Diagnostic>) -> u32 {
    let Some(text) = meta.annotations.get(WEIGHT) else { return 1 };
    let weight = text.parse().ok().filter(|w| (1..=WEIGHT_MAX).contains(w));
    if weight.is_none() {
        let finding = subject.warning(Code::BadAnnotation).field(format!("metadata.annotations[{WEIGHT}]"));
        findings.push(
            finding
                .message(format!("`{text}` is not a weight; its endpoints have weight 1"))
                .fix(format!("use a whole number from 1 to {WEIGHT_MAX}, in quotes")),
        );
    }
    weight.unwrap_or(1)
}
