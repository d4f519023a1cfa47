use std::collections::HashSet;

use proptest::prelude::*;

use super::*;
use crate::snapshot::cluster::Endpoint;

#[derive(Default)]
struct State {
    in_flight: Vec<u32>,
    ejected: HashSet<usize>,
}

impl EndpointState for State {
    fn in_flight(&self, endpoint: usize) -> u32 {
        self.in_flight.get(endpoint).copied().unwrap_or(0)
    }

    fn is_ejected(&self, endpoint: usize) -> bool {
        self.ejected.contains(&endpoint)
    }
}

const POLICIES: [BalancePolicy; 3] =
    [BalancePolicy::LeastRequest, BalancePolicy::RoundRobin, BalancePolicy::Random];

fn endpoint(index: usize, weight: u32, ready: bool, serving: bool, terminating: bool) -> Endpoint {
    Endpoint {
        ready,
        serving,
        terminating,
        weight,
        ..Endpoint::at(([10, 0, (index / 256) as u8, (index % 256) as u8], 80).into())
    }
}

/// As a client of a Gateway sees it.
fn table_of(policy: BalancePolicy, set: &EndpointSet, threshold: u32) -> BalanceTable {
    BalanceTable::new(policy, set, Caller::GATEWAY, threshold)
}

fn active(weights: &[u32]) -> EndpointSet {
    let endpoints = weights.iter().enumerate().map(|(i, w)| endpoint(i, *w, true, true, false)).collect();
    EndpointSet { endpoints, ..EndpointSet::default() }
}

/// Uniform numbers, the same each time (splitmix64).
fn randoms() -> impl FnMut() -> u64 {
    let mut state = 7u64;
    move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

fn counts(table: &BalanceTable, state: &State, endpoints: usize, picks: usize) -> Vec<usize> {
    let mut random = randoms();
    let mut counts = vec![0; endpoints];
    for _ in 0..picks {
        counts[table.pick(state, &[], random()).unwrap()] += 1;
    }
    counts
}

#[test]
fn shares_follow_weights_under_every_policy() {
    for policy in POLICIES {
        let table = table_of(policy, &active(&[1, 2, 0, 7]), 50);
        let counts = counts(&table, &State::default(), 4, 10_000);
        for (count, share) in counts.iter().zip([1_000, 2_000, 0, 7_000]) {
            assert!(count.abs_diff(share) <= share / 5, "{policy:?}: {counts:?}");
        }
    }
}

#[test]
fn round_robin_gives_each_its_exact_turns_and_never_a_long_run() {
    let table = table_of(BalancePolicy::RoundRobin, &active(&[5, 1, 1]), 50);
    let picks: Vec<usize> = (0..70).map(|_| table.pick(&State::default(), &[], 0).unwrap()).collect();
    for round in picks.chunks(7) {
        assert_eq!(round.iter().filter(|e| **e == 0).count(), 5);
        assert!(round.contains(&1) && round.contains(&2));
    }
    let longest = picks.chunk_by(|a, b| a == b).map(<[usize]>::len).max().unwrap();
    assert!(longest <= 4, "{picks:?}");
    let equal = table_of(BalancePolicy::RoundRobin, &active(&[1; 5]), 50);
    let picks: Vec<usize> = (0..10).map(|_| equal.pick(&State::default(), &[], 0).unwrap()).collect();
    assert_eq!(picks, [0, 1, 2, 3, 4, 0, 1, 2, 3, 4]);
}

#[test]
fn least_request_keeps_away_from_the_busy_one() {
    let state = State { in_flight: vec![50, 0, 0, 0], ..State::default() };
    let table = table_of(BalancePolicy::LeastRequest, &active(&[1; 4]), 50);
    assert_eq!(counts(&table, &state, 4, 4_000)[0], 0);
}

#[test]
fn least_request_evens_out_work_over_weight() {
    let table = table_of(BalancePolicy::LeastRequest, &active(&[1, 3]), 50);
    let mut state = State { in_flight: vec![0, 0], ..State::default() };
    let mut random = randoms();
    for _ in 0..4_000 {
        let picked = table.pick(&state, &[], random()).unwrap();
        state.in_flight[picked] += 1;
    }
    assert!(state.in_flight[0].abs_diff(1_000) < 100, "{:?}", state.in_flight);
}

#[test]
fn an_ejected_endpoint_gets_nothing_until_too_few_are_left() {
    for policy in POLICIES {
        let table = table_of(policy, &active(&[1; 4]), 50);
        let mut state = State::default();
        state.ejected.extend([0, 1]);
        let two_out = counts(&table, &state, 4, 4_000);
        assert_eq!(two_out[..2], [0, 0], "{policy:?}");
        assert!(two_out[2] > 1_000 && two_out[3] > 1_000, "{policy:?}: {two_out:?}");
        state.ejected.insert(2);
        let panic = counts(&table, &state, 4, 4_000);
        assert!(panic[..3].iter().all(|count| *count > 200), "{policy:?}: {panic:?}");
    }
}

#[test]
fn without_a_panic_rule_a_cluster_that_is_all_out_has_no_endpoint() {
    let mut state = State::default();
    state.ejected.extend([0, 1]);
    let strict = table_of(BalancePolicy::Random, &active(&[1, 1]), 0);
    assert_eq!(strict.pick(&state, &[], 0), None);
    let panic = table_of(BalancePolicy::Random, &active(&[1, 1]), 1);
    assert!(panic.pick(&state, &[], 0).is_some());
}

#[test]
fn a_repeat_goes_elsewhere_while_there_is_an_elsewhere() {
    let mut random = randoms();
    for policy in POLICIES {
        let table = table_of(policy, &active(&[1, 1, 1]), 50);
        for _ in 0..100 {
            assert_eq!(table.pick(&State::default(), &[0, 2], random()), Some(1));
            assert!(table.pick(&State::default(), &[0, 1, 2], random()).is_some());
        }
        let mut state = State::default();
        state.ejected.insert(1);
        assert_ne!(
            table.pick(&state, &[0, 2], random()),
            Some(1),
            "better the same again than one that is out"
        );
    }
}

#[test]
fn terminating_endpoints_serve_only_when_no_other_does() {
    let leaving = endpoint(1, 1, false, true, true);
    let gone = endpoint(2, 1, false, false, true);
    let starting = endpoint(3, 1, false, false, false);
    let set = |endpoints: &[&Endpoint]| EndpointSet {
        endpoints: endpoints.iter().copied().cloned().collect(),
        ..EndpointSet::default()
    };
    let table = |set: &EndpointSet| table_of(BalancePolicy::RoundRobin, set, 50);
    let with_active = set(&[&endpoint(0, 1, true, true, false), &leaving, &gone, &starting]);
    assert_eq!(counts(&table(&with_active), &State::default(), 4, 10), [10, 0, 0, 0]);
    assert_eq!(counts(&table(&set(&[&gone, &leaving, &starting])), &State::default(), 3, 10), [0, 10, 0]);
    assert_eq!(table(&set(&[&gone, &starting])).pick(&State::default(), &[], 0), None);
    assert_eq!(table(&set(&[])).pick(&State::default(), &[], 0), None);
}

#[test]
fn in_a_large_cluster_a_few_ejected_ones_are_passed_over_and_all_others_are_reached() {
    let table = table_of(BalancePolicy::LeastRequest, &active(&vec![1; 2_000]), 50);
    let state = State { ejected: (0..2_000).step_by(10).collect(), ..State::default() };
    let counts = counts(&table, &state, 2_000, 40_000);
    for (index, count) in counts.iter().enumerate() {
        assert_eq!(*count == 0, index % 10 == 0, "endpoint {index} was picked {count} times");
    }
}

#[test]
fn huge_and_uneven_weights_make_a_table_of_bounded_size() {
    let table = table_of(BalancePolicy::Random, &active(&[u32::MAX, 1, 999_983]), 50);
    assert!(table.tiers[0].schedule.len() < 5_000);
    let counts = counts(&table, &State::default(), 3, 50_000);
    assert!(counts[0] > 49_000 && counts[1] < 100, "{counts:?}");
}

/// Two near endpoints and two far ones.
fn near_and_far() -> EndpointSet {
    let far = |index| Endpoint { preferred: false, ..endpoint(index, 1, true, true, false) };
    let mut set = active(&[1, 1]);
    set.endpoints.extend([far(2), far(3)]);
    set
}

#[test]
fn far_endpoints_get_nothing_while_near_ones_are_in() {
    for policy in POLICIES {
        let table = table_of(policy, &near_and_far(), 50);
        let near = counts(&table, &State::default(), 4, 1_000);
        assert!(near[0] > 300 && near[1] > 300 && near[2..] == [0, 0], "{policy:?} {near:?}");
        let one_out = State { ejected: [0].into(), ..State::default() };
        assert_eq!(counts(&table, &one_out, 4, 100), [0, 100, 0, 0], "{policy:?}");
    }
}

#[test]
fn far_endpoints_stand_in_when_near_ones_are_ejected_or_were_tried() {
    for policy in POLICIES {
        let table = table_of(policy, &near_and_far(), 50);
        let near_out = State { ejected: [0, 1].into(), ..State::default() };
        let far = counts(&table, &near_out, 4, 1_000);
        assert!(far[..2] == [0, 0] && far[2] > 300 && far[3] > 300, "{policy:?} {far:?}");
        for random in [0, u64::MAX / 3, u64::MAX] {
            assert!(table.pick(&State::default(), &[0, 1], random).is_some_and(|picked| picked >= 2));
        }
        let all_out = State { ejected: [0, 1, 2, 3].into(), ..State::default() };
        assert!(table.pick(&all_out, &[], 0).is_some_and(|picked| picked < 2), "panic begins with the near");
    }
}

/// Where 100 clients stay, each with its own order of endpoints.
fn stays(table: &BalanceTable, state: &State, tried: &[usize], known: Option<usize>) -> Vec<Option<usize>> {
    let score = |client: usize| move |index: usize, _| ((index * 7 + client * 3) % 11) as f64;
    (0..100).map(|client| table.stick(state, tried, known, score(client))).collect()
}

#[test]
fn a_client_that_is_to_stay_leaves_its_endpoint_only_when_that_is_out_or_was_tried() {
    let table = table_of(BalancePolicy::LeastRequest, &active(&[1; 4]), 50);
    let all_in = stays(&table, &State::default(), &[], None);
    assert!((0..4).all(|e| all_in.contains(&Some(e))), "clients are spread");
    assert!(stays(&table, &State::default(), &[], Some(2)).iter().all(|e| *e == Some(2)), "known stays");
    let two_out = State { ejected: [2].into(), ..State::default() };
    let moved = stays(&table, &two_out, &[], None);
    for (before, after) in all_in.iter().zip(&moved) {
        assert!(if *before == Some(2) { *after != Some(2) } else { before == after });
    }
    assert!(!stays(&table, &two_out, &[], Some(2)).contains(&Some(2)));
    assert!(!stays(&table, &State::default(), &[2], Some(2)).contains(&Some(2)));
    assert!(stays(&table, &State::default(), &[0, 1, 2, 3], None).iter().all(Option::is_some), "a repeat");
    let gone = stays(&table, &State::default(), &[], Some(9));
    assert_eq!(gone, all_in, "one that is no more counts for nothing");
    assert_eq!(
        stays(&table_of(BalancePolicy::Random, &active(&[]), 50), &State::default(), &[], None)[0],
        None
    );
}

#[test]
fn a_client_goes_back_to_a_near_endpoint_when_there_is_one_again() {
    let table = table_of(BalancePolicy::LeastRequest, &near_and_far(), 50);
    let near_out = State { ejected: [0, 1].into(), ..State::default() };
    assert!(stays(&table, &near_out, &[], None).iter().all(|e| e.is_some_and(|e| e >= 2)));
    assert!(stays(&table, &State::default(), &[], Some(3)).iter().all(|e| e.is_some_and(|e| e < 2)));
}

fn any_endpoint() -> impl Strategy<Value = (u32, bool, bool, bool)> {
    (0u32..5, any::<bool>(), any::<bool>(), any::<bool>())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn a_pick_is_always_the_best_kind_there_is(
        endpoints in prop::collection::vec(any_endpoint(), 0..12),
        ejected in prop::collection::hash_set(0usize..12, 0..12),
        tried in prop::collection::vec(0usize..12, 0..3),
        policy in prop::sample::select(POLICIES.to_vec()),
        threshold in 0u32..=100,
        random in any::<u64>(),
    ) {
        let endpoints: Vec<Endpoint> = endpoints
            .iter()
            .enumerate()
            .map(|(i, (weight, ready, serving, terminating))| endpoint(i, *weight, *ready, *serving, *terminating))
            .collect();
        let of_kind = |kind: fn(&Endpoint) -> bool| -> Vec<usize> {
            (0..endpoints.len()).filter(|i| endpoints[*i].weight > 0 && kind(&endpoints[*i])).collect()
        };
        let mut candidates = of_kind(Endpoint::is_active);
        if candidates.is_empty() {
            candidates = of_kind(Endpoint::is_fallback);
        }
        let usable: Vec<usize> = candidates.iter().copied().filter(|i| !ejected.contains(i)).collect();
        if usable.len() * 100 >= candidates.len() * threshold as usize {
            candidates = usable;
        }
        let set = EndpointSet { endpoints: endpoints.clone(), ..EndpointSet::default() };
        let state = State { ejected, ..State::default() };
        let picked = table_of(policy, &set, threshold).pick(&state, &tried, random);
        match picked {
            None => prop_assert!(candidates.is_empty()),
            Some(picked) => {
                let others_usable = candidates.iter().any(|c| !tried.contains(c));
                if candidates.contains(&picked) {
                    prop_assert!(!tried.contains(&picked) || !others_usable);
                } else {
                    prop_assert!(false, "picked {picked} of {candidates:?}");
                }
            }
        }
    }
}
