//! Pure: endpoints in an order in which each comes as often as its weight says, evenly spread.
//!
//! Walking it is smooth weighted round robin; a random place of it is a choice by weight.

use std::collections::BTreeMap;

use crate::snapshot::cluster::Endpoint;
use crate::snapshot::share::shares;

/// Places of a schedule with unequal weights. Shares are exact to one part in this many, or to one
/// place per endpoint.
const PLACES_MAX: u64 = 4096;

/// Built once per endpoint set; `usize`s are indexes into that set.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    places: Vec<u32>,
    members: Vec<usize>,
    /// By index into the endpoint set.
    weights: Vec<u32>,
}

impl Schedule {
    /// Of the endpoints at `members`, each of which has a weight.
    pub(super) fn new(endpoints: &[Endpoint], members: Vec<usize>) -> Self {
        let weights: Vec<u32> = endpoints.iter().map(|e| e.weight).collect();
        let own: Vec<u32> = members.iter().map(|member| weights[*member]).collect();
        let shares = shares(&own, PLACES_MAX);
        let mut peers: BTreeMap<u64, Peers> = BTreeMap::new();
        for share in &shares {
            peers.entry(*share).or_default().members += 1;
        }
        let mut order: Vec<(u64, u32)> = Vec::with_capacity(members.len());
        for (member, share) in members.iter().zip(shares) {
            let index = u32::try_from(*member).unwrap_or(u32::MAX);
            let phase = peers.entry(share).or_default().next_phase();
            order.extend((0..share).map(|turn| (((turn << 32) + phase) / share, index)));
        }
        order.sort_unstable();
        Self { places: order.into_iter().map(|(_, index)| index).collect(), members, weights }
    }

    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// The endpoint at a place. Places beyond the end begin again.
    pub(super) fn at(&self, place: usize) -> usize {
        self.places[place % self.places.len()] as usize
    }

    /// The place for the low 32 bits of a uniform number.
    pub(super) fn place(&self, random: u64) -> usize {
        (((random & 0xffff_ffff) * self.places.len() as u64) >> 32) as usize
    }

    /// Each endpoint once.
    pub(super) fn members(&self) -> &[usize] {
        &self.members
    }

    /// Of an endpoint by its index in the set.
    pub(super) fn weight(&self, endpoint: usize) -> u32 {
        self.weights[endpoint]
    }
}

/// Members with the same share: their turns stand evenly apart, not next to each other.
#[derive(Default)]
struct Peers {
    members: u64,
    placed: u64,
}

impl Peers {
    /// Where in its part of the round the next of them has its turns, in 2^-32 of the part.
    fn next_phase(&mut self) -> u64 {
        let phase = ((2 * self.placed + 1) << 31) / self.members.max(1);
        self.placed += 1;
        phase
    }
}
