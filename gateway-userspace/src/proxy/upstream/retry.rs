//! Pure: whether an attempt is repeated.
//!
//! Without a policy only what is safe is repeated: an attempt that no application can have seen
//! (any method), and one of an idempotent method (RFC 9110 9.2.2) that ended before its response
//! began. A policy (HTTPRouteRetry, GEP-1731) adds status codes and timeouts, for the methods its
//! author routed there; what may have been done already is still repeated for idempotent methods only.

use std::time::Duration;

use http::{Method, StatusCode};

use crate::reason::Reason;
use crate::snapshot::router::RetryPolicy;

/// Longest wait before a repeat, unless the policy's least wait is longer.
const BACKOFF_MAX: Duration = Duration::from_secs(5);
/// Wait before the second repeat without a policy; the first is at once, to another endpoint.
const DEFAULT_BACKOFF: Duration = Duration::from_millis(10);

/// How far a failed attempt came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reached {
    /// There was no connection.
    NotSent,
    /// The endpoint said, or the state of the connection shows, that no application saw it:
    /// REFUSED_STREAM, a GOAWAY that excludes the stream, a pooled connection found closed.
    Unprocessed,
    /// It may have been acted upon; no response head came.
    Unknown,
    /// The response has begun to pass to the client.
    Head,
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attempt {
    /// With no response head.
    Failed {
        /// What happened.
        reason: Reason,
        /// How far it came.
        reached: Reached,
    },
    /// With a response head that was not passed on yet.
    Answered(StatusCode),
}

/// What the decision depends on besides the attempt.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// Method of the request.
    pub method: &'a Method,
    /// The whole body is still at hand: there is none, none of it was taken, or it was kept.
    pub replayable: bool,
    /// Attempts made, the one that just ended included.
    pub attempts: u32,
}

/// What to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Try again after this wait.
    Retry {
        /// May be zero.
        backoff: Duration,
    },
    /// Pass the response on.
    Deliver,
    /// Answer with this reason.
    Stop(Reason),
}

/// Decides. `budget` is asked only about a repeat that everything else allows. `default_attempts`
/// is how many repeats there are without a policy; `random` is a uniform number.
pub fn decide(
    attempt: Attempt,
    facts: &Facts<'_>,
    policy: Option<&RetryPolicy>,
    default_attempts: u32,
    budget: impl FnOnce() -> bool,
    random: u64,
) -> Decision {
    let repeats_max = repeats_max(attempt, policy, default_attempts);
    let allowed =
        facts.replayable && facts.attempts <= repeats_max && is_repeatable(attempt, facts.method, policy);
    match attempt {
        _ if allowed && budget() => {
            Decision::Retry { backoff: backoff(facts.attempts, policy.map(|p| p.backoff), random) }
        }
        Attempt::Answered(_) => Decision::Deliver,
        Attempt::Failed { .. } if allowed => Decision::Stop(Reason::RetryLimit),
        Attempt::Failed { reason, .. } => Decision::Stop(reason),
    }
}

/// That a pooled connection was closed is nothing the route's author can know of: such repeats
/// are allowed whatever the policy says.
fn repeats_max(attempt: Attempt, policy: Option<&RetryPolicy>, default_attempts: u32) -> u32 {
    let unprocessed = matches!(attempt, Attempt::Failed { reached: Reached::Unprocessed, .. });
    match policy {
        Some(policy) if unprocessed => policy.attempts.max(default_attempts),
        Some(policy) => policy.attempts,
        None => default_attempts,
    }
}

fn is_repeatable(attempt: Attempt, method: &Method, policy: Option<&RetryPolicy>) -> bool {
    match attempt {
        Attempt::Answered(status) => policy.is_some_and(|p| p.codes.contains(&status.as_u16())),
        Attempt::Failed { reason, reached } => match reached {
            Reached::NotSent => is_connect_failure(reason),
            Reached::Unprocessed => true,
            Reached::Unknown => is_idempotent(method) && is_lost(reason, policy.is_some()),
            Reached::Head => false,
        },
    }
}

/// Reasons that another endpoint, or another moment, may not have.
fn is_connect_failure(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::ConnectRefused | Reason::ConnectTimeout | Reason::ConnectFailed | Reason::UpstreamReset
    )
}

/// A slow answer is repeated only when the route's author asked for repeats.
fn is_lost(reason: Reason, has_policy: bool) -> bool {
    reason == Reason::UpstreamReset || (has_policy && reason == Reason::UpstreamTimeout)
}

/// RFC 9110 9.2.2.
pub fn is_idempotent(method: &Method) -> bool {
    matches!(
        *method,
        Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE | Method::PUT | Method::DELETE
    )
}

/// Doubles with each attempt, and up to half as much again by chance so that repeats spread.
fn backoff(attempts: u32, least: Option<Duration>, random: u64) -> Duration {
    let base = match (least, attempts) {
        (None, 0..=1) => return Duration::ZERO,
        (None, _) => DEFAULT_BACKOFF,
        (Some(least), _) => least,
    };
    let doubled = base.saturating_mul(1u32.checked_shl(attempts.saturating_sub(1)).unwrap_or(u32::MAX));
    let jitter = (random % 512) as u32;
    (doubled + doubled / 1024 * jitter).min(BACKOFF_MAX).max(base)
}

#[cfg(test)]
mod tests;
