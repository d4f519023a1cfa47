//! The maps, typed, as control writes them.

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::os::fd::BorrowedFd;

use aya::Ebpf;
use aya::Pod;
use aya::maps::{Array, HashMap, MapData, MapError, PerCpuArray, RingBuf, SkStorage};
use gateway_common::addr::{Address, Port};
use gateway_common::counter::Counter;
use gateway_common::decision::Decision;
use gateway_common::endpoint::{EndpointKey, EndpointValue};
use gateway_common::flow::{FlowKey, FlowValue};
use gateway_common::names;
use gateway_common::pod::{PodKey, PodValue};
use gateway_common::service::{ServiceKey, ServiceValue};
use gateway_common::state;

use super::plan::{Mirror, Step, Writer};
use super::{DatapathError, PodEntry};

/// Decisions that are kept for `explain`.
const DECISIONS_KEPT: usize = 4096;

/// Every map that user space touches.
pub(super) struct Maps {
    state: Array<MapData, u64>,
    pods: HashMap<MapData, PodKey, PodValue>,
    pub(super) services: Services,
    flows: HashMap<MapData, FlowKey, FlowValue>,
    listeners: SkStorage<MapData, u64>,
    counters: PerCpuArray<MapData, u64>,
    decisions: RingBuf<MapData>,
    recent: VecDeque<Decision>,
}

/// The two maps that the plan writes.
#[derive(Debug)]
pub(super) struct Services {
    services: HashMap<MapData, ServiceKey, ServiceValue>,
    endpoints: HashMap<MapData, EndpointKey, EndpointValue>,
}

/// Takes a map out of the loaded object, checked for its kind and sizes.
fn take<T: TryFrom<aya::maps::Map, Error = MapError>>(
    ebpf: &mut Ebpf,
    name: &'static str,
) -> Result<T, DatapathError> {
    let missing = || DatapathError::Map { map: name, source: io::ErrorKind::NotFound.into() };
    let map = ebpf.take_map(name).ok_or_else(missing)?;
    T::try_from(map).map_err(error(name))
}

fn error(map: &'static str) -> impl Fn(MapError) -> DatapathError {
    move |source| DatapathError::Map { map, source: plain(source) }
}

/// The system call's own error, where there is one: "no space left" says more than "syscall failed".
fn plain(error: MapError) -> io::Error {
    match error {
        MapError::SyscallError(call) => call.io_error,
        other => io::Error::other(other),
    }
}

impl Maps {
    pub(super) fn new(ebpf: &mut Ebpf) -> Result<Self, DatapathError> {
        Ok(Self {
            state: take(ebpf, names::STATE)?,
            pods: take(ebpf, names::PODS)?,
            services: Services {
                services: take(ebpf, names::SERVICES)?,
                endpoints: take(ebpf, names::ENDPOINTS)?,
            },
            flows: take(ebpf, names::FLOWS)?,
            listeners: take(ebpf, names::LISTENERS)?,
            counters: take(ebpf, names::COUNTERS)?,
            decisions: take(ebpf, names::DECISIONS)?,
            recent: VecDeque::new(),
        })
    }

    pub(super) fn word(&self, index: u32) -> Result<u64, DatapathError> {
        self.state.get(&index, 0).map_err(error(names::STATE))
    }

    pub(super) fn set_word(&mut self, index: u32, value: u64) -> Result<(), DatapathError> {
        self.state.set(index, value, 0).map_err(error(names::STATE))
    }

    /// A sign of life.
    pub(super) fn beat(&mut self) -> Result<(), DatapathError> {
        // The clock of `bpf_ktime_get_ns`.
        let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC)
            .map_err(|errno| DatapathError::Map { map: names::STATE, source: errno.into() })?;
        let seconds = u64::try_from(now.tv_sec()).unwrap_or(0);
        let nanoseconds = u64::try_from(now.tv_nsec()).unwrap_or(0);
        self.set_word(state::HEARTBEAT, seconds * 1_000_000_000 + nanoseconds)
    }

    pub(super) fn put_pod(&mut self, pod: &PodEntry) -> Result<(), DatapathError> {
        let key = PodKey { netns_cookie: pod.netns_cookie };
        let value = PodValue {
            pod: pod.pod.0,
            port_v4: Port::new(pod.port_v4),
            port_v6: Port::new(pod.port_v6),
            ip_v4: pod.ip_v4.map_or(Address::NONE, |ip| std::net::IpAddr::V4(ip).into()),
            ip_v6: pod.ip_v6.map_or(Address::NONE, |ip| std::net::IpAddr::V6(ip).into()),
            seal: 0,
        };
        self.pods.insert(key, value.sealed(&key), 0).map_err(error(names::PODS))
    }

    /// Forgets a pod. Its listener still accepts what was on its way, and each accept takes its flow; one
    /// that nobody takes goes with [`Self::forget_flows`].
    pub(super) fn remove_pod(&mut self, netns_cookie: u64) -> Result<(), DatapathError> {
        absent_is_fine(self.pods.remove(&PodKey { netns_cookie })).map_err(error(names::PODS))
    }

    pub(super) fn pod_cookies(&self) -> Result<Vec<u64>, DatapathError> {
        let cookies = self.pods.keys().map(|key| key.map(|key| key.netns_cookie));
        cookies.collect::<Result<_, _>>().map_err(error(names::PODS))
    }

    /// Forgets all flows: pinned ones of a process that is gone lead nowhere.
    pub(super) fn flush_flows(&mut self) -> Result<(), DatapathError> {
        self.forget_flows_where(|_| true)
    }

    /// Forgets flows of pods that are captured no longer; of one that is again, they may be new.
    pub(super) fn forget_flows(&mut self, netns_cookies: &[u64]) -> Result<(), DatapathError> {
        let captured = self.pod_cookies()?;
        let mut gone: BTreeSet<u64> = netns_cookies.iter().copied().collect();
        for cookie in &captured {
            gone.remove(cookie);
        }
        if gone.is_empty() { Ok(()) } else { self.forget_flows_where(|key| gone.contains(&key.netns_cookie)) }
    }

    fn forget_flows_where(&mut self, is_gone: impl Fn(&FlowKey) -> bool) -> Result<(), DatapathError> {
        let keys = self.flows.keys().filter(|key| key.as_ref().map_or(true, &is_gone));
        let keys: Result<Vec<FlowKey>, MapError> = keys.collect();
        for key in &keys.map_err(error(names::FLOWS))? {
            absent_is_fine(self.flows.remove(key)).map_err(error(names::FLOWS))?;
        }
        Ok(())
    }

    pub(super) fn tag_listener(&mut self, listener: BorrowedFd<'_>, tag: u64) -> Result<(), DatapathError> {
        self.listeners.insert(&listener, tag, 0).map_err(error(names::LISTENERS))
    }

    pub(super) fn counters(&self) -> Result<Vec<(&'static str, u64)>, DatapathError> {
        let sum = |counter: &Counter| {
            let per_cpu = self.counters.get(&counter.raw(), 0).map_err(error(names::COUNTERS))?;
            Ok((counter.as_str(), per_cpu.iter().sum()))
        };
        Counter::ALL.iter().map(sum).collect()
    }

    /// Empties the ring into what is kept.
    pub(super) fn drain_decisions(&mut self) {
        while let Some(record) = self.decisions.next() {
            let Ok(bytes) = <[u8; names::DECISION_BYTES]>::try_from(&*record) else { continue };
            if self.recent.len() == DECISIONS_KEPT {
                self.recent.pop_front();
            }
            self.recent.push_back(Decision::from_bytes(&bytes));
        }
    }

    pub(super) fn recent(&self) -> Vec<Decision> {
        self.recent.iter().copied().collect()
    }
}

impl Services {
    /// Reads what an earlier process left, and removes what it left half done.
    pub(super) fn read_back(&mut self) -> Result<Mirror, DatapathError> {
        let services: Vec<_> = read(&self.services).map_err(error(names::SERVICES))?;
        let endpoints: Vec<_> = read(&self.endpoints).map_err(error(names::ENDPOINTS))?;
        let (mirror, orphans) = Mirror::from_kernel(services, endpoints);
        for step in &orphans {
            self.write(step).map_err(|source| DatapathError::Map { map: names::ENDPOINTS, source })?;
        }
        Ok(mirror)
    }
}

impl Writer for Services {
    fn write(&mut self, step: &Step) -> io::Result<()> {
        let result = match step {
            Step::PutEndpoint(key, value) => self.endpoints.insert(key, value, 0),
            Step::PutService(key, value) => self.services.insert(key, value, 0),
            Step::RemoveService(key) => absent_is_fine(self.services.remove(key)),
            Step::RemoveEndpoint(key) => absent_is_fine(self.endpoints.remove(key)),
        };
        result.map_err(plain)
    }
}

fn read<K: Pod, V: Pod>(map: &HashMap<MapData, K, V>) -> Result<Vec<(K, V)>, MapError> {
    map.iter().collect()
}

fn absent_is_fine(result: Result<(), MapError>) -> Result<(), MapError> {
    match result {
        Err(MapError::KeyNotFound) => Ok(()),
        Err(MapError::SyscallError(call)) if call.io_error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
