//! Pure: what is known as lines of text, to be read after a restart while the API server is out of reach.

use std::collections::BTreeMap;
use std::io::{self, BufRead, Write};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use thiserror::Error;

use super::source::Source;
use super::texts::{self, Texts};
use crate::control::config::meta::{ObjectKey, Origin};
use crate::control::config::pod::Pod;
use crate::control::config::resources::{Entry, Object, Objects, ResourceSet};

/// The layout of the lines.
const FORMAT: u32 = 1;

/// The version of each collection up to which all is known.
pub(super) type Versions = BTreeMap<Source, String>;

/// What is known at one moment.
#[derive(Debug, Clone)]
pub(super) struct Saved {
    pub(super) at: SystemTime,
    pub(super) set: ResourceSet,
    pub(super) pods: Objects<Pod>,
    /// From where watches can go on.
    pub(super) versions: Versions,
}

/// Why a file cannot be used.
#[derive(Debug, Error)]
pub(super) enum Unusable {
    #[error("it is of another node, {0}")]
    OtherNode(String),
    #[error("it has format {0}, and this version of Weir reads {FORMAT}")]
    OtherFormat(u32),
    #[error(transparent)]
    Unreadable(#[from] io::Error),
    #[error("it ends before its end")]
    Cut,
    #[error("line {0} cannot be read: {1}")]
    Line(usize, #[source] serde_json::Error),
}

#[derive(Debug, Serialize, Deserialize)]
struct First {
    format: u32,
    /// Who wrote it: another version of Weir may have left out what this one needs.
    weir: String,
    node: String,
    /// Seconds since 1970.
    at: u64,
    versions: BTreeMap<String, String>,
}

#[derive(Serialize)]
struct Line<'a, T> {
    kind: &'a str,
    version: u64,
    object: &'a T,
}

#[derive(Deserialize)]
struct RawLine<'a> {
    kind: &'a str,
    version: u64,
    #[serde(borrow)]
    object: &'a RawValue,
}

#[derive(Debug, Serialize, Deserialize)]
struct Last {
    end: usize,
}

/// Writes it, one object a line.
pub(super) fn write(saved: &Saved, node: &str, out: impl Write) -> io::Result<()> {
    let versions = saved.versions.iter().map(|(s, v)| (s.full_name(), v.clone())).collect();
    let at = saved.at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let weir = env!("CARGO_PKG_VERSION").to_owned();
    let mut out = Writer { out, count: 0 };
    out.line(&First { format: FORMAT, weir, node: node.to_owned(), at, versions })?;
    let set = &saved.set;
    out.objects("Namespace", &set.namespaces)?;
    out.objects("Node", &set.nodes)?;
    out.objects("Service", &set.services)?;
    out.objects("EndpointSlice", &set.endpoint_slices)?;
    out.objects("GatewayClass", &set.gateway_classes)?;
    out.objects("Gateway", &set.gateways)?;
    out.objects("HTTPRoute", &set.http_routes)?;
    out.objects("GRPCRoute", &set.grpc_routes)?;
    out.objects("ReferenceGrant", &set.reference_grants)?;
    out.objects("Pod", &saved.pods)?;
    let end = out.count;
    out.line(&Last { end })?;
    out.out.flush()
}

struct Writer<W> {
    out: W,
    count: usize,
}

impl<W: Write> Writer<W> {
    fn line(&mut self, line: &impl Serialize) -> io::Result<()> {
        serde_json::to_writer(&mut self.out, line)?;
        self.out.write_all(b"\n")
    }

    fn objects<T: Serialize + PartialEq>(&mut self, kind: &str, objects: &Objects<T>) -> io::Result<()> {
        for (_, entry) in objects.iter() {
            let version = match &entry.origin {
                Origin::Api { resource_version } => *resource_version,
                Origin::File { .. } => 0,
            };
            self.count += 1;
            self.line(&Line { kind, version, object: &*entry.object })?;
        }
        Ok(())
    }
}

/// Reads what `write` wrote for the same node, line by line: as a whole it is large.
pub(super) fn read(mut text: impl BufRead, node: &str, texts: &mut Texts) -> Result<Saved, Unusable> {
    let mut line = Vec::new();
    if text.read_until(b'\n', &mut line)? == 0 {
        return Err(Unusable::Cut);
    }
    let first: First = serde_json::from_slice(&line).map_err(|e| Unusable::Line(1, e))?;
    if first.format != FORMAT {
        return Err(Unusable::OtherFormat(first.format));
    }
    if first.node != node {
        return Err(Unusable::OtherNode(first.node));
    }
    let same = first.weir == env!("CARGO_PKG_VERSION");
    let known = |name: &str| Source::ALL.into_iter().find(|s| s.full_name() == name);
    let versions = first.versions.into_iter().filter(|_| same);
    let mut saved = Saved {
        at: UNIX_EPOCH + Duration::from_secs(first.at),
        set: ResourceSet::default(),
        pods: Objects::default(),
        versions: versions.filter_map(|(name, version)| Some((known(&name)?, version))).collect(),
    };
    for count in 0.. {
        line.clear();
        if text.read_until(b'\n', &mut line)? == 0 {
            break;
        }
        if let Ok(Last { end }) = serde_json::from_slice(&line) {
            return if end == count { Ok(saved) } else { Err(Unusable::Cut) };
        }
        let unreadable = |error| Unusable::Line(count + 2, error);
        let line: RawLine<'_> = serde_json::from_slice(&line).map_err(unreadable)?;
        saved.take(&line, texts).map_err(unreadable)?;
    }
    Err(Unusable::Cut)
}

impl Saved {
    fn take(&mut self, line: &RawLine<'_>, texts: &mut Texts) -> Result<(), serde_json::Error> {
        let object = match line.kind {
            "Namespace" => Object::Namespace(object(line)?),
            "Node" => Object::Node(object(line)?),
            "Service" => {
                let mut service = serde_json::from_str(line.object.get())?;
                texts::shrink(&mut service);
                Object::Service(service.into())
            }
            "EndpointSlice" => {
                let mut slice = serde_json::from_str(line.object.get())?;
                texts.slice(&mut slice);
                Object::EndpointSlice(slice.into())
            }
            "GatewayClass" => Object::GatewayClass(object(line)?),
            "Gateway" => Object::Gateway(object(line)?),
            "HTTPRoute" => Object::HttpRoute(object(line)?),
            "GRPCRoute" => Object::GrpcRoute(object(line)?),
            "ReferenceGrant" => Object::ReferenceGrant(object(line)?),
            "Pod" => {
                let pod: Arc<Pod> = object(line)?;
                let origin = Origin::Api { resource_version: line.version };
                self.pods.insert(pod.key(), Entry { origin, object: pod });
                return Ok(());
            }
            _ => return Ok(()),
        };
        let key = texts.key(key_of(&object));
        self.set.insert(key, Origin::Api { resource_version: line.version }, object);
        Ok(())
    }
}

fn object<T: DeserializeOwned>(line: &RawLine<'_>) -> Result<Arc<T>, serde_json::Error> {
    serde_json::from_str(line.object.get()).map(Arc::new)
}

fn key_of(object: &Object) -> ObjectKey {
    match object {
        Object::GatewayClass(object) => object.metadata.key(),
        Object::Gateway(object) => object.metadata.key(),
        Object::HttpRoute(object) => object.metadata.key(),
        Object::GrpcRoute(object) => object.metadata.key(),
        Object::ReferenceGrant(object) => object.metadata.key(),
        Object::Service(object) => object.metadata.key(),
        Object::EndpointSlice(object) => object.metadata.key(),
        Object::Namespace(object) => object.metadata.key(),
        Object::Node(object) => object.metadata.key(),
        Object::CapturedPod(object) => object.metadata.key(),
    }
}
