//! Pure: what of one EndpointSlice can be used, and what is refused and why.

use std::net::IpAddr;
use std::sync::Arc;

use super::annotation;
use super::conditions::Subject;
use super::place::{Locality, Place};
use super::reference_grant;
use crate::control::config::meta::{ObjectKey, Origin};
use crate::control::config::resources::{Entry, Kind, ResourceSet};
use crate::control::config::service::{AddressType, Distribution, EndpointSlice, Service, SliceEndpoint};
use crate::control::diagnostic::{Code, Diagnostic};

/// What endpoints are judged by.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ground<'a> {
    pub(super) set: &'a ResourceSet,
    pub(super) place: &'a Place,
    pub(super) locality: &'a Locality,
}

/// A slice that can be used, with what was read of it once for all ports.
pub(super) struct Slice<'a> {
    pub(super) object: &'a EndpointSlice,
    pub(super) weight: u32,
    pub(super) endpoints: Vec<Usable<'a>>,
    /// Endpoints that are never dialled.
    pub(super) refused: usize,
}

/// An endpoint with a usable address.
pub(super) struct Usable<'a> {
    /// The first of its addresses: they are interchangeable, and clients take the first.
    pub(super) ip: IpAddr,
    pub(super) object: &'a SliceEndpoint,
    pub(super) hints: Hints,
}

/// Whom an endpoint is for, seen from this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Hints {
    pub(super) nodes: Hint,
    pub(super) zones: Hint,
}

/// One kind of hint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Hint {
    /// Nobody says.
    #[default]
    Absent,
    /// For others.
    Others,
    /// For this node, or its zone.
    Ours,
}

impl Hint {
    fn of<'a>(names: impl IntoIterator<Item = &'a str>, own: Option<&str>) -> Self {
        names.into_iter().fold(Self::Absent, |hint, name| match hint {
            Self::Ours => Self::Ours,
            _ if own == Some(name) => Self::Ours,
            _ => Self::Others,
        })
    }
}

/// At most so many findings on single endpoints of one slice; the rest is counted.
const FINDINGS_MAX: usize = 8;

impl<'a> Slice<'a> {
    /// `None` for a slice of which nothing can be used.
    pub(super) fn read(
        service: &Service,
        key: &ObjectKey,
        entry: &'a Entry<EndpointSlice>,
        ground: Ground<'_>,
        findings: &mut Vec<Diagnostic>,
    ) -> Option<Self> {
        let object = &*entry.object;
        let subject = Subject::new(Kind::EndpointSlice, key, entry, &object.metadata);
        if object.address_type == AddressType::Fqdn {
            let finding = subject.warning(Code::BadEndpoint).field("addressType");
            findings.push(
                finding
                    .message("endpoints of type FQDN are not supported and get no traffic")
                    .fix("write IP addresses in a slice of type IPv4 or IPv6"),
            );
            return None;
        }
        let mut problems = Vec::new();
        let mut slice = Self { object, weight: 1, endpoints: Vec::new(), refused: 0 };
        slice.endpoints.reserve_exact(object.endpoints.len());
        for (index, endpoint) in object.endpoints.iter().enumerate() {
            let Some(ip) = address(object, endpoint) else {
                problems.push(bad_address(&subject, index, object.address_type, endpoint));
                continue;
            };
            // A folder is its operator's own; an API server is everybody's who may write to it.
            let is_trusted = matches!(entry.origin, Origin::File { .. });
            if let Some(why) = refusal(key, endpoint, ip, ground).filter(|_| !is_trusted) {
                problems.push(refused(&subject, index, ip, &why));
                slice.refused += 1;
                continue;
            }
            let hints = hints(service, endpoint, is_trusted, ground.locality);
            slice.endpoints.push(Usable { ip, object: endpoint, hints });
        }
        let more = problems.len().saturating_sub(FINDINGS_MAX);
        problems.truncate(FINDINGS_MAX);
        if let Some(last) = problems.last_mut().filter(|_| more > 0) {
            last.message.push_str(&format!("; {more} more endpoints of this slice get no traffic either"));
        }
        findings.append(&mut problems);
        slice.weight = annotation::weight(&object.metadata, &subject, findings);
        Some(slice)
    }
}

fn address(slice: &EndpointSlice, endpoint: &SliceEndpoint) -> Option<IpAddr> {
    let ip: IpAddr = endpoint.addresses.first()?.parse().ok()?;
    (ip.is_ipv4() == (slice.address_type == AddressType::IPv4)).then_some(ip)
}

/// Why an endpoint of an API server is never dialled.
fn refusal(slice: &ObjectKey, endpoint: &SliceEndpoint, ip: IpAddr, ground: Ground<'_>) -> Option<Refusal> {
    if let Some(what) = ground.place.forbids(ip) {
        return Some(Refusal::Address(what));
    }
    let target = endpoint.target_ref.as_ref().filter(|target| target.kind.as_deref() == Some("Pod"))?;
    let namespace = target.namespace.as_deref().filter(|namespace| !namespace.is_empty())?;
    let name = target.name.as_deref().unwrap_or_default();
    let permitted = reference_grant::permits_pod(ground.set, &slice.namespace, namespace, name);
    (!permitted).then(|| Refusal::ForeignPod {
        slices: slice.namespace.to_string(),
        namespace: namespace.to_owned(),
        name: name.to_owned(),
    })
}

enum Refusal {
    Address(&'static str),
    ForeignPod { slices: String, namespace: String, name: String },
}

fn refused(subject: &Subject, index: usize, ip: IpAddr, why: &Refusal) -> Diagnostic {
    let finding = subject.error(Code::EndpointRefused);
    match why {
        Refusal::Address(what) => finding
            .field(format!("endpoints[{index}].addresses[0]"))
            .message(format!("{ip} is {what}: Weir never sends there what an API server asks for"))
            .fix("point the endpoint at a pod, or let the operator of Weir allow the address"),
        Refusal::ForeignPod { slices, namespace, name } => finding
            .field(format!("endpoints[{index}].targetRef"))
            .message(format!("{ip} is said to be pod {name} of another namespace, {namespace}, which does not allow it"))
            .fix(format!(
                "add a ReferenceGrant in {namespace} from EndpointSlice (group discovery.k8s.io) of {slices} to Pod {name}"
            )),
    }
}

fn bad_address(subject: &Subject, index: usize, kind: AddressType, endpoint: &SliceEndpoint) -> Diagnostic {
    let text = endpoint.addresses.first().map(AsRef::as_ref).unwrap_or_default();
    let family = if kind == AddressType::IPv4 { "IPv4" } else { "IPv6" };
    subject
        .warning(Code::BadEndpoint)
        .field(format!("endpoints[{index}].addresses[0]"))
        .message(format!("`{text}` is not an {family} address; this endpoint gets no traffic"))
        .fix(format!("write an {family} address, or correct addressType"))
}

/// The hints of an endpoint. Where a file says none, they are what a cluster's own controller would
/// write for the Service.
fn hints(service: &Service, endpoint: &SliceEndpoint, is_file: bool, locality: &Locality) -> Hints {
    let (node, zone) = (locality.node.as_deref(), locality.zone.as_deref());
    if let Some(hints) = &endpoint.hints {
        return Hints {
            nodes: Hint::of(hints.for_nodes.iter().map(|hint| hint.name.as_str()), node),
            zones: Hint::of(hints.for_zones.iter().map(|hint| hint.name.as_str()), zone),
        };
    }
    let prefers = service.spec.distribution().filter(|_| is_file);
    let known = |name: &Option<Arc<str>>| name.clone().filter(|name| !name.is_empty());
    let own_node = known(&endpoint.node_name).filter(|_| prefers == Some(Distribution::SameNode));
    let own_zone = known(&endpoint.zone).filter(|_| prefers.is_some());
    Hints { nodes: Hint::of(own_node.as_deref(), node), zones: Hint::of(own_zone.as_deref(), zone) }
}
