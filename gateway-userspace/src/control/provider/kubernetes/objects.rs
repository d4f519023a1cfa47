//! Pure: from the API's JSON to the structs of `config`, without what Weir has no use for.

use std::sync::Arc;

use serde::de::DeserializeOwned;

use super::message::Raw;
use super::texts::{self, Texts};
use crate::control::config::meta::{ObjectKey, ObjectMeta};
use crate::control::config::pod::Pod;
use crate::control::config::resources::{Kind, Object, ObjectId};
use crate::control::config::service::{EndpointSlice, SERVICE_NAME_LABEL};
use crate::control::config::validate;
use crate::control::diagnostic::{Code, Diagnostic, Severity};
use crate::control::provider::decode::{Complaint, decode};
use crate::control::provider::object::{self, Reading};
use crate::control::provider::tree::{Node, Place};

/// Labels and annotations of Weir's own.
const OWN_PREFIX: &str = "weir.dev/";
/// A copy of the whole object, for kubectl.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// What was read of an object, and findings on it.
#[derive(Debug)]
pub(super) struct Read<T> {
    /// `None` when it is broken.
    pub(super) object: Option<T>,
    pub(super) findings: Vec<Diagnostic>,
}

/// Reads an object of the desired state.
pub(super) fn read(id: &ObjectId, raw: &Raw<'_>, texts: &mut Texts) -> Read<Object> {
    // Many, and their shape is the server's: read straight from the text. What that cannot read, and
    // what a user may have written wrong, is read again in a way that can say where.
    let quick = match id.kind {
        Kind::Service => {
            quick(raw, id.kind, validate::service, |o| &mut o.metadata, texts::shrink, Object::Service)
        }
        Kind::EndpointSlice => {
            let keep = |slice: &mut EndpointSlice| texts.slice(slice);
            quick(raw, id.kind, validate::nothing, |o| &mut o.metadata, keep, Object::EndpointSlice)
        }
        Kind::Namespace => {
            quick(raw, id.kind, validate::nothing, |o| &mut o.metadata, |_| (), Object::Namespace)
        }
        Kind::Node => quick(raw, id.kind, validate::nothing, |o| &mut o.metadata, |_| (), Object::Node),
        _ => None,
    };
    if quick.is_some() {
        return Read { object: quick, findings: Vec::new() };
    }
    let node = match Node::from_json(raw.json) {
        Ok(node) => node,
        Err(error) => return Read { object: None, findings: vec![broken(id, not_json(&error))] },
    };
    let Reading { object, unknown, wrong } = object::read_with(id, &node, |meta| trim(meta, id.kind));
    let ours = unknown.into_iter().filter(|_| is_gateway_api(id.kind)).map(|c| without_effect(id, c));
    let findings = wrong.into_iter().map(|complaint| broken(id, complaint)).chain(ours).collect();
    Read { object, findings }
}

/// Reads a pod.
pub(super) fn pod(raw: &Raw<'_>) -> Read<Arc<Pod>> {
    let mut pod: Pod = match serde_json::from_str(raw.json) {
        Ok(pod) => pod,
        Err(_) => match slow_pod(raw.json) {
            Ok(pod) => pod,
            Err(complaint) => {
                let about = format!("Pod {}/{}", raw.namespace, raw.name);
                return Read { object: None, findings: vec![finding(about, complaint)] };
            }
        },
    };
    pod.metadata.annotations.remove(LAST_APPLIED);
    Read { object: Some(Arc::new(pod)), findings: Vec::new() }
}

fn slow_pod(json: &str) -> Result<Pod, Complaint> {
    let node = Node::from_json(json).map_err(|error| not_json(&error))?;
    decode::<Pod>(&node).0
}

/// The key of an object.
pub(super) fn key(raw: &Raw<'_>) -> ObjectKey {
    ObjectKey::new(&raw.namespace, &raw.name)
}

fn quick<T: DeserializeOwned>(
    raw: &Raw<'_>,
    kind: Kind,
    validate: fn(&T) -> Vec<validate::Violation>,
    metadata: fn(&mut T) -> &mut ObjectMeta,
    keep: impl FnOnce(&mut T),
    wrap: fn(Arc<T>) -> Object,
) -> Option<Object> {
    let mut object: T = serde_json::from_str(raw.json).ok()?;
    if !validate(&object).is_empty() {
        return None;
    }
    trim(metadata(&mut object), kind);
    keep(&mut object);
    Some(wrap(Arc::new(object)))
}

/// Leaves out what changes often or is large and decides nothing.
fn trim(meta: &mut ObjectMeta, kind: Kind) {
    let own = |name: &str| name.starts_with(OWN_PREFIX);
    if matches!(kind, Kind::EndpointSlice | Kind::Service | Kind::Namespace) {
        meta.uid = String::new();
    }
    match kind {
        Kind::EndpointSlice => {
            meta.labels.retain(|name, _| name == SERVICE_NAME_LABEL || own(name));
            meta.annotations.retain(|name, _| own(name));
            meta.generation = 0;
            meta.creation_timestamp = None;
        }
        Kind::Service => {
            meta.labels.retain(|name, _| own(name));
            meta.annotations.retain(|name, _| own(name));
        }
        Kind::Namespace | Kind::Node => meta.annotations.retain(|name, _| own(name)),
        _ => {
            meta.annotations.remove(LAST_APPLIED);
        }
    }
}

/// The API's schema has pruned what no version knows: what is left is known to it and not to Weir.
fn without_effect(id: &ObjectId, complaint: Complaint) -> Diagnostic {
    let message =
        format!("this version of Weir does not know the field `{}`; it has no effect", complaint.field);
    let finding = Diagnostic::of(Severity::Warning, Code::UnknownField, id.to_string());
    finding.field(complaint.field).message(message).fix("remove it, or use a version of Weir that knows it")
}

fn is_gateway_api(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::GatewayClass | Kind::Gateway | Kind::HttpRoute | Kind::GrpcRoute | Kind::ReferenceGrant
    )
}

fn not_json(error: &serde_json::Error) -> Complaint {
    let message = format!("the API server's text of this object cannot be read: {error}");
    let fix = "see the object with kubectl get -o json".to_owned();
    Complaint { field: String::new(), place: Place::default(), message, fix }
}

fn broken(id: &ObjectId, complaint: Complaint) -> Diagnostic {
    finding(id.to_string(), complaint)
}

fn finding(object: String, complaint: Complaint) -> Diagnostic {
    let Complaint { field, message, fix, .. } = complaint;
    let fix = if fix.is_empty() { "correct this field".to_owned() } else { fix };
    Diagnostic::of(Severity::Error, Code::InvalidObject, object).field(field).message(message).fix(fix)
}
