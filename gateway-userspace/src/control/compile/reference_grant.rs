//! Pure: may an object of one namespace refer to an object of another?

use crate::control::config::resources::{Kind, ResourceSet};
use crate::control::config::route::GATEWAY_GROUP;

/// True when a route of `kind` in `from` may refer to the Service `name` in `to`.
pub(super) fn permits(set: &ResourceSet, kind: Kind, from: &str, to: &str, name: &str) -> bool {
    granted(set, (GATEWAY_GROUP, kind.as_str(), from), to, ("Service", name))
}

/// True when an EndpointSlice in `from` may name the Pod `name` in `to`.
pub(super) fn permits_pod(set: &ResourceSet, from: &str, to: &str, name: &str) -> bool {
    granted(set, ("discovery.k8s.io", Kind::EndpointSlice.as_str(), from), to, ("Pod", name))
}

/// `from` is group, kind and namespace of who refers; `target` kind and name of a core object in `to`.
fn granted(set: &ResourceSet, from: (&str, &str, &str), to: &str, target: (&str, &str)) -> bool {
    let (group, kind, namespace) = from;
    let (target, name) = target;
    namespace == to
        || set.reference_grants.iter().filter(|(key, _)| &*key.namespace == to).any(|(_, grant)| {
            let spec = &grant.object.spec;
            spec.from.iter().any(|f| f.group == group && f.kind == kind && f.namespace == namespace)
                && spec.to.iter().any(|t| {
                    t.group.is_empty()
                        && t.kind == target
                        && t.name.as_deref().filter(|n| !n.is_empty()).is_none_or(|n| n == name)
                })
        })
}
