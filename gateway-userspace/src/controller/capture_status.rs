//! Pure: the annotation by which a pod says whether its connections go through Weir, from the reports of nodes.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::control::config::meta::ObjectKey;
use crate::control::config::node_report::{NodeReport, ReportedPod};

/// What is to stand on one pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaptureStatus {
    /// The pod that is meant, and no other of its name.
    pub uid: String,
    /// The annotation.
    pub text: String,
}

/// What the nodes report of their pods.
#[derive(Debug, Default)]
pub struct CaptureStatuses {
    /// By the node that says so: a pod of a StatefulSet has its name on another node when it comes again.
    pods: BTreeMap<ObjectKey, BTreeMap<String, CaptureStatus>>,
    nodes: BTreeMap<String, Vec<ObjectKey>>,
}

impl CaptureStatuses {
    /// Takes the newest report of a node, or that there is none any more; says which pods differ.
    pub fn take(&mut self, node: &str, report: Option<&Value>) -> Vec<ObjectKey> {
        // A report of another version of the CRD says nothing.
        let report = report.and_then(|value| serde_json::from_value::<NodeReport>(value.clone()).ok());
        let pods = report.map(|report| report.status.pods).unwrap_or_default();
        let keys: Vec<ObjectKey> = pods.iter().map(|pod| ObjectKey::new(&pod.namespace, &pod.name)).collect();
        let mut changed = Vec::new();
        for (key, pod) in keys.iter().zip(&pods) {
            let said = self.pods.entry(key.clone()).or_default();
            let status = status(pod);
            if said.get(node) != Some(&status) {
                said.insert(node.to_owned(), status);
                changed.push(key.clone());
            }
        }
        let before = self.nodes.remove(node).unwrap_or_default();
        for key in before.into_iter().filter(|key| !keys.contains(key)) {
            let Some(said) = self.pods.get_mut(&key) else { continue };
            said.remove(node);
            if said.is_empty() {
                self.pods.remove(&key);
            }
            changed.push(key);
        }
        if !keys.is_empty() {
            self.nodes.insert(node.to_owned(), keys);
        }
        changed
    }

    /// What is to stand on the pod with this UID; nothing where no node speaks of it.
    pub fn get(&self, pod: &ObjectKey, uid: &str) -> Option<&CaptureStatus> {
        self.pods.get(pod)?.values().find(|status| status.uid == uid)
    }

    /// Whether a node speaks of a pod of this name.
    pub fn has(&self, pod: &ObjectKey) -> bool {
        self.pods.contains_key(pod)
    }
}

fn status(pod: &ReportedPod) -> CaptureStatus {
    let text = match &pod.reason {
        Some(reason) => format!("{}:{reason}", pod.state),
        None => pod.state.clone(),
    };
    CaptureStatus { uid: pod.uid.clone(), text }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn report(pods: &[(&str, &str, Option<&str>)]) -> Value {
        let pod = |(name, state, reason): &(&str, &str, Option<&str>)| json!({"namespace": "shop", "name": name, "uid": format!("u-{name}"), "state": state, "reason": reason});
        json!({
            "apiVersion": "weir.dev/v1alpha1", "kind": "NodeReport", "metadata": {"name": "n1"},
            "status": {"pods": pods.iter().map(pod).collect::<Vec<_>>()},
        })
    }

    fn key(name: &str) -> ObjectKey {
        ObjectKey::new("shop", name)
    }

    #[test]
    fn a_pod_says_what_its_node_reports_and_why() {
        let mut statuses = CaptureStatuses::default();
        let first = report(&[("a", "captured", None), ("b", "skipped", Some("HostNetwork"))]);
        assert_eq!(statuses.take("n1", Some(&first)), [key("a"), key("b")]);
        assert_eq!(statuses.get(&key("b"), "u-b").unwrap().text, "skipped:HostNetwork");
        assert_eq!(statuses.take("n1", Some(&first)), [], "nothing has changed");
        let second = report(&[("a", "captured", None)]);
        assert_eq!(statuses.take("n1", Some(&second)), [key("b")]);
        assert_eq!(statuses.get(&key("b"), "u-b"), None);
        assert_eq!(statuses.take("n1", None), [key("a")]);
    }

    #[test]
    fn a_pod_that_moved_is_what_its_new_node_says() {
        let mut statuses = CaptureStatuses::default();
        let old = report(&[("a", "captured", None)]);
        let mut new = report(&[("a", "pending", None)]);
        new["status"]["pods"][0]["uid"] = "u-next".into();
        statuses.take("n2", Some(&new));
        // The node of the one before is slow, or gone: its report comes later all the same.
        statuses.take("n1", Some(&old));
        assert_eq!(statuses.get(&key("a"), "u-next").unwrap().text, "pending");
        statuses.take("n1", None);
        assert_eq!(statuses.get(&key("a"), "u-next").unwrap().text, "pending");
        assert_eq!(statuses.get(&key("a"), "u-a"), None);
    }

    #[test]
    fn a_report_of_another_version_says_nothing() {
        let mut statuses = CaptureStatuses::default();
        assert_eq!(statuses.take("n1", Some(&json!({"status": {"pods": "many"}}))), []);
    }
}
