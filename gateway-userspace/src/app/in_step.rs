//! The kernel's Services, kept in step with what is served: what could not be written is tried again.

use std::cell::Cell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::kernel::Kernel;
use crate::control::KernelSink;
use crate::ebpf::tables::{KernelService, KernelTables, KernelTablesChange};
use crate::ebpf::{Datapath, DatapathError, SyncReport};
use crate::snapshot::Snapshot;
use crate::snapshot::cluster::Cluster;

/// Before what could not be written is tried again; doubled from one try to the next.
const FIRST_PAUSE: Duration = Duration::from_secs(2);

/// The longest such pause: each try compares everything.
const LAST_PAUSE: Duration = Duration::from_secs(60);

/// Kept in step by control. Without an open datapath there is nothing to do: it starts with the
/// snapshot of its moment.
#[derive(Debug)]
pub(super) struct KernelTablesOf {
    kernel: Arc<Kernel>,
    in_step: InStep,
}

impl KernelTablesOf {
    /// For control.
    pub(super) fn new(kernel: Arc<Kernel>) -> Self {
        Self { kernel, in_step: InStep::default() }
    }
}

impl KernelSink for KernelTablesOf {
    fn snapshot(&self, old: &Snapshot, new: &Snapshot) {
        if let Some(datapath) = self.kernel.get() {
            self.in_step.snapshot(&**datapath, old, new, Instant::now());
        }
    }

    fn endpoints(&self, cluster: &Cluster) {
        if let Some(datapath) = self.kernel.get() {
            self.in_step.endpoints(&**datapath, cluster, Instant::now());
        }
    }

    fn catch_up(&self, served: &Snapshot) {
        if let Some(datapath) = self.kernel.get() {
            if self.kernel.has_foreign_services() {
                self.in_step.distrust(Instant::now());
            }
            self.in_step.catch_up(&**datapath, served, Instant::now());
        }
    }
}

/// Where Services are written.
trait Tables {
    fn sync(&self, tables: &KernelTables) -> Result<SyncReport, DatapathError>;
    fn change(&self, change: &KernelTablesChange) -> Result<SyncReport, DatapathError>;
    fn sync_endpoints(&self, service: &KernelService) -> Result<SyncReport, DatapathError>;
}

impl Tables for Datapath {
    fn sync(&self, tables: &KernelTables) -> Result<SyncReport, DatapathError> {
        Self::sync(self, tables)
    }

    fn change(&self, change: &KernelTablesChange) -> Result<SyncReport, DatapathError> {
        Self::change(self, change)
    }

    fn sync_endpoints(&self, service: &KernelService) -> Result<SyncReport, DatapathError> {
        Self::sync_endpoints(self, service)
    }
}

/// How far the kernel is.
#[derive(Debug, Default)]
struct InStep {
    /// The generation that it has; 0 where that is not certain.
    generation: Cell<u64>,
    /// When something could not be written.
    behind: Cell<Option<Behind>>,
}

#[derive(Debug, Clone, Copy)]
struct Behind {
    pause: Duration,
    until: Instant,
}

impl InStep {
    fn snapshot(&self, tables: &impl Tables, old: &Snapshot, new: &Snapshot, now: Instant) {
        let has_old = old.generation > 0 && self.generation.get() == old.generation;
        let synced = match has_old {
            true => tables.change(&KernelTablesChange::between(old, new)),
            false => tables.sync(&KernelTables::from_snapshot(new)),
        };
        self.note(new.generation, synced, now);
    }

    fn endpoints(&self, tables: &impl Tables, cluster: &Cluster, now: Instant) {
        let synced = tables.sync_endpoints(&KernelService::from_cluster(cluster));
        if synced.is_err() {
            return self.note(0, synced, now);
        }
        say(synced);
    }

    /// Everything is to be written at the next look.
    fn distrust(&self, now: Instant) {
        self.generation.set(0);
        self.behind.set(Some(Behind { pause: FIRST_PAUSE, until: now }));
    }

    /// Writes everything where something could not be written, after a pause.
    fn catch_up(&self, tables: &impl Tables, served: &Snapshot, now: Instant) {
        if self.behind.get().is_some_and(|behind| behind.until <= now) {
            let synced = tables.sync(&KernelTables::from_snapshot(served));
            self.note(served.generation, synced, now);
        }
    }

    fn note(&self, generation: u64, synced: Result<SyncReport, DatapathError>, now: Instant) {
        let (generation, behind) = match &synced {
            Ok(_) => (generation, None),
            // They are the successor's.
            Err(DatapathError::Superseded) => (0, None),
            Err(_) => (0, Some(Behind::after(self.behind.get(), now))),
        };
        self.generation.set(generation);
        self.behind.set(behind);
        say(synced);
    }
}

impl Behind {
    /// After one more failure. Changes in between try by themselves and do not put off the next try.
    fn after(last: Option<Self>, now: Instant) -> Self {
        match last {
            Some(last) if last.until > now => last,
            last => {
                let pause = last.map_or(FIRST_PAUSE, |last| (2 * last.pause).min(LAST_PAUSE));
                Self { pause, until: now + pause }
            }
        }
    }
}

fn say(synced: Result<SyncReport, DatapathError>) {
    match synced {
        Ok(report) => tracing::debug!(?report, "kernel tables are in step"),
        // This process drains.
        Err(DatapathError::Superseded) => {}
        Err(error) => {
            tracing::error!(%error, "the kernel's Services are not those of the configuration: it is tried again");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Mutex;

    use super::*;
    use crate::control::provider::file;
    use crate::control::{Changed, Control};
    use crate::limits::Limits;
    use crate::snapshot::store::SnapshotStore;

    /// A kernel that refuses writes while it is full.
    #[derive(Default)]
    struct Kernel {
        is_full: bool,
        has: KernelTables,
        writes: usize,
    }

    #[derive(Clone, Default)]
    struct Fake(Arc<Mutex<Kernel>>);

    impl Fake {
        fn write(&self, write: impl FnOnce(&mut KernelTables)) -> Result<SyncReport, DatapathError> {
            let mut kernel = self.0.lock().unwrap();
            kernel.writes += 1;
            if kernel.is_full {
                let source = io::ErrorKind::OutOfMemory.into();
                return Err(DatapathError::Map { map: "services and endpoints", source });
            }
            write(&mut kernel.has);
            Ok(SyncReport::default())
        }

        fn endpoints(&self) -> Vec<String> {
            let kernel = self.0.lock().unwrap();
            let all = kernel.has.entries.values().flat_map(|entry| entry.endpoints.iter());
            all.map(ToString::to_string).collect()
        }
    }

    impl Tables for Fake {
        fn sync(&self, tables: &KernelTables) -> Result<SyncReport, DatapathError> {
            self.write(|has| *has = tables.clone())
        }

        fn change(&self, change: &KernelTablesChange) -> Result<SyncReport, DatapathError> {
            self.write(|has| {
                has.entries.retain(|address, _| !change.gone.contains(address));
                has.entries.extend(change.tables.entries.clone());
            })
        }

        fn sync_endpoints(&self, service: &KernelService) -> Result<SyncReport, DatapathError> {
            self.write(|has| {
                for entry in has.entries.values_mut().filter(|entry| entry.id == service.id) {
                    entry.endpoints.clone_from(&service.endpoints);
                }
            })
        }
    }

    /// What control tells, at a time of its own.
    struct Sink {
        in_step: InStep,
        kernel: Fake,
        now: Arc<Mutex<Instant>>,
    }

    impl KernelSink for Sink {
        fn snapshot(&self, old: &Snapshot, new: &Snapshot) {
            self.in_step.snapshot(&self.kernel, old, new, *self.now.lock().unwrap());
        }

        fn endpoints(&self, cluster: &Cluster) {
            self.in_step.endpoints(&self.kernel, cluster, *self.now.lock().unwrap());
        }

        fn catch_up(&self, served: &Snapshot) {
            self.in_step.catch_up(&self.kernel, served, *self.now.lock().unwrap());
        }
    }

    struct Stage {
        control: Control,
        kernel: Fake,
        now: Arc<Mutex<Instant>>,
    }

    impl Stage {
        fn new() -> Self {
            let (kernel, now) = (Fake::default(), Arc::new(Mutex::new(Instant::now())));
            let in_step = InStep::default();
            let sink = Sink { in_step, kernel: kernel.clone(), now: Arc::clone(&now) };
            let store = Arc::new(SnapshotStore::new());
            let control = Control::new(store, Box::new(sink), &Limits::default());
            Self { control, kernel, now }
        }

        /// A Service with one endpoint.
        fn apply(&mut self, endpoint: &str) -> Changed {
            let text = format!(
                "apiVersion: v1\nkind: Service\nmetadata: {{name: web, namespace: shop}}\n\
                 spec: {{clusterIP: 10.0.0.1, ports: [{{port: 80}}]}}\n---\n\
                 apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
                 metadata: {{name: web-1, namespace: shop, labels: {{kubernetes.io/service-name: web}}}}\n\
                 addressType: IPv4\nports: [{{port: 8080}}]\nendpoints: [{{addresses: [{endpoint}]}}]\n"
            );
            self.control.apply(&file::from_text("test.yaml", &text)).changed
        }

        fn pass(&self, time: Duration) {
            *self.now.lock().unwrap() += time;
            self.control.catch_up();
        }

        fn set_full(&self, is_full: bool) {
            self.kernel.0.lock().unwrap().is_full = is_full;
        }

        fn writes(&self) -> usize {
            self.kernel.0.lock().unwrap().writes
        }
    }

    #[test]
    fn endpoints_that_the_kernel_had_no_room_for_are_written_later_though_nothing_changes() {
        let mut stage = Stage::new();
        stage.apply("10.1.0.1");
        assert_eq!(stage.kernel.endpoints(), ["10.1.0.1:8080"]);
        stage.set_full(true);
        assert!(matches!(stage.apply("10.1.0.2"), Changed::Endpoints(_)));
        assert_eq!(stage.kernel.endpoints(), ["10.1.0.1:8080"]);
        stage.set_full(false);
        stage.pass(FIRST_PAUSE);
        assert_eq!(stage.kernel.endpoints(), ["10.1.0.2:8080"]);
        let writes = stage.writes();
        stage.pass(LAST_PAUSE);
        assert_eq!(stage.writes(), writes, "what is in step is not written again");
    }

    #[test]
    fn services_that_the_kernel_had_no_room_for_are_written_later_too() {
        let mut stage = Stage::new();
        stage.set_full(true);
        assert_eq!(stage.apply("10.1.0.1"), Changed::Everything);
        stage.set_full(false);
        stage.pass(FIRST_PAUSE);
        assert_eq!(stage.kernel.endpoints(), ["10.1.0.1:8080"]);
    }

    #[test]
    fn a_kernel_that_stays_full_is_asked_ever_less() {
        let mut stage = Stage::new();
        stage.set_full(true);
        stage.apply("10.1.0.1");
        for _ in 0..600 {
            stage.pass(Duration::from_secs(1));
        }
        assert!((10..20).contains(&stage.writes()), "{} writes in ten minutes", stage.writes());
    }
}
