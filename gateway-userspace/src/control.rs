//! From desired state to what the proxy and the kernel serve from.
//!
//! A `provider` reads objects into `config`, `compile` turns them into a snapshot and a report, and
//! `Control` publishes: what is added is there before anyone is sent to it, and what is removed is
//! out of use before `apply` returns.

pub mod compile;
pub mod config;
pub mod diagnostic;
pub mod finding;
pub mod provider;
pub mod render;
pub mod report;
pub mod stable_hash;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use tracing::{error, info, warn};

use self::compile::{Compiled, Compiler, Place};
use self::diagnostic::{Diagnostic, Severity};
use self::finding::Findings;
use self::provider::Desired;
use self::provider::file::{self, FolderError};
use self::report::StatusReport;
use crate::limits::Limits;
use crate::snapshot::Snapshot;
use crate::snapshot::cluster::{Cluster, ClusterKey};
use crate::snapshot::names::Names;
use crate::snapshot::store::SnapshotStore;

/// The kernel's share of a snapshot. Calls return when the kernel has it.
pub trait KernelSink: Send {
    /// `new` is served, and `old` was. What is added must be there before what is removed goes.
    fn snapshot(&self, old: &Snapshot, new: &Snapshot);
    /// The endpoints of one cluster differ; its slot holds the new ones already.
    fn endpoints(&self, cluster: &Cluster);
    /// Called now and then: what could not be written is to be tried again. `served` is what is served now.
    fn catch_up(&self, served: &Snapshot);
}

/// For a gateway without a datapath.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoKernel;

impl KernelSink for NoKernel {
    fn snapshot(&self, _: &Snapshot, _: &Snapshot) {}
    fn endpoints(&self, _: &Cluster) {}
    fn catch_up(&self, _: &Snapshot) {}
}

/// What an update touched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Changed {
    /// Nothing that is served.
    Nothing,
    /// The endpoints of these clusters.
    Endpoints(Vec<ClusterKey>),
    /// There is a new snapshot.
    Everything,
}

/// What became of an update.
#[derive(Debug, Clone)]
pub struct Applied {
    /// The status of every object, and all findings.
    pub report: Arc<StatusReport>,
    /// What it touched.
    pub changed: Changed,
}

/// The one writer of snapshots and endpoint slots.
pub struct Control {
    store: Arc<SnapshotStore>,
    kernel: Box<dyn KernelSink>,
    compiler: Compiler,
    snapshot: Arc<Snapshot>,
    report: Arc<StatusReport>,
}

impl Control {
    /// Serves nothing yet.
    pub fn new(store: Arc<SnapshotStore>, kernel: Box<dyn KernelSink>, limits: &Limits) -> Self {
        let compiler = Compiler::new(Arc::default(), limits);
        Self { snapshot: store.load(), store, kernel, compiler, report: Arc::default() }
    }

    /// Says where the gateway runs. To be called before the first `apply`.
    pub fn set_place(&mut self, place: Place) {
        self.compiler.set_place(place);
    }

    /// The names of all numbers in snapshots and records. The same table while this lives.
    pub fn names(&self) -> Arc<Names> {
        Arc::clone(self.compiler.names())
    }

    /// The last report.
    pub fn report(&self) -> Arc<StatusReport> {
        Arc::clone(&self.report)
    }

    /// Compiles and publishes. Costs the size of what differs from the last desired state.
    pub fn apply(&mut self, desired: &Desired) -> Applied {
        let Compiled { snapshot, report, changed, .. } = self.compiler.compile(desired);
        let mut clusters = Vec::with_capacity(changed.len());
        for new in changed {
            // No worker picks a removed endpoint once this returns.
            new.cluster.endpoints.publish(Arc::new(new.endpoints));
            clusters.push(new.cluster);
        }
        // The first one is published even if there is nothing in it: it says that all was read.
        let is_first = self.snapshot.generation == 0;
        let snapshot = snapshot.or_else(|| is_first.then(Snapshot::default));
        let is_new = snapshot.is_some();
        if let Some(snapshot) = snapshot {
            self.publish(snapshot);
        }
        clusters.iter().for_each(|cluster| self.kernel.endpoints(cluster));
        self.report = Arc::new(report);
        let changed = match (is_new, clusters.is_empty()) {
            (true, _) => Changed::Everything,
            (false, true) => Changed::Nothing,
            (false, false) => Changed::Endpoints(clusters.iter().map(|c| c.key.clone()).collect()),
        };
        Applied { report: self.report(), changed }
    }

    fn publish(&mut self, mut snapshot: Snapshot) {
        snapshot.generation = self.snapshot.generation + 1;
        let old = std::mem::replace(&mut self.snapshot, Arc::new(snapshot));
        // The proxy knows a Service before the kernel sends connects for it.
        self.store.publish(Arc::clone(&self.snapshot));
        self.kernel.snapshot(&old, &self.snapshot);
    }

    /// Tells the kernel again what it could not take.
    pub fn catch_up(&self) {
        self.kernel.catch_up(&self.snapshot);
    }

    /// `apply`, with a line in the log for what is live now and for each new finding.
    pub fn apply_logged(&mut self, desired: &Desired) -> Applied {
        let objects = desired.set.len();
        let began = Instant::now();
        let before = self.report();
        let applied = self.apply(desired);
        let took = began.elapsed();
        match &applied.changed {
            Changed::Nothing => {}
            Changed::Endpoints(clusters) => {
                info!(clusters = clusters.len(), ?took, "endpoints live");
            }
            Changed::Everything => {
                info!(generation = self.snapshot.generation, objects, ?took, "configuration live");
            }
        }
        log_new(&before.diagnostics, &applied.report.diagnostics);
        applied
    }

    /// Takes the addresses that could not be opened, and why, into the statuses of Gateways. The
    /// snapshot keeps them, for they may become free.
    pub fn set_unusable(&mut self, unusable: BTreeMap<SocketAddr, String>) -> Arc<StatusReport> {
        if let Some(report) = self.compiler.set_unusable(unusable) {
            self.report = Arc::new(report);
        }
        self.report()
    }
}

/// Findings on what a configuration folder would serve, without serving it, with line and column of each
/// field.
pub fn check(folder: &Path, limits: &Limits) -> Result<Vec<Diagnostic>, FolderError> {
    let desired = file::load(folder, limits)?;
    let mut control = Control::new(Arc::default(), Box::new(NoKernel), limits);
    let report = control.apply(&desired).report;
    let mut findings: Vec<Diagnostic> = report.diagnostics.iter().cloned().collect();
    file::locate(&mut findings);
    Ok(findings)
}

/// Each finding once, when it comes.
fn log_new(before: &Findings, now: &Findings) {
    for finding in now.new_since(before) {
        let line = render::finding_line(finding);
        match finding.severity {
            Severity::Error => error!("{line}"),
            Severity::Warning => warn!("{line}"),
            Severity::Info => {}
        }
    }
}
