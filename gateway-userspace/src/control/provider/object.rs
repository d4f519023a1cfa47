//! Pure: from a tree of nodes to an object of its kind, and all that is to be said about it.

use std::sync::Arc;

use serde::de::DeserializeOwned;

use super::decode::{Complaint, decode};
use super::known_fields::is_known;
use super::tree::Node;
use crate::control::config::meta::ObjectMeta;
use crate::control::config::resources::{Kind, Object, ObjectId};
use crate::control::config::validate;

/// What was read of one object.
#[derive(Debug, Default)]
pub(super) struct Reading {
    /// `None` when it is broken.
    pub(super) object: Option<Object>,
    /// Fields that have no effect.
    pub(super) unknown: Vec<Complaint>,
    /// Why it is broken.
    pub(super) wrong: Vec<Complaint>,
}

/// Reads `node` as the object that `id` names.
pub(super) fn read(id: &ObjectId, node: &Node) -> Reading {
    read_with(id, node, |_| ())
}

/// The same, with a change of its metadata before it is kept.
pub(super) fn read_with(id: &ObjectId, node: &Node, change: impl Fn(&mut ObjectMeta)) -> Reading {
    let change = |meta: &mut ObjectMeta| {
        meta.namespace = id.key.namespace.to_string();
        change(meta);
    };
    match id.kind {
        Kind::GatewayClass => {
            typed(id, node, |o| change(&mut o.metadata), validate::nothing, Object::GatewayClass)
        }
        Kind::Gateway => typed(id, node, |o| change(&mut o.metadata), validate::gateway, Object::Gateway),
        Kind::HttpRoute => {
            typed(id, node, |o| change(&mut o.metadata), validate::http_route, Object::HttpRoute)
        }
        Kind::GrpcRoute => {
            typed(id, node, |o| change(&mut o.metadata), validate::grpc_route, Object::GrpcRoute)
        }
        Kind::ReferenceGrant => {
            typed(id, node, |o| change(&mut o.metadata), validate::nothing, Object::ReferenceGrant)
        }
        Kind::Service => typed(id, node, |o| change(&mut o.metadata), validate::service, Object::Service),
        Kind::EndpointSlice => {
            typed(id, node, |o| change(&mut o.metadata), validate::nothing, Object::EndpointSlice)
        }
        Kind::Namespace => typed(id, node, |o| change(&mut o.metadata), validate::nothing, Object::Namespace),
        Kind::Node => typed(id, node, |o| change(&mut o.metadata), validate::nothing, Object::Node),
        Kind::CapturedPod => {
            typed(id, node, |o| change(&mut o.metadata), validate::nothing, Object::CapturedPod)
        }
    }
}

fn typed<T: DeserializeOwned>(
    id: &ObjectId,
    node: &Node,
    change: impl FnOnce(&mut T),
    validate: fn(&T) -> Vec<validate::Violation>,
    wrap: fn(Arc<T>) -> Object,
) -> Reading {
    let (result, mut unknown) = decode::<T>(node);
    unknown.retain(|c| !is_known(id.kind, &c.field));
    let mut object = match result {
        Ok(object) => object,
        Err(complaint) => return Reading { object: None, unknown, wrong: vec![complaint] },
    };
    change(&mut object);
    let violations = validate(&object).into_iter();
    let wrong: Vec<Complaint> = violations
        .map(|validate::Violation { field, message, fix }| Complaint {
            place: node.place_of(&field),
            field,
            message,
            fix,
        })
        .collect();
    let object = wrong.is_empty().then(|| wrap(Arc::new(object)));
    Reading { object, unknown, wrong }
}
