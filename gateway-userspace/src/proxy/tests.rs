//! One worker on loopback, with hand-made snapshots, real clients and real backends.

mod admission;
mod backend;
mod client;
mod drain;
mod grammar;
mod grpc;
mod http;
mod http2;
mod overload;
mod retry;
mod tcp;
mod upgrade;

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::BorrowedFd;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ::http::{HeaderName, Method};
use tokio::sync::mpsc;

use super::shedding::MemoryUse;
use super::{OriginalDestinations, SocketFactory};
use crate::limits::{ConnectionLimits, Limits};
use crate::reason::Reason;
use crate::snapshot::Snapshot;
use crate::snapshot::cluster::{
    BalancePolicy, Cluster, ClusterId, ClusterKey, Endpoint, EndpointSet, UpstreamProtocol,
};
use crate::snapshot::filter::Filter;
use crate::snapshot::frontend::{FailPolicy, Frontend, Mode, PortProtocol};
use crate::snapshot::listener::{Listener, ListenerKind};
use crate::snapshot::router::{
    Backend, Matcher, PathMatcher, RetryPolicy, RouteEntry, Router, Rule, RuleId, Section, Timeouts,
    WeightedBackends,
};
use crate::snapshot::store::{EndpointSlot, SnapshotStore};
use crate::telemetry::record::{Observe, PodId, Record};
use crate::worker::{PodListener, Worker, WorkerCommand, WorkerContext, WorkerHandle};

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(10);

/// Sockets of this process's own namespace, whatever pod asks.
struct Plain;

impl SocketFactory for Plain {
    fn stream(&self, _: Option<BorrowedFd<'_>>, domain: socket2::Domain) -> io::Result<socket2::Socket> {
        socket2::Socket::new(domain, socket2::Type::STREAM, Some(socket2::Protocol::TCP))
    }
}

/// What was dialled, by the in-pod listener that accepted.
#[derive(Default)]
struct Dialled(Mutex<HashMap<SocketAddr, SocketAddr>>);

impl OriginalDestinations for Dialled {
    fn take(&self, _: u64, _: SocketAddr, local: SocketAddr) -> Option<SocketAddr> {
        self.0.lock().unwrap().get(&local).copied()
    }
}

#[derive(Debug)]
enum Event {
    Ended(Box<Record>),
    Retried,
    Ejected(Reason),
    Rejected(Reason),
    Downstream(i64),
    Upstream(i64),
}

struct Events(mpsc::UnboundedSender<Event>);

impl Observe for Events {
    fn ended(&self, record: Record) {
        let _ = self.0.send(Event::Ended(Box::new(record)));
    }
    fn retried(&self, _: ClusterId) {
        let _ = self.0.send(Event::Retried);
    }
    fn ejected(&self, _: ClusterId, cause: Reason) {
        let _ = self.0.send(Event::Ejected(cause));
    }
    fn downstream_connections(&self, change: i64) {
        let _ = self.0.send(Event::Downstream(change));
    }
    fn upstream_connections(&self, _: ClusterId, change: i64) {
        let _ = self.0.send(Event::Upstream(change));
    }
    fn rejected(&self, reason: Reason) {
        let _ = self.0.send(Event::Rejected(reason));
    }
}

/// A worker and what it says.
struct World {
    store: Arc<SnapshotStore>,
    dialled: Arc<Dialled>,
    worker: WorkerHandle,
    memory: Arc<MemoryUse>,
    events: tokio::sync::Mutex<mpsc::UnboundedReceiver<Event>>,
    pods: u32,
}

impl World {
    fn new() -> Self {
        Self::with(Limits::default())
    }

    fn with(limits: Limits) -> Self {
        let store = Arc::new(SnapshotStore::new());
        let dialled = Arc::new(Dialled::default());
        let context = WorkerContext::new(
            Arc::clone(&store),
            Arc::new(limits),
            Arc::new(Plain),
            Arc::clone(&dialled) as Arc<dyn OriginalDestinations>,
        );
        let (sender, events) = mpsc::unbounded_channel();
        let memory = context.memory();
        let worker = Worker::spawn(0, context, move || Box::new(Events(sender))).unwrap();
        Self { store, dialled, worker, memory, events: events.into(), pods: 0 }
    }

    fn publish(&self, frontends: Vec<Arc<Frontend>>, listeners: Vec<Arc<Listener>>) {
        let clusters = frontends.iter().map(|f| Arc::clone(&f.cluster)).collect();
        self.publish_with(frontends, listeners, clusters);
    }

    fn publish_with(
        &self,
        frontends: Vec<Arc<Frontend>>,
        listeners: Vec<Arc<Listener>>,
        clusters: Vec<Arc<Cluster>>,
    ) {
        self.store.publish(Arc::new(Snapshot {
            generation: 1,
            listeners,
            frontends: frontends.into_iter().collect(),
            clusters: clusters.into_iter().collect(),
        }));
    }

    /// A pod whose every connection was dialled to `frontend`. Gives the address to connect to.
    fn pod(&mut self, frontend: &Frontend) -> SocketAddr {
        let socket = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let local = socket.local_addr().unwrap();
        let service = SocketAddr::new(frontend.addresses[0], frontend.key.port);
        self.dialled.0.lock().unwrap().insert(local, service);
        self.pods += 1;
        let netns = Arc::new(std::fs::File::open("/proc/self/ns/net").unwrap().into());
        let listener = PodListener { pod: PodId(self.pods), sockets: vec![socket], netns_cookie: 1, netns };
        self.worker.send(WorkerCommand::AddPod(listener)).unwrap();
        local
    }

    /// One frontend on one cluster, and a pod that dials it.
    fn service(&mut self, protocol: PortProtocol, cluster: &Arc<Cluster>) -> SocketAddr {
        let frontend = frontend(cluster, protocol, None);
        self.publish(vec![Arc::clone(&frontend)], vec![]);
        self.pod(&frontend)
    }

    /// A gateway listener on a port of its own.
    fn gateway(&self, kind: ListenerKind, clusters: Vec<Arc<Cluster>>) -> SocketAddr {
        self.gateway_behind(None, kind, clusters)
    }

    /// The same, with a Service in front that has another port.
    fn gateway_behind(
        &self,
        port: Option<u16>,
        kind: ListenerKind,
        clusters: Vec<Arc<Cluster>>,
    ) -> SocketAddr {
        let socket = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = socket.local_addr().unwrap();
        let port = port.unwrap_or(address.port());
        let listener = Arc::new(Listener { address, port, name: "infra/gw/http".into(), kind });
        self.publish_with(vec![], vec![Arc::clone(&listener)], clusters);
        self.worker.send(WorkerCommand::AddGateway { listener, sockets: vec![socket] }).unwrap();
        address
    }

    /// The first event that `wanted` takes. Others before it are passed over.
    async fn event<T>(&self, mut wanted: impl FnMut(Event) -> Option<T>) -> T {
        let mut events = self.events.lock().await;
        client::within(async {
            loop {
                if let Some(found) = wanted(events.recv().await.expect("the worker has ended")) {
                    return found;
                }
            }
        })
        .await
    }

    async fn record(&self) -> Record {
        let wanted = |event| match event {
            Event::Ended(record) => Some(*record),
            _ => None,
        };
        self.event(wanted).await
    }

    async fn rejected(&self) -> Reason {
        let wanted = |event| match event {
            Event::Rejected(reason) => Some(reason),
            _ => None,
        };
        self.event(wanted).await
    }

    /// All that happened so far.
    async fn drained(&self) -> Vec<Event> {
        let mut events = self.events.lock().await;
        std::iter::from_fn(|| events.try_recv().ok()).collect()
    }
}

fn endpoint(address: SocketAddr) -> Endpoint {
    Endpoint::at(address)
}

fn endpoints(addresses: &[SocketAddr]) -> EndpointSet {
    let mut endpoints: Vec<Endpoint> = addresses.iter().copied().map(endpoint).collect();
    endpoints.sort_by_key(|e| e.address);
    EndpointSet { endpoints, ..EndpointSet::default() }
}

fn cluster(id: u32, protocol: UpstreamProtocol, addresses: &[SocketAddr]) -> Arc<Cluster> {
    Arc::new(Cluster {
        key: ClusterKey { namespace: "shop".into(), service: format!("s{id}").into(), port: 80 },
        id: ClusterId(id),
        protocol,
        balance: BalancePolicy::RoundRobin,
        affinity: None,
        circuit: None,
        connect_timeout: Duration::from_secs(2),
        endpoints: Arc::new(EndpointSlot::new(endpoints(addresses))),
    })
}

fn frontend(cluster: &Arc<Cluster>, protocol: PortProtocol, routes: Option<Router>) -> Arc<Frontend> {
    let last = u8::try_from(cluster.id.0).unwrap();
    Arc::new(Frontend {
        key: cluster.key.clone(),
        addresses: vec![IpAddr::from([10, 96, 0, last])],
        protocol,
        mode: Mode::L7,
        fail_policy: FailPolicy::Open,
        routes,
        cluster: Arc::clone(cluster),
    })
}

fn backend_ref(cluster: &Arc<Cluster>) -> Backend {
    Backend { weight: 1, cluster: Ok(Arc::clone(cluster)), filters: vec![] }
}

/// A rule with nothing special but its backends.
fn rule(id: u32, backends: Vec<Backend>) -> Rule {
    Rule {
        id: RuleId(id),
        name: format!("shop/route/{id}").into(),
        grpc: false,
        filters: vec![],
        backends: WeightedBackends::new(backends),
        timeouts: Timeouts::default(),
        retry: None,
    }
}

fn router(rules: Vec<(&str, Rule)>) -> Router {
    let entries = rules
        .into_iter()
        .map(|(prefix, rule)| RouteEntry {
            hostname: None,
            matcher: Matcher { path: PathMatcher::Prefix(prefix.into()), ..Matcher::default() },
            rule: Arc::new(rule),
        })
        .collect();
    Router::new(vec![Section { hostname: None, entries }])
}

/// An address that refuses connections: its port was free a moment ago, and stays reserved.
struct Refusing(socket2::Socket);

impl Refusing {
    fn new() -> Self {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
        Self(socket)
    }

    fn address(&self) -> SocketAddr {
        self.0.local_addr().unwrap().as_socket().unwrap()
    }
}
