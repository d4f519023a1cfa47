//! Pure: may an object of one namespace refer to an object of another?

use crate::control::config::resources::{Kind, ResourceSet};
use crate::control::config::route::GATEWAY_GROUP;

/// True when a route of `kind` in `from` may refer to the Service `name` in `to`.
pub(super) fn permits(set: &ResourceSet, kind: Kind, from: &str, to: &str, name: &str) -> bool {
    from == to
        || set.reference_grants.iter().filter(|(key, _)| &*key.namespace == to).any(|(_, grant)| {
            let spec = &grant.object.spec;
            spec.from
                .iter()
                .any(|f| f.group == GATEWAY_GROUP && f.kind == kind.as_str() && f.namespace == from)
                && spec.to.iter().any(|t| {
                    t.group.is_empty()
                        && t.kind == "Service"
                        && t.name.as_deref().filter(|n| !n.is_empty()).is_none_or(|n| n == name)
                })
        })
}
