//! What the requests of one downstream connection have in common.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use tokio::time::Instant;

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
    /// When it is old enough to go.
    pub goes_at: Option<Instant>,
    requests: Cell<u64>,
    serving: RefCell<(u64, Rc<Serving>)>,
}

impl Connection {
    /// A connection that has just been accepted.
    pub fn new(proxy: Rc<Proxy>, downstream: Downstream, protocol: Protocol, shutdown: Shutdown) -> Rc<Self> {
        let view = proxy.views.get();
        let serving = RefCell::new((view.version, Rc::new(Serving::find(&view, &downstream))));
        let goes_at = proxy.limits.connection.age(fastrand::u64(..)).map(|age| Instant::now() + age);
        let requests = Cell::new(0);
        Rc::new(Self { proxy, downstream, protocol, shutdown, goes_at, requests, serving })
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

    /// One more request has come. True when it is the last that the connection takes.
    pub fn count_request(&self) -> bool {
        self.requests.set(self.requests.get() + 1);
        self.proxy.limits.connection.requests_max.is_some_and(|max| self.requests.get() >= max)
    }

    /// True when it is old enough to go.
    pub fn is_old(&self) -> bool {
        self.goes_at.is_some_and(|at| at <= Instant::now())
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
