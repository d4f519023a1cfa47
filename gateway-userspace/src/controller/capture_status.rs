//! Pure: the annotation by which a pod says whether its connections go through Weir, from the reports of nodes.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::control::config::meta::ObjectKey;
use crate::control::config::node_report::{NodeReport, ReportedPod};

/// On a pod: `captured`, `pending`, `refused:<reason>` or `skipped:<reason>`.
pub const CAPTURE_STATUS_ANNOTATION: &str = "weir.dev/capture-status";

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
    pods: BTreeMap<ObjectKey, (String, CaptureStatus)>,
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
            let entry = (node.to_owned(), status(pod));
            if self.pods.get(key) != Some(&entry) {
                self.pods.insert(key.clone(), entry);
                changed.push(key.clone());
            }
        }
        let before = self.nodes.remove(node).unwrap_or_default();
        for key in before.into_iter().filter(|key| !keys.contains(key)) {
            // A pod of the same name may be on another node by now.
            if self.pods.get(&key).is_some_and(|(of, _)| of == node) {
                self.pods.remove(&key);
                changed.push(key);
            }
        }
        if !keys.is_empty() {
            self.nodes.insert(node.to_owned(), keys);
        }
        changed
    }

    /// What is to stand on a pod; nothing where no node speaks of it.
    pub fn get(&self, pod: &ObjectKey) -> Option<&CaptureStatus> {
        self.pods.get(pod).map(|(_, status)| status)
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
        assert_eq!(statuses.get(&key("b")).unwrap().text, "skipped:HostNetwork");
        assert_eq!(statuses.take("n1", Some(&first)), [], "nothing has changed");
        let second = report(&[("a", "captured", None)]);
        assert_eq!(statuses.take("n1", Some(&second)), [key("b")]);
        assert_eq!(statuses.get(&key("b")), None);
        assert_eq!(statuses.take("n1", None), [key("a")]);
    }

    #[test]
    fn a_pod_that_moved_is_what_its_new_node_says() {
        let mut statuses = CaptureStatuses::default();
        statuses.take("n1", Some(&report(&[("a", "captured", None)])));
        statuses.take("n2", Some(&report(&[("a", "pending", None)])));
        assert_eq!(statuses.take("n1", None), []);
        assert_eq!(statuses.get(&key("a")).unwrap().text, "pending");
    }

    #[test]
    fn a_report_of_another_version_says_nothing() {
        let mut statuses = CaptureStatuses::default();
        assert_eq!(statuses.take("n1", Some(&json!({"status": {"pods": "many"}}))), []);
    }
}
