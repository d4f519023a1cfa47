//! The datapath of this process: opened when the first pod needs it, kept in step with the snapshot.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use gateway_common::decision::Decision;

use crate::capture::cgroup::{self, CgroupError};
use crate::drain::{Cause, DrainTrigger};
use crate::ebpf::tables::KernelTables;
use crate::ebpf::{Beat, Datapath, DatapathOptions, Flows};
use crate::memory;
use crate::proxy::OriginalDestinations;
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
    taken_back: Arc<TakenBack>,
}

/// The datapath was another process's meanwhile: what is to be written again.
#[derive(Debug, Default)]
struct TakenBack {
    services: AtomicBool,
    pods: AtomicBool,
}

/// How it ends to be superseded.
enum Superseded {
    /// The successor is gone, and never said that it serves.
    TookBack,
    /// This process ends, or its successor serves.
    Over,
}

/// Tells workers where captured connections wanted to go.
#[derive(Debug, Clone)]
pub struct Destinations(Arc<OnceLock<Flows>>);

impl OriginalDestinations for Destinations {
    fn take(&self, netns_cookie: u64, peer: SocketAddr, local: SocketAddr) -> Option<SocketAddr> {
        self.0.get()?.take(netns_cookie, peer, local.port())
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
            taken_back: Arc::default(),
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

    /// Once after the datapath was taken back: its Services may be another process's.
    pub fn has_foreign_services(&self) -> bool {
        self.taken_back.services.swap(false, Ordering::Relaxed)
    }

    /// Once after the datapath was taken back: pods may be steered to listeners that are gone.
    pub fn has_foreign_pods(&self) -> bool {
        self.taken_back.pods.swap(false, Ordering::Relaxed)
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
        let taken_back = Arc::clone(&self.taken_back);
        let beating = move || {
            loop {
                match datapath.beat() {
                    Ok(Beat::Owner) => {}
                    Ok(Beat::Reattached) => {
                        tracing::info!("the pods' cgroup was replaced: attached to the new one")
                    }
                    Ok(Beat::Superseded) => {
                        tracing::info!("another gateway has taken the datapath over");
                        match superseded(&datapath, &stopped, interval, &drain) {
                            Superseded::Over => return,
                            Superseded::TookBack => {
                                taken_back.services.store(true, Ordering::Relaxed);
                                taken_back.pods.store(true, Ordering::Relaxed);
                                tracing::warn!("that gateway ended before it served: going on");
                            }
                        }
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

/// Waits until the successor says over the handover socket that it serves, or takes the datapath back when it
/// is gone before that.
fn superseded(
    datapath: &Datapath,
    stopped: &Receiver<()>,
    interval: Duration,
    drain: &DrainTrigger,
) -> Superseded {
    let begun = Instant::now();
    loop {
        if stopped.recv_timeout(interval) != Err(RecvTimeoutError::Timeout) {
            return Superseded::Over;
        }
        match datapath.take_back() {
            Ok(true) => return Superseded::TookBack,
            Ok(false) if begun.elapsed() >= SUCCESSOR_GRACE => {
                drain.start(Cause::Replaced);
                return Superseded::Over;
            }
            Ok(false) => {}
            Err(error) => tracing::error!(%error, "the datapath cannot be taken back"),
        }
    }
}
