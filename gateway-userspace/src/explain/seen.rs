//! Pure: connects like this one that the kernel decided on lately.

use std::net::SocketAddr;
use std::time::Duration;

use gateway_common::counter::Counter;
use gateway_common::decision::Decision;
use serde::Serialize;

/// How many are shown.
const SEEN_MAX: usize = 3;

/// One connect that the kernel decided on.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SeenConnect {
    /// How long ago.
    pub seconds_ago: f64,
    /// As in the metric `weir_connects_total`.
    pub verdict: &'static str,
    /// What was wrong with the proxy, if that mattered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<&'static str>,
    /// Where it was sent.
    pub to: SocketAddr,
    /// Process that connected, as the host numbers it.
    pub process: u32,
}

impl SeenConnect {
    /// The newest connects to `address` from the namespace, newest first. `now` is CLOCK_MONOTONIC.
    pub fn of(decisions: &[Decision], netns_cookie: u64, address: SocketAddr, now: Duration) -> Vec<Self> {
        let same = |d: &&Decision| d.netns_cookie == netns_cookie && d.original.to_std() == address;
        let mut seen: Vec<&Decision> = decisions.iter().filter(same).collect();
        seen.sort_by_key(|decision| std::cmp::Reverse(decision.time_ns));
        seen.into_iter().take(SEEN_MAX).map(|decision| Self::new(decision, now)).collect()
    }

    fn new(decision: &Decision, now: Duration) -> Self {
        let name = |raw| Counter::from_raw(raw).map(Counter::as_str);
        Self {
            seconds_ago: now.saturating_sub(Duration::from_nanos(decision.time_ns)).as_secs_f64(),
            verdict: name(decision.outcome).unwrap_or("unknown"),
            cause: name(decision.cause),
            to: decision.actual.to_std(),
            process: decision.process,
        }
    }
}

impl std::fmt::Display for SeenConnect {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "seen {:.1} s ago: process {}, {}", self.seconds_ago, self.process, self.verdict)?;
        if let Some(cause) = self.cause {
            write!(f, " ({cause})")?;
        }
        write!(f, ", to {}", self.to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_connects_of_the_pod_to_the_address_are_shown() {
        let service = SocketAddr::from(([10, 96, 4, 7], 80));
        let decision = |seconds: u64, netns_cookie, outcome: Counter| Decision {
            time_ns: seconds * 1_000_000_000,
            netns_cookie,
            original: service.into(),
            actual: SocketAddr::from(([127, 0, 0, 1], 15001)).into(),
            process: 42,
            outcome: outcome.raw(),
            cause: u32::MAX,
            ..Decision::default()
        };
        let refused = Decision { cause: Counter::ProxyDead.raw(), ..decision(9, 7, Counter::Refused) };
        let other_pod = decision(9, 8, Counter::Steered);
        let old = [1, 2, 3, 4].map(|seconds| decision(seconds, 7, Counter::Steered));
        let all = [&old[..], &[refused, other_pod]].concat();
        let seen = SeenConnect::of(&all, 7, service, Duration::from_secs(10));
        let ago: Vec<f64> = seen.iter().map(|s| s.seconds_ago).collect();
        assert_eq!(ago, [1.0, 6.0, 7.0]);
        assert_eq!(
            seen[0].to_string(),
            "seen 1.0 s ago: process 42, refused_fail_closed (proxy_dead), to 127.0.0.1:15001"
        );
        let elsewhere = SocketAddr::from(([10, 96, 4, 7], 81));
        assert!(SeenConnect::of(&all, 7, elsewhere, Duration::from_secs(10)).is_empty());
    }
}
