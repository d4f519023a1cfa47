//! The data plane by itself: one worker in this process, a listener of a Gateway and one of a pod.
//!
//! Both lead to the same backends. The pod's needs no eBPF: whatever connects to it has dialled the Service.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::BorrowedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Result;
use gateway_userspace::limits::Limits;
use gateway_userspace::proxy::http::headers::forwarded::TrustedProxies;
use gateway_userspace::proxy::{OriginalDestinations, SocketFactory};
use gateway_userspace::reason::Reason;
use gateway_userspace::snapshot::Snapshot;
use gateway_userspace::snapshot::cluster::{
    BalancePolicy, Cluster, ClusterId, ClusterKey, Endpoint, EndpointSet, UpstreamProtocol,
};
use gateway_userspace::snapshot::frontend::{FailPolicy, Frontend, Mode, PortProtocol};
use gateway_userspace::snapshot::listener::{Listener, ListenerKind};
use gateway_userspace::snapshot::router::{
    Backend, Matcher, PathMatcher, RouteEntry, Router, Rule, RuleId, Section, Timeouts, WeightedBackends,
};
use gateway_userspace::snapshot::store::{EndpointSlot, SnapshotStore};
use gateway_userspace::telemetry::record::{Observe, PodId, Record};
use gateway_userspace::worker::{PodListener, Worker, WorkerCommand, WorkerContext, WorkerHandle};

/// What the pod's client has dialled.
pub const SERVICE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 96, 0, 1)), 80);

/// How the data plane is set up.
#[derive(Debug, Clone, Default)]
pub struct Setup {
    /// Limits of everything.
    pub limits: Limits,
    /// Who may say where a request comes from.
    pub trusted: TrustedProxies,
    /// Path prefixes with rules of their own: numbers from 2 on. Every other path is of rule 1.
    pub paths: Vec<&'static str>,
    /// Endpoints of the Service.
    pub endpoints: Vec<SocketAddr>,
    /// Where the Gateway listens. A free port of IPv4 loopback when empty.
    pub gateway: Option<SocketAddr>,
}

/// A running data plane. Ends when dropped.
pub struct DataPlane {
    /// The listener of a Gateway.
    pub gateway: SocketAddr,
    /// The listener of a pod.
    pub pod: SocketAddr,
    seen: Arc<Mutex<Seen>>,
    worker: Option<WorkerHandle>,
}

/// What the worker has reported.
#[derive(Default)]
struct Seen {
    records: Vec<Record>,
    rejected: Vec<Reason>,
    open: i64,
}

impl DataPlane {
    /// Starts it.
    ///
    /// # Errors
    /// When there can be no socket or no thread.
    pub fn start(setup: Setup) -> Result<Self> {
        let store = Arc::new(SnapshotStore::new());
        let context = WorkerContext::new(
            Arc::clone(&store),
            Arc::new(Limits { drain_timeout: Duration::from_secs(1), ..setup.limits.clone() }),
            Arc::new(OwnNamespace),
            Arc::new(Always),
        );
        let seen: Arc<Mutex<Seen>> = Arc::default();
        let observe = Reported(Arc::clone(&seen));
        let context = context.with_trusted(setup.trusted.clone());
        let worker = Worker::spawn(0, context, move || -> Box<dyn Observe> { Box::new(observe) })?;

        let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let gateway_socket = TcpListener::bind(setup.gateway.unwrap_or(any_port))?;
        let pod_socket = TcpListener::bind(any_port)?;
        let (gateway, pod) = (gateway_socket.local_addr()?, pod_socket.local_addr()?);
        let listener = publish(&store, &setup, gateway);
        worker.send(WorkerCommand::AddGateway { listener, sockets: vec![gateway_socket] })?;
        let netns = Arc::new(std::fs::File::open("/proc/self/ns/net")?.into());
        let in_pod = PodListener { pod: PodId(1), sockets: vec![pod_socket], netns_cookie: 1, netns };
        worker.send(WorkerCommand::AddPod(in_pod))?;
        Ok(Self { gateway, pod, seen, worker: Some(worker) })
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what was reported of requests up to now.
    pub fn records(&self) -> Vec<Record> {
        std::mem::take(&mut self.seen().records)
    }

    /// Takes why connections were closed without a record up to now.
    pub fn rejected(&self) -> Vec<Reason> {
        std::mem::take(&mut self.seen().rejected)
    }

    /// Connections of clients that are open.
    pub fn open(&self) -> i64 {
        self.seen().open
    }
}

impl Drop for DataPlane {
    fn drop(&mut self) {
        if let Some(worker) = self.worker.take() {
            // A worker that has ended has said why.
            let _ = worker.send(WorkerCommand::Drain);
            let _ = worker.join();
        }
    }
}

fn publish(store: &SnapshotStore, setup: &Setup, gateway: SocketAddr) -> Arc<Listener> {
    let cluster = cluster(&setup.endpoints);
    let listener = Arc::new(Listener {
        address: gateway,
        port: gateway.port(),
        name: "demo/front/http".into(),
        kind: ListenerKind::Http(router(&cluster, &setup.paths)),
    });
    let frontend = Frontend {
        key: cluster.key.clone(),
        addresses: vec![SERVICE.ip()],
        protocol: PortProtocol::Http,
        mode: Mode::L7,
        fail_policy: FailPolicy::Open,
        routes: Some(router(&cluster, &setup.paths)),
        cluster: Arc::clone(&cluster),
    };
    store.publish(Arc::new(Snapshot {
        generation: 1,
        listeners: vec![Arc::clone(&listener)],
        frontends: std::iter::once(Arc::new(frontend)).collect(),
        clusters: std::iter::once(cluster).collect(),
    }));
    listener
}

fn router(cluster: &Arc<Cluster>, paths: &[&'static str]) -> Router {
    let entry = |id: u32, path| RouteEntry {
        hostname: None,
        matcher: Matcher { path, ..Matcher::default() },
        rule: Arc::new(Rule {
            id: RuleId(id),
            name: format!("demo/shop/{id}").into(),
            grpc: false,
            filters: Vec::new(),
            backends: WeightedBackends::new(vec![Backend {
                weight: 1,
                cluster: Ok(Arc::clone(cluster)),
                filters: Vec::new(),
            }]),
            timeouts: Timeouts::default(),
            retry: None,
        }),
    };
    let prefixes = (2..).zip(paths).map(|(id, path)| entry(id, PathMatcher::Prefix((*path).into())));
    let entries = std::iter::once(entry(1, PathMatcher::Prefix("/".into()))).chain(prefixes).collect();
    Router::new(vec![Section { hostname: None, entries }])
}

fn cluster(endpoints: &[SocketAddr]) -> Arc<Cluster> {
    let endpoint = |address: &SocketAddr| Endpoint::at(*address);
    let endpoints = endpoints.iter().map(endpoint).collect();
    Arc::new(Cluster {
        key: ClusterKey { namespace: "demo".into(), service: "shop".into(), port: SERVICE.port() },
        id: ClusterId(1),
        protocol: UpstreamProtocol::Http,
        balance: BalancePolicy::RoundRobin,
        affinity: None,
        circuit: None,
        connect_timeout: Duration::from_secs(2),
        endpoints: Arc::new(EndpointSlot::new(EndpointSet { endpoints, ..EndpointSet::default() })),
    })
}

/// Sockets of this process's own namespace, whichever pod asks.
struct OwnNamespace;

impl SocketFactory for OwnNamespace {
    fn stream(&self, _: Option<BorrowedFd<'_>>, domain: socket2::Domain) -> io::Result<socket2::Socket> {
        socket2::Socket::new(domain, socket2::Type::STREAM, Some(socket2::Protocol::TCP))
    }
}

/// Every client of the pod has dialled the Service.
struct Always;

impl OriginalDestinations for Always {
    fn take(&self, _: u64, _: SocketAddr, _: SocketAddr) -> Option<SocketAddr> {
        Some(SERVICE)
    }
}

struct Reported(Arc<Mutex<Seen>>);

impl Reported {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observe for Reported {
    fn ended(&self, record: Record) {
        self.seen().records.push(record);
    }

    fn retried(&self, _: ClusterId) {}

    fn ejected(&self, _: ClusterId, _: Reason) {}

    fn downstream_connections(&self, change: i64) {
        self.seen().open += change;
    }

    fn upstream_connections(&self, _: ClusterId, _: i64) {}

    fn rejected(&self, reason: Reason) {
        self.seen().rejected.push(reason);
    }
}
