//! Where desired state and the pods to capture come from: a folder of YAML, or an API server.

use std::io;
use std::time::Duration;

use anyhow::anyhow;
use tokio::sync::mpsc::Sender;
use tokio::sync::watch;

use crate::bootstrap::{Capture, NodeSettings, Settings, Source};
use crate::capture::kubernetes::{Handed, KubernetesPods};
use crate::capture::standalone::StandalonePods;
use crate::capture::{PodEvent, PodSource};
use crate::control::config::captured_pod::CapturedPod;
use crate::control::config::pod::Pod;
use crate::control::config::resources::{Objects, ResourceSet};
use crate::control::config::service::Namespace;
use crate::control::provider::kubernetes::freshness::{Freshness, Standing};
use crate::control::provider::kubernetes::{self, Kubernetes, client};
use crate::control::provider::{Desired, file};

/// Between two words about an API server that says nothing.
const WAITING_INTERVAL: Duration = Duration::from_secs(10);

/// Desired state, and what tells the pods.
pub struct Provided {
    /// The newest state. Something is known already.
    pub desired: watch::Receiver<Desired>,
    /// Which pods are to be captured.
    pub pods: PodFeed,
    /// The cluster, where there is one.
    pub cluster: Option<Cluster>,
}

/// The cluster that this process serves a node of.
#[derive(Clone)]
pub struct Cluster {
    /// Asks the API server, from the control runtime.
    pub client: kube::Client,
    /// How new the desired state is.
    pub freshness: Freshness,
    /// The desired state, which has the Node.
    pub desired: watch::Receiver<Desired>,
    /// Pods of the node, its own among them.
    pub pods: watch::Receiver<Objects<Pod>>,
    /// Which node, and how.
    pub settings: NodeSettings,
}

impl Provided {
    /// Opens the source. That of a cluster is waited for until something is known, from the API server
    /// or from before a restart: a process that knows nothing must replace none that does.
    ///
    /// # Errors
    /// When there is no folder, or no way to an API server.
    pub async fn open(settings: &Settings) -> anyhow::Result<Self> {
        match &settings.source {
            Source::Folder(folder) => {
                let desired = file::follow(folder, &settings.limits)?;
                let captured = settings.capture == Capture::Auto;
                let pods =
                    if captured { desired.borrow().set.captured_pods.clone() } else { Objects::default() };
                let pods = PodFeed::Folder { captured, pods: watch::channel(pods).0 };
                Ok(Self { desired, pods, cluster: None })
            }
            Source::Node(node) => Self::of_node(node, settings).await,
        }
    }

    async fn of_node(node: &NodeSettings, settings: &Settings) -> anyhow::Result<Self> {
        let config = client::config(node.kubeconfig.as_deref()).await?;
        let client = client::client(&config, client::Agent::Node)?;
        let follow = kubernetes::Settings {
            node_name: node.node_name.clone(),
            state_dir: Some(node.state_dir.clone()),
            limits: settings.limits.api.clone(),
        };
        let Kubernetes { mut desired, pods, freshness } = Kubernetes::start(config, follow)?;
        wait_until_known(&mut desired, &freshness).await?;
        let namespaces = watch::channel(desired.borrow().set.namespaces.clone()).0;
        let settings = node.clone();
        let cluster = Cluster { client, freshness, desired: desired.clone(), pods: pods.clone(), settings };
        let pods = PodFeed::Node { pods, namespaces, settings: Box::new(node.clone()) };
        Ok(Self { desired, pods, cluster: Some(cluster) })
    }
}

/// Waits for the first state, and says what it waits for.
async fn wait_until_known(
    desired: &mut watch::Receiver<Desired>,
    freshness: &Freshness,
) -> anyhow::Result<()> {
    loop {
        if let Ok(known) = tokio::time::timeout(WAITING_INTERVAL, desired.changed()).await {
            return known.map_err(|_| anyhow!("the API server is not followed any more"));
        }
        let kinds = freshness.kinds();
        let missing = kinds.iter().find(|kind| kind.standing == Standing::Unknown);
        let why = missing.and_then(|kind| kind.error.as_deref()).unwrap_or("no answer yet");
        let kind = missing.map_or("", |kind| kind.kind.as_str());
        tracing::warn!(kind, "waiting for the API server: {why}");
    }
}

/// Tells which pods are to be captured.
#[derive(Debug)]
pub enum PodFeed {
    /// Those that a folder of YAML names.
    Folder {
        /// False: none, whatever the folder says.
        captured: bool,
        /// Those of the newest state.
        pods: watch::Sender<Objects<CapturedPod>>,
    },
    /// Those of the node, by labels.
    Node {
        /// Pods of the node.
        pods: watch::Receiver<Objects<Pod>>,
        /// Namespaces of the newest state.
        namespaces: watch::Sender<Objects<Namespace>>,
        /// Which pods, and where they are.
        settings: Box<NodeSettings>,
    },
}

impl PodFeed {
    /// Takes in a newer state.
    pub fn update(&self, set: &ResourceSet) {
        match self {
            Self::Folder { captured: true, pods } => drop(pods.send_replace(set.captured_pods.clone())),
            Self::Folder { captured: false, .. } => {}
            Self::Node { namespaces, .. } => {
                namespaces.send_if_modified(|known| {
                    let changed = !set.namespaces.changes_since(known).is_empty();
                    if changed {
                        known.clone_from(&set.namespaces);
                    }
                    changed
                });
            }
        }
    }

    /// True when a folder names pods: without the datapath its operator does not get what was asked for.
    pub fn needs_datapath(&self) -> bool {
        matches!(self, Self::Folder { pods, .. } if !pods.borrow().is_empty())
    }

    /// The source of pods.
    ///
    /// # Errors
    /// When there can be no thread that looks for them.
    pub fn follow(&self) -> io::Result<PodsOfSource> {
        match self {
            Self::Folder { pods, .. } => Ok(PodsOfSource::Folder(StandalonePods::new(pods.subscribe()))),
            Self::Node { pods, namespaces, settings } => {
                let (selection, paths) = (settings.selection.clone(), settings.paths.clone());
                let pods = KubernetesPods::start(pods.clone(), namespaces.subscribe(), selection, paths)?;
                Ok(PodsOfSource::Node(Box::new(pods)))
            }
        }
    }
}

impl PodsOfSource {
    /// Takes places of pods that need not be looked for; `None` where a folder names them.
    pub fn hands(&self) -> Option<Sender<Handed>> {
        match self {
            Self::Folder(_) => None,
            Self::Node(pods) => Some(pods.hands()),
        }
    }
}

/// Pods of either source.
#[derive(Debug)]
pub enum PodsOfSource {
    /// Of a folder.
    Folder(StandalonePods),
    /// Of a node.
    Node(Box<KubernetesPods>),
}

impl PodSource for PodsOfSource {
    async fn next(&mut self) -> Option<PodEvent> {
        match self {
            Self::Folder(pods) => pods.next().await,
            Self::Node(pods) => pods.next().await,
        }
    }
}
