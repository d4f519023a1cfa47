//! Pure: what is to be written about one object, from what is desired and what the API server has.

use std::collections::BTreeMap;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;
use std::sync::Arc;

use serde_json::Value;

use super::applied;
use super::capture_status::CaptureStatuses;
use super::exposure::{Exposed, SERVICE_TYPE_ANNOTATION, ServiceType, Unreachable};
use super::seen::{Known, Seen, Source};
use super::slices::{self, NodePod};
use super::status;
use crate::control::config::meta::ObjectKey;
use crate::control::config::resources::{Kind, ObjectId, ResourceSet};
use crate::control::config::service::SERVICE_NAME_LABEL;
use crate::control::report::{CONTROLLER_NAME, GatewayStatus, StatusReport};

/// What is looked at.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// An object of the desired state, and what is made for it.
    Object(ObjectId),
    /// A pod, for its annotation. Anything else goes first.
    Pod(ObjectKey),
}

impl Target {
    /// What goes first has less of it.
    pub const fn rank(&self) -> u8 {
        match self {
            Self::Object(_) => 0,
            Self::Pod(_) => 1,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Object(id) => id.fmt(f),
            Self::Pod(key) => write!(f, "Pod {key}"),
        }
    }
}

/// One write to the API server.
#[derive(Debug, Clone, PartialEq)]
pub enum Write {
    /// Fields of a status, unless the object has another version by now.
    Status {
        /// Its kind.
        source: Source,
        /// Its name.
        key: ObjectKey,
        /// The version that was looked at.
        version: String,
        /// Replaced, each as a whole.
        fields: Value,
    },
    /// An object, by server-side apply.
    Apply {
        /// Its kind.
        source: Source,
        /// Its name.
        key: ObjectKey,
        /// Whole.
        object: Value,
        /// The owner's UID, where nothing of that name is known: one that is there after all and has
        /// another owner is left alone.
        new_for: Option<String>,
    },
    /// The annotation of a pod, unless another pod has its name by now.
    Annotate {
        /// Its name.
        key: ObjectKey,
        /// Its UID.
        uid: String,
        /// What is to stand there; none where it is to go.
        text: Option<String>,
    },
    /// The end of an object, unless another has its name by now.
    Delete {
        /// Its kind.
        source: Source,
        /// Its name.
        key: ObjectKey,
        /// Its UID.
        uid: String,
    },
}

impl Write {
    /// The kind that is written.
    pub const fn source(&self) -> Source {
        match self {
            Self::Status { source, .. } | Self::Apply { source, .. } | Self::Delete { source, .. } => *source,
            Self::Annotate { .. } => Source::Pods,
        }
    }

    /// The name that is written.
    pub const fn key(&self) -> &ObjectKey {
        match self {
            Self::Status { key, .. }
            | Self::Apply { key, .. }
            | Self::Annotate { key, .. }
            | Self::Delete { key, .. } => key,
        }
    }
}

/// What a report says, by object.
#[derive(Debug, Default)]
pub struct Wanted {
    report: Arc<StatusReport>,
    /// Where classes and Gateways are in it.
    index: BTreeMap<ObjectId, usize>,
}

impl Wanted {
    /// By object.
    pub fn new(report: Arc<StatusReport>) -> Self {
        let mut index = BTreeMap::new();
        let mut put = |kind, namespace: &str, name: &str, position| {
            index.insert(ObjectId { kind, key: ObjectKey::new(namespace, name) }, position);
        };
        for (i, class) in report.gateway_classes.iter().enumerate() {
            put(Kind::GatewayClass, "", &class.name, i);
        }
        for (i, gateway) in report.gateways.iter().enumerate() {
            put(Kind::Gateway, &gateway.namespace, &gateway.name, i);
        }
        Self { report, index }
    }

    /// Objects whose status is another one in `old`, or is in one of both only.
    pub fn changes_since(&self, old: &Self) -> Vec<ObjectId> {
        let differs = |id: &&ObjectId| !self.is_same(old, id);
        let gone = old.index.keys().filter(|id| !self.index.contains_key(*id));
        let mut changes: Vec<ObjectId> = self.index.keys().filter(differs).chain(gone).cloned().collect();
        changes.extend(self.report.routes.changes_since(&old.report.routes));
        changes
    }

    fn is_same(&self, old: &Self, id: &ObjectId) -> bool {
        let (Some(new_at), Some(old_at)) = (self.index.get(id), old.index.get(id)) else { return false };
        let (new, old) = (&self.report, &old.report);
        match id.kind {
            Kind::GatewayClass => new.gateway_classes.get(*new_at) == old.gateway_classes.get(*old_at),
            _ => new.gateways.get(*new_at) == old.gateways.get(*old_at),
        }
    }

    /// Names of the Gateways that are Weir's.
    pub fn gateways(&self) -> impl Iterator<Item = &ObjectId> {
        self.index.keys().filter(|id| id.kind == Kind::Gateway)
    }

    fn gateway(&self, key: &ObjectKey) -> Option<&GatewayStatus> {
        let id = ObjectId { kind: Kind::Gateway, key: key.clone() };
        self.report.gateways.get(*self.index.get(&id)?)
    }
}

/// All that a plan is made from.
#[derive(Debug)]
pub struct Facts<'a> {
    /// The desired state.
    pub set: &'a ResourceSet,
    /// What became of it.
    pub wanted: &'a Wanted,
    /// What the API server has.
    pub known: &'a Known,
    /// What nodes report of their pods.
    pub captures: &'a CaptureStatuses,
    /// Every kind of the desired state is known.
    pub complete: bool,
    /// What stands in the way of the Service of the Gateway that is looked at.
    pub refused: Option<&'a str>,
    /// Where nothing else is said.
    pub service_type: ServiceType,
    /// RFC 3339, UTC.
    pub now: &'a str,
}

impl Facts<'_> {
    /// What is to be written about an object. Nothing while the desired state and the API server's
    /// object are of different generations: one of both is about to come.
    pub fn plan(&self, target: &Target) -> Vec<Write> {
        let id = match target {
            Target::Pod(key) => return self.pod(key).into_iter().collect(),
            Target::Object(id) => id,
        };
        // What became of half a state is not what becomes of all.
        if !self.complete || self.is_about_another(id) {
            return Vec::new();
        }
        let key = &id.key;
        match id.kind {
            Kind::GatewayClass => self.class(key).into_iter().collect(),
            Kind::Gateway => self.gateway(key),
            Kind::HttpRoute => self.route(Source::HttpRoutes, id).into_iter().collect(),
            Kind::GrpcRoute => self.route(Source::GrpcRoutes, id).into_iter().collect(),
            _ => Vec::new(),
        }
    }

    /// The desired state has the object that had the name before, or the next one: generations do not tell them apart.
    pub fn is_about_another(&self, id: &ObjectId) -> bool {
        let (source, meta) = match id.kind {
            Kind::GatewayClass => {
                (Source::GatewayClasses, self.set.gateway_classes.get(&id.key).map(|e| &e.object.metadata))
            }
            Kind::Gateway => (Source::Gateways, self.set.gateways.get(&id.key).map(|e| &e.object.metadata)),
            Kind::HttpRoute => {
                (Source::HttpRoutes, self.set.http_routes.get(&id.key).map(|e| &e.object.metadata))
            }
            Kind::GrpcRoute => {
                (Source::GrpcRoutes, self.set.grpc_routes.get(&id.key).map(|e| &e.object.metadata))
            }
            _ => return false,
        };
        let (Some(meta), Some(seen)) = (meta, self.known.get(source, &id.key)) else { return false };
        !meta.uid.is_empty() && meta.uid != seen.uid
    }

    fn pod(&self, key: &ObjectKey) -> Option<Write> {
        let seen = self.known.get(Source::Pods, key)?;
        if !self.known.is_complete(Source::NodeReports) {
            return None;
        }
        // A report of the pod that had this name before says nothing of this one.
        let wanted = self.captures.get(key, &seen.uid);
        let text = wanted.map(|capture| &*capture.text);
        (seen.content.as_str() != text).then(|| Write::Annotate {
            key: key.clone(),
            uid: seen.uid.clone(),
            text: text.map(str::to_owned),
        })
    }

    fn class(&self, key: &ObjectKey) -> Option<Write> {
        let id = ObjectId { kind: Kind::GatewayClass, key: key.clone() };
        let wanted = self.wanted.report.gateway_classes.get(*self.wanted.index.get(&id)?)?;
        let seen = self.known.get(Source::GatewayClasses, key)?;
        if status::generation(&wanted.conditions) != Some(seen.generation) {
            return None;
        }
        let fields = status::of_class(&seen.content, wanted, self.now)?;
        Some(status_write(Source::GatewayClasses, key, seen, fields))
    }

    fn route(&self, source: Source, id: &ObjectId) -> Option<Write> {
        let seen = self.known.get(source, &id.key)?;
        let wanted = self.wanted.report.routes.get(id);
        match wanted {
            Some(wanted) => {
                let about = wanted.parents.iter().find_map(|p| status::generation(&p.conditions));
                if about != Some(seen.generation) {
                    return None;
                }
            }
            // Only what is known not to be Weir's loses what Weir wrote: what is missing may be about to come.
            None if self.generation_of(id) != Some(seen.generation) => return None,
            None => {}
        }
        let fields = status::of_route(&seen.content, wanted, self.now)?;
        Some(status_write(source, &id.key, seen, fields))
    }

    fn gateway(&self, key: &ObjectKey) -> Vec<Write> {
        let needed = [Source::Services, Source::EndpointSlices, Source::NodePods];
        let Some(seen) = self.known.get(Source::Gateways, key) else { return Vec::new() };
        if !needed.iter().all(|source| self.known.is_complete(*source)) {
            return Vec::new();
        }
        // A Gateway that is gone takes what it owns with it; one that is not read yet keeps it.
        let Some(entry) = self.set.gateways.get(key) else { return Vec::new() };
        let Some(status) = self.wanted.gateway(key) else {
            let is_read = entry.object.metadata.generation == seen.generation;
            let leaves = is_read && self.is_anothers(&entry.object.spec.gateway_class_name);
            return if leaves { self.surplus(key, seen, None) } else { Vec::new() };
        };
        if status::generation(&status.conditions) != Some(seen.generation) {
            return Vec::new();
        }
        let gateway = &*entry.object;
        let service_type = self.service_type_of(key);
        let exposed = Exposed { gateway, uid: &seen.uid, status, service_type };
        let pods: Vec<NodePod> =
            self.known.all(Source::NodePods).filter_map(|(_, pod)| node_pod(&pod.content)).collect();
        let mut writes = self.surplus(key, seen, Some(&exposed.service_name()));
        writes.extend(self.made_for(key, &exposed, &pods));
        let service = self.known.get(Source::Services, &service_key(key, &exposed));
        let ready = pods.iter().filter(|pod| pod.ready && !pod.terminating).count();
        let mut exposure = exposed.exposure(service.map(|s| &s.content), ready);
        if let Some(message) = self.refused {
            exposure.unreachable = Some(Unreachable { reason: "NoResources", message: message.to_owned() });
        }
        if let Some(fields) = status::of_gateway(&seen.content, status, &exposure, self.now) {
            writes.push(status_write(Source::Gateways, key, seen, fields));
        }
        writes
    }

    /// A class that is there and has another controller. One that is missing may be made anew: addresses that are
    /// given back meanwhile are lost.
    fn is_anothers(&self, class: &str) -> bool {
        let class = self.set.gateway_classes.get(&ObjectKey::new("", class));
        class.is_some_and(|class| class.object.spec.controller_name != CONTROLLER_NAME)
    }

    /// Of a route, as the desired state has it.
    fn generation_of(&self, id: &ObjectId) -> Option<i64> {
        match id.kind {
            Kind::HttpRoute => self.set.http_routes.get(&id.key).map(|e| e.object.metadata.generation),
            Kind::GrpcRoute => self.set.grpc_routes.get(&id.key).map(|e| e.object.metadata.generation),
            _ => None,
        }
    }

    /// The Gateway's word, its class's, or the default.
    fn service_type_of(&self, gateway: &ObjectKey) -> ServiceType {
        let said = |annotations: &BTreeMap<String, String>| {
            annotations.get(SERVICE_TYPE_ANNOTATION).and_then(|word| ServiceType::parse(word))
        };
        let Some(entry) = self.set.gateways.get(gateway) else { return self.service_type };
        let class = ObjectKey::new("", &entry.object.spec.gateway_class_name);
        let class = self.set.gateway_classes.get(&class);
        said(&entry.object.metadata.annotations)
            .or_else(|| said(&class?.object.metadata.annotations))
            .unwrap_or(self.service_type)
    }

    /// The Service and its slices, as far as they differ.
    fn made_for(&self, gateway: &ObjectKey, exposed: &Exposed<'_>, pods: &[NodePod]) -> Vec<Write> {
        let mut writes = Vec::new();
        let Some(object) = exposed.service() else { return writes };
        let key = service_key(gateway, exposed);
        let there = self.known.get(Source::Services, &key);
        if there.is_some_and(|there| !exposed.owns(&there.content)) {
            return writes;
        }
        if !there.is_some_and(|there| applied::holds(&there.content, &object)) {
            let new_for = there.is_none().then(|| exposed.uid.to_owned());
            writes.push(Write::Apply { source: Source::Services, key: key.clone(), object, new_for });
        }
        let slices = self.known.all(Source::EndpointSlices).filter(|(slice_key, slice)| {
            slice_key.namespace == key.namespace
                && exposed.owns(&slice.content)
                && slice.content["metadata"]["labels"][SERVICE_NAME_LABEL] == *key.name
        });
        let there: BTreeMap<&str, &Seen> = slices.map(|(key, slice)| (&*key.name, slice)).collect();
        let contents = there.iter().map(|(name, seen)| (*name, &seen.content)).collect();
        let changes = slices::changes(exposed, &contents, pods);
        for object in changes.apply {
            let name = object["metadata"]["name"].as_str().unwrap_or_default();
            let new_for = (!there.contains_key(name)).then(|| exposed.uid.to_owned());
            let key = ObjectKey::new(&key.namespace, name);
            writes.push(Write::Apply { source: Source::EndpointSlices, key, object, new_for });
        }
        for name in changes.delete {
            let uid = there.get(&*name).map(|seen| seen.uid.clone()).unwrap_or_default();
            let key = ObjectKey::new(&key.namespace, &name);
            writes.push(Write::Delete { source: Source::EndpointSlices, key, uid });
        }
        writes
    }

    /// What was made for the Gateway under another name than this Service's, or at all when it is no
    /// longer Weir's.
    fn surplus(&self, gateway: &ObjectKey, seen: &Seen, service: Option<&str>) -> Vec<Write> {
        let owned = |object: &Value| {
            let owners = object["metadata"]["ownerReferences"].as_array();
            owners.is_some_and(|owners| owners.iter().any(|owner| owner["uid"] == *seen.uid))
        };
        let mut writes = Vec::new();
        for source in [Source::EndpointSlices, Source::Services] {
            for (key, object) in self.known.all(source).filter(|(k, _)| k.namespace == gateway.namespace) {
                let of = match source {
                    Source::Services => Some(&*key.name),
                    _ => object.content["metadata"]["labels"][SERVICE_NAME_LABEL].as_str(),
                };
                // Without these labels it may be another controller's, however it is owned.
                let ours = object.content["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "weir";
                if ours && of != service && owned(&object.content) {
                    writes.push(Write::Delete { source, key: key.clone(), uid: object.uid.clone() });
                }
            }
        }
        writes
    }
}

fn service_key(gateway: &ObjectKey, exposed: &Exposed<'_>) -> ObjectKey {
    ObjectKey::new(&gateway.namespace, &exposed.service_name())
}

fn status_write(source: Source, key: &ObjectKey, seen: &Seen, fields: Value) -> Write {
    Write::Status { source, key: key.clone(), version: seen.version.clone(), fields }
}

/// A pod of `weir node` that has a node and has not ended.
fn node_pod(pod: &Value) -> Option<NodePod> {
    let (meta, status) = (&pod["metadata"], &pod["status"]);
    let text = |value: &Value| value.as_str().map(str::to_owned);
    if matches!(status["phase"].as_str(), Some("Succeeded" | "Failed")) {
        return None;
    }
    let conditions = status["conditions"].as_array();
    let is_ready = |c: &Value| c["type"] == "Ready" && c["status"] == "True";
    let ips = status["podIPs"].as_array().into_iter().flatten();
    let addresses: Vec<IpAddr> = ips.filter_map(|ip| ip["ip"].as_str()?.parse().ok()).collect();
    Some(NodePod {
        name: text(&meta["name"])?,
        namespace: text(&meta["namespace"])?,
        uid: text(&meta["uid"])?,
        node: text(&pod["spec"]["nodeName"])?,
        addresses,
        ready: conditions.is_some_and(|conditions| conditions.iter().any(is_ready)),
        terminating: meta["deletionTimestamp"].is_string(),
    })
}

/// What several writes say, without times: two that differ in nothing else are the same.
pub fn content(writes: &[Write]) -> u64 {
    let mut hasher = DefaultHasher::new();
    for write in writes {
        write.source().hash(&mut hasher);
        write.key().hash(&mut hasher);
        match write {
            Write::Status { fields, .. } => hash(fields, &mut hasher),
            Write::Apply { object, .. } => hash(object, &mut hasher),
            Write::Annotate { uid, text, .. } => (uid, text).hash(&mut hasher),
            Write::Delete { uid, .. } => uid.hash(&mut hasher),
        }
    }
    hasher.finish()
}

fn hash(value: &Value, hasher: &mut DefaultHasher) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields.iter().filter(|(key, _)| *key != "lastTransitionTime") {
                key.hash(hasher);
                hash(value, hasher);
            }
        }
        Value::Array(values) => {
            values.len().hash(hasher);
            values.iter().for_each(|value| hash(value, hasher));
        }
        value => value.to_string().hash(hasher),
    }
}

#[cfg(test)]
mod tests;
