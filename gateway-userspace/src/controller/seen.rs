//! Pure: what the API server has of the objects that the controller writes, as its watches tell.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::control::config::meta::ObjectKey;

/// What the controller watches beside the desired state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Source {
    /// GatewayClasses, for their status.
    GatewayClasses,
    /// Gateways, for their status and UID.
    Gateways,
    /// HTTPRoutes, for their status.
    HttpRoutes,
    /// GRPCRoutes, for their status.
    GrpcRoutes,
    /// Services that were made for a Gateway.
    Services,
    /// EndpointSlices that were made for a Gateway.
    EndpointSlices,
    /// Pods of `weir node`.
    NodePods,
    /// NodeReports.
    NodeReports,
    /// All pods, of each one annotation alone.
    Pods,
}

impl Source {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::GatewayClasses,
        Self::Gateways,
        Self::HttpRoutes,
        Self::GrpcRoutes,
        Self::Services,
        Self::EndpointSlices,
        Self::NodePods,
        Self::NodeReports,
        Self::Pods,
    ];

    /// Group, version and kind; the group is empty for core.
    pub const fn kind(self) -> (&'static str, &'static str, &'static str) {
        const GATEWAY: &str = "gateway.networking.k8s.io";
        match self {
            Self::GatewayClasses => (GATEWAY, "v1", "GatewayClass"),
            Self::Gateways => (GATEWAY, "v1", "Gateway"),
            Self::HttpRoutes => (GATEWAY, "v1", "HTTPRoute"),
            Self::GrpcRoutes => (GATEWAY, "v1", "GRPCRoute"),
            Self::Services => ("", "v1", "Service"),
            Self::EndpointSlices => ("discovery.k8s.io", "v1", "EndpointSlice"),
            Self::NodePods | Self::Pods => ("", "v1", "Pod"),
            Self::NodeReports => ("weir.dev", "v1alpha1", "NodeReport"),
        }
    }

    /// The word in paths and rules.
    pub const fn plural(self) -> &'static str {
        match self {
            Self::GatewayClasses => "gatewayclasses",
            Self::Gateways => "gateways",
            Self::HttpRoutes => "httproutes",
            Self::GrpcRoutes => "grpcroutes",
            Self::Services => "services",
            Self::EndpointSlices => "endpointslices",
            Self::NodePods | Self::Pods => "pods",
            Self::NodeReports => "nodereports",
        }
    }

    /// True where nothing but the status is needed.
    pub const fn only_status(self) -> bool {
        matches!(self, Self::GatewayClasses | Self::Gateways | Self::HttpRoutes | Self::GrpcRoutes)
    }
}

/// One object as the API server has it.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    /// Tells it from one that had its name before.
    pub uid: String,
    /// The version that a write may replace.
    pub version: String,
    /// Counts changes of its spec.
    pub generation: i64,
    /// Its status where that is all that is needed, of a pod the annotation, else the object.
    pub content: Value,
}

/// What a watch tells.
#[derive(Debug, Clone)]
pub enum Event {
    /// A list begins; what is not in it is gone.
    ListBegins,
    /// One of that list.
    Listed(ObjectKey, Seen),
    /// The list is complete.
    Complete,
    /// There is another version of it, or it is new.
    Changed(ObjectKey, Seen),
    /// It is gone.
    Gone(ObjectKey),
}

#[derive(Debug, Default)]
struct Kind {
    objects: BTreeMap<ObjectKey, Seen>,
    listed: BTreeSet<ObjectKey>,
    complete: bool,
}

/// All that is known.
#[derive(Debug, Default)]
pub struct Known(BTreeMap<Source, Kind>);

impl Known {
    /// Takes an event; says which objects may have changed.
    pub fn take(&mut self, source: Source, event: Event) -> Vec<ObjectKey> {
        let kind = self.0.entry(source).or_default();
        match event {
            Event::ListBegins => {
                kind.listed.clear();
                Vec::new()
            }
            Event::Listed(key, seen) => {
                kind.listed.insert(key.clone());
                let before = kind.objects.insert(key.clone(), seen);
                let same = before.is_some_and(|old| kind.objects.get(&key) == Some(&old));
                if same { Vec::new() } else { vec![key] }
            }
            Event::Complete => {
                let listed = std::mem::take(&mut kind.listed);
                let gone: Vec<ObjectKey> =
                    kind.objects.keys().filter(|key| !listed.contains(*key)).cloned().collect();
                for key in &gone {
                    kind.objects.remove(key);
                }
                kind.complete = true;
                gone
            }
            Event::Changed(key, seen) => {
                kind.objects.insert(key.clone(), seen);
                vec![key]
            }
            Event::Gone(key) => {
                kind.objects.remove(&key);
                vec![key]
            }
        }
    }

    /// True once a first list is complete.
    pub fn is_complete(&self, source: Source) -> bool {
        self.0.get(&source).is_some_and(|kind| kind.complete)
    }

    /// One object.
    pub fn get(&self, source: Source, key: &ObjectKey) -> Option<&Seen> {
        self.0.get(&source)?.objects.get(key)
    }

    /// All objects of a kind.
    pub fn all(&self, source: Source) -> impl Iterator<Item = (&ObjectKey, &Seen)> {
        self.0.get(&source).into_iter().flat_map(|kind| &kind.objects)
    }

    /// Takes what a write was answered, so that it is not compared with what was there before it.
    pub fn wrote(&mut self, source: Source, key: &ObjectKey, seen: Seen) {
        self.0.entry(source).or_default().objects.insert(key.clone(), seen);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(version: &str) -> Seen {
        Seen { uid: "u".into(), version: version.into(), generation: 1, content: Value::Null }
    }

    #[test]
    fn what_a_new_list_does_not_name_is_gone_and_what_it_repeats_has_not_changed() {
        let (a, b) = (ObjectKey::new("n", "a"), ObjectKey::new("n", "b"));
        let mut known = Known::default();
        let mut list = |names: &[&ObjectKey]| {
            let mut touched = known.take(Source::Services, Event::ListBegins);
            for key in names {
                touched.extend(known.take(Source::Services, Event::Listed((*key).clone(), seen("1"))));
            }
            touched.extend(known.take(Source::Services, Event::Complete));
            touched
        };
        assert_eq!(list(&[&a, &b]), [a.clone(), b.clone()]);
        assert_eq!(list(&[&a]), [b]);
        assert!(known.is_complete(Source::Services) && !known.is_complete(Source::NodePods));
        assert_eq!(known.get(Source::Services, &a), Some(&seen("1")));
    }
}
