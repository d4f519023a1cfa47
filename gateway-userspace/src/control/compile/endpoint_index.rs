//! Pure: which slices belong to which Service, so that a change of one costs only its Service.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::conditions::Subject;
use super::endpoint_slice::Ground;
use super::endpoints;
use super::place::Place;
use crate::control::config::meta::ObjectKey;
use crate::control::config::resources::{Entry, Kind, ResourceSet};
use crate::control::config::service::{EndpointSlice, SERVICE_NAME_LABEL};
use crate::control::diagnostic::{Code, Diagnostic};
use crate::snapshot::cluster::EndpointSet;

/// Slices by the Service that they name.
#[derive(Debug, Default)]
pub(super) struct EndpointIndex {
    /// A slice that names no Service is under its namespace and an empty name.
    slices_of: BTreeMap<ObjectKey, BTreeSet<ObjectKey>>,
    place: Arc<Place>,
}

fn service_of(slice: &ObjectKey, entry: &Entry<EndpointSlice>) -> ObjectKey {
    let name = entry.object.service().unwrap_or_default();
    ObjectKey { namespace: slice.namespace.clone(), name: name.into() }
}

impl EndpointIndex {
    /// Without any slice.
    pub(super) fn new(place: &Arc<Place>) -> Self {
        Self { place: Arc::clone(place), ..Self::default() }
    }

    /// Follows a change of some slices; gives the Services that are touched by it.
    pub(super) fn follow(
        &mut self,
        old: &ResourceSet,
        new: &ResourceSet,
        slices: &[ObjectKey],
    ) -> BTreeSet<ObjectKey> {
        let mut touched = BTreeSet::new();
        for slice in slices {
            if let Some(entry) = old.endpoint_slices.get(slice) {
                let service = service_of(slice, entry);
                if let Some(slices) = self.slices_of.get_mut(&service) {
                    slices.remove(slice);
                    if slices.is_empty() {
                        self.slices_of.remove(&service);
                    }
                }
                touched.insert(service);
            }
            if let Some(entry) = new.endpoint_slices.get(slice) {
                let service = service_of(slice, entry);
                self.slices_of.entry(service.clone()).or_default().insert(slice.clone());
                touched.insert(service);
            }
        }
        touched
    }

    /// The endpoints of each TCP port of a Service, none where there is no such Service, and findings on
    /// its slices.
    pub(super) fn refresh(
        &self,
        set: &ResourceSet,
        service: &ObjectKey,
    ) -> (Vec<(u16, EndpointSet)>, Vec<Diagnostic>) {
        let mut findings = Vec::new();
        let slices: Vec<(&ObjectKey, &Entry<EndpointSlice>)> = self
            .slices_of
            .get(service)
            .into_iter()
            .flatten()
            .filter_map(|key| Some((key, set.endpoint_slices.get(key)?)))
            .collect();
        let locality = self.place.locality(set);
        let ground = Ground { set, place: &self.place, locality: &locality };
        let sets = match set.services.get(service) {
            Some(entry) => endpoints::of_service(service, entry, &slices, ground, &mut findings),
            None => {
                findings.extend(slices.iter().map(|(key, entry)| orphan(key, entry)));
                Vec::new()
            }
        };
        (sets, findings)
    }
}

fn orphan(key: &ObjectKey, entry: &Entry<EndpointSlice>) -> Diagnostic {
    let subject = Subject::new(Kind::EndpointSlice, key, entry, &entry.object.metadata);
    let finding =
        subject.warning(Code::OrphanEndpointSlice).field(format!("metadata.labels[{SERVICE_NAME_LABEL}]"));
    match entry.object.service() {
        Some(name) => finding
            .message(format!("there is no Service {}/{name}; its endpoints get no traffic", key.namespace))
            .fix("add that Service, or correct the label"),
        None => finding
            .message("it names no Service; its endpoints get no traffic")
            .fix(format!("add the label {SERVICE_NAME_LABEL}: NAME")),
    }
}
