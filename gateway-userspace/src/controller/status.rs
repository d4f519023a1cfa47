//! Pure: what the status of an object is to say, beside what it says: nothing when that is the same.
//!
//! Statuses have several writers. Of a route only the entries with Weir's controller name are
//! Weir's, of a class or a Gateway the conditions that Weir knows; the rest stays as it is.

use serde_json::{Map, Value, json};

use super::exposure::{Address, Exposure};
use super::features::FEATURES;
use crate::control::report::{
    CONTROLLER_NAME, ClassStatus, Condition, GatewayStatus, ListenerStatus, RouteStatus,
};
use crate::limits::STATUS_MESSAGE_CHARS_MAX;

/// Entries of a route's `status.parents`, as the API allows.
const PARENTS_MAX: usize = 32;
/// Entries of a Gateway's `status.addresses`, as the API allows.
const ADDRESSES_MAX: usize = 16;

/// The generation of an object that a list of conditions is about.
pub fn generation(conditions: &[Condition]) -> Option<i64> {
    conditions.first().map(|condition| condition.observed_generation)
}

/// Fields of a GatewayClass's status to be replaced. `now` is RFC 3339 in UTC, as everywhere here.
pub fn of_class(current: &Value, wanted: &ClassStatus, now: &str) -> Option<Value> {
    let features: Vec<Value> = FEATURES.iter().map(|name| json!({ "name": name })).collect();
    let mut fields = Map::new();
    fields.insert("conditions".into(), shared_conditions(current, &wanted.conditions, now));
    fields.insert("supportedFeatures".into(), features.into());
    difference(current, fields)
}

/// Fields of a Gateway's status to be replaced.
pub fn of_gateway(current: &Value, wanted: &GatewayStatus, exposure: &Exposure, now: &str) -> Option<Value> {
    let mut conditions = wanted.conditions.clone();
    if let Some(unreachable) = &exposure.unreachable {
        for condition in conditions.iter_mut().filter(|c| c.kind == "Programmed" && c.status) {
            condition.status = false;
            condition.reason = unreachable.reason;
            condition.message.clone_from(&unreachable.message);
        }
    }
    let addresses: Vec<Value> = exposure.addresses.iter().take(ADDRESSES_MAX).map(address).collect();
    let listeners = wanted.listeners.iter().map(|l| listener(current, l, now)).collect();
    let mut fields = Map::new();
    fields.insert("addresses".into(), Value::Array(addresses));
    fields.insert("conditions".into(), shared_conditions(current, &conditions, now));
    fields.insert("listeners".into(), Value::Array(listeners));
    difference(current, fields)
}

fn address(address: &Address) -> Value {
    let kind = if address.is_ip() { "IPAddress" } else { "Hostname" };
    json!({ "type": kind, "value": address.as_str() })
}

fn listener(current: &Value, wanted: &ListenerStatus, now: &str) -> Value {
    let before = entry(current, "listeners", |l| l["name"] == *wanted.name);
    let kind =
        |kind: &crate::control::report::SupportedKind| json!({ "group": kind.group, "kind": kind.kind });
    json!({
        "name": wanted.name,
        "attachedRoutes": wanted.attached_routes,
        "supportedKinds": wanted.supported_kinds.iter().map(kind).collect::<Vec<_>>(),
        "conditions": conditions(before, &wanted.conditions, now),
    })
}

/// Fields of a route's status to be replaced. Without `wanted` no parent of it is Weir's, and Weir's
/// entries go.
pub fn of_route(current: &Value, wanted: Option<&RouteStatus>, now: &str) -> Option<Value> {
    let is_ours = |entry: &&Value| entry["controllerName"] == CONTROLLER_NAME;
    let before = current["parents"].as_array().map_or(&[][..], Vec::as_slice);
    let others: Vec<Value> = before.iter().filter(|e| !is_ours(e)).cloned().collect();
    let parents = wanted.map_or(&[][..], |wanted| &wanted.parents);
    let ours: Vec<Value> = parents
        .iter()
        .take(PARENTS_MAX - others.len().min(PARENTS_MAX))
        .map(|parent| {
            let reference = serde_json::to_value(&parent.parent_ref).unwrap_or_default();
            let old = before.iter().filter(is_ours).find(|entry| entry["parentRef"] == reference);
            json!({
                "parentRef": reference,
                "controllerName": CONTROLLER_NAME,
                "conditions": conditions(old, &parent.conditions, now),
            })
        })
        .collect();
    // The order among writers is nobody's: where only it differs, nothing is written.
    if before.iter().filter(is_ours).eq(ours.iter()) {
        return None;
    }
    let all: Vec<Value> = others.into_iter().chain(ours).collect();
    Some(json!({ "parents": all }))
}

fn entry<'a>(current: &'a Value, list: &str, is: impl Fn(&Value) -> bool) -> Option<&'a Value> {
    current[list].as_array()?.iter().find(|entry| is(entry))
}

/// Those that are wanted, and before them those of other writers.
fn shared_conditions(current: &Value, wanted: &[Condition], now: &str) -> Value {
    let before = current["conditions"].as_array().map_or(&[][..], Vec::as_slice);
    let is_ours = |entry: &Value| wanted.iter().any(|c| entry["type"] == *c.kind);
    let others = before.iter().filter(|entry| !is_ours(entry)).cloned();
    let ours = conditions(Some(current), wanted, now);
    let mut all: Vec<Value> = others.collect();
    all.extend(ours);
    // As they stood, so that no order is written that nobody minds.
    let place = |entry: &Value| before.iter().position(|old| old["type"] == entry["type"]);
    all.sort_by_key(|entry| place(entry).unwrap_or(usize::MAX));
    all.into()
}

fn conditions(before: Option<&Value>, wanted: &[Condition], now: &str) -> Vec<Value> {
    wanted.iter().map(|condition| stamped(before, condition, now)).collect()
}

/// A condition with the time since when it has the status that it has.
fn stamped(before: Option<&Value>, wanted: &Condition, now: &str) -> Value {
    let status = if wanted.status { "True" } else { "False" };
    let old = before.and_then(|before| entry(before, "conditions", |c| c["type"] == wanted.kind));
    let since = old.filter(|old| old["status"] == status).and_then(|old| old["lastTransitionTime"].as_str());
    json!({
        "type": wanted.kind,
        "status": status,
        "reason": wanted.reason,
        "message": bounded(&wanted.message),
        "observedGeneration": wanted.observed_generation,
        "lastTransitionTime": since.unwrap_or(now),
    })
}

/// No longer than an object with many conditions can bear.
fn bounded(message: &str) -> String {
    match message.char_indices().nth(STATUS_MESSAGE_CHARS_MAX) {
        None => message.to_owned(),
        Some(_) => message.chars().take(STATUS_MESSAGE_CHARS_MAX - 1).chain(['…']).collect(),
    }
}

/// The fields that differ; an absent list is as good as an empty one.
fn difference(current: &Value, fields: Map<String, Value>) -> Option<Value> {
    let empty = Value::Array(Vec::new());
    let same = |name: &str, wanted: &Value| current.get(name).unwrap_or(&empty) == wanted;
    let changed: Map<String, Value> =
        fields.into_iter().filter(|(name, wanted)| !same(name, wanted)).collect();
    (!changed.is_empty()).then_some(Value::Object(changed))
}

#[cfg(test)]
mod tests;
