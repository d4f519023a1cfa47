//! Pure: the steps from what the kernel knows about a Service address to what it shall know.
//!
//! A new list of endpoints is written under an epoch of its own before the Service's value names it, and
//! the old list goes after. After every single step a reader finds the old state or the new one, whole.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;

use gateway_common::addr::Socket;
use gateway_common::endpoint::{EndpointKey, EndpointValue};
use gateway_common::service::{self, ServiceKey, ServiceValue};

use super::tables::{KernelEntry, KernelTables, KernelTablesChange, of_family};
use super::{KernelService, SyncReport};
use crate::snapshot::frontend::{FailPolicy, Mode};

/// One write to the kernel's maps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    PutEndpoint(EndpointKey, EndpointValue),
    PutService(ServiceKey, ServiceValue),
    RemoveService(ServiceKey),
    RemoveEndpoint(EndpointKey),
}

/// Where steps are carried out: the maps, or a model of them in tests.
pub(super) trait Writer {
    /// One step. Removing what is not there is no error.
    fn write(&mut self, step: &Step) -> io::Result<()>;
}

/// A Service address as the kernel has it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Held {
    value: ServiceValue,
    endpoints: Vec<Socket>,
}

/// Our copy of the kernel's Services: what is compared, so that nothing is read back.
#[derive(Debug, Default)]
pub(super) struct Mirror {
    held: BTreeMap<ServiceKey, Held>,
    /// Addresses by Service number, as far as this process has given the number.
    by_id: BTreeSet<(u32, ServiceKey)>,
    epoch: u32,
}

impl Mirror {
    /// From what an earlier process left in the maps. The second part is what nobody can reach: lists of a
    /// change that was cut short.
    pub(super) fn from_kernel(
        services: impl IntoIterator<Item = (ServiceKey, ServiceValue)>,
        endpoints: impl IntoIterator<Item = (EndpointKey, EndpointValue)>,
    ) -> (Self, Vec<Step>) {
        let mut lists: BTreeMap<(u32, u32), BTreeMap<u32, Socket>> = BTreeMap::new();
        for (key, value) in endpoints {
            lists.entry((key.service, key.epoch)).or_default().insert(key.slot, value.socket);
        }
        let mut mirror =
            Self { epoch: lists.keys().map(|(_, epoch)| *epoch).max().unwrap_or(0), ..Self::default() };
        let mut reachable = BTreeSet::new();
        for (key, value) in services {
            mirror.epoch = mirror.epoch.max(value.epoch);
            let list = lists.get(&(value.id, value.epoch));
            let slots = (0..value.endpoints).map_while(|slot| list.and_then(|list| list.get(&slot)).copied());
            reachable.insert((value.id, value.epoch, value.endpoints));
            mirror.held.insert(key, Held { value, endpoints: slots.collect() });
        }
        let is_reachable = |service, epoch, slot| {
            let from = (service, epoch, slot + 1);
            reachable.range(from..=(service, epoch, u32::MAX)).next().is_some()
        };
        let orphans = lists.iter().flat_map(|((service, epoch), slots)| {
            slots.keys().map(|slot| EndpointKey { service: *service, epoch: *epoch, slot: *slot })
        });
        let orphans = orphans.filter(|key| !is_reachable(key.service, key.epoch, key.slot));
        let steps = orphans.map(Step::RemoveEndpoint).collect();
        (mirror, steps)
    }

    /// Makes the kernel equal to `tables`; additions and changes first, removals last. A Service that cannot
    /// be written keeps its old state, and the others go on; the first error comes back.
    pub(super) fn sync(
        &mut self,
        writer: &mut impl Writer,
        tables: &KernelTables,
    ) -> (SyncReport, io::Result<()>) {
        let wanted: BTreeSet<ServiceKey> =
            tables.entries.keys().map(|address| ServiceKey { socket: (*address).into() }).collect();
        let gone: Vec<ServiceKey> = self.held.keys().filter(|key| !wanted.contains(*key)).copied().collect();
        self.put_and_remove(writer, tables, &gone)
    }

    /// Brings in what `change` has, and leaves all other Services alone; in the same order.
    pub(super) fn change(
        &mut self,
        writer: &mut impl Writer,
        change: &KernelTablesChange,
    ) -> (SyncReport, io::Result<()>) {
        let key = |address: &SocketAddr| ServiceKey { socket: (*address).into() };
        let gone: Vec<ServiceKey> =
            change.gone.iter().map(key).filter(|k| self.held.contains_key(k)).collect();
        self.put_and_remove(writer, &change.tables, &gone)
    }

    fn put_and_remove(
        &mut self,
        writer: &mut impl Writer,
        tables: &KernelTables,
        gone: &[ServiceKey],
    ) -> (SyncReport, io::Result<()>) {
        let mut report = SyncReport::default();
        let mut result = Ok(());
        for (address, entry) in &tables.entries {
            let key = ServiceKey { socket: (*address).into() };
            match self.put(writer, key, entry) {
                Ok(Change::Added) => report.added += 1,
                Ok(Change::Changed) => report.changed += 1,
                Ok(Change::Same) => {}
                Err(error) => result = result.and(Err(error)),
            }
        }
        for key in gone {
            match self.remove(writer, key) {
                Ok(()) => report.removed += 1,
                Err(error) => result = result.and(Err(error)),
            }
        }
        (report, result)
    }

    /// Replaces the endpoints of one Service port at all its addresses.
    pub(super) fn sync_endpoints(
        &mut self,
        writer: &mut impl Writer,
        service: &KernelService,
    ) -> (SyncReport, io::Result<()>) {
        let mut report = SyncReport::default();
        let mut result = Ok(());
        let id = service.id.0;
        let range = (id, ServiceKey::default())..;
        let keys: Vec<ServiceKey> =
            self.by_id.range(range).take_while(|(of, _)| *of == id).map(|(_, key)| *key).collect();
        for key in keys {
            let Some(held) = self.held.get(&key) else { continue };
            let endpoints = of_family(&service.endpoints, key.socket.to_std());
            let wanted = Wanted { id, mode: held.value.mode, fail_policy: held.value.fail_policy, endpoints };
            match self.put_wanted(writer, key, &wanted) {
                Ok(Change::Same) => {}
                Ok(Change::Added | Change::Changed) => report.changed += 1,
                Err(error) => result = result.and(Err(error)),
            }
        }
        (report, result)
    }

    fn put(&mut self, writer: &mut impl Writer, key: ServiceKey, entry: &KernelEntry) -> io::Result<Change> {
        let wanted = Wanted {
            id: entry.id.0,
            mode: mode(entry.mode).raw(),
            fail_policy: fail_policy(entry.fail_policy).raw(),
            endpoints: entry.endpoints.clone(),
        };
        self.put_wanted(writer, key, &wanted)
    }

    fn put_wanted(
        &mut self,
        writer: &mut impl Writer,
        key: ServiceKey,
        wanted: &Wanted,
    ) -> io::Result<Change> {
        let old = self.held.get(&key);
        let endpoints: Vec<Socket> = wanted.endpoints.iter().map(|endpoint| (*endpoint).into()).collect();
        let same_list = old.is_some_and(|old| {
            old.value.id == wanted.id
                && old.value.endpoints as usize == endpoints.len()
                && old.endpoints == endpoints
        });
        let epoch = match old {
            Some(old) if same_list => old.value.epoch,
            Some(_) | None => self.epoch.wrapping_add(1),
        };
        let value = ServiceValue {
            id: wanted.id,
            epoch,
            endpoints: u32::try_from(endpoints.len()).map_err(io::Error::other)?,
            mode: wanted.mode,
            fail_policy: wanted.fail_policy,
            ..ServiceValue::default()
        }
        .sealed(&key);
        let change = match old {
            Some(old) if old.value == value => Change::Same,
            Some(_) => Change::Changed,
            None => Change::Added,
        };
        if change != Change::Same {
            let outgoing: Vec<Step> =
                old.filter(|_| !same_list).map(|old| slots(&old.value)).unwrap_or_default();
            let incoming: &[Socket] = if same_list { &[] } else { &endpoints };
            self.epoch = self.epoch.max(epoch);
            write_service(writer, key, value, incoming)?;
            if let Some(old) = self.held.insert(key, Held { value, endpoints }) {
                self.by_id.remove(&(old.value.id, key));
            }
            self.by_id.insert((wanted.id, key));
            outgoing.iter().try_for_each(|step| writer.write(step))?;
        }
        self.by_id.insert((wanted.id, key));
        Ok(change)
    }

    fn remove(&mut self, writer: &mut impl Writer, key: &ServiceKey) -> io::Result<()> {
        let Some(held) = self.held.get(key) else { return Ok(()) };
        let value = held.value;
        writer.write(&Step::RemoveService(*key))?;
        self.held.remove(key);
        self.by_id.remove(&(value.id, *key));
        slots(&value).iter().try_for_each(|step| writer.write(step))
    }
}

/// A Service address as it shall be.
struct Wanted {
    id: u32,
    mode: u8,
    fail_policy: u8,
    endpoints: Vec<SocketAddr>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    Added,
    Changed,
    Same,
}

/// Writes a list of endpoints and then the value that names it. When that fails, what was written of
/// the list is taken back.
fn write_service(
    writer: &mut impl Writer,
    key: ServiceKey,
    value: ServiceValue,
    endpoints: &[Socket],
) -> io::Result<()> {
    let written = (0..).zip(endpoints).try_for_each(|(slot, endpoint)| {
        let slot = EndpointKey { service: value.id, epoch: value.epoch, slot };
        writer.write(&Step::PutEndpoint(slot, EndpointValue::sealed(&slot, *endpoint)))
    });
    let written = written.and_then(|()| writer.write(&Step::PutService(key, value)));
    if written.is_err() && !endpoints.is_empty() {
        for step in slots(&value) {
            // The first error is the one to tell; what stays behind is unreachable.
            let _ = writer.write(&step);
        }
    }
    written
}

/// The removal of a value's list.
fn slots(value: &ServiceValue) -> Vec<Step> {
    let key = |slot| EndpointKey { service: value.id, epoch: value.epoch, slot };
    (0..value.endpoints).map(|slot| Step::RemoveEndpoint(key(slot))).collect()
}

fn mode(mode: Mode) -> service::Mode {
    match mode {
        Mode::L7 => service::Mode::L7,
        Mode::L4 => service::Mode::L4,
        Mode::Pass => service::Mode::Pass,
    }
}

fn fail_policy(policy: FailPolicy) -> service::FailPolicy {
    match policy {
        FailPolicy::Open => service::FailPolicy::Open,
        FailPolicy::Closed => service::FailPolicy::Closed,
    }
}

#[cfg(test)]
mod tests;
