//! From desired state to what the proxy and the kernel serve from.
//!
//! A `provider` reads objects into `config`, `compile` turns them into a snapshot and a report, and
//! `Control` publishes: what is added is there before anyone is sent to it, and what is removed is
//! out of use before `apply` returns.

pub mod compile;
pub mod config;
pub mod diagnostic;
pub mod provider;
pub mod render;
pub mod report;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use tracing::{error, info, warn};

use self::compile::{Compiled, EndpointIndex, Interned, Place, compile};
use self::config::meta::ObjectKey;
use self::config::resources::ResourceSet;
use self::diagnostic::{Diagnostic, Severity};
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
    /// Everything may differ. What is added must be there before what is removed goes.
    fn snapshot(&self, snapshot: &Snapshot);
    /// The endpoints of one cluster differ; its slot holds the new ones already.
    fn endpoints(&self, cluster: &Cluster);
}

/// For a gateway without a datapath.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoKernel;

impl KernelSink for NoKernel {
    fn snapshot(&self, _: &Snapshot) {}
    fn endpoints(&self, _: &Cluster) {}
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
    interned: Interned,
    desired: Desired,
    snapshot: Arc<Snapshot>,
    endpoints: EndpointIndex,
    /// The report of the last compile, without findings of providers and on endpoints.
    compiled: StatusReport,
    report: Arc<StatusReport>,
}

impl Control {
    /// Serves nothing yet.
    pub fn new(store: Arc<SnapshotStore>, kernel: Box<dyn KernelSink>, limits: &Limits) -> Self {
        Self {
            snapshot: store.load(),
            store,
            kernel,
            interned: Interned::new(Arc::default(), limits),
            desired: Desired::default(),
            endpoints: EndpointIndex::default(),
            compiled: StatusReport::default(),
            report: Arc::default(),
        }
    }

    /// Says where the gateway runs. To be called before the first `apply`.
    pub fn set_place(&mut self, place: Place) {
        self.interned.set_place(place);
    }

    /// The names of all numbers in snapshots and records. The same table while this lives.
    pub fn names(&self) -> Arc<Names> {
        Arc::clone(self.interned.names())
    }

    /// The last report.
    pub fn report(&self) -> Arc<StatusReport> {
        Arc::clone(&self.report)
    }

    /// Compiles and publishes. A change of endpoints alone costs the size of their Services.
    pub fn apply(&mut self, desired: Desired) -> Applied {
        let old = std::mem::replace(&mut self.desired, desired);
        let slices = self.desired.set.endpoint_slices.changes_since(&old.set.endpoint_slices);
        let changed = if self.snapshot.generation == 0 || !same_but_slices(&old.set, &self.desired.set) {
            self.publish_everything();
            Changed::Everything
        } else if !slices.is_empty() {
            self.publish_endpoints(&old, &slices)
        } else {
            // Objects may have moved within their files, and findings say where they are.
            let compiled = compile(&self.desired.set, &mut self.interned);
            self.compiled = compiled.report;
            self.endpoints = compiled.endpoints;
            self.renew_report();
            Changed::Nothing
        };
        Applied { report: self.report(), changed }
    }

    /// `apply`, with a line in the log for what is live now and for each new finding.
    pub fn apply_logged(&mut self, desired: Desired) -> Applied {
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
        if !Arc::ptr_eq(&before, &applied.report) {
            log_new(&before.diagnostics, &applied.report.diagnostics);
        }
        applied
    }

    /// Takes the addresses that could not be opened, and why, into the statuses of Gateways. The
    /// snapshot keeps them, for they may become free.
    pub fn set_unusable(&mut self, unusable: BTreeMap<SocketAddr, String>) -> Arc<StatusReport> {
        if self.interned.set_unusable(unusable) {
            self.compiled = compile(&self.desired.set, &mut self.interned).report;
            self.renew_report();
        }
        self.report()
    }

    fn publish_everything(&mut self) {
        let Compiled { mut snapshot, report, changed, endpoints } =
            compile(&self.desired.set, &mut self.interned);
        for new in changed {
            new.cluster.endpoints.publish(Arc::new(new.endpoints));
        }
        snapshot.generation = self.snapshot.generation + 1;
        self.snapshot = Arc::new(snapshot);
        // The proxy knows a Service before the kernel sends connects for it.
        self.store.publish(Arc::clone(&self.snapshot));
        self.kernel.snapshot(&self.snapshot);
        self.compiled = report;
        self.endpoints = endpoints;
        self.renew_report();
    }

    fn publish_endpoints(&mut self, old: &Desired, slices: &[ObjectKey]) -> Changed {
        let new = &self.desired.set;
        let mut changed = Vec::new();
        let mut found_other = old.findings != self.desired.findings;
        for service in self.endpoints.follow(&old.set, new, slices) {
            let before = self.endpoints.findings_of(&service).to_vec();
            for (port, set) in self.endpoints.refresh(new, &service) {
                let ObjectKey { namespace, name } = service.clone();
                let key = ClusterKey { namespace, service: name, port };
                let Some(cluster) = self.snapshot.clusters.get(&key) else { continue };
                if *cluster.endpoints.load() != set {
                    // No worker picks a removed endpoint once this returns, and then the kernel.
                    cluster.endpoints.publish(Arc::new(set));
                    self.kernel.endpoints(cluster);
                    changed.push(key);
                }
            }
            found_other |= self.endpoints.findings_of(&service) != before;
        }
        if found_other {
            self.renew_report();
        }
        if changed.is_empty() { Changed::Nothing } else { Changed::Endpoints(changed) }
    }

    fn renew_report(&mut self) {
        let mut report = self.compiled.clone();
        report.diagnostics.extend(self.endpoints.findings().cloned());
        report.diagnostics.extend(self.desired.findings.iter().cloned());
        report.diagnostics.sort_by(|a, b| (&a.file, a.line, a.code).cmp(&(&b.file, b.line, b.code)));
        self.report = Arc::new(report);
    }
}

/// True when the sets differ in nothing but EndpointSlices (and captured pods, which are no part of
/// a snapshot).
fn same_but_slices(old: &ResourceSet, new: &ResourceSet) -> bool {
    new.gateway_classes.changes_since(&old.gateway_classes).is_empty()
        && new.gateways.changes_since(&old.gateways).is_empty()
        && new.http_routes.changes_since(&old.http_routes).is_empty()
        && new.grpc_routes.changes_since(&old.grpc_routes).is_empty()
        && new.reference_grants.changes_since(&old.reference_grants).is_empty()
        && new.services.changes_since(&old.services).is_empty()
        && new.namespaces.changes_since(&old.namespaces).is_empty()
        && new.nodes.changes_since(&old.nodes).is_empty()
}

/// What a configuration folder would serve, without serving it: statuses, and findings with line and
/// column of each field.
pub fn check(folder: &Path, limits: &Limits) -> Result<StatusReport, FolderError> {
    let desired = file::load(folder, limits)?;
    let mut control = Control::new(Arc::default(), Box::new(NoKernel), limits);
    let mut report = StatusReport::clone(&control.apply(desired).report);
    file::locate(&mut report.diagnostics);
    Ok(report)
}

/// Each finding once, when it comes.
fn log_new(before: &[Diagnostic], now: &[Diagnostic]) {
    for finding in now.iter().filter(|f| !before.contains(f)) {
        let line = render::finding_line(finding);
        match finding.severity {
            Severity::Error => error!("{line}"),
            Severity::Warning => warn!("{line}"),
            Severity::Info => {}
        }
    }
}
