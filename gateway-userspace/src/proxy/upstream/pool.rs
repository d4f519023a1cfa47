//! Connections from one pod's namespace to one endpoint: HTTP/1.1 ones that wait for their next
//! request, HTTP/2 ones that many requests of that pod share. Never shared between pods.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use rustc_hash::FxHashMap;
use tokio::net::TcpStream;
use tokio::sync::Notify;

use super::connect::connect;
use super::http1::Http1Connection;
use super::http2::Http2Connection;
use crate::limits::{Limits, POOL_SURPLUS_SWEEPS, POOL_SWEEP_INTERVAL};
use crate::proxy::{Ingress, Proxy};
use crate::reason::Reason;
use crate::snapshot::cluster::ClusterId;
use crate::telemetry::record::{Observe, PodId};

/// What is spoken to the endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speak {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2 with prior knowledge.
    Http2,
}

/// The pools of one endpoint by pod.
#[derive(Default)]
pub struct Pools {
    by_pod: RefCell<FxHashMap<PodId, Rc<Pool>>>,
    closed: Cell<bool>,
}

impl Pools {
    /// The pool of a pod.
    pub fn get(&self, cluster: ClusterId, address: SocketAddr, pod: PodId) -> Rc<Pool> {
        let mut pools = self.by_pod.borrow_mut();
        let pool = pools.entry(pod).or_insert_with(|| Rc::new(Pool::new(cluster, address)));
        if self.closed.get() {
            pool.close();
        }
        Rc::clone(pool)
    }

    /// The endpoint is gone: idle connections are closed, those in use when they are done.
    pub fn close(&self) {
        self.closed.set(true);
        self.by_pod.borrow_mut().drain().for_each(|(_, pool)| pool.close());
    }

    /// Closes what was idle too long, and forgets pools that hold nothing.
    pub fn sweep(&self, limits: &Limits) {
        self.by_pod.borrow_mut().retain(|_, pool| {
            pool.sweep(limits);
            pool.open.get() > 0 || Rc::strong_count(pool) > 1
        });
    }

    /// The pod is gone.
    pub fn forget_pod(&self, pod: PodId) {
        if let Some(pool) = self.by_pod.borrow_mut().remove(&pod) {
            pool.close();
        }
    }
}

/// A counted upstream connection. The last clone that goes takes it off the count.
pub struct Slot {
    open: Rc<Cell<usize>>,
    cluster: ClusterId,
    observe: Rc<dyn Observe>,
}

impl Slot {
    /// One more, also in `open`.
    pub fn new(open: Rc<Cell<usize>>, cluster: ClusterId, observe: &Rc<dyn Observe>) -> Self {
        open.set(open.get() + 1);
        observe.upstream_connections(cluster, 1);
        Self { open, cluster, observe: Rc::clone(observe) }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.open.set(self.open.get().saturating_sub(1));
        self.observe.upstream_connections(self.cluster, -1);
    }
}

struct IdleHttp1 {
    connection: Box<Http1Connection>,
    slot: Slot,
    /// Sweeps it was idle for.
    age: u32,
}

struct SharedHttp2 {
    connection: Http2Connection,
    streams: Cell<usize>,
    /// Sweeps it had no stream for.
    age: Cell<u32>,
}

/// Connections from one pod to one endpoint.
pub struct Pool {
    cluster: ClusterId,
    address: SocketAddr,
    open: Rc<Cell<usize>>,
    closed: Cell<bool>,
    /// The one used last is at the end, and is used next.
    http1: RefCell<Vec<IdleHttp1>>,
    http2: RefCell<Vec<Rc<SharedHttp2>>>,
    /// Somebody is making an HTTP/2 connection; others wait for it.
    opening: Cell<bool>,
    opened: Notify,
    /// How often that has failed, and why the last time.
    failures: Cell<(u64, Option<Reason>)>,
}

/// The right to send one request on a connection.
pub enum Lease {
    /// The connection is this request's alone until it is released.
    Http1(Http1Lease),
    /// One stream of a shared connection.
    Http2(Http2Lease),
}

/// An HTTP/1.1 connection in use. Dropped without release it is closed when the exchange on it ends.
pub struct Http1Lease {
    /// Taken while a request is on it.
    pub(super) connection: Option<Box<Http1Connection>>,
    slot: Slot,
    pool: Rc<Pool>,
    reused: bool,
}

/// A stream of an HTTP/2 connection.
pub struct Http2Lease {
    pub(super) connection: Http2Connection,
    shared: Rc<SharedHttp2>,
    reused: bool,
}

impl Lease {
    /// The connection has served other requests: it may have been closed unnoticed.
    pub fn is_reused(&self) -> bool {
        match self {
            Self::Http1(lease) => lease.reused,
            Self::Http2(lease) => lease.reused,
        }
    }

    /// The response was read to its end: its HTTP/1 connection may serve another request.
    pub fn release(self, connection: Option<Box<Http1Connection>>) {
        if let (Self::Http1(lease), Some(connection)) = (self, connection) {
            lease.release(connection);
        }
    }
}

impl Http1Lease {
    /// Kept, however many there are: traffic that needed it mostly needs it again at once.
    fn release(self, connection: Box<Http1Connection>) {
        if !self.pool.closed.get() {
            self.pool.http1.borrow_mut().push(IdleHttp1 { connection, slot: self.slot, age: 0 });
        }
    }
}

impl Drop for Http2Lease {
    fn drop(&mut self) {
        self.shared.streams.set(self.shared.streams.get().saturating_sub(1));
        self.shared.age.set(0);
    }
}

/// Ends the wait of the others, however making the connection ended.
struct Opening<'a>(&'a Pool);

impl Drop for Opening<'_> {
    fn drop(&mut self) {
        self.0.opening.set(false);
        self.0.opened.notify_waiters();
    }
}

impl Pool {
    fn new(cluster: ClusterId, address: SocketAddr) -> Self {
        Self {
            cluster,
            address,
            open: Rc::default(),
            closed: Cell::new(false),
            http1: RefCell::default(),
            http2: RefCell::default(),
            opening: Cell::new(false),
            opened: Notify::new(),
            failures: Cell::new((0, None)),
        }
    }

    /// A connection to send one request on: an idle or shared one, or a new one.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn lease(
        self: &Rc<Self>,
        proxy: &Proxy,
        ingress: &Ingress,
        speak: Speak,
        timeout: Duration,
    ) -> Result<Lease, Reason> {
        let ready = match speak {
            Speak::Http1 => self.idle_http1().map(Lease::Http1),
            Speak::Http2 => self.free_http2().map(Lease::Http2),
        };
        if let Some(lease) = ready {
            return Ok(lease);
        }
        // Boxed, or every request would have the size of one that waits for a connection.
        match speak {
            Speak::Http1 => Box::pin(self.open_http1(proxy, ingress, timeout)).await.map(Lease::Http1),
            Speak::Http2 => Box::pin(self.wait_http2(proxy, ingress, timeout)).await.map(Lease::Http2),
        }
    }

    /// The one used last among those that the endpoint has not closed.
    fn idle_http1(self: &Rc<Self>) -> Option<Http1Lease> {
        let mut idle = self.http1.borrow_mut();
        while let Some(IdleHttp1 { mut connection, slot, .. }) = idle.pop() {
            if connection.is_quiet() {
                let connection = Some(connection);
                return Some(Http1Lease { connection, slot, pool: Rc::clone(self), reused: true });
            }
        }
        None
    }

    async fn open_http1(
        self: &Rc<Self>,
        proxy: &Proxy,
        ingress: &Ingress,
        timeout: Duration,
    ) -> Result<Http1Lease, Reason> {
        let (stream, slot) = self.dial(proxy, ingress, timeout).await?;
        let connection = Some(Box::new(Http1Connection::new(stream, &proxy.limits)));
        Ok(Http1Lease { connection, slot, pool: Rc::clone(self), reused: false })
    }

    /// Of a connection that is made, by this request or another one.
    async fn wait_http2(
        self: &Rc<Self>,
        proxy: &Proxy,
        ingress: &Ingress,
        timeout: Duration,
    ) -> Result<Http2Lease, Reason> {
        loop {
            if let Some(lease) = self.free_http2() {
                return Ok(lease);
            }
            if !self.opening.replace(true) {
                break;
            }
            let (before, _) = self.failures.get();
            self.opened.notified().await;
            if let (after, Some(reason)) = self.failures.get()
                && after != before
            {
                return Err(reason);
            }
        }
        let _opening = Opening(self);
        let opened = self.open_http2(proxy, ingress, timeout).await;
        match &opened {
            Ok(connection) => self.http2.borrow_mut().push(Rc::clone(connection)),
            Err(reason) => self.failures.set((self.failures.get().0 + 1, Some(*reason))),
        }
        opened.map(|connection| connection.stream(false))
    }

    /// A stream of the first connection that has one to give: the others may become idle and close.
    fn free_http2(&self) -> Option<Http2Lease> {
        let mut connections = self.http2.borrow_mut();
        connections.retain(|c| !c.connection.is_closed());
        connections.iter().find(|c| c.streams.get() < c.connection.streams_max()).map(|c| c.stream(true))
    }

    async fn open_http2(
        self: &Rc<Self>,
        proxy: &Proxy,
        ingress: &Ingress,
        timeout: Duration,
    ) -> Result<Rc<SharedHttp2>, Reason> {
        let (stream, slot) = self.dial(proxy, ingress, timeout).await?;
        let connection = Http2Connection::open(stream, slot, &proxy.limits).await?;
        Ok(Rc::new(SharedHttp2 { connection, streams: Cell::new(0), age: Cell::new(0) }))
    }

    async fn dial(
        &self,
        proxy: &Proxy,
        ingress: &Ingress,
        timeout: Duration,
    ) -> Result<(TcpStream, Slot), Reason> {
        if self.open.get() >= proxy.limits.pool_connections_max {
            return Err(Reason::Overflow);
        }
        let slot = Slot::new(Rc::clone(&self.open), self.cluster, &proxy.observe);
        let stream = connect(&*proxy.sockets, ingress.netns(), self.address, timeout).await?;
        Ok((stream, slot))
    }

    /// Nothing is kept any more.
    pub fn close(&self) {
        self.closed.set(true);
        self.http1.borrow_mut().clear();
        self.http2.borrow_mut().clear();
    }

    fn sweep(&self, limits: &Limits) {
        let age_max = limits.pool_idle_timeout.as_secs() / POOL_SWEEP_INTERVAL.as_secs();
        let mut http1 = self.http1.borrow_mut();
        let mut surplus = http1.len().saturating_sub(limits.pool_idle_max);
        // The one used last is at the end: what comes first was longest not needed.
        http1.retain_mut(|idle| {
            idle.age = idle.age.saturating_add(1);
            let is_surplus = surplus > 0 && idle.age > POOL_SURPLUS_SWEEPS;
            let is_kept = !is_surplus && u64::from(idle.age) <= age_max && idle.connection.is_quiet();
            surplus = surplus.saturating_sub(usize::from(!is_kept));
            is_kept
        });
        drop(http1);
        self.http2.borrow_mut().retain(|connection| {
            if connection.streams.get() == 0 {
                connection.age.set(connection.age.get().saturating_add(1));
            }
            u64::from(connection.age.get()) <= age_max && !connection.connection.is_closed()
        });
    }
}

impl SharedHttp2 {
    fn stream(self: &Rc<Self>, reused: bool) -> Http2Lease {
        self.streams.set(self.streams.get() + 1);
        Http2Lease { connection: self.connection.clone(), shared: Rc::clone(self), reused }
    }
}
