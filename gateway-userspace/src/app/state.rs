//! What the admin API may ask of the running gateway.

use std::sync::{Arc, Mutex, PoisonError};

use gateway_common::decision::Decision;

use super::kernel::Kernel;
use crate::admin::AdminState;
use crate::capture::pod_table::{PodStatus, PodTable};
use crate::control::provider::kubernetes::freshness::Freshness;
use crate::control::report::StatusReport;
use crate::drain::{Cause, DrainTrigger};
use crate::readiness::Readiness;
use crate::snapshot::Snapshot;
use crate::snapshot::store::SnapshotStore;
use crate::telemetry::Telemetry;
use crate::telemetry::endpoint_state::EndpointStates;

/// The report of the newest configuration. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct LatestReport(Arc<Mutex<Arc<StatusReport>>>);

impl LatestReport {
    /// Replaces it.
    pub fn set(&self, report: Arc<StatusReport>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = report;
    }

    /// The newest one.
    pub fn get(&self) -> Arc<StatusReport> {
        Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The running gateway, as the admin API sees it.
pub struct RunningState {
    pub(super) store: Arc<SnapshotStore>,
    pub(super) report: LatestReport,
    pub(super) readiness: Readiness,
    pub(super) pods: PodTable,
    pub(super) kernel: Arc<Kernel>,
    pub(super) telemetry: Arc<Telemetry>,
    pub(super) endpoints: Arc<dyn EndpointStates>,
    pub(super) drain: DrainTrigger,
    pub(super) api: Option<Freshness>,
}

impl AdminState for RunningState {
    fn snapshot(&self) -> Arc<Snapshot> {
        self.store.load()
    }

    fn report(&self) -> Arc<StatusReport> {
        self.report.get()
    }

    fn pending(&self) -> Vec<&'static str> {
        self.readiness.pending()
    }

    fn pods(&self) -> Vec<PodStatus> {
        self.pods.rows()
    }

    fn datapath_error(&self) -> Option<String> {
        self.kernel.error()
    }

    fn connects(&self) -> Vec<(&'static str, u64)> {
        self.kernel.counters()
    }

    fn decisions(&self) -> Vec<Decision> {
        self.kernel.decisions()
    }

    fn telemetry(&self) -> &Telemetry {
        &self.telemetry
    }

    fn endpoint_states(&self) -> &dyn EndpointStates {
        &*self.endpoints
    }

    fn api(&self) -> Option<&Freshness> {
        self.api.as_ref()
    }

    fn drain(&self) {
        self.drain.start(Cause::Asked);
    }
}
