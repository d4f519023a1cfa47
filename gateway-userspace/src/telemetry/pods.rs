//! Who the pods of this node are, for labels and log lines.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, PoisonError, RwLock, Weak};

use rustc_hash::FxHashMap;

use super::record::PodId;

/// A pod for as long as anything speaks of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodName {
    /// Namespace.
    pub namespace: Arc<str>,
    /// Name.
    pub name: Arc<str>,
    /// `service.name`: the workload, from the labels `app.kubernetes.io/name` or `app`, else the
    /// pod's own name.
    pub service: Arc<str>,
}

impl std::fmt::Display for PodName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// A number for a workload, never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct CallerId(u32);

/// A workload that calls. Metrics know workloads, not pods; it lives while a pod or a series of it
/// does.
#[derive(Debug)]
pub(crate) struct Caller {
    pub(crate) id: CallerId,
    pub(crate) namespace: Arc<str>,
    pub(crate) service: Arc<str>,
}

/// The pods of this node. Written when a pod comes or goes, read once per worker and pod.
#[derive(Debug, Default)]
pub struct Pods {
    inner: RwLock<Inner>,
    next_caller: AtomicU32,
}

#[derive(Debug, Default)]
struct Inner {
    pods: FxHashMap<PodId, (Arc<PodName>, Arc<Caller>)>,
    callers: HashMap<(Arc<str>, Arc<str>), Weak<Caller>>,
    /// Pods that are gone, oldest first: their last records may still be on the way.
    gone: VecDeque<PodId>,
}

/// Pods that are gone and still have a name.
const GONE_MAX: usize = 256;

impl Pods {
    /// A pod is enrolled. Call this before its listener accepts.
    pub fn insert(&self, id: PodId, name: PodName) {
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        let key = (Arc::clone(&name.namespace), Arc::clone(&name.service));
        let caller = inner.callers.get(&key).and_then(Weak::upgrade).unwrap_or_else(|| {
            Arc::new(Caller {
                id: CallerId(self.next_caller.fetch_add(1, Ordering::Relaxed)),
                namespace: Arc::clone(&name.namespace),
                service: Arc::clone(&name.service),
            })
        });
        inner.callers.insert(key, Arc::downgrade(&caller));
        inner.pods.insert(id, (Arc::new(name), caller));
    }

    /// A pod is gone. Its name stays known for a while.
    pub fn remove(&self, id: PodId) {
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        inner.gone.push_back(id);
        while inner.gone.len() > GONE_MAX {
            if let Some(oldest) = inner.gone.pop_front() {
                inner.pods.remove(&oldest);
            }
        }
        inner.callers.retain(|_, caller| caller.strong_count() > 0);
    }

    /// Its name, while it is here or was not long ago.
    pub fn name(&self, id: PodId) -> Option<Arc<PodName>> {
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        inner.pods.get(&id).map(|(name, _)| Arc::clone(name))
    }

    pub(crate) fn caller(&self, id: PodId) -> Option<Arc<Caller>> {
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        inner.pods.get(&id).map(|(_, caller)| Arc::clone(caller))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(name: &str, service: &str) -> PodName {
        PodName { namespace: "shop".into(), name: name.into(), service: service.into() }
    }

    #[test]
    fn pods_of_one_workload_are_one_caller() {
        let pods = Pods::default();
        pods.insert(PodId(1), pod("web-a", "web"));
        pods.insert(PodId(2), pod("web-b", "web"));
        pods.insert(PodId(3), pod("api-a", "api"));
        let id = |n| pods.caller(PodId(n)).unwrap().id;
        assert_eq!(id(1), id(2));
        assert_ne!(id(1), id(3));
    }

    #[test]
    fn a_pod_that_left_keeps_its_name_for_its_last_records_and_no_longer() {
        let pods = Pods::default();
        pods.insert(PodId(1), pod("web-a", "web"));
        pods.remove(PodId(1));
        assert_eq!(pods.name(PodId(1)).unwrap().to_string(), "shop/web-a");
        for n in 2..1000 {
            pods.insert(PodId(n), pod(&format!("job-{n}"), &format!("job-{n}")));
            pods.remove(PodId(n));
        }
        assert_eq!(pods.name(PodId(1)), None);
        let inner = pods.inner.read().unwrap();
        assert!(inner.pods.len() <= GONE_MAX && inner.callers.len() <= GONE_MAX + 1);
    }
}
