//! Pure: each endpoint of a Service, in or out of rotation, and why.

use std::fmt;
use std::net::SocketAddr;

use serde::Serialize;

use crate::reason::Reason;
use crate::snapshot::cluster::{Cluster, Endpoint};
use crate::snapshot::tier::Caller;
use crate::telemetry::endpoint_state::{EndpointState, EndpointStates};

/// Whether an endpoint takes new traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It does.
    Ready,
    /// Its pod says it is not ready.
    NotReady,
    /// Its pod ends.
    Terminating,
    /// Its pod ends, and it is the best there is: no endpoint is ready.
    Fallback,
    /// It failed, and rests.
    Ejected,
    /// Its weight is 0.
    ZeroWeight,
    /// Others come first: nearer ones, or those of the family that was dialled.
    Standby,
    /// It is on another node, and the Service keeps calls on this one.
    OtherNode,
}

impl State {
    /// Every state.
    pub const ALL: [Self; 8] = [
        Self::Ready,
        Self::NotReady,
        Self::Terminating,
        Self::Fallback,
        Self::Ejected,
        Self::ZeroWeight,
        Self::Standby,
        Self::OtherNode,
    ];

    /// Lower-case word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::NotReady => "not_ready",
            Self::Terminating => "terminating",
            Self::Fallback => "fallback",
            Self::Ejected => "ejected",
            Self::ZeroWeight => "zero_weight",
            Self::Standby => "standby",
            Self::OtherNode => "other_node",
        }
    }

    /// True when it may get new traffic.
    pub const fn is_in(self) -> bool {
        matches!(self, Self::Ready | Self::Fallback)
    }
}

/// One endpoint as `explain` and `clusters` show it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EndpointView {
    /// Where.
    pub address: SocketAddr,
    /// In or out, and why.
    pub state: State,
    /// It is one of those that calls are spread over at this moment, or would be if it were in.
    #[serde(skip)]
    pub in_use: bool,
    /// What it did, when ejected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<&'static str>,
    /// Seconds until an ejected one may be tried again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub back_in_seconds: Option<f64>,
    /// Relative share.
    pub weight: u32,
    /// `namespace/pod`.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub target: Box<str>,
    /// Node it runs on.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub node: Box<str>,
    /// Zone of that node.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub zone: Box<str>,
}

impl EndpointView {
    /// The endpoints of a cluster at this moment, as they are for `caller`.
    pub fn all(cluster: &Cluster, caller: Caller, states: &dyn EndpointStates) -> Vec<Self> {
        let set = cluster.endpoints.load();
        let tiers = set.tiers(caller);
        let live: Vec<EndpointState> = set
            .endpoints
            .iter()
            .map(|endpoint| states.state(cluster.id, endpoint.address).unwrap_or_default())
            .collect();
        let is_out = |tier: &Vec<usize>| tier.iter().all(|index| live[*index].ejection.is_some());
        let in_use = tiers.iter().position(|tier| !is_out(tier)).unwrap_or(0);
        let mut tier_of = vec![None; live.len()];
        for (tier, members) in tiers.iter().enumerate() {
            members.iter().for_each(|index| tier_of[*index] = Some(tier));
        }
        let all = set.endpoints.iter().zip(live).zip(tier_of);
        all.map(|((endpoint, live), tier)| {
            let elsewhere = set.local_only && caller.in_cluster && !endpoint.local;
            let state = match tier {
                None => left_out(endpoint, elsewhere),
                Some(tier) if tier > in_use => State::Standby,
                Some(_) if live.ejection.is_some() => State::Ejected,
                Some(_) if endpoint.is_active() => State::Ready,
                Some(_) => State::Fallback,
            };
            Self::of(endpoint, state, tier == Some(in_use), live)
        })
        .collect()
    }

    fn of(endpoint: &Endpoint, state: State, in_use: bool, live: EndpointState) -> Self {
        let ejection = live.ejection.filter(|_| state == State::Ejected);
        Self {
            address: endpoint.address,
            state,
            in_use,
            cause: ejection.and_then(|e| e.cause).map(Reason::as_str),
            back_in_seconds: ejection.map(|e| e.remaining.as_secs_f64()),
            weight: endpoint.weight,
            target: (&*endpoint.target).into(),
            node: (&*endpoint.node).into(),
            zone: (&*endpoint.zone).into(),
        }
    }
}

/// Why an endpoint is in no tier.
fn left_out(endpoint: &Endpoint, elsewhere: bool) -> State {
    if endpoint.terminating {
        State::Terminating
    } else if !endpoint.ready {
        State::NotReady
    } else if elsewhere {
        State::OtherNode
    } else {
        State::ZeroWeight
    }
}

impl fmt::Display for EndpointView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.address)?;
        if !self.target.is_empty() {
            write!(f, " ({})", self.target)?;
        }
        match self.state {
            State::Ready => f.write_str(" ok"),
            State::Fallback => f.write_str(" ok: TERMINATING, but no other is ready"),
            State::NotReady => f.write_str(" out: NOT READY"),
            State::ZeroWeight => f.write_str(" out: WEIGHT 0"),
            State::Standby => f.write_str(" standby: others come first"),
            State::OtherNode => f.write_str(" out: ON ANOTHER NODE"),
            State::Terminating => f.write_str(" out: TERMINATING"),
            State::Ejected => {
                write!(f, " out: EJECTED {}", self.cause.unwrap_or("after failures"))?;
                match self.back_in_seconds {
                    Some(seconds) => write!(f, ", back in {seconds:.1} s"),
                    None => Ok(()),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::snapshot::cluster::{BalancePolicy, ClusterId, ClusterKey, EndpointSet, UpstreamProtocol};
    use crate::snapshot::store::EndpointSlot;
    use crate::telemetry::endpoint_state::Ejection;

    fn endpoint(last: u8, ready: bool, serving: bool, terminating: bool) -> Endpoint {
        Endpoint {
            ready,
            serving,
            terminating,
            weight: 1,
            ..Endpoint::at(SocketAddr::from(([10, 1, 2, last], 80)))
        }
    }

    fn lines(endpoints: Vec<Endpoint>, states: &dyn EndpointStates) -> Vec<String> {
        let cluster = Cluster {
            key: ClusterKey { namespace: "shop".into(), service: "cart".into(), port: 80 },
            id: ClusterId(0),
            protocol: UpstreamProtocol::Http,
            balance: BalancePolicy::LeastRequest,
            affinity: None,
            circuit: None,
            connect_timeout: Duration::from_secs(1),
            endpoints: Arc::new(EndpointSlot::new(EndpointSet { endpoints, ..EndpointSet::default() })),
        };
        EndpointView::all(&cluster, Caller::ANY_POD, states).iter().map(EndpointView::to_string).collect()
    }

    struct Ejected(SocketAddr);

    impl EndpointStates for Ejected {
        fn state(&self, _: ClusterId, address: SocketAddr) -> Option<EndpointState> {
            let ejection =
                Ejection { cause: Some(Reason::ConnectRefused), remaining: Duration::from_secs(4) };
            Some(EndpointState { ejection: (address == self.0).then_some(ejection) })
        }
    }

    #[test]
    fn each_endpoint_says_whether_it_is_in_and_why_not() {
        let idle = Endpoint { weight: 0, ..endpoint(5, true, true, false) };
        let endpoints = vec![
            endpoint(1, true, true, false),
            endpoint(2, true, true, false),
            endpoint(3, false, false, false),
            endpoint(4, false, true, true),
            idle,
        ];
        assert_eq!(
            lines(endpoints, &Ejected(SocketAddr::from(([10, 1, 2, 2], 80)))),
            [
                "10.1.2.1:80 ok",
                "10.1.2.2:80 out: EJECTED connect_refused, back in 4.0 s",
                "10.1.2.3:80 out: NOT READY",
                "10.1.2.4:80 out: TERMINATING",
                "10.1.2.5:80 out: WEIGHT 0",
            ]
        );
    }

    #[test]
    fn a_terminating_endpoint_is_in_when_it_is_the_last_that_serves() {
        let endpoints = vec![endpoint(1, false, true, true), endpoint(2, false, false, true)];
        let none = crate::telemetry::endpoint_state::NoEndpointStates;
        assert_eq!(
            lines(endpoints, &none),
            ["10.1.2.1:80 ok: TERMINATING, but no other is ready", "10.1.2.2:80 out: TERMINATING"]
        );
    }

    #[test]
    fn far_endpoints_stand_by_until_the_near_ones_are_out() {
        let far = Endpoint { preferred: false, ..endpoint(2, true, true, false) };
        let endpoints = vec![endpoint(1, true, true, false), far];
        let none = crate::telemetry::endpoint_state::NoEndpointStates;
        assert_eq!(
            lines(endpoints.clone(), &none),
            ["10.1.2.1:80 ok", "10.1.2.2:80 standby: others come first"]
        );
        assert_eq!(
            lines(endpoints, &Ejected(SocketAddr::from(([10, 1, 2, 1], 80)))),
            ["10.1.2.1:80 out: EJECTED connect_refused, back in 4.0 s", "10.1.2.2:80 ok"]
        );
    }
}
