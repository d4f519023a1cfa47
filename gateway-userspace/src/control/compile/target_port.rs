//! Pure: the port at which a node opens a Gateway's port, where a Service stands before it.
//!
//! All Gateways share one network namespace on a node, so each of their ports gets one of its own there.
//! Nothing is written down for it: every node and the controller come to the same ports from the same
//! Gateways.

use std::collections::{BTreeMap, BTreeSet};

use crate::control::config::meta::ObjectKey;
use crate::control::stable_hash::fnv1a;
use crate::limits::GATEWAY_TARGET_PORTS;

/// Target ports by Gateway and port.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct TargetPorts {
    by_port: BTreeMap<(ObjectKey, u16), u16>,
    taken: BTreeSet<u16>,
}

impl TargetPorts {
    /// The target port of a Gateway's port. To be asked from the oldest Gateway to the youngest: a port
    /// that two have by their names is the older one's, so that none comes or goes with a younger Gateway.
    /// `None` when all are taken.
    pub(super) fn take(&mut self, gateway: &ObjectKey, port: u16) -> Option<u16> {
        let key = (gateway.clone(), port);
        if let Some(target) = self.by_port.get(&key) {
            return Some(*target);
        }
        let (first, count) = (*GATEWAY_TARGET_PORTS.start(), GATEWAY_TARGET_PORTS.len());
        let begin = wanted(gateway, port) as usize % count;
        let all = (begin..count).chain(0..begin);
        let target =
            all.filter_map(|n| Some(first + u16::try_from(n).ok()?)).find(|n| !self.taken.contains(n))?;
        self.taken.insert(target);
        self.by_port.insert(key, target);
        Some(target)
    }
}

/// Where the search for a free one begins.
fn wanted(gateway: &ObjectKey, port: u16) -> u32 {
    let name = gateway.namespace.bytes().chain([b'/']).chain(gateway.name.bytes());
    fnv1a(name.chain(port.to_be_bytes()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn targets(gateways: &[(u16, u16)]) -> Vec<Option<u16>> {
        let mut targets = TargetPorts::default();
        let key = |name: &u16| ObjectKey::new("shop", &format!("gateway-{name}"));
        gateways.iter().map(|(name, port)| targets.take(&key(name), *port)).collect()
    }

    #[test]
    fn a_port_that_was_given_once_is_given_by_every_version() {
        assert_eq!(targets(&[(0, 80), (0, 443), (1, 80)]), [Some(26_609), Some(29_513), Some(22_102)]);
    }

    #[test]
    fn the_last_gateway_gets_none_when_all_are_taken() {
        let all: Vec<_> = (0..10_001).map(|name| (name, 80)).collect();
        let given = targets(&all);
        assert_eq!(given.last(), Some(&None));
        assert_eq!(given.iter().flatten().collect::<BTreeSet<_>>().len(), 10_000);
    }

    proptest! {
        #[test]
        fn each_port_has_its_own_and_keeps_it_whatever_comes_later(
            gateways in prop::collection::vec((0..2000_u16, 1..4_u16), 1..400),
            older in 0..400_usize,
        ) {
            let given = targets(&gateways);
            let mut by_target = BTreeMap::new();
            for (gateway, target) in gateways.iter().zip(&given) {
                let target = target.expect("there are more than enough");
                prop_assert!(GATEWAY_TARGET_PORTS.contains(&target));
                prop_assert_eq!(*by_target.entry(target).or_insert(*gateway), *gateway);
            }
            let older = older.min(gateways.len());
            prop_assert_eq!(&targets(&gateways[..older])[..], &given[..older]);
        }
    }
}
