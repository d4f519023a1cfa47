//! Pure: which endpoints of a Service a caller may have, and in which order they are to be used.
//!
//! The proxy, the kernel's tables and `explain` all ask here. The rules are those of kube-proxy:
//! endpoints that end are used only where none is ready (KEP-1669), `internalTrafficPolicy: Local`
//! keeps calls from within the cluster on the node, and hints prefer what is near.

use std::net::IpAddr;

use super::cluster::{Endpoint, EndpointSet};

/// An address family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Family {
    /// IPv4, also when mapped into IPv6.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both.
    pub const ALL: [Self; 2] = [Self::V4, Self::V6];

    /// The family of an address.
    pub fn of(ip: IpAddr) -> Self {
        if ip.to_canonical().is_ipv4() { Self::V4 } else { Self::V6 }
    }
}

/// Who asks for an endpoint, as far as the choice depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caller {
    /// The family that was dialled. A client of a Gateway dials no Service: for it, the Service's own
    /// first family counts.
    pub family: Option<Family>,
    /// A pod calls. `internalTrafficPolicy` is for such calls alone; those through a Gateway come
    /// from outside.
    pub in_cluster: bool,
}

impl Caller {
    /// A pod that dialled `address`.
    pub fn pod(address: IpAddr) -> Self {
        Self { family: Some(Family::of(address)), in_cluster: true }
    }

    /// A pod of which it is not known what it dialled.
    pub const ANY_POD: Self = Self { family: None, in_cluster: true };

    /// A client of a Gateway.
    pub const GATEWAY: Self = Self { family: None, in_cluster: false };
}

/// Places in the order of use. The first four are of endpoints that take traffic as a rule.
const PLACES: usize = 6;
const FIRST_FALLBACK: usize = 4;

impl EndpointSet {
    /// Indexes of the endpoints that `caller` may have. The first list is to be used; the next ones
    /// stand in for it, in their order, while its endpoints are out of rotation. No list is empty.
    pub fn tiers(&self, caller: Caller) -> Vec<Vec<usize>> {
        self.ordered(caller, |_| true)
    }

    /// Of endpoints of one family alone, the list to be used by pods that dialled it.
    pub fn of_family(&self, family: Family) -> Vec<usize> {
        let caller = Caller { family: Some(family), in_cluster: true };
        let of_family = |endpoint: &Endpoint| Family::of(endpoint.address.ip()) == family;
        self.ordered(caller, of_family).into_iter().next().unwrap_or_default()
    }

    fn ordered(&self, caller: Caller, admit: impl Fn(&Endpoint) -> bool) -> Vec<Vec<usize>> {
        let mut places: [Vec<usize>; PLACES] = Default::default();
        for (index, endpoint) in self.endpoints.iter().enumerate().filter(|(_, e)| admit(e)) {
            if let Some(place) = self.place(endpoint, caller) {
                places[place].push(index);
            }
        }
        let (active, fallback) = places.split_at_mut(FIRST_FALLBACK);
        let used = if active.iter().all(Vec::is_empty) { fallback } else { active };
        used.iter_mut().filter(|tier| !tier.is_empty()).map(std::mem::take).collect()
    }

    fn place(&self, endpoint: &Endpoint, caller: Caller) -> Option<usize> {
        let only_local = self.local_only && caller.in_cluster;
        if endpoint.weight == 0 || only_local && !endpoint.local {
            return None;
        }
        let family = caller.family.or(self.family);
        let foreign = family.is_some_and(|family| family != Family::of(endpoint.address.ip()));
        if endpoint.is_active() {
            // On one node no hint tells one endpoint from the other.
            let far = !endpoint.preferred && !only_local;
            return Some(usize::from(foreign) * 2 + usize::from(far));
        }
        endpoint.is_fallback().then_some(FIRST_FALLBACK + usize::from(foreign))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An endpoint as `ready`, `ending` (terminating and serving) or `down`, with its marks.
    fn endpoint(address: &str, state: &str, marks: &str) -> Endpoint {
        let base = Endpoint::at(address.parse().unwrap());
        Endpoint {
            ready: state == "ready",
            serving: state != "down",
            terminating: state == "ending",
            local: marks.contains("local"),
            preferred: !marks.contains("far"),
            weight: u32::from(!marks.contains("weightless")),
            ..base
        }
    }

    fn set(endpoints: &[(&str, &str, &str)]) -> EndpointSet {
        let mut endpoints: Vec<Endpoint> =
            endpoints.iter().map(|(address, state, marks)| endpoint(address, state, marks)).collect();
        endpoints.sort_by_key(|e| e.address);
        EndpointSet { endpoints, ..EndpointSet::default() }
    }

    fn tiers(set: &EndpointSet, caller: Caller) -> Vec<Vec<String>> {
        let texts = |tier: Vec<usize>| tier.iter().map(|i| set.endpoints[*i].address.to_string()).collect();
        set.tiers(caller).into_iter().map(texts).collect()
    }

    fn pod(dialled: &str) -> Caller {
        Caller::pod(dialled.parse().unwrap())
    }

    #[test]
    fn endpoints_of_the_dialled_family_come_before_the_others() {
        let dual = set(&[("10.1.0.1:80", "ready", ""), ("[fd00::1]:80", "ready", "")]);
        assert_eq!(tiers(&dual, pod("10.96.0.1")), [["10.1.0.1:80"], ["[fd00::1]:80"]]);
        assert_eq!(tiers(&dual, pod("::ffff:10.96.0.1")), [["10.1.0.1:80"], ["[fd00::1]:80"]]);
        assert_eq!(tiers(&dual, pod("fd96::1")), [["[fd00::1]:80"], ["10.1.0.1:80"]]);
        assert_eq!(tiers(&dual, Caller::GATEWAY), [["10.1.0.1:80", "[fd00::1]:80"]]);
        let of_v6 = EndpointSet { family: Some(Family::V6), ..dual };
        assert_eq!(tiers(&of_v6, Caller::GATEWAY), [["[fd00::1]:80"], ["10.1.0.1:80"]]);
    }

    #[test]
    fn terminating_endpoints_serve_only_where_none_is_ready_not_even_one_of_the_other_family() {
        let rolling = set(&[("10.1.0.1:80", "ending", ""), ("10.1.0.2:80", "ready", "")]);
        assert_eq!(tiers(&rolling, pod("10.96.0.1")), [["10.1.0.2:80"]]);
        let dual = set(&[("10.1.0.1:80", "ending", ""), ("[fd00::1]:80", "ready", "")]);
        assert_eq!(tiers(&dual, pod("10.96.0.1")), [["[fd00::1]:80"]]);
        assert_eq!(dual.of_family(Family::V4), [0], "the kernel cannot change the family");
        let last = set(&[("10.1.0.1:80", "ending", ""), ("10.1.0.2:80", "down", "")]);
        assert_eq!(tiers(&last, pod("10.96.0.1")), [["10.1.0.1:80"]]);
        assert!(tiers(&set(&[("10.1.0.2:80", "down", "")]), pod("10.96.0.1")).is_empty());
    }

    #[test]
    fn far_endpoints_stand_in_for_near_ones_but_not_for_terminating_ones() {
        let spread = set(&[("10.1.0.1:80", "ready", "far"), ("10.1.0.2:80", "ready", "")]);
        assert_eq!(tiers(&spread, pod("10.96.0.1")), [["10.1.0.2:80"], ["10.1.0.1:80"]]);
        let ending = set(&[("10.1.0.1:80", "ending", "far"), ("10.1.0.2:80", "ending", "")]);
        assert_eq!(tiers(&ending, pod("10.96.0.1")), [["10.1.0.1:80", "10.1.0.2:80"]]);
    }

    #[test]
    fn a_local_policy_keeps_pods_on_the_node_and_gateways_go_anywhere() {
        let two = [("10.1.0.1:80", "ready", ""), ("10.1.0.2:80", "ending", "local far")];
        let local = EndpointSet { local_only: true, ..set(&two) };
        assert_eq!(tiers(&local, pod("10.96.0.1")), [["10.1.0.2:80"]], "the last one on this node");
        assert_eq!(tiers(&local, Caller::GATEWAY), [["10.1.0.1:80"]]);
        let none = EndpointSet { local_only: true, ..set(&two[..1]) };
        assert!(tiers(&none, pod("10.96.0.1")).is_empty());
        assert!(none.of_family(Family::V4).is_empty());
    }

    #[test]
    fn an_endpoint_without_weight_is_in_no_tier_and_does_not_hold_back_the_next() {
        let idle = set(&[("10.1.0.1:80", "ready", "weightless"), ("10.1.0.2:80", "ending", "")]);
        assert_eq!(tiers(&idle, pod("10.96.0.1")), [["10.1.0.2:80"]]);
    }
}
