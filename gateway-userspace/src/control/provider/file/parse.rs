//! Pure: from one YAML document to objects, or to what is wrong with them.

use super::documents;
use crate::control::config::meta::ObjectKey;
use crate::control::config::resources::{Kind, Object, ObjectId};
use crate::control::config::route::GATEWAY_GROUP;
use crate::control::diagnostic::{Code, Diagnostic, Severity};
use crate::control::provider::decode::Complaint;
use crate::control::provider::object::{self, Reading};
use crate::control::provider::tree::{self, Node, Place, Value};

/// Where objects are that name no namespace.
const DEFAULT_NAMESPACE: &str = "default";

/// What a document holds. Lines count from its own first one.
#[derive(Debug, Default)]
pub(super) struct Parsed {
    pub(super) objects: Vec<ParsedObject>,
    /// Without file.
    pub(super) findings: Vec<Diagnostic>,
    /// True when it may hold objects that cannot be told: those it held before must stay.
    pub(super) unreadable: bool,
}

/// An object, or where a broken one stands.
#[derive(Debug)]
pub(super) struct ParsedObject {
    pub(super) id: ObjectId,
    pub(super) line: u32,
    /// `None` when it is broken.
    pub(super) object: Option<Object>,
}

/// Parses one document.
pub(super) fn parse(text: &str) -> Parsed {
    let mut parsed = Parsed::default();
    match tree::read(text) {
        Ok(node) => parsed.document(&node),
        Err(error) => {
            let fix = "correct the syntax; other documents of this file are read all the same";
            parsed.unreadable(
                Code::Syntax,
                error.place,
                "",
                format!("this document is not YAML: {}", error.message),
                fix,
            );
        }
    }
    parsed
}

/// The line and column of `field` of the object that begins at `line` of a file.
pub(super) fn locate(text: &str, line: u32, field: &str) -> Option<(u32, u32)> {
    let document = documents::split(text).into_iter().rfind(|d| d.lines_before < line)?;
    let line = line - document.lines_before;
    let node = tree::read(document.text).ok()?;
    let object = match items(&node) {
        Some(items) => items.iter().find(|item| item.place.line == line)?,
        None => &node,
    };
    let place = object.place_of(field);
    Some((place.line + document.lines_before, place.column))
}

/// The objects of a `List`.
fn items(node: &Node) -> Option<&[Node]> {
    let kind = node.get("kind")?.as_text()?;
    match &node.get("items")?.value {
        Value::List(items) if kind.ends_with("List") => Some(items),
        _ => None,
    }
}

impl Parsed {
    fn document(&mut self, node: &Node) {
        if node.value == Value::Null {
            return;
        }
        match items(node) {
            Some(items) => items.iter().for_each(|item| self.object(item)),
            None => self.object(node),
        }
    }

    fn unreadable(&mut self, code: Code, place: Place, field: &str, message: String, fix: &str) {
        self.unreadable = true;
        let finding = Diagnostic::at(Severity::Error, code, "", position(place));
        self.findings.push(finding.field(field).message(message).fix(fix));
    }

    fn object(&mut self, node: &Node) {
        let text = |name: &str| node.get(name).and_then(Node::as_text);
        let (Some(api_version), Some(kind)) = (text("apiVersion"), text("kind")) else {
            let message = "this is no Kubernetes object: apiVersion or kind is missing".to_owned();
            let fix = "add both, or move the file out of the configuration folder";
            return self.unreadable(Code::InvalidObject, node.place, "", message, fix);
        };
        let group = api_version.split_once('/').map_or("", |(group, _)| group);
        let Some(kind) = known_kind(group, kind) else {
            self.findings.extend(unknown_kind(group, kind, node.place));
            return;
        };
        let metadata = node.get("metadata");
        let meta =
            |name: &str| metadata.and_then(|m| m.get(name)).and_then(Node::as_text).filter(|t| !t.is_empty());
        let Some(name) = meta("name") else {
            let message = format!("this {kind} has no name");
            return self.unreadable(
                Code::InvalidObject,
                node.place,
                "metadata.name",
                message,
                "add metadata.name",
            );
        };
        let namespace = match kind.is_namespaced() {
            true => meta("namespace").unwrap_or(DEFAULT_NAMESPACE),
            false => "",
        };
        let id = ObjectId { kind, key: ObjectKey::new(namespace, name) };
        let object = self.decode(&id, node);
        self.objects.push(ParsedObject { id, line: node.place.line, object });
    }

    fn decode(&mut self, id: &ObjectId, node: &Node) -> Option<Object> {
        let Reading { object, unknown, wrong } = object::read(id, node);
        for complaint in unknown {
            self.complain(Severity::Warning, Code::UnknownField, id, complaint);
        }
        for complaint in wrong {
            self.complain(Severity::Error, Code::InvalidObject, id, complaint);
        }
        object
    }

    fn complain(&mut self, severity: Severity, code: Code, id: &ObjectId, complaint: Complaint) {
        let mut finding = Diagnostic::at(severity, code, "", position(complaint.place));
        finding.object = Some(id.to_string());
        let fix = if complaint.fix.is_empty() { "correct this field".to_owned() } else { complaint.fix };
        self.findings.push(finding.field(complaint.field).message(complaint.message).fix(fix));
    }
}

fn position(place: Place) -> Option<(u32, u32)> {
    (place.line > 0).then_some((place.line, place.column))
}

fn known_kind(group: &str, kind: &str) -> Option<Kind> {
    match (group, kind) {
        (GATEWAY_GROUP, "GatewayClass") => Some(Kind::GatewayClass),
        (GATEWAY_GROUP, "Gateway") => Some(Kind::Gateway),
        (GATEWAY_GROUP, "HTTPRoute") => Some(Kind::HttpRoute),
        (GATEWAY_GROUP, "GRPCRoute") => Some(Kind::GrpcRoute),
        (GATEWAY_GROUP, "ReferenceGrant") => Some(Kind::ReferenceGrant),
        ("", "Service") => Some(Kind::Service),
        ("", "Namespace") => Some(Kind::Namespace),
        ("", "Node") => Some(Kind::Node),
        ("discovery.k8s.io", "EndpointSlice") => Some(Kind::EndpointSlice),
        ("weir.dev", "CapturedPod") => Some(Kind::CapturedPod),
        _ => None,
    }
}

/// A folder may hold all of an application: only kinds that were meant for a gateway get a remark.
fn unknown_kind(group: &str, kind: &str, place: Place) -> Option<Diagnostic> {
    const OURS: [&str; 8] = [
        "GatewayClass",
        "Gateway",
        "HTTPRoute",
        "GRPCRoute",
        "ReferenceGrant",
        "Service",
        "EndpointSlice",
        "CapturedPod",
    ];
    let finding = Diagnostic::at(Severity::Warning, Code::UnsupportedKind, "", position(place));
    let meant_for_us =
        group.is_empty() || group.ends_with("gateway.networking.k8s.io") || group == "weir.dev";
    if OURS.contains(&kind) && meant_for_us {
        let message = format!("there is no {kind} in group `{group}`; this object is left alone");
        return Some(finding.field("apiVersion").message(message).fix("correct apiVersion"));
    }
    let gateway_api = group == GATEWAY_GROUP || group == "gateway.networking.x-k8s.io" || group == "weir.dev";
    gateway_api.then(|| {
        let message = format!("kind {kind} is not supported by this version; this object has no effect");
        finding.field("kind").message(message).fix("remove it, or expect it to do nothing")
    })
}
