//! Pods of this node, as the API server names them and the node's cgroups show them.

pub mod roster;

use std::collections::VecDeque;
use std::io;

use tokio::sync::mpsc::{Receiver, Sender, UnboundedReceiver, channel};
use tokio::sync::watch;

use self::roster::{Order, Roster};
use super::locate::{Locator, NodePaths, Sighting};
use super::selection::SelectionSettings;
use super::{Place, PodEvent, PodSource};
use crate::control::config::pod::Pod;
use crate::control::config::resources::Objects;
use crate::control::config::service::Namespace;

/// Places that may wait to be taken in.
const HANDED_MAX: usize = 64;

/// A pod whose place somebody knows before any process of it runs.
#[derive(Debug)]
pub struct Handed {
    /// Which one.
    pub uid: String,
    /// Where it is.
    pub place: Place,
}

/// Follows the pods of this node and the labels of namespaces.
#[derive(Debug)]
pub struct KubernetesPods {
    pods: watch::Receiver<Objects<Pod>>,
    namespaces: watch::Receiver<Objects<Namespace>>,
    roster: Roster,
    locator: Locator,
    sightings: UnboundedReceiver<Sighting>,
    handed: (Sender<Handed>, Receiver<Handed>),
    events: VecDeque<PodEvent>,
    /// The first list of pods was looked for, or that is under way.
    marked: bool,
}

impl KubernetesPods {
    /// Pods of `pods` that their labels, or those of `namespaces`, ask to capture. Both are known already.
    ///
    /// # Errors
    /// When there can be no thread that looks for them.
    pub fn start(
        mut pods: watch::Receiver<Objects<Pod>>,
        namespaces: watch::Receiver<Objects<Namespace>>,
        settings: SelectionSettings,
        paths: NodePaths,
    ) -> io::Result<Self> {
        let (locator, sightings) = Locator::start(paths)?;
        // What is there already counts as a change.
        pods.mark_changed();
        let (roster, events) = (Roster::new(settings), VecDeque::new());
        let handed = channel(HANDED_MAX);
        Ok(Self { pods, namespaces, roster, locator, sightings, handed, events, marked: false })
    }

    /// Takes places of pods that need not be looked for.
    pub fn hands(&self) -> Sender<Handed> {
        self.handed.0.clone()
    }

    fn take(&mut self, Handed { uid, place }: Handed) {
        if self.roster.place(&uid).is_some_and(|known| known.is_found() && known.differs(&place)) {
            // A process of the sandbox before is no process of this one.
            self.locator.forget(&uid);
            self.locator.want(&uid);
        }
        let event = self.roster.found(&uid, place);
        self.events.extend(event);
    }

    fn compare(&mut self) {
        let pods = self.pods.borrow_and_update().clone();
        let namespaces = self.namespaces.borrow_and_update().clone();
        let (events, orders) = self.roster.compare(&pods, &namespaces);
        self.events.extend(events);
        for order in orders {
            match order {
                Order::Want(uid) => self.locator.want(&uid),
                Order::Forget(uid) => self.locator.forget(&uid),
            }
        }
        if !std::mem::replace(&mut self.marked, true) {
            self.locator.mark();
        }
    }

    fn see(&mut self, sighting: Sighting) {
        let event = match sighting {
            Sighting::Found(uid, place) => self.roster.found(&uid, place),
            Sighting::Marked => Some(PodEvent::Complete),
        };
        self.events.extend(event);
    }
}

impl PodSource for KubernetesPods {
    async fn next(&mut self) -> Option<PodEvent> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Some(event);
            }
            tokio::select! {
                changed = self.pods.changed() => {
                    changed.ok()?;
                    self.compare();
                }
                changed = self.namespaces.changed() => {
                    changed.ok()?;
                    self.compare();
                }
                sighting = self.sightings.recv() => self.see(sighting?),
                Some(handed) = self.handed.1.recv() => self.take(handed),
            }
        }
    }
}
