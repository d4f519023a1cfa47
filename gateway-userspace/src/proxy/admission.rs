//! Counts downstream connections, and refuses those beyond a limit.

use std::rc::Rc;
use std::sync::atomic::Ordering;

use super::{Ingress, Proxy};

/// A counted downstream connection. Drop it and the connection is no longer counted.
pub struct Admission {
    proxy: Rc<Proxy>,
    ingress: Ingress,
}

impl Admission {
    /// `None` when the process or the pod has as many as it may have.
    pub fn new(proxy: &Rc<Proxy>, ingress: &Ingress) -> Option<Self> {
        let limits = &proxy.limits;
        if let Ingress::Pod(pod) = ingress
            && pod.connections.get() >= limits.pod_connections_max
        {
            return None;
        }
        if proxy.shared.connections.fetch_add(1, Ordering::Relaxed) >= limits.connections_max {
            proxy.shared.connections.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        if let Ingress::Pod(pod) = ingress {
            pod.connections.set(pod.connections.get() + 1);
        }
        proxy.opened();
        Some(Self { proxy: Rc::clone(proxy), ingress: ingress.clone() })
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        if let Ingress::Pod(pod) = &self.ingress {
            pod.connections.set(pod.connections.get().saturating_sub(1));
        }
        self.proxy.shared.connections.fetch_sub(1, Ordering::Relaxed);
        self.proxy.closed();
    }
}
