//! Pure: which endpoint gets the next attempt.
//!
//! A table is built when the endpoints of a cluster change; a pick is then a few array reads, with no
//! allocation. Which endpoints there are for a caller, and in which tiers, `snapshot::tier` says.
//! Ejected endpoints are passed over. Where too few of a tier would be left, the next one stands in;
//! without a next one that is better, ejections are ignored (panic rule): a cluster that looks bad as
//! a whole gets its traffic spread rather than piled on the rest.

mod schedule;

use std::cell::Cell;

use smallvec::SmallVec;

use crate::snapshot::cluster::{BalancePolicy, EndpointSet};
use crate::snapshot::tier::Caller;
use schedule::Schedule;

/// Endpoints looked at to judge how many are ejected; all of them in clusters up to this size.
const PANIC_SAMPLE: usize = 64;

/// Random places that are tried before the places in their order.
const RANDOM_PLACES: usize = 8;

/// What one worker knows of the endpoints of a set, by their index in it.
pub trait EndpointState {
    /// Requests on their way.
    fn in_flight(&self, endpoint: usize) -> u32;
    /// Out of rotation at this moment.
    fn is_ejected(&self, endpoint: usize) -> bool;
}

/// How one worker picks from one `EndpointSet` for one kind of caller.
#[derive(Debug)]
pub struct BalanceTable {
    tiers: SmallVec<[Tier; 1]>,
}

/// Endpoints that are as good as each other but for their weights and state.
#[derive(Debug)]
struct Tier {
    policy: BalancePolicy,
    panic_threshold_percent: u32,
    schedule: Schedule,
    /// Next place of round robin. Begins at a random one, or all workers would begin with the same
    /// endpoint after each change.
    cursor: Cell<Option<usize>>,
}

/// What a search among endpoints that are in rotation brought.
enum Found {
    Untried(usize),
    Tried(usize),
    None,
}

impl BalanceTable {
    /// The table of `set` for `caller`. With fewer usable endpoints than `panic_threshold_percent`,
    /// ejections are ignored; 0 never ignores them.
    pub fn new(
        policy: BalancePolicy,
        set: &EndpointSet,
        caller: Caller,
        panic_threshold_percent: u32,
    ) -> Self {
        let tier = |members| Tier {
            policy,
            panic_threshold_percent,
            schedule: Schedule::new(&set.endpoints, members),
            cursor: Cell::new(None),
        };
        Self { tiers: set.tiers(caller).into_iter().map(tier).collect() }
    }

    /// The endpoint for the next attempt. `tried` are avoided while another one is usable. `None` when
    /// there is no endpoint that may take traffic. `random` is a uniform
    /// number.
    pub fn pick(&self, state: &impl EndpointState, tried: &[usize], random: u64) -> Option<usize> {
        let first = self.tiers.first()?;
        let chosen = first.choose(state, random);
        let endpoint = first.schedule.at(chosen);
        if !tried.contains(&endpoint) && !state.is_ejected(endpoint) {
            return Some(endpoint);
        }
        self.next_usable(state, tried, chosen, random)
    }

    /// The endpoint for the next attempt of a client that is to stay with one: `known`, where it had one
    /// before, else the one with the least `score`, which is asked with its index and weight.
    pub fn stick(
        &self,
        state: &impl EndpointState,
        tried: &[usize],
        known: Option<usize>,
        score: impl Fn(usize, u32) -> f64,
    ) -> Option<usize> {
        let first = self.tiers.first()?;
        let fits = |known: &usize| {
            first.schedule.members().binary_search(known).is_ok()
                && !tried.contains(known)
                && !state.is_ejected(*known)
        };
        if let Some(known) = known.filter(fits) {
            return Some(known);
        }
        let best = |tier: &Tier, admit: &dyn Fn(usize) -> bool| {
            let score = |index: usize| score(index, tier.schedule.weight(index));
            let members = tier.schedule.members().iter().copied().filter(|index| admit(*index));
            members.min_by(|a, b| score(*a).total_cmp(&score(*b)))
        };
        for panic in [false, true] {
            for tier in self.tiers.iter().filter(|tier| tier.is_panic(state, 0) == panic) {
                let untried = |index| !tried.contains(&index) && (panic || !state.is_ejected(index));
                if let Some(found) = best(tier, &untried) {
                    return Some(found);
                }
            }
        }
        best(first, &|_| true)
    }

    /// One that is in and untried, else one that is in, else none.
    fn next_usable(
        &self,
        state: &impl EndpointState,
        tried: &[usize],
        start: usize,
        random: u64,
    ) -> Option<usize> {
        let mut repeated = None;
        // Ejections are ignored in no tier while another one has enough that are in.
        for ignore_ejections in [false, true] {
            for tier in &self.tiers {
                if tier.is_panic(state, start) != ignore_ejections {
                    continue;
                }
                match tier.search(state, tried, ignore_ejections, start, random) {
                    Found::Untried(endpoint) => return Some(endpoint),
                    Found::Tried(endpoint) => repeated = repeated.or(Some(endpoint)),
                    Found::None => {}
                }
            }
        }
        repeated
    }
}

impl Tier {
    /// The place of the first choice.
    fn choose(&self, state: &impl EndpointState, random: u64) -> usize {
        let first = self.first_place(random);
        match self.policy {
            BalancePolicy::LeastRequest => self.better_of_two(state, first, random >> 32),
            BalancePolicy::RoundRobin | BalancePolicy::Random => first,
        }
    }

    fn first_place(&self, random: u64) -> usize {
        match self.policy {
            BalancePolicy::RoundRobin => {
                let place = self.cursor.get().unwrap_or_else(|| self.schedule.place(random >> 32));
                self.cursor.set(Some((place + 1) % self.schedule.len()));
                place
            }
            BalancePolicy::LeastRequest | BalancePolicy::Random => self.schedule.place(random & 0xffff_ffff),
        }
    }

    /// Both choices fall by weight; requests in flight over weight decide, and a tie is the first's, so
    /// that an idle cluster is shared by weight too. A choice that is out loses.
    fn better_of_two(&self, state: &impl EndpointState, first: usize, random: u64) -> usize {
        let mut second = self.schedule.place(random);
        if second == first {
            second = (second + 1) % self.schedule.len();
        }
        let (a, b) = (self.schedule.at(first), self.schedule.at(second));
        if state.is_ejected(a) != state.is_ejected(b) {
            return if state.is_ejected(a) { second } else { first };
        }
        let load =
            |endpoint, other| u64::from(state.in_flight(endpoint)) * u64::from(self.schedule.weight(other));
        if load(b, a) < load(a, b) { second } else { first }
    }

    /// Looks at every endpoint, from `start` on.
    fn search(
        &self,
        state: &impl EndpointState,
        tried: &[usize],
        ignore_ejections: bool,
        start: usize,
        random: u64,
    ) -> Found {
        let mut repeated = Found::None;
        for step in 0..self.schedule.len() + RANDOM_PLACES {
            let place = self.place_after(start, step, random);
            let endpoint = self.schedule.at(place);
            if !ignore_ejections && state.is_ejected(endpoint) {
                continue;
            }
            if !tried.contains(&endpoint) {
                self.cursor.set(Some((place + 1) % self.schedule.len()));
                return Found::Untried(endpoint);
            }
            if let Found::None = repeated {
                repeated = Found::Tried(endpoint);
            }
        }
        repeated
    }

    /// Round robin goes on to the next place. The others look at random places first: the neighbour of
    /// a run of ejected endpoints must not get the share of them all.
    fn place_after(&self, start: usize, step: usize, random: u64) -> usize {
        match self.policy {
            BalancePolicy::LeastRequest | BalancePolicy::Random if step < RANDOM_PLACES => {
                self.schedule.place(mix(random, step as u64) >> 32)
            }
            BalancePolicy::LeastRequest | BalancePolicy::Random | BalancePolicy::RoundRobin => {
                (start + step) % self.schedule.len()
            }
        }
    }

    /// True when too few endpoints are in.
    fn is_panic(&self, state: &impl EndpointState, start: usize) -> bool {
        let members = self.schedule.members();
        let sample = members.len().min(PANIC_SAMPLE);
        let usable = (0..sample)
            .filter(|i| !state.is_ejected(members[(start + i * members.len() / sample) % members.len()]))
            .count();
        usable * 100 < sample * self.panic_threshold_percent as usize
    }
}

/// Another uniform number out of a uniform number.
const fn mix(random: u64, step: u64) -> u64 {
    let x = (random ^ step.wrapping_mul(0x9e37_79b9_7f4a_7c15)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    x ^ (x >> 33)
}

#[cfg(test)]
mod tests;
