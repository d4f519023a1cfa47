//! The kernel half, as the rest of the gateway sees it. Only `ebpf*` knows aya.
//!
//! With no object embedded, or where the kernel or the privileges do not allow it, [`Datapath::open`]
//! says why and what to do; the proxy serves its gateway listeners all the same.

pub mod cgroup;
mod kernel_log;
mod let_go;
mod maps;
pub mod neighbours;
mod pins;
mod plan;
pub mod preflight;
mod program;
mod sys;
pub mod tables;

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use std::{fmt, io};

use aya::Ebpf;
use aya::programs::ProgramError;
use gateway_common::addr::Port;
pub use gateway_common::counter::Counter;
pub use gateway_common::decision::Decision;
use gateway_common::flow::{FlowKey, FlowValue};
use gateway_common::names::{self, Shape};
use gateway_common::state::{self, HEARTBEAT_STALE_NS};

use self::kernel_log::KernelLog;
use self::let_go::LetGo;
use self::maps::Maps;
use self::pins::{Lock, Pins};
use self::plan::Mirror;
use self::preflight::{Facts, Finding};
use self::program::{Constants, Links};
use self::tables::{KernelService, KernelTables, KernelTablesChange};
use crate::telemetry::record::PodId;

/// Between two looks for what processes of other versions have left behind.
const BEATS_A_LOOK: u32 = 40;

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
    /// Connections of an earlier process wait in listeners that were inherited: where they wanted to go is
    /// not forgotten.
    pub keep_flows: bool,
    /// Log each decision: `tracing` target `weir::kernel`, at level debug, a beat later.
    pub debug_log: bool,
    /// A process whose last `beat` is older than this counts as hung.
    pub stale_after: Duration,
    /// Endpoints are picked in the kernel until the last `beat` is older than this; then connects go where they
    /// went before Weir. `None` where nobody else knows endpoints.
    pub forget_after: Option<Duration>,
}

impl Default for DatapathOptions {
    fn default() -> Self {
        Self {
            cgroup: PathBuf::from("/sys/fs/cgroup/kubepods.slice"),
            pin_root: PathBuf::from(PIN_ROOT),
            takeover: false,
            keep_flows: false,
            debug_log: false,
            stale_after: Duration::from_nanos(HEARTBEAT_STALE_NS),
            forget_after: None,
        }
    }
}

/// Why the datapath does not work, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum DatapathError {
    /// The binary was built without the eBPF object.
    #[error("this weir was built without its datapath: build it with `cargo xtask build`")]
    NotEmbedded,
    /// Something that the datapath needs is missing; one line each.
    #[error("{}", Lines(.0))]
    Preflight(Vec<Finding>),
    /// Another process owns the pins.
    #[error("another weir runs on this node ({owner}): stop it, or start this one with --takeover")]
    AlreadyRunning {
        /// `pid 4711`, or what is known instead.
        owner: String,
    },
    /// Another process has taken the datapath over; this one may only drain.
    #[error("another weir has taken the datapath over: this one drains")]
    Superseded,
    /// The folder of pins cannot be used.
    #[error("{}: {source}", path.display())]
    Pin {
        /// What was touched.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A pinned map is not what this version's programs expect.
    #[error(
        "{} is a map of another layout (type {} key {} value {} entries {}): remove the pins with `weir cleanup`",
        path.display(), found.kind, found.key, found.value, found.entries
    )]
    Shape {
        /// The pin.
        path: PathBuf,
        /// What it is.
        found: Shape,
        /// What it should be.
        expected: Shape,
    },
    /// The object could not be loaded.
    #[error("the kernel refused the datapath's maps: {}", chain(.0))]
    Load(#[source] aya::EbpfError),
    /// A program could not be loaded or attached.
    #[error("the kernel refused program {program}: {}", first_line(.source))]
    Program {
        /// Which one.
        program: String,
        /// The verifier's answer; the whole of it in `Debug`.
        source: ProgramError,
    },
    /// The cgroup cannot be opened.
    #[error("cgroup {}: {source}", path.display())]
    Cgroup {
        /// The directory.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A program could not be attached to the cgroup.
    #[error("cannot attach {program} to {}: {source}{held}", cgroup.display())]
    Attach {
        /// Which one.
        program: &'static str,
        /// The directory.
        cgroup: PathBuf,
        /// The kernel's answer.
        source: io::Error,
        /// Who has the hook for itself, and what to do; empty where nobody does.
        held: String,
    },
    /// A map refused a read or write.
    #[error("map {map}: {source}")]
    Map {
        /// Which one.
        map: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
}

/// Findings, a line each.
struct Lines<'a>(&'a [Finding]);

impl fmt::Display for Lines<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}

/// An error and its causes in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |error| error.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// The verifier writes pages; its first line says what happened.
fn first_line(error: &ProgramError) -> String {
    chain(error).lines().next().unwrap_or_default().to_owned()
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
    /// Another process has taken the datapath over: drain once it serves, [`Datapath::take_back`] when it is gone.
    Superseded,
}

/// The loaded, attached and pinned datapath. Dropping it leaves the programs attached and declares the
/// proxy gone: connects then go by the fail policy of their Service.
pub struct Datapath {
    inner: Mutex<Inner>,
    flows: Flows,
}

struct Inner {
    ebpf: Ebpf,
    pins: Pins,
    maps: Maps,
    log: Option<KernelLog>,
    links: Links,
    mirror: Mirror,
    incarnation: u64,
    let_go: LetGo,
    beats: u32,
    /// The folder's lock; an old owner that drains may still have it.
    owned: Option<Lock>,
}

impl Datapath {
    /// Whether this binary carries the eBPF object.
    pub fn is_embedded() -> bool {
        program::object().is_some()
    }

    /// Loads and verifies the programs, pins maps and links or takes them over.
    ///
    /// What an earlier process left goes on working until [`Datapath::sync`] and [`Datapath::enroll`]
    /// replace it piece by piece.
    pub fn open(options: &DatapathOptions) -> Result<Self, DatapathError> {
        let object = program::object().ok_or(DatapathError::NotEmbedded)?;
        let findings = Facts::gather(&options.cgroup, &options.pin_root).findings();
        if !findings.is_empty() {
            return Err(DatapathError::Preflight(findings));
        }
        let pins = Pins::open(&options.pin_root)?;
        if !options.takeover
            && let Some(owner) = pins.owner()?
        {
            return Err(DatapathError::AlreadyRunning { owner });
        }
        let owned = pins.try_own()?;
        if owned.is_none() && !options.takeover {
            let owner = pins.owner()?.unwrap_or_else(|| "it has just started".to_owned());
            return Err(DatapathError::AlreadyRunning { owner });
        }
        pins.check_shapes()?;
        let constants = Constants::new(options)?;
        let mut ebpf = program::load(object, &pins, &constants)?;
        let mut maps = Maps::new(&mut ebpf)?;
        let log = KernelLog::new(&mut ebpf, options.debug_log)?;
        program::watch_own_exit(&mut ebpf)?;
        let (mirror, alone) = {
            let _write = pins.write_lock()?;
            // A process that took over shortly before may serve without the lock yet.
            let alone = owned.is_some() && maps.word(state::ALIVE)? == 0;
            maps.beat()?;
            maps.set_word(state::ALIVE, constants.incarnation)?;
            (maps.services.read_back()?, alone)
        };
        if alone && !options.keep_flows {
            maps.flush_flows()?;
        }
        let links = Links::attach(&ebpf, &pins, &options.cgroup)?;
        pins.remove_orphaned_versions()?;
        let flows = Flows { map: Arc::new(pins.open_map(names::FLOWS)?) };
        let incarnation = constants.incarnation;
        let let_go = LetGo::default();
        let inner =
            Mutex::new(Inner { ebpf, pins, maps, log, links, mirror, incarnation, let_go, beats: 0, owned });
        Ok(Self { inner, flows })
    }

    /// Makes the kernel's Services equal to `tables`, adding before removing. A Service that the kernel
    /// has no room for keeps its old state; the others are written, and the first error comes back.
    pub fn sync(&self, tables: &KernelTables) -> Result<SyncReport, DatapathError> {
        self.write(|inner| inner.mirror.sync(&mut inner.maps.services, tables))
    }

    /// The same for what differs; Services that `change` does not name stay as they are.
    pub fn change(&self, change: &KernelTablesChange) -> Result<SyncReport, DatapathError> {
        self.write(|inner| inner.mirror.change(&mut inner.maps.services, change))
    }

    /// Replaces the endpoints of one Service port. When it returns, no new connect is sent to an endpoint
    /// that is not among them. A Service that `sync` has not brought is left alone.
    pub fn sync_endpoints(&self, service: &KernelService) -> Result<SyncReport, DatapathError> {
        self.write(|inner| inner.mirror.sync_endpoints(&mut inner.maps.services, service))
    }

    /// Captures a pod, or replaces its entry in one step.
    pub fn enroll(&self, pod: &PodEntry) -> Result<(), DatapathError> {
        let mut inner = self.lock();
        inner.check_owner()?;
        inner.maps.put_pod(pod)
    }

    /// Stops capturing a pod. What it dialled before is still known at accept. No error when it was not captured.
    pub fn unenroll(&self, netns_cookie: u64) -> Result<(), DatapathError> {
        let mut inner = self.lock();
        inner.check_owner()?;
        inner.maps.remove_pod(netns_cookie)?;
        inner.let_go.note(netns_cookie, Instant::now());
        Ok(())
    }

    /// Forgets captured pods that are not among `keep`: those of an earlier process that are gone. Says how
    /// many there were.
    pub fn retain_pods(&self, keep: &[u64]) -> Result<usize, DatapathError> {
        let mut inner = self.lock();
        inner.check_owner()?;
        let gone: Vec<u64> =
            inner.maps.pod_cookies()?.into_iter().filter(|cookie| !keep.contains(cookie)).collect();
        for cookie in &gone {
            inner.maps.remove_pod(*cookie)?;
            inner.let_go.note(*cookie, Instant::now());
        }
        Ok(gone.len())
    }

    /// Marks a listener as ours. Untagged listeners get no traffic.
    pub fn tag_listener(&self, listener: BorrowedFd<'_>) -> Result<(), DatapathError> {
        let mut inner = self.lock();
        let tag = inner.incarnation;
        inner.maps.tag_listener(listener, tag)
    }

    /// The way from an accepted connection to what was dialled.
    pub fn flows(&self) -> Flows {
        self.flows.clone()
    }

    /// A sign of life; call it at least four times per `stale_after`. Attaches the programs again when the
    /// cgroup was replaced, empties the ring of decisions, and forgets flows of pods that were let go.
    pub fn beat(&self) -> Result<Beat, DatapathError> {
        let mut inner = self.lock();
        if inner.maps.word(state::ALIVE)? != inner.incarnation {
            return Ok(Beat::Superseded);
        }
        inner.maps.beat()?;
        inner.maps.drain_decisions();
        let gone = inner.let_go.due(Instant::now());
        if !gone.is_empty() {
            inner.maps.forget_flows(&gone)?;
        }
        if let Some(log) = &mut inner.log {
            log.flush();
        }
        inner.beats = inner.beats.wrapping_add(1);
        if inner.beats.is_multiple_of(BEATS_A_LOOK) {
            // Their process may have drained until now.
            inner.pins.remove_orphaned_versions()?;
        }
        if inner.owned.is_none() {
            // The process that we took over from has ended its drain.
            inner.owned = inner.pins.try_own()?;
        }
        if inner.links.are_stale() {
            let cgroup = inner.links.cgroup().to_owned();
            inner.links = Links::attach(&inner.ebpf, &inner.pins, &cgroup)?;
            return Ok(Beat::Reattached);
        }
        Ok(Beat::Owner)
    }

    /// Takes the datapath back from a process that took it over and is gone. False while that one lives. What
    /// it wrote stays: write all Services with [`Datapath::sync`], and enrol the captured pods again.
    pub fn take_back(&self) -> Result<bool, DatapathError> {
        let mut guard = self.lock();
        let inner = &mut *guard;
        let _write = inner.pins.write_lock()?;
        let alive = inner.maps.word(state::ALIVE)?;
        if alive == inner.incarnation {
            return Ok(true);
        }
        if alive != 0 {
            return Ok(false);
        }
        // Programs first: those of the process that is gone know its number only.
        let cgroup = inner.links.cgroup().to_owned();
        inner.links = Links::attach(&inner.ebpf, &inner.pins, &cgroup)?;
        inner.mirror = inner.maps.services.read_back()?;
        inner.maps.beat()?;
        inner.maps.set_word(state::ALIVE, inner.incarnation)?;
        Ok(true)
    }

    /// Declares the proxy gone before its listeners close: new connects go by their fail policy. Nothing
    /// happens when another process has taken over.
    pub fn retire(&self) -> Result<(), DatapathError> {
        let mut inner = self.lock();
        if inner.maps.word(state::ALIVE)? == inner.incarnation {
            inner.maps.set_word(state::ALIVE, 0)?;
        }
        Ok(())
    }

    /// Sums over CPUs, by name (`Counter::as_str`). They outlive a restart.
    pub fn counters(&self) -> Result<Vec<(&'static str, u64)>, DatapathError> {
        self.lock().maps.counters()
    }

    /// The most recent decisions, oldest first; at most 4096, and a sample when there are many.
    pub fn decisions(&self) -> Vec<Decision> {
        let mut inner = self.lock();
        inner.maps.drain_decisions();
        inner.maps.recent()
    }

    /// True when a living process owns what is below `pin_root`.
    pub fn is_owned(pin_root: &Path) -> bool {
        pins::is_owned(pin_root)
    }

    /// Detaches and removes everything below `pin_root`; says what. Safe to repeat. Refuses while a weir
    /// runs.
    pub fn cleanup(pin_root: &Path) -> Result<Vec<String>, DatapathError> {
        pins::cleanup(pin_root)
    }

    /// How many entries the pinned maps below `pin_root` have, by name: for whoever looks for leaks.
    pub fn entries(pin_root: &Path) -> Result<Vec<(&'static str, usize)>, DatapathError> {
        pins::entries_of_maps(pin_root)
    }

    /// One change of the Services, under the lock that two processes share.
    fn write(
        &self,
        change: impl FnOnce(&mut Inner) -> (SyncReport, io::Result<()>),
    ) -> Result<SyncReport, DatapathError> {
        let mut inner = self.lock();
        let _write = inner.pins.write_lock()?;
        inner.check_owner()?;
        let (report, result) = change(&mut inner);
        result.map(|()| report).map_err(|source| DatapathError::Map { map: "services and endpoints", source })
    }

    /// A panic under the lock cannot leave the maps worse than a crash would, and that they survive.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn check_owner(&self) -> Result<(), DatapathError> {
        if self.maps.word(state::ALIVE)? == self.incarnation {
            Ok(())
        } else {
            Err(DatapathError::Superseded)
        }
    }
}

impl fmt::Debug for Datapath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = self.lock();
        f.debug_struct("Datapath")
            .field("pins", &inner.pins)
            .field("links", &inner.links)
            .finish_non_exhaustive()
    }
}

impl Drop for Datapath {
    fn drop(&mut self) {
        // Nothing is left to be told; the process-exit program does the same a moment later.
        let _ = self.retire();
    }
}

/// Original destinations of steered connections. One system call per accept, no lock.
#[derive(Debug, Clone)]
pub struct Flows {
    map: Arc<OwnedFd>,
}

impl Flows {
    /// Takes what the connection from `peer` to the listener on `local_port` was meant for. `None` for a
    /// connection that was not steered.
    pub fn take(&self, netns_cookie: u64, peer: SocketAddr, local_port: u16) -> Option<SocketAddr> {
        let key = FlowKey::new(netns_cookie, peer.into(), Port::new(local_port));
        let flow = sys::take::<FlowKey, FlowValue>(self.map.as_fd(), &key);
        flow.ok().flatten().map(|flow| flow.destination.to_std())
    }
}
