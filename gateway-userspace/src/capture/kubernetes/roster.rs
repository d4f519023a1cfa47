//! Pure: which pods of the node are to be captured, what is known of each, and what changes.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::capture::selection::{Selection, SelectionSettings, Skip, select};
use crate::capture::{self, Place, PodEvent, PodKey};
use crate::control::config::meta::ObjectKey;
use crate::control::config::pod::Pod;
use crate::control::config::resources::Objects;
use crate::control::config::service::Namespace;

/// What to ask of the locator. Pods go by UID there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// Look for it.
    Want(Arc<str>),
    /// Look for it no longer.
    Forget(Arc<str>),
}

/// A pod that somebody asked to capture.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    pod: capture::Pod,
    skip: Option<Skip>,
}

impl Entry {
    fn event(&self) -> PodEvent {
        match self.skip {
            None => PodEvent::Added(self.pod.clone()),
            Some(skip) => PodEvent::Skipped(self.pod.clone(), skip),
        }
    }
}

/// The pods that somebody asked to capture.
#[derive(Debug, Default)]
pub struct Roster {
    settings: SelectionSettings,
    entries: BTreeMap<PodKey, Entry>,
    by_uid: BTreeMap<Arc<str>, PodKey>,
}

impl Roster {
    /// Nobody yet.
    pub fn new(settings: SelectionSettings) -> Self {
        Self { settings, ..Self::default() }
    }

    /// Takes in what the API server says now.
    pub fn compare(
        &mut self,
        pods: &Objects<Pod>,
        namespaces: &Objects<Namespace>,
    ) -> (Vec<PodEvent>, Vec<Order>) {
        let no_labels = BTreeMap::new();
        let mut wanted = BTreeMap::new();
        for (_, pod) in pods.iter() {
            let pod = &pod.object;
            let namespace = namespaces.get(&ObjectKey::new("", &pod.metadata.namespace));
            let labels = namespace.map_or(&no_labels, |entry| &entry.object.metadata.labels);
            if let Some(entry) = self.entry(pod, labels) {
                wanted.insert(entry.pod.key.clone(), entry);
            }
        }
        self.replace(wanted)
    }

    /// A pod was found. `None` when it is no longer waited for, and when all that is seen of one whose place is known is
    /// a process elsewhere: one that starts a container is in the node's namespace for a moment.
    pub fn found(&mut self, uid: &str, place: Place) -> Option<PodEvent> {
        let entry = self.entries.get_mut(self.by_uid.get(uid)?)?;
        if entry.pod.place.is_found() && !place.is_found() {
            return None;
        }
        entry.pod.place = place;
        Some(entry.event())
    }

    /// Where a pod is, as far as is known.
    pub fn place(&self, uid: &str) -> Option<&Place> {
        self.entries.get(self.by_uid.get(uid)?).map(|entry| &entry.pod.place)
    }

    fn entry(&self, pod: &Pod, namespace_labels: &BTreeMap<String, String>) -> Option<Entry> {
        let meta = &pod.metadata;
        let key = PodKey { namespace: meta.namespace.as_str().into(), name: Arc::from(meta.name.as_str()) };
        // The pod that had the name before is another one.
        let known = self.entries.get(&key).filter(|entry| *entry.pod.uid == *meta.uid);
        let captured = known.is_some_and(|entry| entry.skip.is_none() && entry.pod.place.is_found());
        let skip = match select(pod, namespace_labels, captured, &self.settings) {
            Selection::NotAsked => return None,
            Selection::Capture => None,
            Selection::Skip(skip) => Some(skip),
        };
        let place = match (known, skip) {
            (Some(known), None) => known.pod.place.clone(),
            _ => Place::Unknown,
        };
        let pod = capture::Pod { key, uid: meta.uid.as_str().into(), labels: meta.labels.clone(), place };
        Some(Entry { pod, skip })
    }

    fn replace(&mut self, wanted: BTreeMap<PodKey, Entry>) -> (Vec<PodEvent>, Vec<Order>) {
        let mut events = Vec::new();
        let mut orders = Vec::new();
        for (key, old) in &self.entries {
            let new = wanted.get(key);
            if old.skip.is_none() && new.is_none_or(|new| new.pod.uid != old.pod.uid || new.skip.is_some()) {
                orders.push(Order::Forget(Arc::clone(&old.pod.uid)));
            }
            if new.is_none_or(|new| new.pod.uid != old.pod.uid) {
                events.push(PodEvent::Removed(key.clone()));
            }
        }
        for (key, new) in &wanted {
            let old = self.entries.get(key).filter(|old| old.pod.uid == new.pod.uid);
            if old == Some(new) {
                continue;
            }
            if new.skip.is_none() && old.is_none_or(|old| old.skip.is_some()) {
                orders.push(Order::Want(Arc::clone(&new.pod.uid)));
            }
            events.push(new.event());
        }
        self.by_uid = wanted.iter().map(|(key, entry)| (Arc::clone(&entry.pod.uid), key.clone())).collect();
        self.entries = wanted;
        (events, orders)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::config::meta::Origin;
    use crate::control::config::resources;

    fn objects<T: PartialEq>(all: impl IntoIterator<Item = (ObjectKey, T)>) -> Objects<T> {
        let mut objects = Objects::default();
        for (key, object) in all {
            let origin = Origin::Api { resource_version: 1 };
            objects.insert(key, resources::Entry { origin, object: Arc::new(object) });
        }
        objects
    }

    fn namespaces(label: &str) -> Objects<Namespace> {
        let text = format!(r#"{{"metadata":{{"name":"shop","labels":{{"weir.dev/capture":"{label}"}}}}}}"#);
        let namespace: Namespace = serde_json::from_str(&text).unwrap();
        objects([(ObjectKey::new("", "shop"), namespace)])
    }

    fn pod(uid: &str, label: &str) -> Pod {
        let mut pod = Pod::default();
        (pod.metadata.namespace, pod.metadata.name) = ("shop".into(), "web".into());
        pod.metadata.uid = uid.into();
        if !label.is_empty() {
            pod.metadata.labels.insert("weir.dev/capture".into(), label.into());
        }
        pod
    }

    fn pods(all: impl IntoIterator<Item = Pod>) -> Objects<Pod> {
        objects(all.into_iter().map(|pod| (pod.key(), pod)))
    }

    fn place() -> Place {
        Place::At("/run/netns/web".into())
    }

    /// `+web`, `+web at PATH`, `web: Reason`, `-web`.
    fn words(events: &[PodEvent]) -> Vec<String> {
        let word = |event: &PodEvent| match event {
            PodEvent::Added(pod) => match pod.place.path() {
                Some(path) => format!("+{} at {}", pod.key.name, path.display()),
                None => format!("+{}", pod.key.name),
            },
            PodEvent::Skipped(pod, skip) => format!("{}: {}", pod.key.name, skip.reason()),
            PodEvent::Removed(key) => format!("-{}", key.name),
            PodEvent::Complete => "complete".into(),
        };
        events.iter().map(word).collect()
    }

    #[test]
    fn a_pod_is_looked_for_while_it_is_asked_for() {
        let mut roster = Roster::new(SelectionSettings::default());
        let all = pods([pod("1", "")]);
        let (events, orders) = roster.compare(&all, &namespaces("enabled"));
        assert_eq!((words(&events), orders), (vec!["+web".into()], vec![Order::Want("1".into())]));
        assert_eq!(roster.compare(&all, &namespaces("enabled")), (vec![], vec![]));
        assert_eq!(words(&[roster.found("1", place()).unwrap()]), ["+web at /run/netns/web"]);
        let (events, orders) = roster.compare(&all, &namespaces("disabled"));
        assert_eq!((words(&events), orders), (vec!["-web".into()], vec![Order::Forget("1".into())]));
        assert_eq!(roster.found("1", place()), None);
    }

    #[test]
    fn a_pod_that_runs_but_is_hidden_is_said_to_be_and_may_be_found_later() {
        let mut roster = Roster::new(SelectionSettings::default());
        let all = pods([pod("1", "")]);
        roster.compare(&all, &namespaces("enabled"));
        let hidden = Place::Hidden(crate::capture::Hidden::NotPermitted);
        let Some(PodEvent::Added(told)) = roster.found("1", hidden) else { panic!("nothing is told") };
        let why = told.place.open().unwrap_err();
        assert!(why.to_string().contains("add SYS_PTRACE"), "{why}");
        assert_eq!(crate::capture::pod_table::Refusal::from(why).reason(), "NotPermitted");
        assert_eq!(words(&[roster.found("1", place()).unwrap()]), ["+web at /run/netns/web"]);
    }

    #[test]
    fn a_pod_whose_place_is_known_is_not_hidden_by_a_process_that_is_elsewhere() {
        let mut roster = Roster::new(SelectionSettings::default());
        let all = pods([pod("1", "")]);
        roster.compare(&all, &namespaces("enabled"));
        // Handed over by the runtime, before the locator sees the first process.
        roster.found("1", place());
        assert_eq!(roster.found("1", Place::Hidden(crate::capture::Hidden::NoNamespace)), None);
        assert_eq!(roster.place("1"), Some(&place()));
        assert_eq!(roster.compare(&all, &namespaces("enabled")), (vec![], vec![]));
    }

    #[test]
    fn a_pod_that_declines_is_left_alone_at_once_and_may_come_back() {
        let mut roster = Roster::new(SelectionSettings::default());
        roster.compare(&pods([pod("1", "")]), &namespaces("enabled"));
        roster.found("1", place());
        let (events, orders) = roster.compare(&pods([pod("1", "disabled")]), &namespaces("enabled"));
        assert_eq!((words(&events), orders), (vec!["web: OptedOut".into()], vec![Order::Forget("1".into())]));
        let (events, orders) = roster.compare(&pods([pod("1", "enabled")]), &namespaces("enabled"));
        assert_eq!((words(&events), orders), (vec!["+web".into()], vec![Order::Want("1".into())]));
    }

    #[test]
    fn a_pod_of_the_same_name_is_another_pod() {
        let mut roster = Roster::new(SelectionSettings::default());
        roster.compare(&pods([pod("1", "")]), &namespaces("enabled"));
        roster.found("1", place());
        let (events, orders) = roster.compare(&pods([pod("2", "")]), &namespaces("enabled"));
        assert_eq!(words(&events), ["-web", "+web"]);
        assert_eq!(orders, [Order::Forget("1".into()), Order::Want("2".into())]);
        assert_eq!(roster.found("1", place()), None);
        assert_eq!(words(&[roster.found("2", place()).unwrap()]), ["+web at /run/netns/web"]);
    }

    #[test]
    fn new_labels_of_a_captured_pod_keep_its_place() {
        let mut roster = Roster::new(SelectionSettings::default());
        roster.compare(&pods([pod("1", "")]), &namespaces("enabled"));
        roster.found("1", place());
        let mut relabelled = pod("1", "");
        relabelled.metadata.labels.insert("app".into(), "web".into());
        relabelled.metadata.deletion_timestamp = Some("2026-01-01T00:00:00Z".into());
        let (events, orders) = roster.compare(&pods([relabelled]), &namespaces("enabled"));
        assert_eq!((words(&events), orders), (vec!["+web at /run/netns/web".into()], vec![]));
    }
}
