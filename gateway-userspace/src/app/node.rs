//! What a process does that serves a node of a cluster: it reports, gives way to a next one, and is uninstalled.
//!
//! The process of a DaemonSet's pod that was replaced stays until its pod is ended: a container that ends by
//! itself is started again, and would take over in turn. Meanwhile it goes on serving Gateways at its pod's
//! address, which nobody can take over.

use std::cell::Cell;
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use k8s_openapi::api::apps::v1::DaemonSet;
use kube::Api;
use kube::api::{ApiResource, DynamicObject, PartialObjectMeta, Patch, PatchParams};
use tokio::sync::mpsc::Sender;

use super::cni::{self, Cni};
use super::handover::{self, Predecessor};
use super::pods::RunningGateway;
use super::source::Cluster;
use super::{Bound, Parts, lock};
use crate::bootstrap::NodeSettings;
use crate::capture::enrol::Enrolment;
use crate::capture::kubernetes::Handed;
use crate::capture::pod_table::PodStatus;
use crate::control::config::meta::ObjectKey;
use crate::control::config::node_report::{NodeReport, NodeReportStatus, ReportedPod};
use crate::control::provider::kubernetes::freshness::Freshness;
use crate::controller::refusal::{self, Verb};
use crate::drain::{Cause, Drain};
use crate::ebpf::{Datapath, DatapathError};
use crate::limits::{NODE_REPORT_INTERVAL, NODE_REPORT_PODS_MAX, NODE_REPORT_REFRESH};

/// Who writes reports, for the API server.
const FIELD_MANAGER: &str = "weir-node";

/// Longest wait for one answer of the API server.
const ASK_TIMEOUT: Duration = Duration::from_secs(3);

/// How often it is asked again at the end after a refusal, and when.
const REFUSED_AGAIN: u32 = 2;
const REFUSED_PAUSE: Duration = Duration::from_secs(1);

/// How long another process of Weir may take to end, where both are uninstalled.
const OTHER_ENDS_WITHIN: Duration = Duration::from_secs(20);
const OTHER_INTERVAL: Duration = Duration::from_millis(200);

/// Between two looks for the process that has taken over, and how many times it may be missed.
const SUCCESSOR_INTERVAL: Duration = Duration::from_secs(2);
const SUCCESSOR_MISSED_MAX: u32 = 8;

/// What becomes of what Weir has in the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It stays, and connects go by the fail policy of their Service, until a next process comes.
    Stays,
    /// No next process will come.
    Uninstalled,
}

/// The DaemonSet, as far as it can be seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Installation {
    There,
    Deleted,
    /// The API server does not say: the role is not there, or not any more.
    Forbidden,
    /// The API server does not know who asks: the account is not there any more, or the pod, or the token is old.
    Unauthorized,
    Unknown,
}

impl Installation {
    /// Whether this process may look at it; `None` where the API server did not answer.
    fn is_seen(self) -> Option<bool> {
        match self {
            Self::There | Self::Deleted => Some(true),
            Self::Forbidden => Some(false),
            Self::Unauthorized | Self::Unknown => None,
        }
    }

    /// What the API server said to a question for the DaemonSet.
    fn of(answer: &Result<PartialObjectMeta<DaemonSet>, kube::Error>) -> Self {
        match answer {
            Ok(set) if set.metadata.deletion_timestamp.is_some() => Self::Deleted,
            Ok(_) => Self::There,
            Err(kube::Error::Api(status)) => match status.code {
                404 => Self::Deleted,
                401 => Self::Unauthorized,
                403 => Self::Forbidden,
                _ => Self::Unknown,
            },
            Err(_) => Self::Unknown,
        }
    }

    /// What it means for what Weir has in the kernel. An uninstall deletes role and account together with the
    /// DaemonSet: a process that might look at it once, and may not any more, sees that. The token of a pod that
    /// was deleted by force is worth nothing, too, while its DaemonSet makes the next: such a pod is gone.
    fn ended(self, might_look: Option<bool>, has_pod: bool) -> Ended {
        match self {
            Self::Deleted => Ended::Uninstalled,
            Self::Forbidden if might_look == Some(true) => Ended::Uninstalled,
            Self::Unauthorized if might_look == Some(true) && has_pod => Ended::Uninstalled,
            Self::There | Self::Forbidden | Self::Unauthorized | Self::Unknown => Ended::Stays,
        }
    }
}

/// One node of a cluster.
pub struct Node {
    cluster: Cluster,
    /// Whether this process may look at the DaemonSet; `None` until the API server has answered.
    may_look: Cell<Option<bool>>,
}

impl Node {
    /// That of this process.
    pub fn new(cluster: Cluster) -> Self {
        Self { cluster, may_look: Cell::new(None) }
    }

    /// How new desired state is.
    pub fn freshness(&self) -> &Freshness {
        &self.cluster.freshness
    }

    /// Answers the runtime's plugin, where the node has one.
    pub(super) fn answer_runtime(&self, parts: &Parts, hands: Option<Sender<Handed>>) -> Option<Cni> {
        let settings = self.cluster.settings.cni.clone()?;
        Cni::start(settings, &self.cluster, parts.pods.clone(), hands?)
            .inspect_err(
                |error| tracing::error!(%error, "the runtime's plugin is not answered: pods start without"),
            )
            .ok()
    }

    /// Keeps the node's report true, for as long as it is polled.
    pub(super) async fn report(self: Rc<Self>, parts: Parts) {
        let mut tick = tokio::time::interval(NODE_REPORT_INTERVAL);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut written: Option<(Instant, NodeReportStatus, String)> = None;
        let mut failed = None;
        loop {
            // A process that starts without an API server has to know it, too, once there is one.
            if self.may_look.get().is_none() {
                self.may_look.set(self.installation().await.is_seen());
            }
            tick.tick().await;
            let (status, uid) = (self.status(&parts), self.uid());
            let due = written.as_ref().is_none_or(|(when, old, owner)| {
                status.differs(old) || *owner != uid || when.elapsed() >= NODE_REPORT_REFRESH
            });
            if !due {
                continue;
            }
            let mut answer = self.write(&status, &uid).await;
            // Some clusters let only those name an owner later who may delete, which no node may.
            if answer.as_ref().is_err_and(|error| !uid.is_empty() && error.contains("ownerRef")) {
                answer = self.write(&status, "").await;
            }
            match answer {
                Ok(()) => {
                    written = Some((Instant::now(), status, uid));
                    failed = None;
                }
                Err(error) if failed.as_deref() == Some(&*error) => {}
                Err(error) => {
                    tracing::warn!("the node's report is not written: {error}");
                    failed = Some(error);
                }
            }
        }
    }

    /// Of the Node; empty while it is not known.
    fn uid(&self) -> String {
        let desired = self.cluster.desired.borrow();
        let node = desired.set.nodes.get(&ObjectKey::new("", &self.cluster.settings.node_name));
        node.map(|node| node.object.metadata.uid.clone()).unwrap_or_default()
    }

    fn status(&self, parts: &Parts) -> NodeReportStatus {
        let status = NodeReportStatus {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            config_generation: parts.store.load().generation,
            ready: parts.readiness.is_ready(),
            datapath_error: parts.kernel.error(),
            api_age_seconds: self.cluster.freshness.age().unwrap_or_default().as_secs(),
            reported_at: jiff::Timestamp::now().to_string(),
            ..NodeReportStatus::default()
        };
        let pods = parts.pods.rows().into_iter().map(reported).collect();
        status.with_pods(pods, NODE_REPORT_PODS_MAX)
    }

    async fn write(&self, status: &NodeReportStatus, uid: &str) -> Result<(), String> {
        let kind = ApiResource {
            group: "weir.dev".to_owned(),
            version: "v1alpha1".to_owned(),
            api_version: NodeReport::API_VERSION.to_owned(),
            kind: NodeReport::KIND.to_owned(),
            plural: NodeReport::PLURAL.to_owned(),
        };
        let reports: Api<DynamicObject> = Api::all_with(self.cluster.client.clone(), &kind);
        let name = &self.cluster.settings.node_name;
        let report = NodeReport::new(name, uid, status.clone());
        let apply = PatchParams::apply(FIELD_MANAGER).force();
        let patch = Patch::Apply(&report);
        let writing = reports.patch(name, &apply, &patch);
        match tokio::time::timeout(ASK_TIMEOUT, writing).await {
            Ok(Err(error)) => {
                // An apply of what is not there yet takes both rights, and the server names the one that lacks.
                let verb =
                    if error.to_string().contains("cannot create") { Verb::Create } else { Verb::Patch };
                let why = refusal::explain(verb, &kind.group, &kind.plural, &error);
                let is_unknown = matches!(&error, kube::Error::Api(status) if status.code == 404);
                let fix =
                    if is_unknown { "; install the CRDs of this version: the chart weir-crds" } else { "" };
                Err(format!("{why}{fix}"))
            }
            Ok(Ok(_)) => Ok(()),
            Err(_) => Err("the API server does not answer".to_owned()),
        }
    }

    /// Once the drain was asked for: what comes before it.
    pub(super) async fn end(
        &self,
        cause: Cause,
        parts: &Parts,
        enrolment: &mut Enrolment<RunningGateway>,
        drain: &mut Drain,
        bound: &Bound,
    ) -> Ended {
        let installation = match cause {
            Cause::Asked => {
                parts.kernel.retire();
                self.last_look().await
            }
            Cause::Replaced => {
                parts.kernel.leave();
                enrolment.hand_over();
                tracing::info!(
                    "another process serves this node's pods: Gateways are served here until the end"
                );
                // Both end at an uninstall, and who ends last leaves nothing behind.
                tokio::select! {
                    () = drain.asked() => self.last_look().await,
                    () = successor_is_gone(&bound.admin_socket) => {
                        tracing::warn!("the process that took over is gone: ending, to start again");
                        Installation::There
                    }
                }
            }
        };
        let _leaving = parts.readiness.block("the end: draining");
        if matches!(cause, Cause::Asked) {
            // The last word, until a next process has one.
            if let Err(error) = self.write(&self.status(parts), &self.uid()).await {
                tracing::debug!("the last report is not written: {error}");
            }
        }
        let has_ports = lock(&parts.ports).open().next().is_some();
        if has_ports && !self.cluster.settings.drain_delay.is_zero() {
            tracing::info!(delay = ?self.cluster.settings.drain_delay, "Gateways are served until nobody is sent here");
            tokio::time::sleep(self.cluster.settings.drain_delay).await;
        }
        // One that was deleted to be made anew may be there by now.
        if installation == Installation::Deleted && self.installation().await == Installation::There {
            return Ended::Stays;
        }
        installation.ended(self.may_look.get(), self.has_pod())
    }

    /// Whether this process's pod is there: it ends in good order then.
    fn has_pod(&self) -> bool {
        let settings = &self.cluster.settings;
        let pod = ObjectKey::new(&settings.selection.own_namespace, &settings.pod_name);
        self.cluster.pods.borrow().get(&pod).is_some()
    }

    /// Before the end: a refusal is looked at again, because a Role may be made anew.
    async fn last_look(&self) -> Installation {
        let mut found = self.installation().await;
        for _ in 0..REFUSED_AGAIN {
            if !matches!(found, Installation::Forbidden | Installation::Unauthorized) {
                break;
            }
            tokio::time::sleep(REFUSED_PAUSE).await;
            found = self.installation().await;
        }
        found
    }

    /// Whether the DaemonSet is still there.
    async fn installation(&self) -> Installation {
        let settings = &self.cluster.settings;
        if settings.daemon_set.is_empty() {
            return Installation::Unknown;
        }
        let namespace = &settings.selection.own_namespace;
        let sets: Api<DaemonSet> = Api::namespaced(self.cluster.client.clone(), namespace);
        let asking = sets.get_metadata(&settings.daemon_set);
        let answer = tokio::time::timeout(ASK_TIMEOUT, asking).await;
        let found = answer.as_ref().map_or(Installation::Unknown, Installation::of);
        if let Ok(Err(error)) = &answer
            && found == Installation::Forbidden
            && self.may_look.get().is_none()
        {
            let why = refusal::explain(Verb::Get, "apps", "daemonsets", error);
            tracing::warn!("an uninstall would leave this node's pins behind: {why}");
        }
        tracing::debug!(daemon_set = %settings.daemon_set, ?found, "is Weir installed?");
        found
    }
}

/// Returns when nobody has been at the place of the next process for a while.
async fn successor_is_gone(admin_socket: &Path) {
    let path = handover::path_beside(admin_socket);
    let mut missed = 0;
    while missed < SUCCESSOR_MISSED_MAX {
        tokio::time::sleep(SUCCESSOR_INTERVAL).await;
        match Predecessor::find(&path) {
            Ok(Some(_)) => missed = 0,
            Ok(None) | Err(_) => missed += 1,
        }
    }
}

fn reported(row: PodStatus) -> ReportedPod {
    let (namespace, name) = row.pod.split_once('/').unwrap_or(("", &row.pod));
    ReportedPod {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        uid: row.uid,
        state: row.state.to_owned(),
        reason: row.reason.map(str::to_owned),
        message: row.message,
    }
}

/// Leaves nothing of Weir on the node. Nothing of this process may use the datapath any more.
pub fn remove_everything(pins: &Path, node: &NodeSettings) {
    let patience = Instant::now() + OTHER_ENDS_WITHIN;
    let removed = loop {
        match Datapath::cleanup(pins) {
            Err(DatapathError::AlreadyRunning { .. }) if Instant::now() < patience => {
                std::thread::sleep(OTHER_INTERVAL);
            }
            removed => break removed,
        }
    };
    match removed {
        Ok(removed) => tracing::info!(pins = removed.len(), "Weir is uninstalled: nothing of it is left"),
        Err(error) => {
            // The files are another's then, too.
            tracing::error!(%error, "Weir is uninstalled, but its pins stay: run `weir cleanup`");
            return;
        }
    }
    if let Some(settings) = &node.cni {
        cni::remove(settings);
    }
    let files = std::fs::read_dir(&node.state_dir).into_iter().flatten().flatten();
    for file in files {
        if let Err(error) = std::fs::remove_file(file.path()) {
            tracing::warn!(path = %file.path().display(), %error, "a file of Weir stays");
        }
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use kube::core::Status;

    use super::*;

    fn refused(code: u16) -> Installation {
        Installation::of(&Err(kube::Error::Api(Box::new(Status { code, ..Status::default() }))))
    }

    #[test]
    fn a_daemon_set_that_is_gone_or_goes_is_an_uninstall_and_one_that_is_there_or_unknown_is_none() {
        let mut set = PartialObjectMeta::<DaemonSet>::default();
        assert_eq!(Installation::of(&Ok(set.clone())).ended(Some(true), true), Ended::Stays);
        set.metadata.deletion_timestamp = Some(Time(jiff::Timestamp::UNIX_EPOCH));
        assert_eq!(Installation::of(&Ok(set)).ended(Some(true), true), Ended::Uninstalled);
        assert_eq!(refused(404).ended(Some(true), true), Ended::Uninstalled);
        for code in [429, 500, 503] {
            assert_eq!(refused(code).ended(Some(true), true), Ended::Stays, "{code}");
        }
    }

    #[test]
    fn a_role_that_was_taken_away_is_an_uninstall_and_one_that_never_was_is_none() {
        assert_eq!(refused(403).ended(Some(true), true), Ended::Uninstalled);
        for might_look in [Some(false), None] {
            assert_eq!(refused(403).ended(might_look, true), Ended::Stays, "{might_look:?}");
        }
    }

    #[test]
    fn an_account_that_was_taken_away_is_an_uninstall_unless_the_pod_was_deleted_by_force() {
        assert_eq!(refused(401).ended(Some(true), true), Ended::Uninstalled);
        assert_eq!(refused(401).ended(Some(true), false), Ended::Stays);
        assert_eq!(refused(401).ended(None, true), Ended::Stays);
    }
}
