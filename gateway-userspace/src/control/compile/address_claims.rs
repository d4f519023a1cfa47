//! Pure: which Service has which address and port. Of two that claim one, the first by name has it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use super::{frontend, mark};
use crate::control::config::meta::ObjectKey;
use crate::control::config::resources::ResourceSet;

/// All claims, each address's by name.
#[derive(Debug, Default)]
pub(super) struct AddressClaims(BTreeSet<(SocketAddr, ObjectKey)>);

impl AddressClaims {
    /// Who has an address.
    pub(super) fn owner(&self, address: SocketAddr) -> Option<&ObjectKey> {
        self.claimants(address).next()
    }

    /// Brings the claims of the Services among `dirty` up to date, and adds those that are touched by it.
    pub(super) fn follow(
        &mut self,
        old: &ResourceSet,
        new: &ResourceSet,
        dirty: &mut BTreeMap<ObjectKey, bool>,
    ) {
        let claims = |set: &ResourceSet, key: &ObjectKey| -> BTreeSet<SocketAddr> {
            set.services.get(key).map(|entry| frontend::socket_addresses(&entry.object)).unwrap_or_default()
        };
        let services: Vec<ObjectKey> =
            dirty.iter().filter(|(_, more)| **more).map(|(key, _)| key.clone()).collect();
        for key in services {
            let (before, now) = (claims(old, &key), claims(new, &key));
            for address in before.symmetric_difference(&now) {
                let claim = (*address, key.clone());
                if !now.contains(address) {
                    self.0.remove(&claim);
                } else {
                    self.0.insert(claim);
                }
                for other in self.claimants(*address).filter(|other| **other != key) {
                    mark(dirty, other.clone(), true);
                }
            }
        }
    }

    fn claimants(&self, address: SocketAddr) -> impl Iterator<Item = &ObjectKey> {
        let first = ObjectKey { namespace: Default::default(), name: Default::default() };
        let of_address = self.0.range((address, first)..).take_while(move |(claimed, _)| *claimed == address);
        of_address.map(|(_, service)| service)
    }
}
