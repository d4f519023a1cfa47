//! Pure: names of maps and programs, their shapes, and the version of it all.

use core::mem::size_of;

use crate::counter::Counter;
use crate::decision::Decision;
use crate::endpoint::{EndpointKey, EndpointValue};
use crate::flow::{FlowKey, FlowValue, SocketMark};
use crate::pod::{PodKey, PodValue};
use crate::service::{ServiceKey, ServiceValue};
use crate::state;

/// Version of the map layouts. Pins lie in `v<ABI>`; every change of a shape below raises it.
pub const ABI: u32 = 1;

/// Alive word and heartbeat.
pub const STATE: &str = "WEIR_STATE";
/// Enrolled pods.
pub const PODS: &str = "WEIR_PODS";
/// Service addresses.
pub const SERVICES: &str = "WEIR_SERVICES";
/// Endpoints by slot.
pub const ENDPOINTS: &str = "WEIR_ENDPOINTS";
/// Original destinations on their way to accept.
pub const FLOWS: &str = "WEIR_FLOWS";
/// Marks at sockets that were sent elsewhere.
pub const MARKS: &str = "WEIR_MARKS";
/// Tags at our listeners.
pub const LISTENERS: &str = "WEIR_LISTENERS";
/// Counters.
pub const COUNTERS: &str = "WEIR_COUNTERS";
/// Recent decisions.
pub const DECISIONS: &str = "WEIR_DECISIONS";
/// How many decisions each CPU may still record.
pub const BUDGET: &str = "WEIR_BUDGET";

/// Pods on one node.
pub const PODS_MAX: u32 = 4096;
/// Service addresses with port, both families.
pub const SERVICES_MAX: u32 = 65_536;
/// Endpoints of all Services; both lists of a Service while it changes.
pub const ENDPOINTS_MAX: u32 = 1_048_576;
/// Connections between their SYN and the proxy's accept; the oldest goes first.
pub const FLOWS_MAX: u32 = 65_536;
/// Bytes of the ring of decisions.
pub const DECISIONS_BYTES: u32 = 128 * 1024;

/// What a map must look like. Numbers as in `bpf.h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// The map's name in the object, and of its pin.
    pub name: &'static str,
    /// `enum bpf_map_type`.
    pub kind: u32,
    /// Bytes of a key.
    pub key: u32,
    /// Bytes of a value.
    pub value: u32,
    /// Capacity.
    pub entries: u32,
    /// `BPF_F_*` flags that matter.
    pub flags: u32,
}

const HASH: u32 = 1;
const ARRAY: u32 = 2;
const PERCPU_ARRAY: u32 = 6;
const LRU_HASH: u32 = 9;
const SK_STORAGE: u32 = 24;
/// `BPF_F_NO_PREALLOC`: memory grows with use. SK_STORAGE demands it.
pub const NO_PREALLOC: u32 = 1;

const fn shape(name: &'static str, kind: u32, key: usize, value: usize, entries: u32, flags: u32) -> Shape {
    Shape { name, kind, key: key as u32, value: value as u32, entries, flags }
}

/// Every pinned map. The ring of decisions and its budget are not among them: they belong to the process
/// that loaded the programs.
pub const SHAPES: [Shape; 8] = [
    shape(STATE, ARRAY, 4, size_of::<u64>(), state::WORDS, 0),
    shape(PODS, HASH, size_of::<PodKey>(), size_of::<PodValue>(), PODS_MAX, NO_PREALLOC),
    shape(SERVICES, HASH, size_of::<ServiceKey>(), size_of::<ServiceValue>(), SERVICES_MAX, NO_PREALLOC),
    shape(ENDPOINTS, HASH, size_of::<EndpointKey>(), size_of::<EndpointValue>(), ENDPOINTS_MAX, NO_PREALLOC),
    shape(FLOWS, LRU_HASH, size_of::<FlowKey>(), size_of::<FlowValue>(), FLOWS_MAX, 0),
    shape(MARKS, SK_STORAGE, 4, size_of::<SocketMark>(), 0, NO_PREALLOC),
    shape(LISTENERS, SK_STORAGE, 4, size_of::<u64>(), 0, NO_PREALLOC),
    shape(COUNTERS, PERCPU_ARRAY, 4, size_of::<u64>(), Counter::ALL.len() as u32, 0),
];

/// A record of the ring; user space refuses any other length.
pub const DECISION_BYTES: usize = size_of::<Decision>();

/// `cgroup/connect4`.
pub const CONNECT4: &str = "weir_connect4";
/// `cgroup/connect6`.
pub const CONNECT6: &str = "weir_connect6";
/// `cgroup/getpeername4`.
pub const GETPEERNAME4: &str = "weir_getpeername4";
/// `cgroup/getpeername6`.
pub const GETPEERNAME6: &str = "weir_getpeername6";
/// `sockops`.
pub const SOCK_OPS: &str = "weir_sock_ops";
/// `raw_tp/sched_process_exit`. Its link is not pinned: it dies with the process it watches.
pub const PROCESS_EXIT: &str = "weir_process_exit";
/// `raw_tp/signal_deliver`. Its link is not pinned either.
pub const SIGNAL_DELIVER: &str = "weir_signal_deliver";

/// Programs that hang at the cgroup by pinned links, in the order in which they are attached: what
/// carries the destination on is there before anything is steered.
pub const CGROUP_PROGRAMS: [&str; 5] = [SOCK_OPS, GETPEERNAME4, GETPEERNAME6, CONNECT4, CONNECT6];

/// Constants of a program that its loader sets.
pub mod global {
    /// `u64`: the gateway's own cgroup id, whose connects are left alone; 0 for none.
    pub const OWN_CGROUP: &str = "WEIR_OWN_CGROUP";
    /// `u64`: age in nanoseconds from which a heartbeat is stale.
    pub const STALE_NS: &str = "WEIR_STALE_NS";
    /// `u64`: age in nanoseconds of a heartbeat from which endpoints are forgotten; 0 for never.
    pub const FORGET_NS: &str = "WEIR_FORGET_NS";
    /// `u64`: the loading process's incarnation, as in the alive word.
    pub const INCARNATION: &str = "WEIR_INCARNATION";
    /// `u32`: the loading process, as its own pid namespace numbers it.
    pub const PROCESS: &str = "WEIR_PROCESS";
    /// `u64`: device of that pid namespace, as the kernel encodes it.
    pub const PIDNS_DEVICE: &str = "WEIR_PIDNS_DEV";
    /// `u64`: inode of that pid namespace.
    pub const PIDNS_INODE: &str = "WEIR_PIDNS_INO";
    /// `u32`: 1 to log each decision by aya-log.
    pub const LOG: &str = "WEIR_LOG";
}
