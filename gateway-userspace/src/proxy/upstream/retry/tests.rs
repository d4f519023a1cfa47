use proptest::prelude::*;

use super::*;

const REFUSED: Attempt = Attempt::Failed { reason: Reason::ConnectRefused, reached: Reached::NotSent };
const LOST: Attempt = Attempt::Failed { reason: Reason::UpstreamReset, reached: Reached::Unknown };
const SLOW: Attempt = Attempt::Failed { reason: Reason::UpstreamTimeout, reached: Reached::Unknown };
const STALE: Attempt = Attempt::Failed { reason: Reason::UpstreamReset, reached: Reached::Unprocessed };
const CUT: Attempt = Attempt::Failed { reason: Reason::UpstreamReset, reached: Reached::Head };

fn policy(attempts: u32, codes: &[u16]) -> RetryPolicy {
    RetryPolicy { attempts, codes: codes.to_vec(), backoff: Duration::from_millis(100) }
}

fn ask(attempt: Attempt, method: &Method, attempts: u32, policy: Option<&RetryPolicy>) -> Decision {
    decide(attempt, &Facts { method, replayable: true, attempts }, policy, 2, || true, 0)
}

fn repeats(attempt: Attempt, method: &Method, policy: Option<&RetryPolicy>) -> bool {
    matches!(ask(attempt, method, 1, policy), Decision::Retry { .. })
}

#[test]
fn what_no_application_saw_is_repeated_for_every_method() {
    for method in [&Method::GET, &Method::POST, &Method::PATCH] {
        assert!(repeats(REFUSED, method, None));
        assert!(repeats(STALE, method, None));
    }
    assert_eq!(ask(REFUSED, &Method::POST, 1, None), Decision::Retry { backoff: Duration::ZERO });
}

#[test]
fn what_may_have_been_done_is_repeated_for_idempotent_methods_only() {
    for method in [&Method::GET, &Method::HEAD, &Method::PUT, &Method::DELETE, &Method::OPTIONS] {
        assert!(repeats(LOST, method, None), "{method}");
    }
    for method in [&Method::POST, &Method::PATCH, &Method::CONNECT] {
        assert_eq!(ask(LOST, method, 1, None), Decision::Stop(Reason::UpstreamReset), "{method}");
        assert_eq!(ask(LOST, method, 1, Some(&policy(3, &[503]))), Decision::Stop(Reason::UpstreamReset));
    }
}

#[test]
fn a_response_that_has_begun_is_never_repeated() {
    assert_eq!(ask(CUT, &Method::GET, 1, Some(&policy(3, &[]))), Decision::Stop(Reason::UpstreamReset));
}

#[test]
fn status_codes_and_timeouts_are_repeated_only_by_a_policy() {
    let unavailable = Attempt::Answered(StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(ask(unavailable, &Method::GET, 1, None), Decision::Deliver);
    assert!(repeats(unavailable, &Method::POST, Some(&policy(1, &[503]))));
    assert_eq!(ask(unavailable, &Method::GET, 1, Some(&policy(1, &[500]))), Decision::Deliver);
    assert_eq!(ask(unavailable, &Method::GET, 2, Some(&policy(1, &[503]))), Decision::Deliver);
    assert_eq!(ask(SLOW, &Method::GET, 1, None), Decision::Stop(Reason::UpstreamTimeout));
    assert!(repeats(SLOW, &Method::GET, Some(&policy(1, &[]))));
    assert!(!repeats(SLOW, &Method::POST, Some(&policy(1, &[]))));
}

#[test]
fn the_number_of_attempts_ends_it_with_the_reason_of_the_last() {
    assert!(matches!(ask(REFUSED, &Method::GET, 2, None), Decision::Retry { .. }));
    assert_eq!(ask(REFUSED, &Method::GET, 3, None), Decision::Stop(Reason::ConnectRefused));
    assert_eq!(ask(REFUSED, &Method::GET, 1, Some(&policy(0, &[]))), Decision::Stop(Reason::ConnectRefused));
    assert!(
        repeats(STALE, &Method::POST, Some(&policy(0, &[]))),
        "a stale pooled connection is ours to mend"
    );
}

#[test]
fn a_body_that_is_gone_cannot_be_sent_again() {
    let facts = Facts { method: &Method::PUT, replayable: false, attempts: 1 };
    assert_eq!(decide(LOST, &facts, None, 2, || true, 0), Decision::Stop(Reason::UpstreamReset));
}

#[test]
fn the_budget_is_asked_last_and_its_no_is_told() {
    let facts = Facts { method: &Method::GET, replayable: true, attempts: 1 };
    assert_eq!(decide(REFUSED, &facts, None, 2, || false, 0), Decision::Stop(Reason::RetryLimit));
    let answered = Attempt::Answered(StatusCode::BAD_GATEWAY);
    assert_eq!(decide(answered, &facts, Some(&policy(1, &[502])), 2, || false, 0), Decision::Deliver);
    let facts = Facts { attempts: 9, ..facts };
    let asked = std::cell::Cell::new(false);
    let budget = || {
        asked.set(true);
        true
    };
    assert_eq!(decide(REFUSED, &facts, None, 2, budget, 0), Decision::Stop(Reason::ConnectRefused));
    assert!(!asked.get());
}

#[test]
fn what_a_repeat_cannot_mend_is_not_repeated() {
    for reason in [Reason::NoHealthyEndpoint, Reason::Overflow, Reason::ClientClosed, Reason::Draining] {
        let attempt = Attempt::Failed { reason, reached: Reached::NotSent };
        assert_eq!(ask(attempt, &Method::GET, 1, None), Decision::Stop(reason));
    }
}

proptest! {
    #[test]
    fn a_backoff_is_never_less_than_asked_and_never_without_bound(
        attempts in 1u32..100, least in 0u64..20_000, random in any::<u64>(),
    ) {
        let least = Duration::from_millis(least);
        let wait = backoff(attempts, Some(least), random);
        prop_assert!(wait >= least);
        prop_assert!(wait <= BACKOFF_MAX.max(least));
    }
}
