//! Pure: the routers of Service ports that routes have as their parent.

use std::collections::BTreeMap;

use super::route_table::Batch;
use crate::snapshot::cluster::ClusterKey;
use crate::snapshot::router::Router;

/// Routers by port, while a route is attached.
#[derive(Debug, Default)]
pub(super) struct ServiceRoutes(BTreeMap<ClusterKey, PortRoutes>);

#[derive(Debug)]
struct PortRoutes {
    router: Router,
    /// Attachments of routes. One without matches still answers 404 to everything.
    attached: usize,
}

impl ServiceRoutes {
    /// The router of a port; `None` where no route is attached.
    pub(super) fn router(&self, port: &ClusterKey) -> Option<&Router> {
        self.0.get(port).map(|routes| &routes.router)
    }

    pub(super) fn change(&mut self, port: ClusterKey, batch: &Batch) {
        let none = || PortRoutes { router: Router::of_hostnames(vec![None]), attached: 0 };
        let routes = self.0.entry(port.clone()).or_insert_with(none);
        routes.router.change(None, &batch.removed, &batch.added);
        routes.attached = (routes.attached + batch.attached).saturating_sub(batch.detached);
        if routes.attached == 0 {
            self.0.remove(&port);
        }
    }
}
