//! An API server that does as the test says: lists, watches, and everything that can go wrong with them.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use futures_util::stream;
use http::{Request, Response};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

/// A running one. It ends with the test's process.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
pub(super) struct State {
    /// By plural name.
    collections: BTreeMap<String, Collection>,
    version: u64,
    /// Every path and query that was asked.
    pub(super) requests: Vec<String>,
    /// It cannot tell a list as a stream.
    pub(super) only_pages: bool,
    /// Connections break at the next request.
    pub(super) down: bool,
    /// What was asked meanwhile.
    pub(super) unanswered: Vec<String>,
    /// It has just started: everything is refused until it was asked for Services so many times.
    pub(super) starts: u32,
    /// What was refused for that.
    pub(super) too_early: Vec<String>,
    /// By plural name: status and reason.
    pub(super) refused: BTreeMap<String, (u16, String)>,
    /// Watches from before this version get 410.
    pub(super) oldest: u64,
    /// What stands before the server answers discovery with 404.
    pub(super) hidden: bool,
    /// Answers of discovery that are still to miss the kinds.
    pub(super) forgetful: u32,
    /// Kinds of the Gateway API that there are.
    pub(super) gateway_kinds: BTreeSet<String>,
}

#[derive(Default)]
struct Collection {
    objects: BTreeMap<String, Value>,
    /// What happened, by version.
    history: Vec<(u64, String)>,
    watches: Vec<mpsc::UnboundedSender<Bytes>>,
}

type Answer = Response<BoxBody<Bytes, Infallible>>;

impl Server {
    pub(super) fn start() -> Self {
        let state: Arc<Mutex<State>> = Arc::default();
        state.lock().unwrap().version = 100;
        let (sender, receiver) = std::sync::mpsc::channel();
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                sender.send(listener.local_addr().unwrap()).unwrap();
                loop {
                    let (socket, _) = listener.accept().await.unwrap();
                    let state = Arc::clone(&shared);
                    tokio::spawn(async move {
                        let service = hyper::service::service_fn(move |request| {
                            let mut state = state.lock().unwrap();
                            let answer = if state.down {
                                state.unanswered.push(request.uri().to_string());
                                None
                            } else {
                                Some(state.answer(&request))
                            };
                            async move { answer.ok_or("down") }
                        });
                        // A client that goes away is no failure of the test.
                        let _ = hyper::server::conn::http1::Builder::new()
                            .serve_connection(TokioIo::new(socket), service)
                            .await;
                    });
                }
            });
        });
        Self { address: receiver.recv().unwrap(), state }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Adds or replaces an object, and tells it to those who watch.
    pub(super) fn put(&self, plural: &str, object: Value) {
        self.state().put(plural, object);
    }

    pub(super) fn delete(&self, plural: &str, name: &str) {
        let mut state = self.state();
        state.version += 1;
        let version = state.version;
        let collection = state.collections.get_mut(plural).unwrap();
        let mut object = collection.objects.remove(name).unwrap();
        object["metadata"]["resourceVersion"] = json!(version.to_string());
        collection.tell(version, &json!({"type": "DELETED", "object": object}));
    }

    /// Says something to those who watch.
    pub(super) fn say(&self, plural: &str, line: &str) {
        let line = Bytes::from(format!("{line}\n"));
        for watch in &self.state().collections.get(plural).unwrap().watches {
            let _ = watch.send(line.clone());
        }
    }

    /// Ends all watches.
    pub(super) fn cut(&self) {
        for collection in self.state().collections.values_mut() {
            collection.watches.clear();
        }
    }

    /// Requests whose path and query have all of `parts`.
    pub(super) fn asked(&self, parts: &[&str]) -> usize {
        let all = |request: &&String| parts.iter().all(|part| request.contains(part));
        self.state().requests.iter().filter(all).count()
    }
}

impl Collection {
    fn tell(&mut self, version: u64, event: &Value) {
        let line = format!("{event}\n");
        self.watches.retain(|watch| watch.send(Bytes::from(line.clone())).is_ok());
        self.history.push((version, line));
    }
}

impl State {
    fn put(&mut self, plural: &str, mut object: Value) {
        self.version += 1;
        let version = self.version;
        object["metadata"]["resourceVersion"] = json!(version.to_string());
        let name = object["metadata"]["name"].as_str().unwrap().to_owned();
        let collection = self.collections.entry(plural.to_owned()).or_default();
        let known = collection.objects.insert(name, object.clone()).is_some();
        let kind = if known { "MODIFIED" } else { "ADDED" };
        collection.tell(version, &json!({"type": kind, "object": object}));
    }

    fn answer(&mut self, request: &Request<Incoming>) -> Answer {
        let uri = request.uri().to_string();
        self.requests.push(uri.clone());
        let (path, query) = uri.split_once('?').unwrap_or((&uri, ""));
        let query: BTreeMap<&str, &str> = query.split('&').filter_map(|pair| pair.split_once('=')).collect();
        if self.hidden && path.starts_with("/apis") && query.is_empty() {
            let body = Full::new(Bytes::from("default backend - 404")).boxed();
            return Response::builder().status(404).body(body).unwrap();
        }
        if path == "/apis" {
            let groups = match self.gateway_kinds.is_empty() || self.forgetful > 0 {
                true => json!([]),
                false => json!([{"name": "gateway.networking.k8s.io"}]),
            };
            self.forgetful = self.forgetful.saturating_sub(1);
            return json_answer(200, &json!({"kind": "APIGroupList", "groups": groups}));
        }
        if path.ends_with("/gateway.networking.k8s.io") {
            return match self.gateway_kinds.is_empty() || self.forgetful > 0 {
                true => status(404, "NotFound"),
                false => json_answer(200, &json!({"versions": [{"version": "v1"}, {"version": "v1beta1"}]})),
            };
        }
        if path.ends_with("/gateway.networking.k8s.io/v1beta1") {
            return json_answer(200, &json!({"kind": "APIResourceList", "resources": []}));
        }
        if path.ends_with("/gateway.networking.k8s.io/v1") {
            let names: Vec<Value> = self.gateway_kinds.iter().map(|name| json!({"name": name})).collect();
            return json_answer(200, &json!({"kind": "APIResourceList", "resources": names}));
        }
        let plural = path.rsplit('/').next().unwrap().to_owned();
        if self.starts > 0 && plural == "services" {
            self.starts -= 1;
        }
        if self.starts > 0 {
            self.too_early.push(plural);
            return status(503, "ServiceUnavailable");
        }
        if let Some((code, reason)) = self.refused.get(&plural) {
            return status(*code, reason);
        }
        let streamed = query.contains_key("sendInitialEvents");
        if streamed && self.only_pages {
            return status(422, "Invalid");
        }
        if !query.contains_key("watch") {
            return self.page(&plural, &query);
        }
        let since = query.get("resourceVersion").map_or(0, |v| v.parse().unwrap());
        if !streamed && since < self.oldest {
            let body = json!({"kind": "Status", "code": 410, "reason": "Expired"});
            return json_answer(200, &json!({"type": "ERROR", "object": body}));
        }
        self.watch(&plural, streamed, since)
    }

    fn page(&mut self, plural: &str, query: &BTreeMap<&str, &str>) -> Answer {
        let version = self.version.to_string();
        let collection = self.collections.entry(plural.to_owned()).or_default();
        let limit: usize = query["limit"].parse().unwrap();
        let from: usize = query.get("continue").map_or(0, |next| next.parse().unwrap());
        let items: Vec<&Value> = collection.objects.values().skip(from).take(limit).collect();
        let mut metadata = json!({"resourceVersion": version});
        if from + items.len() < collection.objects.len() {
            metadata["continue"] = json!((from + items.len()).to_string());
        }
        json_answer(200, &json!({"kind": "List", "metadata": metadata, "items": items}))
    }

    fn watch(&mut self, plural: &str, streamed: bool, since: u64) -> Answer {
        let version = self.version;
        let collection = self.collections.entry(plural.to_owned()).or_default();
        let (sender, receiver) = mpsc::unbounded_channel::<Bytes>();
        if streamed {
            for object in collection.objects.values() {
                let _ = sender.send(format!("{}\n", json!({"type": "ADDED", "object": object})).into());
            }
            let metadata = json!({"resourceVersion": version.to_string(),
                "annotations": {"k8s.io/initial-events-end": "true"}});
            let end = json!({"type": "BOOKMARK", "object": {"metadata": metadata}});
            let _ = sender.send(format!("{end}\n").into());
        } else {
            for (_, line) in collection.history.iter().filter(|(version, _)| *version > since) {
                let _ = sender.send(line.clone().into());
            }
        }
        collection.watches.push(sender);
        let frames = stream::unfold(receiver, |mut receiver| async move {
            let bytes = receiver.recv().await?;
            Some((Ok::<_, Infallible>(Frame::data(bytes)), receiver))
        });
        Response::new(BodyExt::boxed(StreamBody::new(frames)))
    }
}

fn json_answer(code: u16, body: &Value) -> Answer {
    let body = Full::new(Bytes::from(format!("{body}\n"))).boxed();
    Response::builder().status(code).body(body).unwrap()
}

fn status(code: u16, reason: &str) -> Answer {
    let message = format!("the test says {reason}");
    json_answer(code, &json!({"kind": "Status", "code": code, "reason": reason, "message": message}))
}
