//! Desired state from an API server, followed.
//!
//! A thread of its own talks to it, so that a large list delays nothing else. What is known stays
//! while the API server is out of reach, and across a restart.

pub mod client;
mod discover;
mod discovery;
mod follow;
pub mod freshness;
mod holdings;
mod hub;
mod message;
mod objects;
mod progress;
mod request;
mod saved;
pub mod source;
mod split;
mod state;
mod texts;

use std::cell::RefCell;
use std::io;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::mpsc;
use std::time::Duration;

use kube::Config;
use thiserror::Error;
use tokio::sync::{Notify, watch};
use tokio::task::{LocalSet, spawn_blocking, spawn_local};
use tokio::time::{Instant, sleep};
use tracing::info;

use self::client::{Agent, ClientError};
use self::discover::Discoverer;
use self::follow::{Common, Follower, Served};
use self::freshness::Freshness;
use self::hub::Hub;
use self::progress::Pace;
use self::source::Source;
use self::state::StateFile;
use super::Desired;
use crate::control::config::pod::Pod;
use crate::control::config::resources::Objects;
use crate::control::diagnostic::{Code, Diagnostic, Severity};
use crate::limits::ApiLimits;

/// Why the API server cannot be followed.
#[derive(Debug, Error)]
pub enum StartError {
    /// There is no client.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// No thread to follow it.
    #[error("no thread can be started to follow the API server: {0}")]
    Thread(#[source] io::Error),
}

/// What is followed, and where it is kept.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The node whose pods are followed. Empty for a controller, which follows no node, and no endpoints.
    pub node_name: String,
    /// The folder of the file that keeps what is known; nothing is kept without one.
    pub state_dir: Option<PathBuf>,
    /// The ends of everything.
    pub limits: ApiLimits,
}

/// An API server that is followed for as long as anybody holds `desired`.
#[derive(Debug, Clone)]
pub struct Kubernetes {
    /// The desired state. It is empty until it changes for the first time: that is when every kind is
    /// known, or refused, or when there is a file of an earlier process.
    pub desired: watch::Receiver<Desired>,
    /// The pods of this node. Known as soon as the desired state is.
    pub pods: watch::Receiver<Objects<Pod>>,
    /// How new both are.
    pub freshness: Freshness,
}

impl Kubernetes {
    /// Begins to follow. An API server that is out of reach is no error.
    ///
    /// # Errors
    /// When the credentials cannot be used, or there is no thread.
    pub fn start(config: Config, settings: Settings) -> Result<Self, StartError> {
        let (desired, desired_receiver) = watch::channel(Desired::default());
        let (pods, pods_receiver) = watch::channel(Objects::default());
        let freshness = Freshness::default();
        let hub = (desired, pods, freshness.clone());
        let (started, result) = mpsc::channel();
        let run = move || {
            let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime,
                Err(error) => return drop(started.send(Err(StartError::Thread(error)))),
            };
            LocalSet::new().block_on(&runtime, async move {
                match client::client(&config, Agent::Follows) {
                    Ok(client) => {
                        // Nobody is there to hear it when the caller is gone.
                        let _ = started.send(Ok(()));
                        follow(client, &settings, hub).await;
                    }
                    Err(error) => drop(started.send(Err(error.into()))),
                }
            });
        };
        std::thread::Builder::new().name("weir-api".to_owned()).spawn(run).map_err(StartError::Thread)?;
        let ended = || Err(StartError::Thread(io::Error::other("it ended at once")));
        result.recv().unwrap_or_else(|_| ended())?;
        Ok(Self { desired: desired_receiver, pods: pods_receiver, freshness })
    }
}

type Outlets = (watch::Sender<Desired>, watch::Sender<Objects<Pod>>, Freshness);

/// Follows until nobody listens any more.
async fn follow(client: kube::Client, settings: &Settings, (desired, pods, freshness): Outlets) {
    let limits = &settings.limits;
    let listeners = desired.clone();
    let hub = Hub::new(desired, pods, freshness, limits.change_interval);
    let hub = Rc::new(RefCell::new(hub));
    let mut tasks = vec![spawn_local(tell_in_time(Rc::clone(&hub)))];
    if let Some(folder) = &settings.state_dir {
        let file = StateFile::new(folder, &settings.node_name, limits.state_bytes_max);
        restore(&file, &hub).await;
        tasks.push(spawn_local(tell_restored(Rc::clone(&hub), limits.restored_wait)));
        tasks.push(spawn_local(keep(file, Rc::clone(&hub), limits.state_write_interval)));
    }
    let common = Common {
        client,
        hub,
        node: settings.node_name.as_str().into(),
        pace: Pace {
            reconnect: limits.reconnect_max,
            relist: limits.relist_max,
            retry_max: limits.retry_max,
        },
        page_objects: limits.page_objects,
        object_bytes_max: limits.object_bytes_max,
        watch_duration: limits.watch_duration,
        watch_silence: limits.watch_silence,
        look_again: Rc::new(Notify::new()),
        answered: Rc::new(Notify::new()),
        last_answer: Rc::default(),
    };
    let (mut discovered, mut followers) = (Vec::new(), Vec::new());
    // Kinds that every API server has need no discovery; their senders are kept all the same.
    let mut fixed = Vec::new();
    for source in Source::ALL {
        if settings.node_name.is_empty() && source.only_for_nodes() {
            common.hub.borrow_mut().absent(source);
            continue;
        }
        let served = source.fixed_version().map_or(Served::Unknown, Served::In);
        let (sender, receiver) = watch::channel(served);
        match served {
            Served::Unknown => discovered.push((source, sender)),
            _ => fixed.push(sender),
        }
        followers.push(Follower::new(common.clone(), source, receiver));
    }
    let intervals = (limits.discovery_missing_interval, limits.discovery_interval);
    let mut discoverer = Discoverer::new(common, discovered, intervals);
    // The first request makes the connection that all others share.
    let wait = discoverer.look().await;
    tasks.push(spawn_local(discoverer.run(wait)));
    tasks.extend(followers.into_iter().map(|follower| spawn_local(follower.run())));
    listeners.closed().await;
    for task in tasks {
        task.abort();
    }
    drop(fixed);
}

/// Tells changes that came too close to others, once it is their time.
async fn tell_in_time(hub: Rc<RefCell<Hub>>) {
    let wake = hub.borrow().wake();
    loop {
        wake.notified().await;
        let time = hub.borrow().next_told();
        tokio::time::sleep_until(time).await;
        hub.borrow_mut().tell_waiting();
    }
}

/// Takes what an earlier process knew.
async fn restore(file: &StateFile, hub: &RefCell<Hub>) {
    let reader = file.clone();
    let read = spawn_blocking(move || reader.read()).await.unwrap_or_else(|error| Err(error.to_string()));
    match read {
        Ok(Some((saved, texts))) => {
            let age = saved.at.elapsed().unwrap_or_default();
            info!(objects = saved.set.len(), ?age, "serving what was known before the restart");
            hub.borrow_mut().restore(saved, texts);
        }
        Ok(None) => {}
        Err(error) => {
            info!("{} is not used: {error}", file.path().display());
        }
    }
}

/// Ends the patience with an API server that does not say what has happened since the restart.
async fn tell_restored(hub: Rc<RefCell<Hub>>, wait: Duration) {
    sleep(wait).await;
    // It lists what has become of what was known: better late than wrong, for a while.
    let patience = Instant::now() + LIST_PATIENCE;
    while hub.borrow().is_outdated() && Instant::now() < patience {
        sleep(wait).await;
    }
    hub.borrow_mut().tell_restored();
}

/// Writes what is known, again and again.
async fn keep(file: StateFile, hub: Rc<RefCell<Hub>>, interval: Duration) {
    // The first state is worth more than its changes.
    let mut wait = interval.min(FIRST_WRITE_AFTER);
    loop {
        sleep(wait).await;
        let Some(saved) = hub.borrow_mut().take_unsaved() else { continue };
        wait = interval;
        let writer = file.clone();
        let written = spawn_blocking(move || writer.write(&saved)).await;
        let error = match written {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(error) => Some(error.to_string()),
        };
        let mut hub = hub.borrow_mut();
        if error.is_some() {
            hub.still_unsaved();
        }
        hub.state_finding(error.map(|error| state_finding(&file, &error)));
    }
}

/// How long a list may take that replaces what was known before a restart.
const LIST_PATIENCE: Duration = Duration::from_secs(10);

/// Before the first state is written.
const FIRST_WRITE_AFTER: Duration = Duration::from_secs(2);

fn state_finding(file: &StateFile, error: &str) -> Diagnostic {
    let path = file.path().display().to_string();
    Diagnostic::at(Severity::Warning, Code::StateUnusable, &path, None)
        .message(format!(
            "what is known cannot be written: {error}; serving goes on, a restart without the API server would not"
        ))
        .fix("make room, or choose another --state-dir")
}

#[cfg(test)]
mod tests;
