//! What enrolment does to the rest of the gateway: workers, kernel, and the names of pods.

use std::os::fd::BorrowedFd;
use std::sync::Arc;

use super::holder::Holder;
use super::kernel::Kernel;
use super::workers::Workers;
use crate::capture::Pod;
use crate::capture::enrol::Gateway;
use crate::capture::netns::{Netns, PodSockets};
use crate::capture::pod_table::CapturedPod;
use crate::ebpf::{DatapathError, PodEntry};
use crate::telemetry::pods::{PodName, Pods};
use crate::telemetry::record::PodId;
use crate::worker::PodListener;

/// Labels that name a pod's workload, the first one that is there.
const WORKLOAD_LABELS: [&str; 2] = ["app.kubernetes.io/name", "app"];

/// The running gateway, as enrolment sees it.
#[derive(Debug)]
pub struct RunningGateway {
    /// Opened by the first pod.
    pub kernel: Arc<Kernel>,
    /// Who serves pods.
    pub workers: Arc<Workers>,
    /// What pods are called in logs and metrics.
    pub names: Arc<Pods>,
    /// Keeps their listeners.
    pub holder: Arc<Holder>,
}

impl Gateway for RunningGateway {
    fn tag(&self, listener: BorrowedFd<'_>) -> Result<(), String> {
        self.kernel.open()?.tag_listener(listener).map_err(|e| e.to_string())
    }

    fn serve(&self, pod: &Pod, captured: &CapturedPod, sockets: PodSockets, netns: &Netns) {
        let workload = WORKLOAD_LABELS.iter().find_map(|label| pod.labels.get(*label));
        let name = PodName {
            namespace: Arc::clone(&pod.key.namespace),
            name: Arc::clone(&pod.key.name),
            service: workload.map_or_else(|| Arc::clone(&pod.key.name), |w| w.as_str().into()),
        };
        self.names.insert(captured.id, name);
        self.holder.keep_pod(captured.netns_cookie, std::iter::once(&sockets.v4).chain(&sockets.v6));
        self.workers.add_pod(PodListener {
            pod: captured.id,
            sockets: std::iter::once(sockets.v4).chain(sockets.v6).collect(),
            netns_cookie: captured.netns_cookie,
            netns: netns.file(),
        });
    }

    fn steer(&self, pod: &CapturedPod) -> Result<(), String> {
        let entry = PodEntry {
            netns_cookie: pod.netns_cookie,
            pod: pod.id,
            port_v4: pod.ports.v4,
            port_v6: pod.ports.v6.unwrap_or(0),
            ip_v4: pod.addresses.v4,
            ip_v6: pod.addresses.v6,
        };
        let steered = self.kernel.open()?.enroll(&entry).map_err(|e| e.to_string());
        if steered.is_err() {
            self.holder.drop_pod(pod.netns_cookie);
        }
        steered
    }

    fn has_foreign_entries(&self) -> bool {
        self.kernel.has_foreign_pods()
    }

    fn release(&self, netns_cookie: u64) -> Result<(), String> {
        self.holder.drop_pod(netns_cookie);
        match self.kernel.open()?.unenroll(netns_cookie) {
            // The entry is the successor's, and this process drains.
            Ok(()) | Err(DatapathError::Superseded) => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    }

    fn close(&self, pod: PodId) {
        self.workers.remove_pod(pod);
        self.names.remove(pod);
    }
}
