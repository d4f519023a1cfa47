//! What the requests of one downstream connection have in common.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::time::Instant;

use super::stream::StreamState;
use crate::proxy::shutdown::Shutdown;
use crate::proxy::view::View;
use crate::proxy::{Downstream, Ingress, Proxy};
use crate::reason::Reason;
use crate::snapshot::cluster::ClusterId;
use crate::snapshot::frontend::Frontend;
use crate::snapshot::listener::{Listener, ListenerKind};
use crate::snapshot::router::Router;
use crate::telemetry::record::Protocol;

/// What serves a connection's requests, by one snapshot.
pub enum Serving {
    /// A Service port that a pod dialled.
    Frontend(Arc<Frontend>),
    /// A gateway listener.
    Listener(Arc<Listener>),
    /// It is in the configuration no more.
    Nothing,
}

impl Serving {
    fn find(view: &View, downstream: &Downstream) -> Self {
        let found = match &downstream.ingress {
            Ingress::Pod(_) => {
                view.snapshot.frontends.get(&downstream.destination).cloned().map(Self::Frontend)
            }
            Ingress::Gateway(address) => view.listener(address).cloned().map(Self::Listener),
        };
        found.unwrap_or(Self::Nothing)
    }

    /// The routes; `None` where everything goes to the Service itself, or nothing anywhere.
    pub fn router(&self) -> Option<&Router> {
        match self {
            Self::Frontend(frontend) => frontend.routes.as_ref(),
            Self::Listener(listener) => match &listener.kind {
                ListenerKind::Http(router) => Some(router),
                ListenerKind::Tcp(_) => None,
            },
            Self::Nothing => None,
        }
    }

    /// The Service port that was dialled.
    pub fn frontend_id(&self) -> Option<ClusterId> {
        match self {
            Self::Frontend(frontend) => Some(frontend.cluster.id),
            Self::Listener(_) | Self::Nothing => None,
        }
    }
}

/// One downstream HTTP connection.
pub struct Connection {
    /// The worker's data plane.
    pub proxy: Rc<Proxy>,
    /// Who is at the other end.
    pub downstream: Downstream,
    /// What is spoken.
    pub protocol: Protocol,
    /// Asks the connection to end.
    pub shutdown: Shutdown,
    /// What the codec's side of the connection knows.
    pub stream: Arc<StreamState>,
    /// Requests that have begun and whose answers have not ended.
    requests: Cell<usize>,
    /// There was a request.
    begun: Cell<bool>,
    /// When the last of them ended.
    idle_since: Cell<Instant>,
    serving: RefCell<(u64, Rc<Serving>)>,
}

/// A request on a connection, until its answer has ended. Drop it and the connection may be idle.
pub struct Busy(Rc<Connection>);

impl Busy {
    /// A request has begun; `is_read` when it has no body.
    pub fn new(connection: &Rc<Connection>, is_read: bool) -> Self {
        connection.begun.set(true);
        connection.requests.set(connection.requests.get() + 1);
        connection.stream.received.store(false, Ordering::Relaxed);
        connection.stream.answering.store(is_read, Ordering::Relaxed);
        Self(Rc::clone(connection))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.requests.set(self.0.requests.get().saturating_sub(1));
        self.0.stream.answering.store(false, Ordering::Relaxed);
        if self.0.stream.half_closed.load(Ordering::Relaxed) {
            self.0.stream.reader.wake();
        }
        self.0.idle_since.set(Instant::now());
    }
}

impl Connection {
    /// A connection that has just been accepted.
    pub fn new(proxy: Rc<Proxy>, downstream: Downstream, protocol: Protocol, shutdown: Shutdown) -> Rc<Self> {
        let view = proxy.views.get();
        let serving = RefCell::new((view.version, Rc::new(Serving::find(&view, &downstream))));
        Rc::new(Self {
            proxy,
            downstream,
            protocol,
            shutdown,
            stream: Arc::default(),
            requests: Cell::new(0),
            begun: Cell::new(false),
            idle_since: Cell::new(Instant::now()),
            serving,
        })
    }

    /// What serves a request that begins now. A connection outlives changes of the configuration.
    pub fn serving(&self) -> Rc<Serving> {
        let mut serving = self.serving.borrow_mut();
        let view = self.proxy.views.get();
        if serving.0 != view.version {
            *serving = (view.version, Rc::new(Serving::find(&view, &self.downstream)));
        }
        Rc::clone(&serving.1)
    }

    /// When the last request ended, or the connection began; `None` while there are requests.
    pub fn idle_since(&self) -> Option<Instant> {
        (self.requests.get() == 0).then(|| self.idle_since.get())
    }

    /// True once there was a request.
    pub fn has_begun(&self) -> bool {
        self.begun.get()
    }

    /// It ends with bytes that made no request.
    pub fn reject(&self, reason: Reason) {
        self.proxy.observe.rejected(reason);
    }

    /// True for HTTP/1.
    pub fn is_http1(&self) -> bool {
        self.protocol == Protocol::Http1
    }
}
