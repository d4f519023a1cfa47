//! Pods of this node, as the API server names them and the node's cgroups show them.

pub mod roster;

use std::collections::VecDeque;
use std::io;

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::watch;

use self::roster::{Order, Roster};
use super::locate::{Locator, NodePaths, Sighting};
use super::selection::SelectionSettings;
use super::{PodEvent, PodSource};
use crate::control::config::pod::Pod;
use crate::control::config::resources::Objects;
use crate::control::config::service::Namespace;

/// Follows the pods of this node and the labels of namespaces.
#[derive(Debug)]
pub struct KubernetesPods {
    pods: watch::Receiver<Objects<Pod>>,
    namespaces: watch::Receiver<Objects<Namespace>>,
    roster: Roster,
    locator: Locator,
    sightings: UnboundedReceiver<Sighting>,
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
        Ok(Self { pods, namespaces, roster, locator, sightings, events, marked: false })
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
            Sighting::Lost(uid) => self.roster.lost(&uid),
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
            }
        }
    }
}
