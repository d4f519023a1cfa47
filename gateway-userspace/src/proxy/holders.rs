//! Who holds the downstream connections of a worker, and which of them can be given up.

use std::cell::{Cell, OnceCell, RefCell};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::rc::Rc;

use rustc_hash::FxHashMap;
use smallvec::SmallVec;
use tokio::task::AbortHandle;

use super::Ingress;
use super::shedding::Waiting;
use crate::telemetry::record::PodId;

/// Connections of a holder that are looked at for one that is idle.
const LOOKED_AT_MAX: usize = 64;

/// After so many looks for it the largest holder is searched for among all: who was it may have gone.
const LOOKS_PER_SEARCH: u32 = 256;

/// Bits of an IPv6 address that one client has: it chooses the others as it likes.
const IPV6_CLIENT_BITS: u32 = 64;

/// Who opened a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Holder {
    /// A captured pod.
    Pod(PodId),
    /// An address that a gateway listener is reached from; of IPv6 its network.
    Source(IpAddr),
}

impl Holder {
    /// Who opened the connection from `peer`.
    pub fn of(ingress: &Ingress, peer: SocketAddr) -> Self {
        match ingress {
            Ingress::Pod(pod) => Self::Pod(pod.id),
            Ingress::Gateway(_) => Self::Source(match peer.ip().to_canonical() {
                IpAddr::V6(ip) => {
                    Ipv6Addr::from_bits(ip.to_bits() >> IPV6_CLIENT_BITS << IPV6_CLIENT_BITS).into()
                }
                ip @ IpAddr::V4(_) => ip,
            }),
        }
    }
}

/// One connection.
#[derive(Debug)]
pub struct Held {
    holder: Holder,
    place: Cell<usize>,
    /// Requests, relays and tunnels on it.
    busy: Cell<u32>,
    task: OnceCell<AbortHandle>,
    waiting: Rc<Waiting>,
}

impl Held {
    /// Who opened it.
    pub const fn holder(&self) -> Holder {
        self.holder
    }

    /// What waits of its holder.
    pub const fn waiting(&self) -> &Rc<Waiting> {
        &self.waiting
    }

    /// Tells which task serves it.
    pub fn served_by(&self, task: AbortHandle) {
        // It is told once.
        let _ = self.task.set(task);
    }

    /// Nothing is under way on it, and it was not given up yet.
    fn is_idle(&self) -> bool {
        self.busy.get() == 0 && self.task.get().is_some()
    }
}

/// Something is under way on a connection. Drop it and the connection may be idle.
#[derive(Debug)]
pub struct InUse(Rc<Held>);

impl InUse {
    /// It has begun.
    pub fn new(held: &Rc<Held>) -> Self {
        held.busy.set(held.busy.get() + 1);
        Self(Rc::clone(held))
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        self.0.busy.set(self.0.busy.get().saturating_sub(1));
    }
}

/// What one holder has.
#[derive(Debug, Default)]
struct Share {
    connections: SmallVec<[Rc<Held>; 2]>,
    waiting: Rc<Waiting>,
}

/// All connections of a worker, by who opened them.
#[derive(Debug, Default)]
pub struct Holders {
    shares: RefCell<FxHashMap<Holder, Share>>,
    /// Who holds most, and how many: exactly so only for whoever opened or closed something last.
    largest: Cell<Option<(Holder, usize)>>,
    looks: Cell<u32>,
    gave_up: Cell<bool>,
}

impl Holders {
    /// Connections that it holds.
    pub fn count(&self, holder: Holder) -> usize {
        self.shares.borrow().get(&holder).map_or(0, |share| share.connections.len())
    }

    /// Who holds most, and how many.
    pub fn largest(&self) -> Option<(Holder, usize)> {
        let looks = self.looks.get();
        self.looks.set(looks.wrapping_add(1));
        if looks.is_multiple_of(LOOKS_PER_SEARCH) {
            let shares = self.shares.borrow();
            let counts = shares.iter().map(|(who, share)| (*who, share.connections.len()));
            self.largest.set(counts.max_by_key(|(_, count)| *count));
        }
        self.largest.get()
    }

    /// One more.
    pub fn insert(&self, holder: Holder) -> Rc<Held> {
        let mut shares = self.shares.borrow_mut();
        let Share { connections: all, waiting } = shares.entry(holder).or_default();
        let (place, waiting) = (Cell::new(all.len()), Rc::clone(waiting));
        let held = Rc::new(Held { holder, place, busy: Cell::new(0), task: OnceCell::new(), waiting });
        all.push(Rc::clone(&held));
        if self.largest.get().is_none_or(|(_, most)| all.len() >= most) {
            self.largest.set(Some((holder, all.len())));
        }
        held
    }

    /// One less.
    pub fn remove(&self, held: &Held) {
        let mut shares = self.shares.borrow_mut();
        let Some(Share { connections: all, .. }) = shares.get_mut(&held.holder) else { return };
        all.swap_remove(held.place.get());
        if let Some(moved) = all.get(held.place.get()) {
            moved.place.set(held.place.get());
        }
        let left = all.len();
        if left == 0 {
            shares.remove(&held.holder);
        }
        if self.largest.get().is_some_and(|(who, _)| who == held.holder) {
            self.largest.set((left > 0).then_some((held.holder, left)));
        }
    }

    /// Ends an idle connection of this holder. False when there is none among those looked at.
    pub fn give_up_one(&self, holder: Holder) -> bool {
        let shares = self.shares.borrow();
        let Some(Share { connections: all, .. }) = shares.get(&holder) else { return false };
        // From another place each time: those at the front may be the busy ones.
        let start = fastrand::usize(..all.len());
        let (before, after) = all.split_at(start);
        let mut looked_at = after.iter().chain(before).take(LOOKED_AT_MAX);
        let Some(idle) = looked_at.find(|held| held.is_idle()) else { return false };
        if let Some(task) = idle.task.get() {
            task.abort();
        }
        // It ends when its task is next run; until then it is not chosen again.
        idle.busy.set(1);
        self.gave_up.set(true);
        true
    }

    /// Whether a connection was given up since this was last asked: its descriptor is free when its task
    /// has had its turn.
    pub fn take_gave_up(&self) -> bool {
        self.gave_up.take()
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn source(last: u8) -> Holder {
        Holder::Source(Ipv4Addr::new(10, 0, 0, last).into())
    }

    #[test]
    fn the_largest_holder_is_known_again_after_it_has_gone() {
        let holders = Holders::default();
        let many: Vec<_> = (0..5).map(|_| holders.insert(source(1))).collect();
        let few: Vec<_> = (0..2).map(|_| holders.insert(source(2))).collect();
        assert_eq!(holders.largest(), Some((source(1), 5)));
        many.iter().for_each(|held| holders.remove(held));
        for _ in 0..LOOKS_PER_SEARCH {
            holders.largest();
        }
        assert_eq!(holders.largest(), Some((source(2), 2)));
        few.iter().for_each(|held| holders.remove(held));
        assert_eq!((holders.count(source(1)), holders.count(source(2))), (0, 0));
        assert_eq!(holders.largest(), None);
    }

    #[test]
    fn removing_in_any_order_removes_what_was_meant() {
        let holders = Holders::default();
        let mut all: Vec<_> = (0..20).map(|_| holders.insert(source(1))).collect();
        fastrand::shuffle(&mut all);
        for (gone, held) in all.iter().enumerate() {
            holders.remove(held);
            let shares = holders.shares.borrow();
            let left = shares.get(&source(1)).map_or(&[][..], |share| &share.connections[..]);
            assert_eq!(left.len(), 19 - gone);
            assert!(left.iter().enumerate().all(|(place, one)| one.place.get() == place));
            assert!(!left.iter().any(|one| Rc::ptr_eq(one, held)));
        }
    }

    #[tokio::test(flavor = "current_thread")]
    async fn what_is_in_use_is_not_given_up() {
        let tasks = tokio::task::LocalSet::new();
        tasks
            .run_until(async {
                let holders = Holders::default();
                let held = holders.insert(source(1));
                let task = tokio::task::spawn_local(std::future::pending::<()>());
                held.served_by(task.abort_handle());
                let request = InUse::new(&held);
                assert!(!holders.give_up_one(source(1)));
                drop(request);
                assert!(holders.give_up_one(source(1)));
                assert!(task.await.unwrap_err().is_cancelled());
                assert!(!holders.give_up_one(source(1)), "it is given up once");
            })
            .await;
    }

    #[test]
    fn a_client_of_ipv6_is_its_network() {
        let ingress = Ingress::Gateway("[::]:80".parse().unwrap());
        let of = |peer: &str| Holder::of(&ingress, peer.parse().unwrap());
        assert_eq!(of("[2001:db8::1]:1"), of("[2001:db8::ffff:2]:2"));
        assert_ne!(of("[2001:db8::1]:1"), of("[2001:db8:0:1::1]:1"));
        assert_eq!(of("[::ffff:10.0.0.1]:1"), of("10.0.0.1:1"));
    }
}
