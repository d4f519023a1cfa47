//! Pure: calls like this one of the last minutes, as far as they are remembered.

use std::time::{Duration, SystemTime};

use serde::Serialize;

use super::Explanation;
use super::question::Caller;
use crate::telemetry::directory::Directory;
use crate::telemetry::recent::Recent;
use crate::telemetry::record::Record;

/// How far back.
pub const WINDOW: Duration = Duration::from_secs(300);

/// A few numbers about calls of the same caller by the same rule or to the same Service.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RecentView {
    /// How many.
    pub requests: u64,
    /// Share that failed, percent.
    pub failed_percent: f64,
    /// Half of them took no longer, milliseconds.
    pub p50_ms: f64,
    /// All but one in a hundred took no longer, milliseconds.
    pub p99_ms: f64,
}

impl RecentView {
    /// Looks for calls like the explained one. `None` when there was none.
    pub fn like(
        explanation: &Explanation,
        caller: &Caller,
        recent: &Recent,
        directory: &Directory,
        now: SystemTime,
    ) -> Option<Self> {
        let rule = explanation.route.as_ref().and_then(|route| route.rule.as_deref());
        let service = explanation.kernel.as_ref().and_then(|kernel| kernel.service.as_deref());
        let same = |record: &Record| {
            let same_rule = record.rule.and_then(|id| directory.rule(id)).as_deref() == rule;
            let frontend = record.frontend.and_then(|id| directory.service(id));
            let same_caller = match (caller, directory.pod(record.pod)) {
                (Caller::Pod { namespace, name }, Some(pod)) => {
                    *pod.namespace == **namespace && *pod.name == **name
                }
                (Caller::Gateway, _) => record.frontend.is_none(),
                (Caller::Pod { .. }, None) => false,
            };
            same_caller && same_rule && frontend.as_ref().map(|name| name.as_str()) == service
        };
        let young = |record: &&Record| now.duration_since(record.start).is_ok_and(|age| age <= WINDOW);
        let calls: Vec<_> = recent.iter().filter(young).filter(|record| same(record)).collect();
        let failed = calls.iter().filter(|record| record.is_failure()).count();
        let mut durations: Vec<Duration> = calls.iter().map(|record| record.duration).collect();
        durations.sort_unstable();
        let quantile = |percent: usize| {
            let index = (durations.len() * percent).div_ceil(100).max(1) - 1;
            durations.get(index).map(|d| d.as_micros() as f64 / 1000.0)
        };
        Some(Self {
            requests: calls.len() as u64,
            failed_percent: failed as f64 * 100.0 / calls.len().max(1) as f64,
            p50_ms: quantile(50)?,
            p99_ms: quantile(99)?,
        })
    }
}
