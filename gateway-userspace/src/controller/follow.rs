//! The watches behind `seen`: each in a task of its own, begun again for as long as anybody listens.

use std::time::Duration;

use futures_util::{Stream, StreamExt, pin_mut};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, Object, PartialObjectMeta};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, watcher};
use kube::{Client, Resource, ResourceExt};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::mpsc;
use tracing::{info, warn};

use super::exposure::GATEWAY_NAME_LABEL;
use super::refusal::{self, Verb};
use super::seen::{Event, Seen, Source};
use super::slices::{MANAGED_BY, MANAGED_BY_LABEL};
use crate::capture::selection::CAPTURE_STATUS_ANNOTATION;
use crate::control::config::meta::ObjectKey;

/// What comes from watches, and from which.
pub type Events = mpsc::Receiver<(Source, Event)>;

/// Events that wait to be taken.
const EVENTS_MAX: usize = 1024;
/// After a kind that the API server does not have.
const ABSENT_RETRY: Duration = Duration::from_secs(30);

/// Where pods of `weir node` are.
#[derive(Debug, Clone)]
pub struct NodePods {
    /// Their namespace.
    pub namespace: String,
    /// A label selector.
    pub selector: String,
}

/// A spec that nobody reads.
#[derive(Debug, Clone, Deserialize, Serialize)]
struct Unread {}

/// Begins all watches. They end when the receiver is dropped.
pub fn start(client: &Client, pods: &NodePods) -> Events {
    let (sender, events) = mpsc::channel(EVENTS_MAX);
    for source in Source::ALL {
        tokio::task::spawn_local(follow(client.clone(), source, pods.clone(), sender.clone()));
    }
    events
}

/// The resource of a kind.
pub fn resource(source: Source) -> ApiResource {
    let (group, version, kind) = source.kind();
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), source.plural())
}

async fn follow(client: Client, source: Source, pods: NodePods, sender: mpsc::Sender<(Source, Event)>) {
    let resource = resource(source);
    let mut config = watcher::Config::default();
    match source {
        Source::Services => config = config.labels(GATEWAY_NAME_LABEL),
        Source::EndpointSlices => config = config.labels(&format!("{MANAGED_BY_LABEL}={MANAGED_BY}")),
        Source::NodePods => config = config.labels(&pods.selector),
        _ => {}
    }
    let listener = sender.clone();
    let watching = async {
        if source == Source::Pods {
            let annotation = |pod: &mut PartialObjectMeta<Pod>| -> Value {
                let annotations = pod.metadata.annotations.take();
                annotations.and_then(|mut all| all.remove(CAPTURE_STATUS_ANNOTATION)).into()
            };
            let api = Api::<PartialObjectMeta<Pod>>::all(client);
            watch(source, watcher(api, config), annotation, sender).await;
        } else if source.only_status() {
            let api = Api::<Object<Unread, Value>>::all_with(client, &resource);
            let status = |object: &mut Object<Unread, Value>| object.status.take().unwrap_or_default();
            watch(source, watcher(api, config), status, sender).await;
        } else {
            let api = match source {
                Source::NodePods => Api::<DynamicObject>::namespaced_with(client, &pods.namespace, &resource),
                _ => Api::<DynamicObject>::all_with(client, &resource),
            };
            let whole = |object: &mut DynamicObject| serde_json::to_value(object).unwrap_or_default();
            watch(source, watcher(api, config), whole, sender).await;
        }
    };
    tokio::select! {
        () = watching => {}
        () = listener.closed() => {}
    }
}

async fn watch<K>(
    source: Source,
    events: impl Stream<Item = watcher::Result<watcher::Event<K>>>,
    content: impl Fn(&mut K) -> Value,
    sender: mpsc::Sender<(Source, Event)>,
) where
    K: Resource,
{
    let stream = events.default_backoff();
    pin_mut!(stream);
    let mut said: Option<String> = None;
    while let Some(event) = stream.next().await {
        let event = match event {
            Ok(watcher::Event::Init) => Event::ListBegins,
            Ok(watcher::Event::InitApply(mut object)) => {
                let seen = seen(&mut object, &content);
                Event::Listed(key(&object), seen)
            }
            Ok(watcher::Event::InitDone) => {
                if said.take().is_some() {
                    info!(kind = source.plural(), "watched again");
                }
                Event::Complete
            }
            Ok(watcher::Event::Apply(mut object)) => {
                let seen = seen(&mut object, &content);
                Event::Changed(key(&object), seen)
            }
            Ok(watcher::Event::Delete(object)) => Event::Gone(key(&object)),
            Err(error) => {
                let (explained, absent) = explain(source, &error);
                if said.as_ref() != Some(&explained) {
                    warn!(kind = source.plural(), "not watched: {explained}");
                    said = Some(explained);
                }
                if absent {
                    tokio::time::sleep(ABSENT_RETRY).await;
                }
                continue;
            }
        };
        if sender.send((source, event)).await.is_err() {
            return;
        }
    }
}

fn key<K: Resource>(object: &K) -> ObjectKey {
    ObjectKey::new(object.meta().namespace.as_deref().unwrap_or(""), &object.name_any())
}

fn seen<K: Resource>(object: &mut K, content: impl Fn(&mut K) -> Value) -> Seen {
    let content = content(object);
    let meta = object.meta();
    Seen {
        uid: meta.uid.clone().unwrap_or_default(),
        version: meta.resource_version.clone().unwrap_or_default(),
        generation: meta.generation.unwrap_or(0),
        content,
    }
}

/// In words, and whether the API server does not have the kind.
fn explain(source: Source, error: &watcher::Error) -> (String, bool) {
    use watcher::Error;
    let (group, version, kind) = source.kind();
    match error {
        Error::InitialListFailed(error) | Error::WatchStartFailed(error) | Error::WatchFailed(error) => {
            if matches!(error, kube::Error::Api(status) if status.code == 404) {
                let text = format!("the API server has no {kind} of {group}/{version}; install its CRDs");
                return (text, true);
            }
            (refusal::explain(Verb::ListWatch, group, source.plural(), error), false)
        }
        error => (error.to_string(), false),
    }
}
