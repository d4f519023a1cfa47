//! Pure: NodeReport, by which a node tells the cluster what it captures and what not.
//!
//! The CRD has no `status` subresource: the node is the only writer, and writes all of it in one request.

use serde::{Deserialize, Serialize};

/// weir.dev/v1alpha1 NodeReport: cluster-scoped, named after its node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeReport {
    /// Always `weir.dev/v1alpha1`.
    pub api_version: String,
    /// Always `NodeReport`.
    pub kind: String,
    /// Its name, and the node that owns it.
    pub metadata: NodeReportMeta,
    /// What the node found.
    pub status: NodeReportStatus,
}

/// The metadata that a node writes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeReportMeta {
    /// Name of the node.
    pub name: String,
    /// The Node: with it goes the report.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub owner_references: Vec<NodeReference>,
}

/// A Node that owns a report.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeReference {
    /// Always `v1`.
    pub api_version: String,
    /// Always `Node`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Tells it from a Node that had the name before.
    pub uid: String,
}

/// NodeReportStatus.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeReportStatus {
    /// Version of Weir.
    pub version: String,
    /// Counts the configurations that this process has served from.
    pub config_generation: u64,
    /// Whether the node serves.
    pub ready: bool,
    /// Why no pod can be captured at all; absent when pods can be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub datapath_error: Option<String>,
    /// How old what the node knows of the API server was, seconds.
    pub api_age_seconds: u64,
    /// When this was written, RFC 3339.
    pub reported_at: String,
    /// How many pods are in which state.
    pub counts: PodCounts,
    /// Each pod for which capture was asked, those that are not captured first.
    pub pods: Vec<ReportedPod>,
    /// Pods that the list has no room for.
    pub pods_omitted: u64,
}

/// How many pods of the node are in which state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodCounts {
    /// Their connections go through Weir.
    pub captured: u64,
    /// They will, once the pod has a network.
    pub pending: u64,
    /// They should, but cannot.
    pub refused: u64,
    /// Left alone for a reason.
    pub skipped: u64,
}

/// A pod for which capture was asked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ReportedPod {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Tells it from a pod that had the name before.
    pub uid: String,
    /// `captured`, `pending`, `refused` or `skipped`.
    pub state: String,
    /// One word, when refused or skipped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// For humans, when refused or skipped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

impl NodeReport {
    /// The version of its API.
    pub const API_VERSION: &'static str = "weir.dev/v1alpha1";
    /// Its kind.
    pub const KIND: &'static str = "NodeReport";
    /// Its plural, as in the API's paths.
    pub const PLURAL: &'static str = "nodereports";

    /// The report of `node`, which has `uid`; empty where it is not known.
    pub fn new(node: &str, uid: &str, status: NodeReportStatus) -> Self {
        let owner = NodeReference {
            api_version: "v1".to_owned(),
            kind: "Node".to_owned(),
            name: node.to_owned(),
            uid: uid.to_owned(),
        };
        let owner_references = if uid.is_empty() { Vec::new() } else { vec![owner] };
        Self {
            api_version: Self::API_VERSION.to_owned(),
            kind: Self::KIND.to_owned(),
            metadata: NodeReportMeta { name: node.to_owned(), owner_references },
            status,
        }
    }
}

impl NodeReportStatus {
    /// Takes in `pods`, at most `pods_max` of them by name; all are counted.
    pub fn with_pods(mut self, mut pods: Vec<ReportedPod>, pods_max: usize) -> Self {
        self.counts = PodCounts::default();
        for pod in &pods {
            match pod.state.as_str() {
                "captured" => self.counts.captured += 1,
                "pending" => self.counts.pending += 1,
                "refused" => self.counts.refused += 1,
                _ => self.counts.skipped += 1,
            }
        }
        pods.sort_by_key(|pod| pod.state == "captured");
        self.pods_omitted = pods.len().saturating_sub(pods_max) as u64;
        pods.truncate(pods_max);
        self.pods = pods;
        self
    }

    /// True when the pods or what they depend on are told otherwise than in `other`, whatever the numbers
    /// that grow by themselves say.
    pub fn differs(&self, other: &Self) -> bool {
        let facts = |status: &Self| Self {
            config_generation: 0,
            api_age_seconds: 0,
            reported_at: String::new(),
            ..status.clone()
        };
        facts(self) != facts(other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(name: &str, state: &str) -> ReportedPod {
        ReportedPod { name: name.into(), state: state.into(), ..ReportedPod::default() }
    }

    #[test]
    fn pods_that_are_not_captured_come_first_and_none_is_uncounted() {
        let pods = vec![pod("a", "captured"), pod("b", "skipped"), pod("c", "captured"), pod("d", "refused")];
        let status = NodeReportStatus::default().with_pods(pods, 3);
        let names: Vec<&str> = status.pods.iter().map(|pod| pod.name.as_str()).collect();
        assert_eq!((names, status.pods_omitted), (vec!["b", "d", "a"], 1));
        assert_eq!(status.counts, PodCounts { captured: 2, pending: 0, refused: 1, skipped: 1 });
    }

    #[test]
    fn the_passing_of_time_is_no_news() {
        let first = NodeReportStatus { reported_at: "a".into(), ..NodeReportStatus::default() };
        let later = NodeReportStatus {
            reported_at: "b".into(),
            config_generation: 9,
            api_age_seconds: 3,
            ..NodeReportStatus::default()
        };
        assert!(!later.differs(&first));
        assert!(later.clone().with_pods(vec![pod("a", "captured")], 9).differs(&first));
    }

    #[test]
    fn a_report_is_written_in_the_words_of_the_api() {
        let pods = vec![ReportedPod { reason: Some("HostNetwork".into()), ..pod("web", "skipped") }];
        let report = NodeReport::new("n1", "", NodeReportStatus::default().with_pods(pods, 9));
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["apiVersion"], "weir.dev/v1alpha1");
        assert_eq!(json["metadata"]["name"], "n1");
        assert_eq!(json["status"]["pods"][0]["reason"], "HostNetwork");
        assert_eq!(json["status"]["counts"]["skipped"], 1);
        assert_eq!(serde_json::from_value::<NodeReport>(json).unwrap(), report);
    }

    #[test]
    fn a_report_belongs_to_its_node_and_goes_with_it() {
        let of = |uid| serde_json::to_value(NodeReport::new("n1", uid, NodeReportStatus::default())).unwrap();
        let owner = serde_json::json!([{"apiVersion": "v1", "kind": "Node", "name": "n1", "uid": "u-1"}]);
        assert_eq!(of("u-1")["metadata"]["ownerReferences"], owner);
        assert!(of("")["metadata"].get("ownerReferences").is_none(), "of a node that is not known yet");
    }
}
