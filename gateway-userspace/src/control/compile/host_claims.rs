//! Pure: hostnames that routes want of one listener. HTTPRoutes and GRPCRoutes do not share one: of two that
//! want the same, the older one has it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::hostname;
use crate::snapshot::router::RouteAge;

type Hosts = Vec<Option<String>>;

/// What is wanted, by whom, and who does not get it.
#[derive(Debug, Default)]
pub(super) struct HostClaims {
    http: BTreeMap<Arc<RouteAge>, Hosts>,
    grpc: BTreeMap<Arc<RouteAge>, Hosts>,
    refused: BTreeSet<Arc<RouteAge>>,
}

impl HostClaims {
    /// Replaces the hostnames that a route wants; none where it wants nothing. True when they differ.
    pub(super) fn set(&mut self, route: &Arc<RouteAge>, hosts: Hosts) -> bool {
        let claims = if route.grpc { &mut self.grpc } else { &mut self.http };
        if hosts.is_empty() {
            return claims.remove(route).is_some();
        }
        let old = claims.insert(Arc::clone(route), hosts);
        old.as_ref() != claims.get(route)
    }

    /// True when an older route of the other kind has one of the route's hostnames.
    pub(super) fn is_refused(&self, route: &RouteAge) -> bool {
        self.refused.contains(route)
    }

    /// Decides anew; gives the routes that are refused now and were not, or were and are not.
    pub(super) fn settle(&mut self) -> Vec<Arc<RouteAge>> {
        let mut refused = BTreeSet::new();
        if !self.http.is_empty() && !self.grpc.is_empty() {
            let mut all: Vec<_> = self.http.iter().chain(&self.grpc).collect();
            all.sort_by(|a, b| a.0.cmp(b.0));
            let (mut http, mut grpc) = (BTreeSet::new(), BTreeSet::new());
            for (route, hosts) in all {
                let (own, other) = if route.grpc { (&mut grpc, &http) } else { (&mut http, &grpc) };
                if hostname::overlap(other, hosts) {
                    refused.insert(Arc::clone(route));
                } else {
                    own.extend(hosts.iter().cloned());
                }
            }
        }
        let changed = refused.symmetric_difference(&self.refused).cloned().collect();
        self.refused = refused;
        changed
    }
}
