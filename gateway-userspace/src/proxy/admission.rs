//! Counts downstream connections, and decides who gives way when there are too many.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::atomic::Ordering;

use super::holders::{Held, Holder, InUse};
use super::overload::{AtLimit, Pressure, at_limit};
use super::shedding::TakenOn;
use super::{Ingress, Proxy};
use crate::reason::Reason;

/// A counted downstream connection. Drop it and the connection is no longer counted.
pub struct Admission {
    proxy: Rc<Proxy>,
    held: Rc<Held>,
}

impl Admission {
    /// Counts a connection whose descriptor has this number.
    ///
    /// # Errors
    /// `Overflow` when the pod, or the address, has as many as it may have. `Overload` when the process
    /// has, and nobody holds more than the newcomer.
    pub fn new(
        proxy: &Rc<Proxy>,
        ingress: &Ingress,
        peer: SocketAddr,
        descriptor: i32,
    ) -> Result<Self, Reason> {
        let (limits, holders) = (&proxy.limits, &proxy.holders);
        let holder = Holder::of(ingress, peer);
        let count = holders.count(holder);
        let most = match holder {
            Holder::Pod(_) => limits.pod_connections_max,
            // The kernel deals the connections of an address out among the workers.
            Holder::Source(_) => {
                limits.source_connections_max.div_ceil(proxy.shared.workers.load(Ordering::Relaxed).max(1))
            }
        };
        if count >= most {
            return Err(Reason::Overflow);
        }
        // The kernel gives out the lowest number that is free: the number says how many are in use.
        let is_short = usize::try_from(descriptor).is_ok_and(|number| number >= limits.descriptors_usable());
        let is_short = is_short || proxy.shared.memory.pressure() >= Pressure::Cut;
        let before = proxy.shared.connections.fetch_add(1, Ordering::Relaxed);
        if (is_short || before >= limits.connections_max) && !make_room(proxy, count) {
            proxy.shared.connections.fetch_sub(1, Ordering::Relaxed);
            return Err(Reason::Overload);
        }
        proxy.opened();
        Ok(Self { proxy: Rc::clone(proxy), held: holders.insert(holder) })
    }

    /// The connection's side of this, for whoever gives it up.
    pub fn held(&self) -> Rc<Held> {
        Rc::clone(&self.held)
    }

    /// Takes on a request of the connection, once there is room for it.
    ///
    /// # Errors
    /// `Overload` when there are more than can be served, and none ended for which its pod or address was next.
    pub async fn take_on(&self) -> Result<TakenOn, Reason> {
        self.proxy.shedding.take_on(self.held.waiting()).await
    }

    /// One more request on the connection was given up at once, or made us give it up. False when its pod or
    /// address has done so too often, on whatever connections.
    pub fn count_reset(&self) -> bool {
        let workers = self.proxy.shared.workers.load(Ordering::Relaxed);
        self.proxy.resets.count(self.held.holder(), workers, &self.proxy.limits.client)
    }

    /// Something is under way on the connection: it is not idle before the guard is dropped.
    pub fn in_use(&self) -> InUse {
        InUse::new(&self.held)
    }
}

/// Ends an idle connection of the largest holder, for one whose side holds `count`.
fn make_room(proxy: &Proxy, count: usize) -> bool {
    let Some((largest, most)) = proxy.holders.largest() else { return false };
    let made = at_limit(count, most) == AtLimit::Replace && proxy.holders.give_up_one(largest);
    if made {
        proxy.observe.rejected(Reason::Overload);
    }
    made
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.proxy.holders.remove(&self.held);
        self.proxy.shared.connections.fetch_sub(1, Ordering::Relaxed);
        self.proxy.closed();
    }
}
