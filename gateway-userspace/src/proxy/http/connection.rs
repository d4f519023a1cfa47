//! What the requests of one downstream connection have in common.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

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
    serving: RefCell<(u64, Rc<Serving>)>,
}

impl Connection {
    /// A connection that has just been accepted.
    pub fn new(proxy: Rc<Proxy>, downstream: Downstream, protocol: Protocol, shutdown: Shutdown) -> Rc<Self> {
        let view = proxy.views.get();
        let serving = RefCell::new((view.version, Rc::new(Serving::find(&view, &downstream))));
        Rc::new(Self { proxy, downstream, protocol, shutdown, serving })
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

    /// It ends with bytes that made no request.
    pub fn reject(&self, reason: Reason) {
        self.proxy.observe.rejected(reason);
    }

    /// True for HTTP/1.
    pub fn is_http1(&self) -> bool {
        self.protocol == Protocol::Http1
    }
}
