//! Pure: which objects differ between two desired states, as far as a compile reads them.

use std::collections::BTreeMap;

use crate::control::config::meta::ObjectKey;
use crate::control::config::resources::{Difference, Kind, ObjectId, Objects, ResourceSet};

/// What differs. True where the object differs, false where it is only written somewhere else.
#[derive(Debug, Default)]
pub(super) struct Differences {
    pub(super) services: BTreeMap<ObjectKey, bool>,
    pub(super) routes: BTreeMap<ObjectId, bool>,
    pub(super) slices: Vec<ObjectKey>,
    /// Names of namespaces whose labels may differ.
    pub(super) namespaces: Vec<ObjectKey>,
    /// Of kinds that everything reads.
    seldom: Vec<Difference>,
}

impl Differences {
    pub(super) fn between(old: &ResourceSet, new: &ResourceSet) -> Self {
        let flag = |d: Difference| (d.key, d.object);
        let route = |kind| move |d: Difference| (ObjectId { kind, key: d.key }, d.object);
        let http = new.http_routes.differences(&old.http_routes).into_iter().map(route(Kind::HttpRoute));
        let grpc = new.grpc_routes.differences(&old.grpc_routes).into_iter().map(route(Kind::GrpcRoute));
        let mut seldom = new.gateways.differences(&old.gateways);
        seldom.extend(new.gateway_classes.differences(&old.gateway_classes));
        seldom.extend(objects_only(&new.reference_grants, &old.reference_grants));
        seldom.extend(objects_only(&new.nodes, &old.nodes));
        Self {
            services: new.services.differences(&old.services).into_iter().map(flag).collect(),
            routes: http.chain(grpc).collect(),
            slices: new
                .endpoint_slices
                .differences(&old.endpoint_slices)
                .into_iter()
                .map(|d| d.key)
                .collect(),
            namespaces: new.namespaces.changes_since(&old.namespaces),
            seldom,
        }
    }

    /// True when there is more than slices and places in files.
    pub(super) fn serve_other(&self) -> bool {
        self.services.values().chain(self.routes.values()).any(|object| *object)
            || !self.namespaces.is_empty()
            || self.seldom.iter().any(|difference| difference.object)
    }

    /// True when everything has to be looked at.
    pub(super) fn concern_everything(&self) -> bool {
        !self.seldom.is_empty()
    }
}

/// Of objects that no finding is about, the place does not matter.
fn objects_only<T: PartialEq>(new: &Objects<T>, old: &Objects<T>) -> impl Iterator<Item = Difference> {
    new.differences(old).into_iter().filter(|difference| difference.object)
}
