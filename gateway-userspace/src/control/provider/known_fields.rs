//! Pure: fields that the kinds do have and Weir has no use for: nothing to tell the user about.

use crate::control::config::resources::Kind;

/// Set by an API server, or about things that are not traffic.
const METADATA: [&str; 10] = [
    "uid",
    "resourceVersion",
    "selfLink",
    "managedFields",
    "ownerReferences",
    "finalizers",
    "generateName",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "clusterName",
];

const SERVICE: [&str; 8] = [
    "externalTrafficPolicy",
    "ipFamilyPolicy",
    "externalIPs",
    "loadBalancerIP",
    "loadBalancerSourceRanges",
    "loadBalancerClass",
    "allocateLoadBalancerNodePorts",
    "healthCheckNodePort",
];

/// True for a field at `path` that needs no remark.
pub(super) fn is_known(kind: Kind, path: &str) -> bool {
    if matches!(path, "apiVersion" | "kind" | "status") {
        return true;
    }
    if let Some(name) = path.strip_prefix("metadata.") {
        return METADATA.contains(&name);
    }
    match kind {
        Kind::Service => path.strip_prefix("spec.").is_some_and(|name| SERVICE.contains(&name)),
        Kind::Namespace | Kind::Node => path == "spec",
        Kind::EndpointSlice => {
            [".targetRef.apiVersion", ".targetRef.resourceVersion", ".targetRef.fieldPath"]
                .iter()
                .any(|end| path.ends_with(end))
        }
        Kind::GatewayClass
        | Kind::Gateway
        | Kind::HttpRoute
        | Kind::GrpcRoute
        | Kind::ReferenceGrant
        | Kind::CapturedPod => false,
    }
}
