//! What the admin API may ask of the running gateway.

use std::sync::{Arc, Mutex, PoisonError};

use gateway_common::decision::Decision;

use super::kernel::Kernel;
use super::ports::Ports;
use crate::admin::AdminState;
use crate::capture::pod_table::{PodStatus, PodTable};
use crate::control::report::StatusReport;
use crate::drain::{Cause, DrainTrigger};
use crate::readiness::Readiness;
use crate::snapshot::Snapshot;
use crate::snapshot::store::SnapshotStore;
use crate::telemetry::Telemetry;
use crate::telemetry::endpoint_state::{EndpointStates, NoEndpointStates};

/// The report of the newest configuration. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct LatestReport(Arc<Mutex<Arc<StatusReport>>>);

impl LatestReport {
    /// Replaces it.
    pub fn set(&self, report: StatusReport) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(report);
    }

    /// The newest one.
    pub fn get(&self) -> Arc<StatusReport> {
        Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What compiling cannot know: a listener whose port could not be opened is not accepted
/// (Gateway API, ListenerReason PortUnavailable).
fn mark_unavailable(report: &mut StatusReport, port: u16, error: &str) {
    let listeners = report.gateways.iter_mut().flat_map(|g| &mut g.listeners).filter(|l| l.port == port);
    for condition in listeners.flat_map(|l| &mut l.conditions) {
        let reason = match condition.kind {
            "Accepted" => "PortUnavailable",
            "Programmed" => "Invalid",
            _ => continue,
        };
        condition.status = false;
        condition.reason = reason;
        condition.message = error.to_owned();
    }
}

/// The running gateway, as the admin API sees it.
#[derive(Debug)]
pub struct RunningState {
    pub(super) store: Arc<SnapshotStore>,
    pub(super) report: LatestReport,
    pub(super) readiness: Readiness,
    pub(super) pods: PodTable,
    pub(super) ports: Arc<Mutex<Ports>>,
    pub(super) kernel: Arc<Kernel>,
    pub(super) telemetry: Arc<Telemetry>,
    pub(super) drain: DrainTrigger,
}

impl AdminState for RunningState {
    fn snapshot(&self) -> Arc<Snapshot> {
        self.store.load()
    }

    fn report(&self) -> Arc<StatusReport> {
        let report = self.report.get();
        let ports = self.ports.lock().unwrap_or_else(PoisonError::into_inner);
        if ports.failed().is_empty() {
            return report;
        }
        let mut report = StatusReport::clone(&report);
        for (address, error) in ports.failed() {
            mark_unavailable(&mut report, address.port(), error);
        }
        Arc::new(report)
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
        &NoEndpointStates
    }

    fn drain(&self) {
        self.drain.start(Cause::Asked);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::report::{Condition, GatewayStatus, ListenerStatus};

    #[test]
    fn a_listener_without_its_port_says_so_in_its_conditions() {
        let condition = |kind| Condition {
            kind,
            status: true,
            reason: kind,
            message: String::new(),
            observed_generation: 0,
        };
        let listener = |name: &str, port| ListenerStatus {
            name: name.to_owned(),
            port,
            supported_kinds: Vec::new(),
            attached_routes: 1,
            conditions: ["Accepted", "Programmed", "ResolvedRefs"].map(condition).to_vec(),
        };
        let gateway = GatewayStatus {
            namespace: "shop".to_owned(),
            name: "edge".to_owned(),
            conditions: Vec::new(),
            addresses: Vec::new(),
            listeners: vec![listener("a", 80), listener("b", 81)],
        };
        let mut report = StatusReport { gateways: vec![gateway], ..StatusReport::default() };
        mark_unavailable(&mut report, 81, "another process listens there");
        let texts = |n: usize| -> Vec<String> {
            report.gateways[0].listeners[n].conditions.iter().map(ToString::to_string).collect()
        };
        assert_eq!(
            texts(1),
            [
                "Accepted=False (PortUnavailable)",
                "Programmed=False (Invalid)",
                "ResolvedRefs=True (ResolvedRefs)"
            ]
        );
        assert!(texts(0).iter().all(|text| text.contains("=True")), "{:?}", texts(0));
    }
}
