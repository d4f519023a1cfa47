//! A client pod that calls one URL without end, and what came of its calls.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Deserialize;

use super::Cluster;
use crate::wait::wait_for;

/// Where the pod says its counts.
const COUNTS_URL: &str = "http://127.0.0.1:8081/";
const READY_WITHIN: Duration = Duration::from_secs(60);

/// What came of a load so far.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Counts {
    pub asked: u64,
    /// Status 200 and a whole body.
    pub good: u64,
    /// Another status, or none.
    pub failed: u64,
    /// Why, and how often.
    pub why: BTreeMap<String, u64>,
    /// Which pods answered, and how often.
    pub pods: BTreeMap<String, u64>,
    /// Slowest good answer, in milliseconds.
    pub slowest_ms: u64,
    /// Longest time without a good answer, in milliseconds.
    pub silent_ms: u64,
}

/// A running client pod.
#[derive(Debug)]
pub struct Load<'a> {
    cluster: &'a Cluster,
    namespace: &'a str,
    name: &'a str,
    node: String,
    address: String,
}

impl<'a> Load<'a> {
    /// Starts it on a node; `options` are those of `pod load`. Ends once it has called with success.
    pub fn start(
        cluster: &'a Cluster,
        (namespace, name): (&'a str, &'a str),
        node: &str,
        options: &[&str],
        url: &str,
    ) -> Result<Self> {
        let words: Vec<&str> = std::iter::once("load").chain(options.iter().copied()).chain([url]).collect();
        cluster.make_pod((namespace, name), name, node, &words)?;
        cluster.pods_ready(namespace, &format!("app={name}"), READY_WITHIN)?;
        let pod = cluster.get(&["--namespace", namespace, "pod", name])?;
        let address = pod["status"]["podIP"].as_str().context("the pod has an address")?.to_owned();
        let load = Self { cluster, namespace, name, node: node.to_owned(), address };
        wait_for(&format!("a good answer to {name}"), READY_WITHIN, || {
            load.counts().ok().filter(|counts| counts.good > 0)
        })?;
        Ok(load)
    }

    /// So far.
    pub fn counts(&self) -> Result<Counts> {
        let output = self.cluster.exec(self.namespace, self.name, &["/pod", "get", COUNTS_URL])?;
        serde_json::from_slice(&output.stdout)
            .with_context(|| format!("no counts: {}", String::from_utf8_lossy(&output.stderr)))
    }

    /// Good answers so far, asked for on its node: without the API server there is no other way.
    pub fn good_on_node(&self) -> Result<u64> {
        let url = format!("http://{}:8081/", self.address);
        let text = self.cluster.on_node(&self.node, &["curl", "--silent", "--max-time", "2", &url])?;
        let counts: Counts = serde_json::from_str(&text).context("no counts")?;
        Ok(counts.good)
    }

    /// Waits until it has made so many more good calls; what happened meanwhile and before.
    pub fn more(&self, good: u64, within: Duration) -> Result<Counts> {
        let from = self.counts()?.good;
        wait_for(&format!("{good} more good answers to {}", self.name), within, || {
            self.counts().ok().filter(|counts| counts.good >= from + good)
        })
    }

    /// Removes the pod; the last counts.
    pub fn end(self) -> Result<Counts> {
        let counts = self.counts()?;
        let words = ["--namespace", self.namespace, "delete", "pod", self.name, "--now"];
        self.cluster.kubectl(&words)?;
        Ok(counts)
    }
}
