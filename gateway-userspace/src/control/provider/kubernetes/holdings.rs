//! Pure: the objects that are known from the API server, each in its last good version.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use super::message::Raw;
use super::objects;
use super::source::Source;
use super::texts::Texts;
use crate::control::config::meta::{ObjectKey, Origin};
use crate::control::config::pod::Pod;
use crate::control::config::resources::{Entry, Object, ObjectId, Objects, ResourceSet};
use crate::control::diagnostic::{Code, Diagnostic, Severity};

/// Everything that is known, and what is wrong with it.
#[derive(Debug, Default)]
pub(super) struct Holdings {
    set: ResourceSet,
    pods: Objects<Pod>,
    findings: BTreeMap<(Source, ObjectKey), Vec<Diagnostic>>,
    /// What a list that is not complete has told so far.
    listing: HashMap<Source, HashSet<ObjectKey>>,
    texts: Texts,
}

impl Holdings {
    /// Objects of the desired state.
    pub(super) fn set(&self) -> &ResourceSet {
        &self.set
    }

    /// This node's pods.
    pub(super) fn pods(&self) -> &Objects<Pod> {
        &self.pods
    }

    /// What is wrong, by kind and name.
    pub(super) fn findings(&self) -> impl Iterator<Item = &Diagnostic> {
        self.findings.values().flatten()
    }

    /// True when an object of this kind is broken.
    pub(super) fn has_findings(&self, source: Source) -> bool {
        self.findings.keys().any(|(of, _)| *of == source)
    }

    /// How many objects of a kind are known.
    pub(super) fn count(&self, source: Source) -> usize {
        let set = &self.set;
        match source {
            Source::Services => set.services.len(),
            Source::EndpointSlices => set.endpoint_slices.len(),
            Source::Namespaces => set.namespaces.len(),
            Source::Pods => self.pods.len(),
            Source::Node => set.nodes.len(),
            Source::GatewayClasses => set.gateway_classes.len(),
            Source::Gateways => set.gateways.len(),
            Source::HttpRoutes => set.http_routes.len(),
            Source::GrpcRoutes => set.grpc_routes.len(),
            Source::ReferenceGrants => set.reference_grants.len(),
        }
    }

    /// What was known before a restart.
    pub(super) fn restore(&mut self, set: ResourceSet, pods: Objects<Pod>, texts: Texts) {
        self.set = set;
        self.pods = pods;
        self.texts = texts;
    }

    /// A list begins that will tell all objects of a kind.
    pub(super) fn begin(&mut self, source: Source) {
        self.listing.insert(source, HashSet::new());
    }

    /// The list is complete: what it has not told is gone. True when that changes anything.
    pub(super) fn complete(&mut self, source: Source) -> bool {
        let Some(told) = self.listing.remove(&source) else { return false };
        let gone = |key: &ObjectKey| !told.contains(key);
        let mut changed = false;
        for key in self.keys(source).into_iter().filter(gone) {
            changed |= self.remove(source, &key);
        }
        let before = self.findings.len();
        self.findings.retain(|(of, key), _| *of != source || told.contains(key));
        changed || before != self.findings.len()
    }

    /// The kind does not exist any more, and its objects with it. True when there were any.
    pub(super) fn drop_all(&mut self, source: Source) -> bool {
        self.begin(source);
        self.complete(source)
    }

    /// An object is as `raw` says. True when that is a change, of it or of findings.
    pub(super) fn put(&mut self, source: Source, raw: &Raw<'_>) -> bool {
        let key = self.texts.key(objects::key(raw));
        if let Some(told) = self.listing.get_mut(&source) {
            told.insert(key.clone());
        }
        let origin = Origin::Api { resource_version: raw.version.parse().unwrap_or(0) };
        let (changed, mut findings) = match source.kind() {
            Some(kind) => {
                let id = ObjectId { kind, key: key.clone() };
                let objects::Read { object, findings } = objects::read(&id, raw, &mut self.texts);
                (object.map(|object| self.insert(&key, origin, object)), findings)
            }
            None => {
                let objects::Read { object, findings } = objects::pod(raw);
                (object.map(|pod| self.insert_pod(&key, origin, pod)), findings)
            }
        };
        if changed.is_none() {
            let kept = self.is_known(source, &key);
            let what = if kept { "its last good version keeps serving" } else { "it is not served" };
            for finding in findings.iter_mut().filter(|f| is_error(f)) {
                finding.message = format!("{}; {what}", finding.message);
            }
        }
        changed.unwrap_or(false) | self.say(source, key, findings)
    }

    /// An object is gone. True when it was known.
    pub(super) fn gone(&mut self, source: Source, key: &ObjectKey) -> bool {
        if let Some(told) = self.listing.get_mut(&source) {
            told.remove(key);
        }
        self.remove(source, key)
    }

    fn insert(&mut self, key: &ObjectKey, origin: Origin, object: Object) -> bool {
        let new = !self.set.holds(key, &object);
        if new {
            self.set.insert(key.clone(), origin, object);
        }
        new
    }

    fn insert_pod(&mut self, key: &ObjectKey, origin: Origin, object: Arc<Pod>) -> bool {
        let new = self.pods.get(key).is_none_or(|entry| entry.object != object);
        if new {
            self.pods.insert(key.clone(), Entry { origin, object });
        }
        new
    }

    fn remove(&mut self, source: Source, key: &ObjectKey) -> bool {
        let known = self.is_known(source, key);
        match source.kind() {
            Some(kind) if known => self.set.remove(&ObjectId { kind, key: key.clone() }),
            None if known => self.pods.remove(key),
            _ => {}
        }
        self.findings.remove(&(source, key.clone())).is_some() | known
    }

    fn say(&mut self, source: Source, key: ObjectKey, findings: Vec<Diagnostic>) -> bool {
        if findings.is_empty() {
            return self.findings.remove(&(source, key)).is_some();
        }
        let before = self.findings.insert((source, key), findings.clone());
        before.is_none_or(|before| before != findings)
    }

    fn is_known(&self, source: Source, key: &ObjectKey) -> bool {
        match source.kind() {
            Some(kind) => self.set.origin(&ObjectId { kind, key: key.clone() }).is_some(),
            None => self.pods.get(key).is_some(),
        }
    }

    fn keys(&self, source: Source) -> Vec<ObjectKey> {
        match source.kind() {
            Some(kind) => self.set.keys(kind),
            None => self.pods.iter().map(|(key, _)| key.clone()).collect(),
        }
    }
}

fn is_error(finding: &Diagnostic) -> bool {
    finding.severity == Severity::Error && finding.code == Code::InvalidObject
}
