//! The datapath of this process: opened when the first pod needs it, kept in step with the snapshot.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use gateway_common::decision::Decision;

use crate::capture::cgroup::{self, CgroupError};
use crate::control::KernelSink;
use crate::drain::{Cause, DrainTrigger};
use crate::ebpf::tables::{KernelService, KernelTables, KernelTablesChange};
use crate::ebpf::{Beat, Datapath, DatapathError, DatapathOptions, Flows, SyncReport};
use crate::memory;
use crate::proxy::OriginalDestinations;
use crate::snapshot::Snapshot;
use crate::snapshot::cluster::Cluster;
use crate::snapshot::store::SnapshotStore;

/// Signs of life within the time after which the kernel takes this process for hung.
const BEATS_PER_STALE_TIME: u32 = 6;

/// Before a datapath that could not be opened is tried again.
const RETRY_AFTER: Duration = Duration::from_secs(10);

/// A process that lost the datapath waits this long to be told that its successor serves.
const SUCCESSOR_GRACE: Duration = Duration::from_secs(10);

/// Where the datapath attaches and pins.
#[derive(Debug, Clone)]
pub struct KernelOptions {
    /// False: never opened.
    pub enabled: bool,
    /// As given by the user; found when not.
    pub cgroup: Option<PathBuf>,
    /// Where the node's hierarchies are mounted, if that is not where this process has its own.
    pub cgroups: Option<PathBuf>,
    /// Folder of the pins.
    pub pin_root: PathBuf,
    /// Replace the process that has it.
    pub takeover: bool,
    /// Listeners of pods were inherited, and with them connections that wait.
    pub keep_flows: bool,
    /// Note each decision.
    pub debug_log: bool,
    /// From when on the endpoints of a process that is gone are not picked any more.
    pub forget_after: Option<Duration>,
}

/// The datapath, or why there is none.
#[derive(Debug)]
pub struct Kernel {
    options: KernelOptions,
    store: Arc<SnapshotStore>,
    drain: DrainTrigger,
    datapath: OnceLock<Arc<Datapath>>,
    flows: Arc<OnceLock<Flows>>,
    failure: Mutex<Option<(Instant, String)>>,
    heartbeat: Mutex<Option<Sender<()>>>,
}

/// Tells workers where captured connections wanted to go.
#[derive(Debug, Clone)]
pub struct Destinations(Arc<OnceLock<Flows>>);

impl OriginalDestinations for Destinations {
    fn take(&self, netns_cookie: u64, peer: SocketAddr, local: SocketAddr) -> Option<SocketAddr> {
        self.0.get()?.take(netns_cookie, peer, local.port())
    }
}

/// Kept in step by control. Without an open datapath there is nothing to do: it starts with the
/// snapshot of its moment.
#[derive(Debug)]
pub struct KernelTablesOf {
    kernel: Arc<Kernel>,
    /// The generation that the kernel has; 0 where that is not certain.
    generation: AtomicU64,
}

impl KernelTablesOf {
    /// For control.
    pub fn new(kernel: Arc<Kernel>) -> Self {
        Self { kernel, generation: AtomicU64::new(0) }
    }
}

impl KernelSink for KernelTablesOf {
    fn snapshot(&self, old: &Snapshot, new: &Snapshot) {
        let Some(datapath) = self.kernel.get() else { return };
        let has_old = old.generation > 0 && self.generation.load(Ordering::Relaxed) == old.generation;
        let synced = match has_old {
            true => datapath.change(&KernelTablesChange::between(old, new)),
            false => datapath.sync(&KernelTables::from_snapshot(new)),
        };
        // What could not be written now is compared as a whole next time.
        let now = if synced.is_ok() { new.generation } else { 0 };
        self.generation.store(now, Ordering::Relaxed);
        said(synced);
    }

    fn endpoints(&self, cluster: &Cluster) {
        if let Some(datapath) = self.kernel.get() {
            said(datapath.sync_endpoints(&KernelService::from_cluster(cluster)));
        }
    }
}

fn said(synced: Result<SyncReport, DatapathError>) {
    match synced {
        Ok(report) => tracing::debug!(?report, "kernel tables are in step"),
        // They are the successor's, and this process drains.
        Err(DatapathError::Superseded) => {}
        Err(error) => tracing::error!(%error, "the kernel's Services are not those of the configuration"),
    }
}

impl Kernel {
    /// Opens nothing yet. When another process takes the datapath over, `drain` is started.
    pub fn new(options: KernelOptions, store: Arc<SnapshotStore>, drain: DrainTrigger) -> Self {
        Self {
            options,
            store,
            drain,
            datapath: OnceLock::new(),
            flows: Arc::default(),
            failure: Mutex::new(None),
            heartbeat: Mutex::new(None),
        }
    }

    /// For the workers.
    pub fn destinations(&self) -> Destinations {
        Destinations(Arc::clone(&self.flows))
    }

    /// The datapath, when it is open.
    pub fn get(&self) -> Option<&Arc<Datapath>> {
        self.datapath.get()
    }

    /// The datapath; opened now if it was not, and brought in step with the snapshot.
    ///
    /// # Errors
    /// Why it cannot be opened, and what to do. Tried again only after a while.
    pub fn open(&self) -> Result<&Arc<Datapath>, String> {
        if let Some(datapath) = self.datapath.get() {
            return Ok(datapath);
        }
        if let Some((when, text)) = &*self.failure()
            && when.elapsed() < RETRY_AFTER
        {
            return Err(text.clone());
        }
        let opened = self.try_open();
        *self.failure() = opened.as_ref().err().map(|text| (Instant::now(), text.clone()));
        let datapath = opened?;
        Ok(self.datapath.get_or_init(|| datapath))
    }

    /// Why the datapath is not open; `None` when it is.
    pub fn error(&self) -> Option<String> {
        if self.datapath.get().is_some() {
            return None;
        }
        let failure = self.failure().as_ref().map(|(_, text)| text.clone());
        Some(failure.unwrap_or_else(|| match self.options.enabled {
            true => "not needed: no pod is to be captured".to_owned(),
            false => "capture is off (--capture off)".to_owned(),
        }))
    }

    /// Forgets pods of an earlier process that are not among `cookies`.
    pub fn retain(&self, cookies: &[u64]) {
        let Some(datapath) = self.datapath.get() else { return };
        match datapath.retain_pods(cookies) {
            Ok(0) => {}
            Ok(count) => tracing::info!(count, "forgot captured pods of an earlier process"),
            Err(error) => tracing::warn!(%error, "pods of an earlier process stay captured"),
        }
    }

    /// The datapath is another process's now: no more signs of life.
    pub fn leave(&self) {
        self.heartbeat.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// New connects go by their fail policy from now on.
    pub fn retire(&self) {
        self.leave();
        if let Some(datapath) = self.datapath.get()
            && let Err(error) = datapath.retire()
        {
            tracing::warn!(%error, "the kernel was not told that this gateway ends");
        }
    }

    /// What the kernel counted.
    pub fn counters(&self) -> Vec<(&'static str, u64)> {
        self.datapath.get().and_then(|d| d.counters().ok()).unwrap_or_default()
    }

    /// What the kernel decided lately, oldest first.
    pub fn decisions(&self) -> Vec<Decision> {
        self.datapath.get().map(|d| d.decisions()).unwrap_or_default()
    }

    fn failure(&self) -> MutexGuard<'_, Option<(Instant, String)>> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pods_directory(&self) -> Result<PathBuf, CgroupError> {
        match (&self.options.cgroup, &self.options.cgroups) {
            (None, Some(cgroups)) => cgroup::pods_directory_below(cgroups),
            (given, _) => cgroup::pods_directory(given.as_deref()),
        }
    }

    /// True when a living process has the datapath.
    pub fn is_anothers(&self) -> bool {
        Datapath::is_owned(&self.options.pin_root)
    }

    fn try_open(&self) -> Result<Arc<Datapath>, String> {
        if !self.options.enabled {
            return Err("capture is off (--capture off)".to_owned());
        }
        let options = DatapathOptions {
            // What the binary lacks is said before what the machine lacks.
            cgroup: match Datapath::is_embedded() {
                true => self.pods_directory().map_err(|e| e.to_string())?,
                false => PathBuf::new(),
            },
            pin_root: self.options.pin_root.clone(),
            takeover: self.options.takeover,
            keep_flows: self.options.keep_flows,
            debug_log: self.options.debug_log,
            forget_after: self.options.forget_after,
            ..DatapathOptions::default()
        };
        let stale_after = options.stale_after;
        let datapath = Arc::new(Datapath::open(&options).map_err(|e| e.to_string())?);
        // The object and the kernel's type information took tens of MiB for a moment.
        memory::give_back();
        datapath.sync(&KernelTables::from_snapshot(&self.store.load())).map_err(|e| e.to_string())?;
        self.flows.get_or_init(|| datapath.flows());
        self.start_heartbeat(&datapath, stale_after / BEATS_PER_STALE_TIME)?;
        tracing::info!(cgroup = %options.cgroup.display(), pins = %options.pin_root.display(), "datapath loaded");
        Ok(datapath)
    }

    /// A thread of its own: a control runtime that is busy compiling is no hung process.
    fn start_heartbeat(&self, datapath: &Arc<Datapath>, interval: Duration) -> Result<(), String> {
        let (stop, stopped) = channel::<()>();
        let (datapath, drain) = (Arc::clone(datapath), self.drain.clone());
        let beating = move || {
            loop {
                match datapath.beat() {
                    Ok(Beat::Owner) => {}
                    Ok(Beat::Reattached) => {
                        tracing::info!("the pods' cgroup was replaced: attached to the new one")
                    }
                    Ok(Beat::Superseded) => {
                        tracing::info!("another gateway has taken the datapath over");
                        // It says over the handover socket when it serves.
                        if stopped.recv_timeout(SUCCESSOR_GRACE) == Err(RecvTimeoutError::Timeout) {
                            drain.start(Cause::Replaced);
                        }
                        return;
                    }
                    Err(error) => tracing::error!(%error, "no sign of life to the kernel"),
                }
                if stopped.recv_timeout(interval) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
            }
        };
        std::thread::Builder::new()
            .name("heartbeat".into())
            .spawn(beating)
            .map_err(|e| format!("cannot start the heartbeat: {e}"))?;
        *self.heartbeat.lock().unwrap_or_else(PoisonError::into_inner) = Some(stop);
        Ok(())
    }
}
