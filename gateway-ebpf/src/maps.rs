//! Every map and every constant that the loader sets. Shapes as in `gateway_common::names`.

use aya_ebpf::Global;
use aya_ebpf::btf_maps::{Array, HashMap, LruHashMap, PerCpuArray, RingBuf, SkStorage};
use aya_ebpf::macros::btf_map;
use gateway_common::counter::Counter;
use gateway_common::decision::{Budget, Decision};
use gateway_common::endpoint::{EndpointKey, EndpointValue};
use gateway_common::flow::{FlowKey, FlowValue, SocketMark};
use gateway_common::names::{self, NO_PREALLOC};
use gateway_common::pod::{PodKey, PodValue};
use gateway_common::service::{ServiceKey, ServiceValue};
use gateway_common::state;

const GROWS: usize = NO_PREALLOC as usize;

#[btf_map(name = "WEIR_STATE")]
pub static STATE: Array<u64, { state::WORDS as usize }> = Array::new();

#[btf_map(name = "WEIR_PODS")]
pub static PODS: HashMap<PodKey, PodValue, { names::PODS_MAX as usize }, GROWS> = HashMap::new();

#[btf_map(name = "WEIR_SERVICES")]
pub static SERVICES: HashMap<ServiceKey, ServiceValue, { names::SERVICES_MAX as usize }, GROWS> =
    HashMap::new();

#[btf_map(name = "WEIR_ENDPOINTS")]
pub static ENDPOINTS: HashMap<EndpointKey, EndpointValue, { names::ENDPOINTS_MAX as usize }, GROWS> =
    HashMap::new();

#[btf_map(name = "WEIR_FLOWS")]
pub static FLOWS: LruHashMap<FlowKey, FlowValue, { names::FLOWS_MAX as usize }> = LruHashMap::new();

#[btf_map(name = "WEIR_MARKS")]
pub static MARKS: SkStorage<SocketMark> = SkStorage::new();

#[btf_map(name = "WEIR_LISTENERS")]
pub static LISTENERS: SkStorage<u64> = SkStorage::new();

#[btf_map(name = "WEIR_COUNTERS")]
pub static COUNTERS: PerCpuArray<u64, { Counter::ALL.len() }> = PerCpuArray::new();

#[btf_map(name = "WEIR_DECISIONS")]
pub static DECISIONS: RingBuf<Decision, { names::DECISIONS_BYTES as usize }> = RingBuf::new();

#[btf_map(name = "WEIR_BUDGET")]
pub static BUDGET: PerCpuArray<Budget, 1> = PerCpuArray::new();

#[unsafe(no_mangle)]
pub static WEIR_OWN_CGROUP: Global<u64> = Global::new(0);

#[unsafe(no_mangle)]
pub static WEIR_STALE_NS: Global<u64> = Global::new(state::HEARTBEAT_STALE_NS);

#[unsafe(no_mangle)]
pub static WEIR_FORGET_NS: Global<u64> = Global::new(0);

#[unsafe(no_mangle)]
pub static WEIR_INCARNATION: Global<u64> = Global::new(0);

#[unsafe(no_mangle)]
pub static WEIR_PROCESS: Global<u32> = Global::new(0);

#[unsafe(no_mangle)]
pub static WEIR_PIDNS_DEV: Global<u64> = Global::new(0);

#[unsafe(no_mangle)]
pub static WEIR_PIDNS_INO: Global<u64> = Global::new(0);

#[unsafe(no_mangle)]
pub static WEIR_LOG: Global<u32> = Global::new(0);
