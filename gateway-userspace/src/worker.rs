//! One thread per core: its accept loops, its connections, its view of the snapshot.
//!
//! A worker shares nothing that a request writes. Control tells it by `WorkerCommand` what to
//! serve; the snapshot and the endpoints it follows by itself. A panic ends the task it happened
//! in, which is one connection or one HTTP/2 stream.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use ipnet::IpNet;
use rustc_hash::FxHashMap;
use tokio::sync::mpsc;
use tokio::task::LocalSet;
use tokio::time::MissedTickBehavior;

use crate::limits::{Limits, POOL_SWEEP_INTERVAL};
use crate::memory;
use crate::proxy::http::headers::forwarded::TrustedProxies;
use crate::proxy::listener::accept::Listening;
use crate::proxy::shedding::{MemoryUse, call, measure};
use crate::proxy::shutdown::Shutdown;
use crate::proxy::{Ingress, OriginalDestinations, Pod, Proxy, Shared, SocketFactory};
use crate::snapshot::listener::Listener;
use crate::snapshot::store::SnapshotStore;
use crate::telemetry::endpoint_state::EndpointStates;
use crate::telemetry::record::{Observe, PodId};

/// How long connections that were cut may take to end.
const CUT_WAIT: Duration = Duration::from_millis(100);

/// What a worker is told. Commands are obeyed in their order.
#[derive(Debug)]
pub enum WorkerCommand {
    /// Serve a captured pod. One worker, its home, gets it.
    AddPod(PodListener),
    /// The pod is gone or released: its listeners close at once, its requests in flight finish, its
    /// pooled connections and its namespace are given up.
    RemovePod(PodId),
    /// Serve a gateway listener on sockets of this worker's own (SO_REUSEPORT). One, unless a
    /// process with more workers has handed its sockets over.
    AddGateway {
        /// Its address names it; what it serves is looked up in the newest snapshot.
        listener: Arc<Listener>,
        /// Bound and listening.
        sockets: Vec<TcpListener>,
    },
    /// Stop serving the gateway listener of this configured address.
    RemoveGateway(SocketAddr),
    /// Accept nothing more, finish what is in flight up to `Limits::drain_timeout`, end the thread.
    Drain,
}

/// The listeners of one captured pod.
#[derive(Debug)]
pub struct PodListener {
    /// Who it is.
    pub pod: PodId,
    /// Listening on loopback in the pod's namespace.
    pub sockets: Vec<TcpListener>,
    /// The number by which the kernel knows the namespace.
    pub netns_cookie: u64,
    /// Keeps the namespace alive; upstream connections are made in it.
    pub netns: Arc<OwnedFd>,
}

/// What all workers of a process are made with. A clone of it belongs to the same process.
#[derive(Clone)]
pub struct WorkerContext {
    store: Arc<SnapshotStore>,
    limits: Arc<Limits>,
    sockets: Arc<dyn SocketFactory>,
    destinations: Arc<dyn OriginalDestinations>,
    shared: Arc<Shared>,
    trusted: Arc<TrustedProxies>,
}

impl WorkerContext {
    /// For all workers of one process.
    pub fn new(
        store: Arc<SnapshotStore>,
        limits: Arc<Limits>,
        sockets: Arc<dyn SocketFactory>,
        destinations: Arc<dyn OriginalDestinations>,
    ) -> Self {
        Self { store, limits, sockets, destinations, shared: Arc::default(), trusted: Arc::default() }
    }

    /// The proxies in front of Gateways that are believed; without this there are none.
    pub fn with_trusted(self, trusted: TrustedProxies) -> Self {
        Self { trusted: Arc::new(trusted), ..self }
    }

    /// With peers that begin each connection to a gateway listener with a PROXY protocol header.
    #[must_use]
    pub fn with_proxy_protocol_from(self, peers: Vec<IpNet>) -> Self {
        Self { shared: Arc::new(Shared::new(peers)), ..self }
    }
}

impl WorkerContext {
    /// How much memory is used: to be told to the workers.
    pub fn memory(&self) -> Arc<MemoryUse> {
        Arc::clone(&self.shared.memory)
    }

    /// Which endpoints are ejected, for whoever explains it.
    pub fn endpoint_states(&self) -> Arc<dyn EndpointStates> {
        Arc::clone(&self.shared.health) as Arc<dyn EndpointStates>
    }
}

/// Connections of one worker that have closed before the memory they took is worth a look.
const MANY_CLOSED: usize = 256;

/// The worker's thread has ended: after a drain, or because it could not go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the worker has ended")]
pub struct WorkerEnded;

/// A running worker.
#[derive(Debug)]
pub struct WorkerHandle {
    commands: mpsc::UnboundedSender<WorkerCommand>,
    thread: JoinHandle<()>,
}

impl WorkerHandle {
    /// Tells the worker something. Does not wait until it is done.
    ///
    /// # Errors
    /// When its thread has ended.
    pub fn send(&self, command: WorkerCommand) -> Result<(), WorkerEnded> {
        self.commands.send(command).map_err(|_| WorkerEnded)
    }

    /// True when its thread has ended.
    pub fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }

    /// Waits for the thread's end. Blocks.
    ///
    /// # Errors
    /// When the thread panicked, which no connection can make it do.
    pub fn join(self) -> Result<(), WorkerEnded> {
        drop(self.commands);
        self.thread.join().map_err(|_| WorkerEnded)
    }
}

/// The part of a worker that obeys commands.
pub struct Worker {
    proxy: Rc<Proxy>,
    pods: FxHashMap<PodId, Shutdown>,
    gateways: FxHashMap<SocketAddr, Shutdown>,
}

impl Worker {
    /// Starts the thread of the worker number `index`. `observe` is called on it.
    ///
    /// # Errors
    /// When there can be no thread or no runtime.
    pub fn spawn(
        index: usize,
        context: WorkerContext,
        observe: impl FnOnce() -> Box<dyn Observe> + Send + 'static,
    ) -> io::Result<WorkerHandle> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
        let (commands, receiver) = mpsc::unbounded_channel();
        let thread = std::thread::Builder::new().name(format!("worker-{index}")).spawn(move || {
            let local = LocalSet::new();
            let WorkerContext { store, limits, sockets, destinations, shared, trusted } = context;
            let observe = observe().into();
            let proxy = Proxy::new(store, limits, sockets, destinations, observe, shared, trusted);
            let proxy = Rc::new(proxy);
            let worker = Self { proxy, pods: FxHashMap::default(), gateways: FxHashMap::default() };
            local.block_on(&runtime, worker.run(receiver));
        })?;
        Ok(WorkerHandle { commands, thread })
    }

    /// Obeys until the drain, or until nobody can command any more, which is the same.
    async fn run(mut self, mut commands: mpsc::UnboundedReceiver<WorkerCommand>) {
        tokio::task::spawn_local(sweep(Rc::clone(&self.proxy)));
        tokio::task::spawn_local(measure(Rc::clone(&self.proxy)));
        tokio::task::spawn_local(call(Rc::clone(&self.proxy)));
        while let Some(command) = commands.recv().await {
            match command {
                WorkerCommand::AddPod(listener) => self.add_pod(listener),
                WorkerCommand::RemovePod(pod) => self.remove_pod(pod),
                WorkerCommand::AddGateway { listener, sockets } => self.add_gateway(&listener, sockets),
                WorkerCommand::RemoveGateway(address) => self.remove_gateway(address),
                WorkerCommand::Drain => break,
            }
        }
        self.drain().await;
    }

    fn add_pod(&mut self, listener: PodListener) {
        let shutdown = Shutdown::new();
        let pod = Rc::new(Pod {
            id: listener.pod,
            netns_cookie: listener.netns_cookie,
            netns: listener.netns,
            shutdown: shutdown.clone(),
        });
        self.serve(listener.sockets, &Ingress::Pod(pod), &shutdown);
        if let Some(old) = self.pods.insert(listener.pod, shutdown) {
            self.end(old);
        }
    }

    fn remove_pod(&mut self, pod: PodId) {
        if let Some(shutdown) = self.pods.remove(&pod) {
            self.proxy.upstream.forget_pod(pod);
            self.end(shutdown);
        }
    }

    fn add_gateway(&mut self, listener: &Listener, sockets: Vec<TcpListener>) {
        let shutdown = Shutdown::new();
        self.serve(sockets, &Ingress::Gateway(listener.address), &shutdown);
        if let Some(old) = self.gateways.insert(listener.address, shutdown) {
            self.end(old);
        }
    }

    fn remove_gateway(&mut self, address: SocketAddr) {
        if let Some(shutdown) = self.gateways.remove(&address) {
            self.end(shutdown);
        }
    }

    /// Starts the accept loops. They, and the connections, end by the signal.
    fn serve(&self, sockets: Vec<TcpListener>, ingress: &Ingress, shutdown: &Shutdown) {
        for socket in sockets {
            match Listening::new(socket, ingress.clone(), shutdown.clone()) {
                Ok(listening) => {
                    tokio::task::spawn_local(listening.run(Rc::clone(&self.proxy)));
                }
                Err(error) => tracing::error!(%error, ?ingress, "a listening socket cannot be used"),
            }
        }
    }

    /// The orderly end of what is served; what lasts longer than the drain timeout is cut.
    fn end(&self, served: Shutdown) {
        served.start();
        let wait = self.proxy.limits.drain_timeout;
        tokio::task::spawn_local(async move {
            tokio::time::sleep(wait).await;
            served.cut();
        });
    }

    async fn drain(self) {
        let deadline = tokio::time::Instant::now() + self.proxy.limits.drain_timeout;
        let all = || self.pods.values().chain(self.gateways.values());
        all().for_each(Shutdown::start);
        if tokio::time::timeout_at(deadline, self.proxy.all_closed()).await.is_err() {
            all().for_each(Shutdown::cut);
            // The connections that are cut still write their records.
            let _ = tokio::time::timeout(CUT_WAIT, self.proxy.all_closed()).await;
        }
    }
}

/// Looks after idle upstream connections and free memory, for as long as the worker lives.
async fn sweep(proxy: Rc<Proxy>) {
    let mut interval = tokio::time::interval(POOL_SWEEP_INTERVAL);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut ebb = Ebb::default();
    loop {
        interval.tick().await;
        proxy.upstream.sweep(&proxy.views.get().snapshot);
        if ebb.is_over(proxy.open_connections()) {
            // The allocator keeps a heap for each thread, and looks at this one only from here.
            memory::give_back();
        }
    }
}

/// Notices the end of a time in which many connections closed.
#[derive(Debug, Default)]
struct Ebb {
    most: usize,
    last: usize,
}

impl Ebb {
    /// True once, when there are as few as the last time and many fewer than before.
    fn is_over(&mut self, open: usize) -> bool {
        self.most = self.most.max(open);
        let is_over = open >= self.last && self.most - open >= MANY_CLOSED;
        if is_over {
            self.most = open;
        }
        self.last = open;
        is_over
    }
}

#[cfg(test)]
mod tests {
    use super::Ebb;

    #[test]
    fn memory_is_given_back_once_after_many_connections_have_closed() {
        let mut ebb = Ebb::default();
        let looks = [10, 9_000, 9_000, 4_000, 12, 12, 12, 300, 290, 200, 200, 10, 10];
        let over: Vec<usize> =
            looks.iter().enumerate().filter(|(_, open)| ebb.is_over(**open)).map(|(at, _)| at).collect();
        assert_eq!(over, [5, 12]);
    }
}
