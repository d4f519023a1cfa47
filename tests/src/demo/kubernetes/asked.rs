//! What each process of Weir has asked the API server for, from the audit log of a cluster that was made for the tests.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde_json::Value;

/// The log, from where it ended when this was made.
#[derive(Debug)]
pub(super) struct AuditLog {
    file: PathBuf,
    from: usize,
}

/// Of one process.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Asked {
    /// Lists, one for each page.
    pub(super) lists: u64,
    /// Watches that began.
    pub(super) watches: u64,
    /// What was listed or watched, each once: with whom it is for and what is selected.
    pub(super) things: BTreeSet<String>,
}

impl AuditLog {
    /// From its beginning. None in a developer's own cluster.
    pub(super) fn find() -> Option<Self> {
        Some(Self { file: std::env::var_os("WEIR_AUDIT_LOG")?.into(), from: 0 })
    }

    /// From now on.
    pub(super) fn onward(&self) -> Self {
        let from = std::fs::read(&self.file).map_or(0, |bytes| bytes.len());
        Self { file: self.file.clone(), from }
    }

    /// By account and address.
    pub(super) fn asked(&self) -> BTreeMap<String, Asked> {
        let mut all: BTreeMap<String, Asked> = BTreeMap::new();
        let bytes = std::fs::read(&self.file).unwrap_or_default();
        let text = String::from_utf8_lossy(bytes.get(self.from..).unwrap_or_default());
        for event in text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
            let word = |at: &Value| at.as_str().unwrap_or_default().to_owned();
            let user = word(&event["user"]["username"]);
            let who = format!(
                "{} at {}",
                user.rsplit(':').next().unwrap_or_default(),
                word(&event["sourceIPs"][0])
            );
            let about = &event["objectRef"];
            let asked = all.entry(who).or_default();
            match (event["verb"].as_str(), event["stage"].as_str()) {
                (Some("list"), Some("ResponseComplete")) => asked.lists += 1,
                (Some("watch"), Some("ResponseStarted")) => asked.watches += 1,
                _ => continue,
            }
            let (resource, namespace, name) =
                (word(&about["resource"]), word(&about["namespace"]), word(&about["name"]));
            let (agent, uri) = (word(&event["userAgent"]), word(&event["requestURI"]));
            asked.things.insert(format!("{agent} {resource}/{namespace}/{name} {}", selected(&uri)));
        }
        all
    }
}

/// The selectors of a request.
fn selected(uri: &str) -> String {
    let query = uri.split_once('?').map_or("", |(_, query)| query);
    let mut selectors: Vec<&str> = query.split('&').filter(|pair| pair.contains("Selector=")).collect();
    selectors.sort_unstable();
    selectors.join(" ")
}
