//! Pods from the folder of YAML: each CapturedPod is one.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::watch;

use super::{Place, Pod, PodEvent, PodKey, PodSource};
use crate::control::config::captured_pod::CapturedPod;
use crate::control::config::resources::Objects;

/// Follows the CapturedPods of the desired state.
#[derive(Debug)]
pub struct StandalonePods {
    desired: watch::Receiver<Objects<CapturedPod>>,
    known: BTreeMap<PodKey, Pod>,
    events: VecDeque<PodEvent>,
    fresh: bool,
}

impl StandalonePods {
    /// Pods of `desired`, now and whenever it changes.
    pub fn new(desired: watch::Receiver<Objects<CapturedPod>>) -> Self {
        Self { desired, known: BTreeMap::new(), events: VecDeque::new(), fresh: true }
    }

    fn compare(&mut self) {
        let wanted = pods(&self.desired.borrow_and_update());
        let gone = self.known.keys().filter(|key| !wanted.contains_key(*key)).cloned();
        self.events.extend(gone.map(PodEvent::Removed));
        let new = wanted.iter().filter(|(key, pod)| self.known.get(*key) != Some(*pod));
        self.events.extend(new.map(|(_, pod)| PodEvent::Added(pod.clone())));
        self.known = wanted;
    }
}

impl PodSource for StandalonePods {
    async fn next(&mut self) -> Option<PodEvent> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Some(event);
            }
            if std::mem::take(&mut self.fresh) {
                self.compare();
                self.events.push_back(PodEvent::Complete);
                continue;
            }
            self.desired.changed().await.ok()?;
            self.compare();
        }
    }
}

fn pods(objects: &Objects<CapturedPod>) -> BTreeMap<PodKey, Pod> {
    let pod = |object: &CapturedPod| Pod {
        key: PodKey {
            namespace: Arc::from(object.metadata.namespace.as_str()),
            name: Arc::from(object.metadata.name.as_str()),
        },
        uid: Arc::default(),
        labels: object.metadata.labels.clone(),
        place: Place::At(PathBuf::from(&object.spec.netns)),
    };
    objects.iter().map(|(_, entry)| pod(&entry.object)).map(|pod| (pod.key.clone(), pod)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::config::captured_pod::CapturedPodSpec;
    use crate::control::config::meta::{ObjectMeta, Origin};
    use crate::control::config::resources::Entry;

    fn objects(pods: &[(&str, &str)]) -> Objects<CapturedPod> {
        let mut objects = Objects::default();
        for (name, netns) in pods {
            let metadata =
                ObjectMeta { name: (*name).into(), namespace: "shop".into(), ..ObjectMeta::default() };
            let key = metadata.key();
            let object = CapturedPod { metadata, spec: CapturedPodSpec { netns: (*netns).into() } };
            let origin = Origin::File { file: "pods.yaml".into(), line: 1 };
            objects.insert(key, Entry { origin, object: Arc::new(object) });
        }
        objects
    }

    fn names(event: &PodEvent) -> String {
        match event {
            PodEvent::Added(pod) => format!("+{} {}", pod.key, pod.place.path().unwrap().display()),
            PodEvent::Skipped(pod, skip) => format!("{}: {skip}", pod.key),
            PodEvent::Removed(key) => format!("-{key}"),
            PodEvent::Complete => "complete".into(),
        }
    }

    #[tokio::test]
    async fn a_change_of_the_folder_is_told_as_what_came_and_what_went() {
        let (tell, desired) = watch::channel(objects(&[("a", "/run/netns/a"), ("b", "/run/netns/b")]));
        let mut source = StandalonePods::new(desired);
        assert_eq!(names(&source.next().await.unwrap()), "+shop/a /run/netns/a");
        assert_eq!(names(&source.next().await.unwrap()), "+shop/b /run/netns/b");
        assert_eq!(names(&source.next().await.unwrap()), "complete");
        tell.send_replace(objects(&[("b", "/run/netns/other"), ("c", "/run/netns/c")]));
        assert_eq!(names(&source.next().await.unwrap()), "-shop/a");
        assert_eq!(names(&source.next().await.unwrap()), "+shop/b /run/netns/other");
        assert_eq!(names(&source.next().await.unwrap()), "+shop/c /run/netns/c");
        drop(tell);
        assert_eq!(source.next().await, None);
    }
}
