//! Pure: everything that is desired at one moment, by kind and key.

use std::fmt;
use std::sync::Arc;

use super::captured_pod::CapturedPod;
use super::gateway::{Gateway, GatewayClass};
use super::grpc_route::GrpcRoute;
use super::http_route::HttpRoute;
use super::meta::{ObjectKey, Origin};
use super::node::Node;
use super::reference_grant::ReferenceGrant;
use super::service::{EndpointSlice, Namespace, Service};
use crate::persistent::OrderedMap;

/// The kinds that Weir reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// gateway.networking.k8s.io GatewayClass.
    GatewayClass,
    /// gateway.networking.k8s.io Gateway.
    Gateway,
    /// gateway.networking.k8s.io HTTPRoute.
    HttpRoute,
    /// gateway.networking.k8s.io GRPCRoute.
    GrpcRoute,
    /// gateway.networking.k8s.io ReferenceGrant.
    ReferenceGrant,
    /// v1 Service.
    Service,
    /// discovery.k8s.io EndpointSlice.
    EndpointSlice,
    /// v1 Namespace.
    Namespace,
    /// v1 Node.
    Node,
    /// weir.dev CapturedPod.
    CapturedPod,
}

impl Kind {
    /// The word of the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::GatewayClass => "GatewayClass",
            Self::Gateway => "Gateway",
            Self::HttpRoute => "HTTPRoute",
            Self::GrpcRoute => "GRPCRoute",
            Self::ReferenceGrant => "ReferenceGrant",
            Self::Service => "Service",
            Self::EndpointSlice => "EndpointSlice",
            Self::Namespace => "Namespace",
            Self::Node => "Node",
            Self::CapturedPod => "CapturedPod",
        }
    }

    /// True for kinds whose objects live in a namespace.
    pub const fn is_namespaced(self) -> bool {
        !matches!(self, Self::GatewayClass | Self::Namespace | Self::Node)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Names one object of any kind.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectId {
    /// Its kind.
    pub kind: Kind,
    /// Its namespace and name.
    pub key: ObjectKey,
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.key)
    }
}

/// One object and where it was written.
#[derive(Debug)]
pub struct Entry<T> {
    /// Where it was written.
    pub origin: Origin,
    /// The object. The same allocation while it does not change.
    pub object: Arc<T>,
}

impl<T: PartialEq> Entry<T> {
    fn is_same_object(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.object, &other.object) || self.object == other.object
    }
}

impl<T> Clone for Entry<T> {
    fn clone(&self) -> Self {
        Self { origin: self.origin.clone(), object: Arc::clone(&self.object) }
    }
}

/// The objects of one kind. Cheap to clone; a change copies a small part of the map, and no object.
#[derive(Debug)]
pub struct Objects<T>(OrderedMap<ObjectKey, Entry<T>>);

impl<T> Default for Objects<T> {
    fn default() -> Self {
        Self(OrderedMap::default())
    }
}

impl<T> Clone for Objects<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

/// How an object of a set differs from that of another.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Difference {
    /// Which object.
    pub key: ObjectKey,
    /// False when it is only written somewhere else.
    pub object: bool,
}

impl<T: PartialEq> Objects<T> {
    /// The object of that name.
    pub fn get(&self, key: &ObjectKey) -> Option<&Entry<T>> {
        self.0.get(key)
    }

    /// All of them, by key.
    pub fn iter(&self) -> impl Iterator<Item = (&ObjectKey, &Entry<T>)> {
        self.0.iter()
    }

    /// True when nothing was changed since one was the other's clone.
    pub fn is_same(&self, other: &Self) -> bool {
        self.0.is_same(&other.0)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True when there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds or replaces one.
    pub fn insert(&mut self, key: ObjectKey, entry: Entry<T>) {
        self.0.insert(key, entry);
    }

    /// Takes one out.
    pub fn remove(&mut self, key: &ObjectKey) {
        self.0.remove(key);
    }

    /// Keys that were added, removed or whose object differs. Where it was written does not count.
    pub fn changes_since(&self, old: &Self) -> Vec<ObjectKey> {
        self.0.changes_since(&old.0, Entry::is_same_object).into_iter().map(|(key, ..)| key.clone()).collect()
    }

    /// The same, and those that are written somewhere else now. Costs what the sets do not share.
    pub fn differences(&self, old: &Self) -> Vec<Difference> {
        let same = |a: &Entry<T>, b: &Entry<T>| a.origin == b.origin && a.is_same_object(b);
        let changes = self.0.changes_since(&old.0, same).into_iter();
        let moved = |was: Option<&Entry<T>>, is: Option<&Entry<T>>| {
            was.zip(is).is_some_and(|(was, is)| was.is_same_object(is))
        };
        changes.map(|(key, was, is)| Difference { key: key.clone(), object: !moved(was, is) }).collect()
    }
}

/// Everything that is desired. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct ResourceSet {
    /// By name.
    pub gateway_classes: Objects<GatewayClass>,
    /// By namespace and name, as all that follow.
    pub gateways: Objects<Gateway>,
    /// HTTPRoutes.
    pub http_routes: Objects<HttpRoute>,
    /// GRPCRoutes.
    pub grpc_routes: Objects<GrpcRoute>,
    /// ReferenceGrants.
    pub reference_grants: Objects<ReferenceGrant>,
    /// Services.
    pub services: Objects<Service>,
    /// EndpointSlices.
    pub endpoint_slices: Objects<EndpointSlice>,
    /// Namespaces, by name.
    pub namespaces: Objects<Namespace>,
    /// Nodes, by name: of an API server the one that this gateway runs on, of a folder those that are written.
    pub nodes: Objects<Node>,
    /// Pods whose connects go through Weir, where no API server tells.
    pub captured_pods: Objects<CapturedPod>,
}

/// One object of any kind.
#[derive(Debug, Clone)]
pub enum Object {
    /// A GatewayClass.
    GatewayClass(Arc<GatewayClass>),
    /// A Gateway.
    Gateway(Arc<Gateway>),
    /// An HTTPRoute.
    HttpRoute(Arc<HttpRoute>),
    /// A GRPCRoute.
    GrpcRoute(Arc<GrpcRoute>),
    /// A ReferenceGrant.
    ReferenceGrant(Arc<ReferenceGrant>),
    /// A Service.
    Service(Arc<Service>),
    /// An EndpointSlice.
    EndpointSlice(Arc<EndpointSlice>),
    /// A Namespace.
    Namespace(Arc<Namespace>),
    /// A Node.
    Node(Arc<Node>),
    /// A CapturedPod.
    CapturedPod(Arc<CapturedPod>),
}

impl Object {
    /// True when both are one allocation.
    pub fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::GatewayClass(a), Self::GatewayClass(b)) => Arc::ptr_eq(a, b),
            (Self::Gateway(a), Self::Gateway(b)) => Arc::ptr_eq(a, b),
            (Self::HttpRoute(a), Self::HttpRoute(b)) => Arc::ptr_eq(a, b),
            (Self::GrpcRoute(a), Self::GrpcRoute(b)) => Arc::ptr_eq(a, b),
            (Self::ReferenceGrant(a), Self::ReferenceGrant(b)) => Arc::ptr_eq(a, b),
            (Self::Service(a), Self::Service(b)) => Arc::ptr_eq(a, b),
            (Self::EndpointSlice(a), Self::EndpointSlice(b)) => Arc::ptr_eq(a, b),
            (Self::Namespace(a), Self::Namespace(b)) => Arc::ptr_eq(a, b),
            (Self::Node(a), Self::Node(b)) => Arc::ptr_eq(a, b),
            (Self::CapturedPod(a), Self::CapturedPod(b)) => Arc::ptr_eq(a, b),
            _ => false,
        }
    }
}

impl ResourceSet {
    /// Adds or replaces an object.
    pub fn insert(&mut self, key: ObjectKey, origin: Origin, object: Object) {
        match object {
            Object::GatewayClass(object) => self.gateway_classes.insert(key, Entry { origin, object }),
            Object::Gateway(object) => self.gateways.insert(key, Entry { origin, object }),
            Object::HttpRoute(object) => self.http_routes.insert(key, Entry { origin, object }),
            Object::GrpcRoute(object) => self.grpc_routes.insert(key, Entry { origin, object }),
            Object::ReferenceGrant(object) => self.reference_grants.insert(key, Entry { origin, object }),
            Object::Service(object) => self.services.insert(key, Entry { origin, object }),
            Object::EndpointSlice(object) => self.endpoint_slices.insert(key, Entry { origin, object }),
            Object::Namespace(object) => self.namespaces.insert(key, Entry { origin, object }),
            Object::Node(object) => self.nodes.insert(key, Entry { origin, object }),
            Object::CapturedPod(object) => self.captured_pods.insert(key, Entry { origin, object }),
        }
    }

    /// Takes an object out.
    pub fn remove(&mut self, id: &ObjectId) {
        let key = &id.key;
        match id.kind {
            Kind::GatewayClass => self.gateway_classes.remove(key),
            Kind::Gateway => self.gateways.remove(key),
            Kind::HttpRoute => self.http_routes.remove(key),
            Kind::GrpcRoute => self.grpc_routes.remove(key),
            Kind::ReferenceGrant => self.reference_grants.remove(key),
            Kind::Service => self.services.remove(key),
            Kind::EndpointSlice => self.endpoint_slices.remove(key),
            Kind::Namespace => self.namespaces.remove(key),
            Kind::Node => self.nodes.remove(key),
            Kind::CapturedPod => self.captured_pods.remove(key),
        }
    }

    /// Where an object was written.
    pub fn origin(&self, id: &ObjectId) -> Option<&Origin> {
        let key = &id.key;
        match id.kind {
            Kind::GatewayClass => self.gateway_classes.get(key).map(|e| &e.origin),
            Kind::Gateway => self.gateways.get(key).map(|e| &e.origin),
            Kind::HttpRoute => self.http_routes.get(key).map(|e| &e.origin),
            Kind::GrpcRoute => self.grpc_routes.get(key).map(|e| &e.origin),
            Kind::ReferenceGrant => self.reference_grants.get(key).map(|e| &e.origin),
            Kind::Service => self.services.get(key).map(|e| &e.origin),
            Kind::EndpointSlice => self.endpoint_slices.get(key).map(|e| &e.origin),
            Kind::Namespace => self.namespaces.get(key).map(|e| &e.origin),
            Kind::Node => self.nodes.get(key).map(|e| &e.origin),
            Kind::CapturedPod => self.captured_pods.get(key).map(|e| &e.origin),
        }
    }

    /// True when `object` is there already, under `key` and without a difference.
    pub fn holds(&self, key: &ObjectKey, object: &Object) -> bool {
        fn same<T: PartialEq>(objects: &Objects<T>, key: &ObjectKey, object: &T) -> bool {
            objects.get(key).is_some_and(|entry| *entry.object == *object)
        }
        match object {
            Object::GatewayClass(object) => same(&self.gateway_classes, key, object),
            Object::Gateway(object) => same(&self.gateways, key, object),
            Object::HttpRoute(object) => same(&self.http_routes, key, object),
            Object::GrpcRoute(object) => same(&self.grpc_routes, key, object),
            Object::ReferenceGrant(object) => same(&self.reference_grants, key, object),
            Object::Service(object) => same(&self.services, key, object),
            Object::EndpointSlice(object) => same(&self.endpoint_slices, key, object),
            Object::Namespace(object) => same(&self.namespaces, key, object),
            Object::Node(object) => same(&self.nodes, key, object),
            Object::CapturedPod(object) => same(&self.captured_pods, key, object),
        }
    }

    /// The keys of all objects of a kind.
    pub fn keys(&self, kind: Kind) -> Vec<ObjectKey> {
        fn all<T: PartialEq>(objects: &Objects<T>) -> Vec<ObjectKey> {
            objects.iter().map(|(key, _)| key.clone()).collect()
        }
        match kind {
            Kind::GatewayClass => all(&self.gateway_classes),
            Kind::Gateway => all(&self.gateways),
            Kind::HttpRoute => all(&self.http_routes),
            Kind::GrpcRoute => all(&self.grpc_routes),
            Kind::ReferenceGrant => all(&self.reference_grants),
            Kind::Service => all(&self.services),
            Kind::EndpointSlice => all(&self.endpoint_slices),
            Kind::Namespace => all(&self.namespaces),
            Kind::Node => all(&self.nodes),
            Kind::CapturedPod => all(&self.captured_pods),
        }
    }

    /// How many objects there are.
    pub fn len(&self) -> usize {
        self.gateway_classes.len()
            + self.gateways.len()
            + self.http_routes.len()
            + self.grpc_routes.len()
            + self.reference_grants.len()
            + self.services.len()
            + self.endpoint_slices.len()
            + self.namespaces.len()
            + self.nodes.len()
            + self.captured_pods.len()
    }

    /// True when nothing is desired.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
