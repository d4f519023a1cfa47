//! The kernel half, as the rest of the gateway sees it. Only `ebpf*` knows aya.
//!
//! With no object embedded, or where the kernel or the privileges do not allow it, `Datapath::open`
//! says why and what to do; the proxy serves its gateway listeners all the same.

pub mod tables;

use std::convert::Infallible;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use gateway_common::decision::Decision;
use gateway_common::state::HEARTBEAT_STALE_NS;

use self::tables::{KernelService, KernelTables};
use crate::telemetry::record::PodId;

/// Where pins lie unless told otherwise.
pub const PIN_ROOT: &str = "/sys/fs/bpf/weir";

/// How to open the datapath.
#[derive(Debug, Clone)]
pub struct DatapathOptions {
    /// The cgroup2 directory whose processes are captured, e.g. `/sys/fs/cgroup/kubepods.slice`.
    pub cgroup: PathBuf,
    /// Folder on a bpffs for the pins.
    pub pin_root: PathBuf,
    /// Take over from a Weir that still runs; it goes on serving what it has accepted.
    pub takeover: bool,
    /// Log each decision by aya-log.
    pub debug_log: bool,
    /// A process whose last `beat` is older than this counts as hung.
    pub stale_after: Duration,
}

impl Default for DatapathOptions {
    fn default() -> Self {
        Self {
            cgroup: PathBuf::from("/sys/fs/cgroup/kubepods.slice"),
            pin_root: PathBuf::from(PIN_ROOT),
            takeover: false,
            debug_log: false,
            stale_after: Duration::from_nanos(HEARTBEAT_STALE_NS),
        }
    }
}

/// Why the datapath does not work, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum DatapathError {
    /// The binary was built without the eBPF object.
    #[error("this weir was built without its datapath: build it with `cargo xtask build`")]
    NotEmbedded,
}

/// A pod to capture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PodEntry {
    /// `SO_NETNS_COOKIE` of its network namespace.
    pub netns_cookie: u64,
    /// Its number in this process.
    pub pod: PodId,
    /// Our listener on its 127.0.0.1, or 0.
    pub port_v4: u16,
    /// Our listener on its ::1, or 0.
    pub port_v6: u16,
    /// Its own address: what `getsockname` shows after a steered connect.
    pub ip_v4: Option<Ipv4Addr>,
    /// Its own IPv6 address.
    pub ip_v6: Option<Ipv6Addr>,
}

/// What a `sync` did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SyncReport {
    /// Service addresses that are new.
    pub added: usize,
    /// Service addresses whose endpoints, mode or policy changed.
    pub changed: usize,
    /// Service addresses that are gone.
    pub removed: usize,
}

/// What a `beat` found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beat {
    /// This process owns the datapath.
    Owner,
    /// The cgroup had been replaced; the programs are attached to the new one.
    Reattached,
    /// Another process has taken the datapath over: drain.
    Superseded,
}

/// The loaded, attached and pinned datapath.
#[derive(Debug)]
pub struct Datapath {
    never: Infallible,
}

impl Datapath {
    /// Whether this binary carries the eBPF object.
    pub fn is_embedded() -> bool {
        false
    }

    /// Loads and verifies the programs, pins maps and links or takes them over.
    pub fn open(_options: &DatapathOptions) -> Result<Self, DatapathError> {
        Err(DatapathError::NotEmbedded)
    }

    /// Makes the kernel's Services equal to `tables`, adding before removing.
    pub fn sync(&self, _tables: &KernelTables) -> Result<SyncReport, DatapathError> {
        match self.never {}
    }

    /// Replaces the endpoints of one Service port. When it returns, no new connect is sent to an endpoint
    /// that is not among them.
    pub fn sync_endpoints(&self, _service: &KernelService) -> Result<SyncReport, DatapathError> {
        match self.never {}
    }

    /// Captures a pod, or replaces its entry in one step.
    pub fn enroll(&self, _pod: &PodEntry) -> Result<(), DatapathError> {
        match self.never {}
    }

    /// Stops capturing a pod. No error when it was not captured.
    pub fn unenroll(&self, _netns_cookie: u64) -> Result<(), DatapathError> {
        match self.never {}
    }

    /// Forgets captured pods that are not among `keep`: those of an earlier process that are gone.
    pub fn retain_pods(&self, _keep: &[u64]) -> Result<usize, DatapathError> {
        match self.never {}
    }

    /// Marks a listener as ours. Untagged listeners get no traffic.
    pub fn tag_listener(&self, _listener: BorrowedFd<'_>) -> Result<(), DatapathError> {
        match self.never {}
    }

    /// The way from an accepted connection to what was dialled.
    pub fn flows(&self) -> Flows {
        match self.never {}
    }

    /// A sign of life; call it at least four times per `stale_after`.
    pub fn beat(&self) -> Result<Beat, DatapathError> {
        match self.never {}
    }

    /// Declares the proxy gone before its listeners close: new connects go by their fail policy.
    pub fn retire(&self) -> Result<(), DatapathError> {
        match self.never {}
    }

    /// Sums over CPUs, by name.
    pub fn counters(&self) -> Result<Vec<(&'static str, u64)>, DatapathError> {
        match self.never {}
    }

    /// The most recent decisions, oldest first.
    pub fn decisions(&self) -> Vec<Decision> {
        match self.never {}
    }

    /// Detaches and removes everything below `pin_root`; says what. Safe to repeat.
    pub fn cleanup(_pin_root: &Path) -> Result<Vec<String>, DatapathError> {
        Err(DatapathError::NotEmbedded)
    }
}

/// Original destinations of steered connections. One system call per accept, no lock.
#[derive(Debug, Clone)]
pub struct Flows {
    never: Infallible,
}

impl Flows {
    /// Takes what the connection from `peer` to the listener on `local_port` was meant for. `None` for a
    /// connection that was not steered.
    pub fn take(&self, _netns_cookie: u64, _peer: SocketAddr, _local_port: u16) -> Option<SocketAddr> {
        match self.never {}
    }
}
