//! The decision, as a table and as properties.

use proptest::prelude::*;

use super::{Caller, Pick, Proxy, Service, Untouched, Verdict, decide, knows_endpoints, screen};
use crate::counter::Counter;
use crate::service::{FailPolicy, Mode};

const PLAIN: Caller = Caller { tcp: true, mptcp: false, bound_device: false, own: false };

#[test]
fn only_a_plain_tcp_socket_of_somebody_else_is_looked_at() {
    let table = [
        (PLAIN, None),
        (Caller { tcp: false, ..PLAIN }, Some(Untouched::NotTcp)),
        (Caller { tcp: false, mptcp: true, ..PLAIN }, Some(Untouched::Mptcp)),
        (Caller { mptcp: true, ..PLAIN }, Some(Untouched::Mptcp)),
        (Caller { bound_device: true, ..PLAIN }, Some(Untouched::BoundDevice)),
        (Caller { own: true, ..PLAIN }, Some(Untouched::Own)),
    ];
    for (caller, expected) in table {
        assert_eq!(screen(&caller), expected, "{caller:?}");
    }
}

#[test]
fn endpoints_that_nobody_has_followed_for_long_are_not_picked_where_somebody_else_knows_them() {
    const HALF_A_MINUTE: u64 = 30_000_000_000;
    assert!(knows_endpoints(HALF_A_MINUTE, HALF_A_MINUTE));
    assert!(!knows_endpoints(HALF_A_MINUTE + 1, HALF_A_MINUTE));
    assert!(knows_endpoints(u64::MAX, 0), "without a cluster there is nobody else");
}

#[test]
fn a_connect_to_a_service_goes_where_mode_proxy_and_policy_say() {
    use FailPolicy::{Closed, Open};
    use Mode::{L4, L7, Pass};
    use Proxy::{Alive, Dead, Hung, NoListener};
    let open = Verdict::PickEndpoint(Pick::FailOpen);
    let l4 = Verdict::PickEndpoint(Pick::ByMode);
    let nowhere = Verdict::Untouched(Untouched::OpenNoEndpoint);
    // mode, policy, endpoints known, proxy -> verdict
    let table = [
        (L7, Open, true, Alive, Verdict::Steer),
        (L7, Open, false, Alive, Verdict::Steer),
        (L7, Closed, true, Alive, Verdict::Steer),
        (L7, Open, true, Dead, open),
        (L7, Open, true, Hung, open),
        (L7, Open, true, NoListener, open),
        (L7, Open, false, Dead, nowhere),
        (L7, Open, false, Hung, nowhere),
        (L7, Closed, true, Dead, Verdict::Refuse),
        (L7, Closed, true, Hung, Verdict::Refuse),
        (L7, Closed, false, NoListener, Verdict::Refuse),
        (L4, Open, true, Dead, l4),
        (L4, Closed, true, Dead, l4),
        (L4, Closed, true, Alive, l4),
        (L4, Open, false, Alive, Verdict::Untouched(Untouched::NoEndpoint)),
        (Pass, Closed, true, Dead, Verdict::Untouched(Untouched::Pass)),
    ];
    for (mode, fail_policy, has_endpoints, proxy, expected) in table {
        let service = Service { mode, fail_policy, has_endpoints };
        assert_eq!(decide(&service, || proxy), expected, "{service:?} with the proxy {proxy:?}");
    }
}

fn service() -> impl Strategy<Value = Service> {
    let mode = prop_oneof![Just(Mode::L7), Just(Mode::L4), Just(Mode::Pass)];
    let policy = prop_oneof![Just(FailPolicy::Open), Just(FailPolicy::Closed)];
    (mode, policy, any::<bool>()).prop_map(|(mode, fail_policy, has_endpoints)| Service {
        mode,
        fail_policy,
        has_endpoints,
    })
}

fn proxy() -> impl Strategy<Value = Proxy> {
    prop_oneof![Just(Proxy::Alive), Just(Proxy::Dead), Just(Proxy::Hung), Just(Proxy::NoListener)]
}

proptest! {
    #[test]
    fn nothing_is_sent_to_a_proxy_that_is_gone_nor_refused_while_it_is_there(
        service in service(), proxy in proxy(),
    ) {
        let verdict = decide(&service, || proxy);
        prop_assert!(verdict != Verdict::Steer || proxy == Proxy::Alive);
        prop_assert!(verdict != Verdict::Refuse || proxy != Proxy::Alive);
    }

    #[test]
    fn an_endpoint_is_picked_only_where_there_is_one(service in service(), proxy in proxy()) {
        let verdict = decide(&service, || proxy);
        prop_assert!(!matches!(verdict, Verdict::PickEndpoint(_)) || service.has_endpoints);
    }

    #[test]
    fn a_service_that_fails_closed_never_bypasses_its_proxy(proxy in proxy(), has_endpoints: bool) {
        let service = Service { mode: Mode::L7, fail_policy: FailPolicy::Closed, has_endpoints };
        prop_assert!(matches!(decide(&service, || proxy), Verdict::Steer | Verdict::Refuse));
    }

    #[test]
    fn the_proxy_is_not_looked_for_where_it_does_not_matter(service in service()) {
        let mut asked = false;
        decide(&service, || { asked = true; Proxy::Alive });
        prop_assert_eq!(asked, service.mode == Mode::L7);
    }

    #[test]
    fn every_verdict_counts_as_an_outcome(service in service(), proxy in proxy()) {
        let counter = decide(&service, || proxy).counter();
        prop_assert!((counter.raw() as usize) < Counter::OUTCOMES);
    }
}
