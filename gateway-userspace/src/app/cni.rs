//! The node's side of the runtime's plugin: captures the pod whose sandbox is being made, and keeps the plugin in the
//! runtime's list for as long as this process answers it.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::socket::sockopt::{ReceiveTimeout, SendTimeout};
use nix::sys::socket::{Shutdown, UnixAddr, connect, setsockopt, shutdown};
use nix::sys::time::{TimeVal, TimeValLike};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::{AbortHandle, spawn_local};

use super::handover::{accept_client, inode, listen_in_place, receive, send_message, seqpacket};
use super::source::Cluster;
use crate::bootstrap::CniSettings;
use crate::capture::cni::{Ask, NAME, in_use, with_plugin, without_plugin};
use crate::capture::kubernetes::Handed;
use crate::capture::netns::Netns;
use crate::capture::pod_table::{PodTable, Refusal, State};
use crate::capture::selection::{Selection, select};
use crate::capture::{Place, PodKey};
use crate::control::config::meta::ObjectKey;
use crate::limits::{CNI_ASKS_MAX, CNI_BYTES_MAX, CNI_LOOK_INTERVAL, CNI_WAIT_MAX};

/// Longest message, bytes: a pod's namespace, name and UID, or a word.
const MESSAGE_BYTES_MAX: usize = 1024;

/// Between two looks whether a pod is captured.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);

/// Whoever connects has something to say at once.
const SAYS_WITHIN_SECONDS: i64 = 1;

/// Asks the Weir that listens at `socket` to capture a pod; what it answers.
///
/// # Errors
/// When nobody answers within `wait`.
pub fn ask(socket: &Path, ask: &Ask, netns: &OwnedFd, wait: Duration) -> io::Result<String> {
    let connection = seqpacket()?;
    let patience = TimeVal::milliseconds(i64::try_from(wait.as_millis()).unwrap_or(i64::MAX));
    setsockopt(&connection, ReceiveTimeout, &patience)?;
    setsockopt(&connection, SendTimeout, &patience)?;
    connect(connection.as_raw_fd(), &UnixAddr::new(socket)?)?;
    send_message(&connection, serde_json::to_string(ask)?.as_bytes(), &[netns.as_raw_fd()])?;
    let (answer, _) = receive(&connection, MESSAGE_BYTES_MAX)?;
    if answer.is_empty() {
        return Err(io::ErrorKind::ConnectionAborted.into());
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// Answers the plugin, and is in the runtime's list, until it is told to end.
pub(super) struct Cni {
    listener: Arc<OwnedFd>,
    path: PathBuf,
    inode: Option<u64>,
    settings: CniSettings,
    tasks: [AbortHandle; 2],
}

/// What it takes to answer.
#[derive(Clone)]
struct Answering {
    cluster: Cluster,
    table: PodTable,
    hands: mpsc::Sender<Handed>,
}

/// A pod that the plugin waits for.
struct Waiting {
    ask: Ask,
    netns: Netns,
    client: OwnedFd,
}

impl Cni {
    /// Begins. The socket of a process before is replaced in one step: somebody always answers there.
    ///
    /// # Errors
    /// When there can be no socket or no thread.
    pub(super) fn start(
        settings: CniSettings,
        cluster: &Cluster,
        table: PodTable,
        hands: mpsc::Sender<Handed>,
    ) -> io::Result<Self> {
        let path = cluster.settings.state_dir.join("cni.sock");
        let listener = Arc::new(listen_in_place(&path)?);
        let (waiting, mut asked) = mpsc::channel(CNI_ASKS_MAX);
        let accepting = Arc::clone(&listener);
        let host = Netns::id_at(&cluster.settings.paths.proc.join("1/ns/net"));
        std::thread::Builder::new().name("weir-cni".into()).spawn(move || {
            while let Ok(client) = accept_client(&accepting) {
                match take(client) {
                    Ok(one) if Some(one.netns.id()) == host => {
                        tracing::warn!(pod = one.ask.name, "the node's own network namespace is no pod's");
                    }
                    // Whoever is one too many hears nothing more, and the pod starts.
                    Ok(one) => drop(waiting.try_send(one)),
                    Err(error) => {
                        tracing::debug!(%error, "a question of the runtime's plugin is not understood")
                    }
                }
            }
        })?;
        let answering = Answering { cluster: cluster.clone(), table, hands };
        let answers = spawn_local(async move {
            let room = Arc::new(Semaphore::new(CNI_ASKS_MAX));
            while let Some(one) = asked.recv().await {
                let Ok(turn) = Arc::clone(&room).try_acquire_owned() else { continue };
                let answering = answering.clone();
                spawn_local(async move {
                    answering.answer(one).await;
                    drop(turn);
                });
            }
        });
        let keeps = spawn_local(keep(settings.clone()));
        let tasks = [answers.abort_handle(), keeps.abort_handle()];
        Ok(Self { listener, inode: inode(&path), path, settings, tasks })
    }
}

impl Drop for Cni {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
        // Wakes the thread out of `accept`.
        let _ = shutdown(self.listener.as_raw_fd(), Shutdown::Both);
        // A next process that answers has the plugin in the list, too.
        if self.inode.is_some() && inode(&self.path) == self.inode {
            let _ = fs::remove_file(&self.path);
            if let Err(error) = edit(&self.settings, without_plugin) {
                tracing::warn!(%error, "the runtime's plugin stays in its list");
            }
        }
    }
}

/// Reads what the plugin wants.
fn take(client: OwnedFd) -> anyhow::Result<Waiting> {
    setsockopt(&client, ReceiveTimeout, &TimeVal::seconds(SAYS_WITHIN_SECONDS))?;
    let (text, descriptors) = receive(&client, MESSAGE_BYTES_MAX)?;
    let netns = descriptors.into_iter().next().ok_or_else(|| anyhow::anyhow!("no namespace came with it"))?;
    Ok(Waiting { ask: serde_json::from_slice(&text)?, netns: Netns::from_descriptor(netns)?, client })
}

impl Answering {
    async fn answer(&self, Waiting { ask, netns, client }: Waiting) {
        let begun = Instant::now();
        let decided = tokio::time::timeout(CNI_WAIT_MAX, self.decide(&ask, netns)).await;
        let answer = decided.unwrap_or_else(|_| "late".to_owned());
        let (pod, took) = (format!("{}/{}", ask.namespace, ask.name), begun.elapsed());
        match send_message(&client, answer.as_bytes(), &[]) {
            Ok(()) => tracing::debug!(pod, answer, ?took, "a pod's sandbox is made"),
            Err(_) => {
                tracing::warn!(
                    pod,
                    answer,
                    ?took,
                    "the runtime waited no longer: the pod went on without an answer"
                );
            }
        }
    }

    async fn decide(&self, ask: &Ask, netns: Netns) -> String {
        let key = ObjectKey::new(&ask.namespace, &ask.name);
        let mut pods = self.cluster.pods.clone();
        // The kubelet may know it some milliseconds sooner.
        let is_it = |uid: &str| ask.uid.is_empty() || ask.uid == uid;
        let pod = loop {
            let known = pods.borrow_and_update().get(&key).map(|entry| Arc::clone(&entry.object));
            if let Some(pod) = known.filter(|pod| is_it(&pod.metadata.uid)) {
                break pod;
            }
            if pods.changed().await.is_err() {
                return "ending".to_owned();
            }
        };
        let labels = {
            let desired = self.cluster.desired.borrow();
            let namespace = desired.set.namespaces.get(&ObjectKey::new("", &ask.namespace));
            namespace.map(|entry| entry.object.metadata.labels.clone()).unwrap_or_default()
        };
        match select(&pod, &labels, false, &self.cluster.settings.selection) {
            Selection::NotAsked => return "not asked for".to_owned(),
            Selection::Skip(skip) => return format!("skipped {}", skip.reason()),
            Selection::Capture => {}
        }
        let key = PodKey { namespace: ask.namespace.as_str().into(), name: ask.name.as_str().into() };
        let uid = &pod.metadata.uid;
        let place = Place::Open { path: PathBuf::from("handed over by the container runtime"), netns };
        loop {
            // Whoever follows the pods may not have heard of this one yet, or could not capture it yet.
            let handed = Handed { uid: uid.clone(), place: place.clone() };
            if self.hands.send(handed).await.is_err() {
                return "ending".to_owned();
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
            match self.table.state(&key, uid) {
                Some(State::Captured(_)) => return "captured".to_owned(),
                Some(State::Skipped(skip)) => return format!("skipped {}", skip.reason()),
                // Its loopback is brought up by another plugin, maybe at the same time.
                Some(State::Pending | State::Refused(Refusal::LoopbackDown(_))) | None => {}
                Some(State::Refused(refusal)) => return format!("refused {}", refusal.reason()),
            }
        }
    }
}

/// Puts the plugin where the runtime finds it, and again whenever somebody else has written the list anew.
async fn keep(settings: CniSettings) {
    let mut said = String::new();
    let mut is_there = false;
    loop {
        if !is_there {
            let to = settings.bin_dir.clone();
            let copied = tokio::task::spawn_blocking(move || copy(&to)).await;
            is_there = match copied.unwrap_or_else(|error| Err(io::Error::other(error))) {
                Ok(()) => true,
                Err(error) => {
                    tracing::error!(%error, folder = %settings.bin_dir.display(), "the runtime's plugin is not installed");
                    false
                }
            };
        }
        if is_there {
            let socket = settings.socket.to_string_lossy().into_owned();
            let done = edit(&settings, |list| with_plugin(list, &socket));
            let says = match &done {
                Ok(Some(path)) => format!("the runtime asks Weir about new pods: {}", path.display()),
                Ok(None) => String::new(),
                Err(error) => format!("the runtime does not ask Weir about new pods: {error:#}"),
            };
            if !says.is_empty() && says != said {
                match done {
                    Ok(_) => tracing::info!("{says}"),
                    Err(_) => tracing::warn!("{says}"),
                }
            }
            said = says;
        }
        tokio::time::sleep(CNI_LOOK_INTERVAL).await;
    }
}

/// This program, under the plugin's name.
fn copy(to: &Path) -> io::Result<()> {
    let made = to.join(format!(".{NAME}.new"));
    fs::copy("/proc/self/exe", &made)?;
    fs::set_permissions(&made, fs::Permissions::from_mode(0o755))?;
    fs::rename(&made, to.join(NAME))
}

/// Removes what `copy` made, and the plugin's entry where it is still there.
pub(super) fn remove(settings: &CniSettings) {
    if let Err(error) = edit(settings, without_plugin) {
        tracing::warn!(%error, "the runtime's plugin stays in its list");
    }
    let path = settings.bin_dir.join(NAME);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(path = %path.display(), %error, "the runtime's plugin stays");
        }
        _ => {}
    }
}

/// Writes the list that the runtime uses, changed, in one step. `None` when it is as it should be.
fn edit(
    settings: &CniSettings,
    change: impl FnOnce(&str) -> Result<Option<String>, String>,
) -> anyhow::Result<Option<PathBuf>> {
    let folder = &settings.conf_dir;
    let names: Vec<String> = fs::read_dir(folder)
        .map_err(|error| anyhow::anyhow!("{}: {error}", folder.display()))?
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    let Some(name) = in_use(names.iter().map(String::as_str)) else {
        anyhow::bail!("no network is configured in {}", folder.display());
    };
    let path = folder.join(name);
    let of = |error: String| anyhow::anyhow!("{}: {error}", path.display());
    let (length, mode) = fs::metadata(&path)
        .map(|data| (data.len(), data.permissions()))
        .map_err(|error| of(error.to_string()))?;
    if length > CNI_BYTES_MAX {
        return Err(of(format!("it has {length} bytes")));
    }
    let text = fs::read_to_string(&path).map_err(|error| of(error.to_string()))?;
    let Some(text) = change(&text).map_err(of)? else { return Ok(None) };
    // A name that no runtime takes for a configuration.
    let made = folder.join(format!(".{name}.{NAME}"));
    let written = fs::write(&made, text)
        .and_then(|()| fs::set_permissions(&made, mode))
        .and_then(|()| fs::rename(&made, &path));
    if let Err(error) = written {
        let _ = fs::remove_file(&made);
        return Err(of(error.to_string()));
    }
    Ok(Some(path))
}
