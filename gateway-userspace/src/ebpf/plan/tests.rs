//! Steps against a model of the kernel's maps.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;

use gateway_common::addr::Socket;
use gateway_common::endpoint::{EndpointKey, EndpointValue};
use gateway_common::service::{ServiceKey, ServiceValue};
use proptest::prelude::*;

use super::{Mirror, Step, Writer};
use crate::ebpf::tables::{KernelEntry, KernelService, KernelTables, KernelTablesChange};
use crate::snapshot::cluster::ClusterId;
use crate::snapshot::frontend::{FailPolicy, Mode};

/// What a connect can find out about one address: its value without epoch and seal, and its endpoints.
type Readable = (u32, u8, u8, Vec<Socket>);

/// The maps, with a capacity, and every state that a reader could have seen.
#[derive(Default)]
struct Model {
    services: BTreeMap<ServiceKey, ServiceValue>,
    endpoints: BTreeMap<EndpointKey, EndpointValue>,
    endpoints_max: Option<usize>,
    seen: BTreeMap<ServiceKey, BTreeSet<Option<Readable>>>,
}

impl Model {
    /// What the hook would find, as it would find it: `Err` for an empty or foreign slot.
    fn read(&self, key: &ServiceKey) -> Result<Option<Readable>, EndpointKey> {
        let Some(value) = self.services.get(key) else { return Ok(None) };
        assert!(value.is_sealed(key));
        let list = (0..value.endpoints).map(|slot| {
            let slot = EndpointKey { service: value.id, epoch: value.epoch, slot };
            self.endpoints
                .get(&slot)
                .filter(|found| found.is_sealed(&slot))
                .map(|found| found.socket)
                .ok_or(slot)
        });
        Ok(Some((value.id, value.mode, value.fail_policy, list.collect::<Result<_, _>>()?)))
    }

    fn everything(&self) -> BTreeMap<ServiceKey, Option<Readable>> {
        self.services.keys().map(|key| (*key, self.read(key).unwrap())).collect()
    }
}

impl Writer for Model {
    fn write(&mut self, step: &Step) -> io::Result<()> {
        match step {
            Step::PutEndpoint(key, value) => {
                if self.endpoints_max.is_some_and(|max| self.endpoints.len() >= max) {
                    return Err(io::ErrorKind::StorageFull.into());
                }
                assert!(self.endpoints.insert(*key, *value).is_none(), "a slot in use is overwritten");
            }
            Step::PutService(key, value) => drop(self.services.insert(*key, *value)),
            Step::RemoveService(key) => drop(self.services.remove(key)),
            Step::RemoveEndpoint(key) => drop(self.endpoints.remove(key)),
        }
        let keys: Vec<ServiceKey> = self.services.keys().chain(self.seen.keys()).copied().collect();
        for key in keys {
            let readable = self.read(&key).expect("a reader finds a whole list");
            self.seen.entry(key).or_default().insert(readable);
        }
        Ok(())
    }
}

fn tables() -> impl Strategy<Value = KernelTables> {
    let entry = (0..4_u32, 0..3_u8, any::<bool>(), proptest::collection::btree_set(1..6_u8, 0..5));
    proptest::collection::btree_map(1..6_u8, entry, 0..6).prop_map(|entries| KernelTables {
        entries: entries
            .into_iter()
            .map(|(last, (id, mode, open, endpoints))| {
                let address = SocketAddr::from(([10, 96, 0, last], 80));
                let mode = [Mode::L7, Mode::L4, Mode::Pass][usize::from(mode)];
                let fail_policy = if open { FailPolicy::Open } else { FailPolicy::Closed };
                let endpoints =
                    endpoints.into_iter().map(|last| SocketAddr::from(([10, 1, 0, last], 8080))).collect();
                (address, KernelEntry { id: ClusterId(id), mode, fail_policy, endpoints })
            })
            .collect(),
    })
}

/// What `tables` ask the kernel to show.
fn shown(tables: &KernelTables) -> BTreeMap<ServiceKey, Option<Readable>> {
    let mut model = Model::default();
    let (_, result) = Mirror::default().sync(&mut model, tables);
    result.unwrap();
    model.everything()
}

proptest! {
    #[test]
    fn after_every_step_a_reader_finds_the_old_state_or_the_new_one(history in proptest::collection::vec(tables(), 1..6)) {
        let mut model = Model::default();
        let mut mirror = Mirror::default();
        let mut before = BTreeMap::new();
        for tables in &history {
            model.seen.clear();
            mirror.sync(&mut model, tables).1.unwrap();
            let after = shown(tables);
            prop_assert_eq!(&model.everything(), &after);
            for (key, seen) in &model.seen {
                let old = before.get(key).cloned().flatten();
                let new = after.get(key).cloned().flatten();
                for state in seen {
                    prop_assert!(*state == old || *state == new, "{key:?}: {state:?} is neither {old:?} nor {new:?}");
                }
            }
            let used: usize = model.services.values().map(|value| value.endpoints as usize).sum();
            prop_assert_eq!(model.endpoints.len(), used, "nothing is left behind");
            before = after;
        }
    }

    #[test]
    fn a_new_process_takes_over_whatever_the_old_one_left(
        old in tables(), new in tables(), cut in 0..40_usize,
    ) {
        /// Lets the first writes through and then fails for good, as a dead process does.
        struct Cut<'a>(&'a mut Model, usize);
        impl Writer for Cut<'_> {
            fn write(&mut self, step: &Step) -> io::Result<()> {
                self.1 = self.1.checked_sub(1).ok_or(io::ErrorKind::Interrupted)?;
                self.0.write(step)
            }
        }
        let mut model = Model::default();
        let _ = Mirror::default().sync(&mut Cut(&mut model, cut), &old);
        let services = model.services.clone();
        let endpoints = model.endpoints.clone();
        let (mut mirror, orphans) = Mirror::from_kernel(services, endpoints);
        for step in &orphans {
            model.write(step).unwrap();
        }
        mirror.sync(&mut model, &new).1.unwrap();
        prop_assert_eq!(model.everything(), shown(&new));
        let used: usize = model.services.values().map(|value| value.endpoints as usize).sum();
        prop_assert_eq!(model.endpoints.len(), used);
    }

    #[test]
    fn a_change_of_some_services_leaves_the_others_as_they_are(old in tables(), new in tables()) {
        let mut model = Model::default();
        let mut mirror = Mirror::default();
        mirror.sync(&mut model, &old).1.unwrap();
        let differs = |address: &SocketAddr| old.entries.get(address) != new.entries.get(address);
        let entries = new.entries.iter().filter(|(address, _)| differs(address));
        let change = KernelTablesChange {
            tables: KernelTables { entries: entries.map(|(a, e)| (*a, e.clone())).collect() },
            gone: old.entries.keys().filter(|a| !new.entries.contains_key(*a)).copied().collect(),
        };
        let (report, result) = mirror.change(&mut model, &change);
        result.unwrap();
        prop_assert_eq!(report.removed, change.gone.len());
        prop_assert_eq!(model.everything(), shown(&new));
    }

    #[test]
    fn a_change_of_endpoints_alone_reaches_every_address_of_the_service(
        mut tables in tables(), id in 0..4_u32, last in proptest::collection::btree_set(1..9_u8, 0..6),
    ) {
        let endpoints: Vec<SocketAddr> =
            last.into_iter().map(|last| SocketAddr::from(([10, 1, 0, last], 8080))).collect();
        let mut model = Model::default();
        let mut mirror = Mirror::default();
        mirror.sync(&mut model, &tables).1.unwrap();
        let service = KernelService { id: ClusterId(id), endpoints: endpoints.clone() };
        mirror.sync_endpoints(&mut model, &service).1.unwrap();
        for entry in tables.entries.values_mut().filter(|entry| entry.id == ClusterId(id)) {
            entry.endpoints.clone_from(&endpoints);
        }
        prop_assert_eq!(model.everything(), shown(&tables));
    }

    #[test]
    fn a_full_map_leaves_each_service_whole(old in tables(), new in tables(), room in 0..6_usize) {
        let mut model = Model::default();
        let mut mirror = Mirror::default();
        mirror.sync(&mut model, &old).1.unwrap();
        model.endpoints_max = Some(model.endpoints.len() + room);
        model.seen.clear();
        let _ = mirror.sync(&mut model, &new);
        let (before, after) = (shown(&old), shown(&new));
        for (key, state) in model.everything() {
            prop_assert!(before.get(&key) == Some(&state) || after.get(&key) == Some(&state));
        }
        model.endpoints_max = None;
        mirror.sync(&mut model, &new).1.unwrap();
        prop_assert_eq!(model.everything(), after);
    }
}

#[test]
fn nothing_is_written_when_nothing_has_changed() {
    let address: SocketAddr = "10.96.0.1:80".parse().unwrap();
    let entry = KernelEntry {
        id: ClusterId(1),
        mode: Mode::L7,
        fail_policy: FailPolicy::Open,
        endpoints: vec!["10.1.0.1:80".parse().unwrap()],
    };
    let tables = KernelTables { entries: [(address, entry)].into_iter().collect() };
    let mut model = Model::default();
    let mut mirror = Mirror::default();
    assert_eq!(mirror.sync(&mut model, &tables).0.added, 1);
    model.endpoints_max = Some(0);
    model.seen.clear();
    let (report, result) = mirror.sync(&mut model, &tables);
    result.unwrap();
    assert_eq!((report.added, report.changed, report.removed), (0, 0, 0));
    assert!(model.seen.is_empty());
}
