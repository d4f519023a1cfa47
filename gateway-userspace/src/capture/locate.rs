//! Locate: from a pod's UID to its network namespace, by a process in the pod's cgroup.
//!
//! A thread of its own looks, because it reads many small files. It looks when the kubelet makes a directory
//! for a pod that is waited for, then again and again at growing intervals, and does nothing while no pod is
//! waited for. Namespaces that were found are kept open, and looked after: a process that has ended is
//! replaced by another one of the same pod. Where a sandbox has no process of its own, as CRI-O makes them, a pod has
//! none between two containers: it keeps its namespace, and is waited for again, until the API server says that it
//! has ended.

pub mod kubepods;
pub mod pod_cgroup;
pub mod processes;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use self::kubepods::Kubepods;
use self::processes::{Found, Look, Processes};
use super::netns::Netns;
use super::{Hidden, Place};

/// Before the second look for a pod; doubled from one to the next.
const FIRST_PAUSE: Duration = Duration::from_millis(2);

/// Between two looks when nothing is heard: the longest pause. Those that were found are looked after as often.
const LAST_PAUSE: Duration = Duration::from_secs(1);

/// A pod that has not come by then has something in its way, such as an image that cannot be had. Its directories are
/// noticed all the same.
const FAR: Duration = Duration::from_secs(60);

/// The longest pause then: each look reads all processes of the node.
const FAR_PAUSE: Duration = Duration::from_secs(10);

/// After a pod is waited for, or the kubelet has made a directory for it, its first process is near.
const NEAR: Duration = Duration::from_secs(5);

/// The longest pause then, unless looking takes long.
const NEAR_PAUSE: Duration = Duration::from_millis(16);

/// Then a pause is so many times as long as a look took: a node of many processes is not kept busy.
const NEAR_SHARE: u32 = 8;

/// Where the node's own trees are, as this process sees them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodePaths {
    /// The node's `/proc`.
    pub proc: PathBuf,
    /// The node's `/sys/fs/cgroup`.
    pub cgroups: PathBuf,
}

/// What was found out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sighting {
    /// The pod with this UID is there, be it hidden.
    Found(String, Place),
    /// Everything asked for before `Locator::mark` was looked for once.
    Marked,
}

enum Order {
    Want(String),
    Forget(String),
    Mark,
    Made(PathBuf),
}

/// Asks the thread that looks. It ends when this is dropped.
#[derive(Debug)]
pub struct Locator(Sender<Order>);

impl Locator {
    /// Starts the thread. It tells what it sees to the receiver.
    ///
    /// # Errors
    /// When there can be no thread.
    pub fn start(paths: NodePaths) -> io::Result<(Self, UnboundedReceiver<Sighting>)> {
        let (orders, received) = channel();
        let (sightings, seen) = unbounded_channel();
        let made = orders.clone();
        std::thread::Builder::new().name("weir-locate".into()).spawn(move || {
            let notice = move |path| drop(made.send(Order::Made(path)));
            let kubepods = Kubepods::watch(&paths.cgroups, notice)
                .inspect_err(|error| tracing::warn!(%error, "cgroups are not watched: pods are found later"))
                .ok();
            Search::new(&paths, kubepods, sightings).run(&received);
        })?;
        Ok((Self(orders), seen))
    }

    /// Looks for a pod until it is found, and looks after it then.
    pub fn want(&self, uid: &str) {
        self.order(Order::Want(uid.to_owned()));
    }

    /// No longer looks for or after a pod.
    pub fn forget(&self, uid: &str) {
        self.order(Order::Forget(uid.to_owned()));
    }

    /// Asks to be told once everything asked for so far was looked for.
    pub fn mark(&self) {
        self.order(Order::Mark);
    }

    fn order(&self, order: Order) {
        if self.0.send(order).is_err() {
            tracing::error!("nobody looks for pods any more: restart to capture new ones");
        }
    }
}

struct Search {
    processes: Processes,
    kubepods: Option<Kubepods>,
    wanted: BTreeSet<String>,
    found: BTreeMap<String, Found>,
    /// Wanted ones that run, and why they are not found; told already.
    hidden: BTreeMap<String, Hidden>,
    sightings: UnboundedSender<Sighting>,
    mark: bool,
    pause: Duration,
    looked: Instant,
    /// When a pod was first waited for, or a directory of one was made.
    near: Option<Instant>,
    /// When those that were found were last looked after.
    looked_after: Instant,
}

impl Search {
    fn new(paths: &NodePaths, kubepods: Option<Kubepods>, sightings: UnboundedSender<Sighting>) -> Self {
        Self {
            processes: Processes::new(&paths.proc),
            kubepods,
            wanted: BTreeSet::new(),
            found: BTreeMap::new(),
            hidden: BTreeMap::new(),
            sightings,
            mark: false,
            pause: FIRST_PAUSE,
            looked: Instant::now(),
            near: None,
            looked_after: Instant::now(),
        }
    }

    fn run(mut self, orders: &Receiver<Order>) {
        // The watcher has a sender too, so that `orders` never ends by itself.
        while !self.sightings.is_closed() {
            let mut look = match orders.recv_timeout(self.pause.min(LAST_PAUSE)) {
                Ok(order) => self.obey(order),
                Err(RecvTimeoutError::Timeout) => self.looked.elapsed() >= self.pause,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            while let Ok(order) = orders.try_recv() {
                look |= self.obey(order);
            }
            if self.looked_after.elapsed() >= LAST_PAUSE {
                self.look_after();
            }
            if look {
                self.look();
            }
        }
    }

    /// True when it is worth to look now.
    fn obey(&mut self, order: Order) -> bool {
        let look = match order {
            Order::Want(uid) => {
                if let Some(kubepods) = &mut self.kubepods {
                    kubepods.want(&uid);
                }
                !self.found.contains_key(&uid) && self.wanted.insert(uid)
            }
            Order::Forget(uid) => {
                self.wanted.remove(&uid);
                self.hidden.remove(&uid);
                self.found.remove(&uid);
                self.unwatch(&uid);
                false
            }
            Order::Mark => {
                self.mark = true;
                true
            }
            Order::Made(path) => {
                let wanted = &self.wanted;
                self.kubepods.as_mut().is_some_and(|k| k.made(&path, |uid| wanted.contains(uid)))
            }
        };
        if look {
            self.pause = FIRST_PAUSE;
            self.near = Some(Instant::now());
        }
        look
    }

    fn look(&mut self) {
        let begun = Instant::now();
        if !self.wanted.is_empty() {
            match self.processes.find(&self.wanted) {
                Ok(Look { found, hidden }) => {
                    found.into_iter().for_each(|(uid, found)| self.note(uid, found));
                    hidden.into_iter().for_each(|(uid, why)| self.note_hidden(uid, why));
                }
                Err(error) => tracing::warn!(%error, "the node's processes cannot be listed"),
            }
        }
        self.looked = Instant::now();
        let since = self.near.map_or(Duration::MAX, |near| near.elapsed());
        self.pause = next_pause(self.pause, self.wanted.is_empty(), since, begun.elapsed());
        if std::mem::take(&mut self.mark) {
            self.tell(Sighting::Marked);
        }
    }

    fn note(&mut self, uid: String, found: Found) {
        self.wanted.remove(&uid);
        self.hidden.remove(&uid);
        self.unwatch(&uid);
        let place = Place::Open { path: found.path.clone(), netns: found.netns.clone() };
        self.found.insert(uid.clone(), found);
        self.tell(Sighting::Found(uid, place));
    }

    /// It is looked for again and again: the reason may go away.
    fn note_hidden(&mut self, uid: String, why: Hidden) {
        // A container that starts is in the node's namespace for a moment.
        let may_change = why == Hidden::NoNamespace && self.pause < LAST_PAUSE;
        if !may_change && self.hidden.insert(uid.clone(), why) != Some(why) {
            self.tell(Sighting::Found(uid, Place::Hidden(why)));
        }
    }

    /// Pods whose process has ended: found again by another one, or waited for.
    fn look_after(&mut self) {
        self.looked_after = Instant::now();
        if let Some(kubepods) = &mut self.kubepods {
            kubepods.look_for_parents();
        }
        let is_gone = |found: &Found| Netns::id_at(&found.path) != Some(found.netns.id());
        let gone = self.found.iter().filter(|(_, found)| is_gone(found)).map(|(uid, _)| uid.clone());
        let gone: BTreeSet<String> = gone.collect();
        if gone.is_empty() {
            return;
        }
        let again = self.processes.find(&gone).unwrap_or_default();
        for uid in gone {
            match again.found.get(&uid) {
                Some(found) => self.note(uid, found.clone()),
                None => {
                    self.found.remove(&uid);
                    if let Some(kubepods) = &mut self.kubepods {
                        kubepods.want(&uid);
                    }
                    self.wanted.insert(uid);
                }
            }
        }
    }

    fn unwatch(&mut self, uid: &str) {
        if let Some(kubepods) = &mut self.kubepods {
            kubepods.forget(uid);
        }
    }

    fn tell(&self, sighting: Sighting) {
        // Whoever asked may be gone; `run` ends then.
        drop(self.sightings.send(sighting));
    }
}

/// The pause after a look that took so long. `since` then, a pod's first process may come at any moment.
fn next_pause(last: Duration, nobody_wanted: bool, since: Duration, took: Duration) -> Duration {
    let longest = match since {
        since if since < NEAR => NEAR_PAUSE.max(took * NEAR_SHARE).min(LAST_PAUSE),
        since if since < FAR => LAST_PAUSE,
        _ => FAR_PAUSE,
    };
    if nobody_wanted { LAST_PAUSE } else { (2 * last).min(longest) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOOK: Duration = Duration::from_millis(1);

    /// The longest pause after many looks that found nothing.
    fn longest(since: Duration, took: Duration) -> Duration {
        (0..20).fold(FIRST_PAUSE, |last, _| next_pause(last, false, since, took))
    }

    #[test]
    fn a_pod_whose_directory_was_made_is_looked_for_again_soon_however_long_its_sandbox_takes() {
        assert_eq!(longest(NEAR / 2, TOOK), NEAR_PAUSE);
        assert_eq!(longest(NEAR, TOOK), LAST_PAUSE);
    }

    #[test]
    fn a_pod_that_does_not_come_is_looked_for_ever_less() {
        assert_eq!(longest(FAR, TOOK), FAR_PAUSE);
    }

    #[test]
    fn where_a_look_takes_long_most_of_the_time_is_pause() {
        let took = Duration::from_millis(30);
        assert!(longest(NEAR / 2, took) >= 5 * took);
    }

    #[test]
    fn a_pod_that_has_no_process_any_more_is_waited_for_and_nobody_is_told_that_it_is_gone() {
        let paths = NodePaths { proc: "/proc".into(), cgroups: "/sys/fs/cgroup".into() };
        let (tell, mut told) = unbounded_channel();
        let mut search = Search::new(&paths, None, tell);
        let netns = Netns::open(std::path::Path::new("/proc/self/ns/net")).unwrap();
        let uid = "0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9".to_owned();
        search.found.insert(uid.clone(), Found { path: "/proc/no/such/process".into(), netns });
        search.look_after();
        assert!(search.found.is_empty() && search.wanted.contains(&uid));
        assert!(told.try_recv().is_err());
    }

    #[test]
    fn nobody_is_looked_for_without_being_wanted() {
        assert_eq!(next_pause(FIRST_PAUSE, true, Duration::ZERO, FIRST_PAUSE), LAST_PAUSE);
    }
}
