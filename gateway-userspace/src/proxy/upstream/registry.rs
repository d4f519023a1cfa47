//! Live state of clusters and endpoints in one worker, carried over every change of configuration.
//!
//! A cluster's members follow its endpoint slot: when the version has changed, the new set is
//! matched by address with what was known, which costs the size of that one Service.

use std::cell::{Cell, OnceCell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rustc_hash::FxHashMap;

use super::affinity::{Client, Sessions};
use super::balance::{BalanceTable, EndpointState};
use super::budget::RetryBudget;
use super::health::{Health, HealthTable};
use super::pool::{Pool, Pools};
use crate::limits::Limits;
use crate::proxy::clock;
use crate::reason::Reason;
use crate::snapshot::Snapshot;
use crate::snapshot::cluster::{BalancePolicy, Cluster, ClusterId, EndpointSet};
use crate::snapshot::tier::{Caller, Family};
use crate::telemetry::record::PodId;

/// One endpoint as one worker knows it.
pub struct Endpoint {
    /// Where it is.
    pub address: SocketAddr,
    in_flight: Cell<u32>,
    health: Arc<Health>,
    pools: Pools,
}

impl Endpoint {
    /// The connections from a pod's namespace to it.
    pub fn pool(&self, cluster: ClusterId, pod: PodId) -> Rc<Pool> {
        self.pools.get(cluster, self.address, pod)
    }

    /// It answered.
    pub fn succeeded(&self) {
        self.health.success();
    }

    /// It refused, reset or did not answer. True when this ejects it.
    pub fn failed(&self, limits: &Limits) -> bool {
        self.health.failure(clock::millis(), limits)
    }
}

/// A request, or a relayed connection, on its way to an endpoint. Drop it and it is not any more.
pub struct InFlight(Rc<Endpoint>);

impl InFlight {
    /// Counts one more.
    pub fn new(endpoint: &Rc<Endpoint>) -> Self {
        endpoint.in_flight.set(endpoint.in_flight.get().saturating_add(1));
        Self(Rc::clone(endpoint))
    }

    /// Where it goes.
    pub fn endpoint(&self) -> &Rc<Endpoint> {
        &self.0
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.set(self.0.in_flight.get().saturating_sub(1));
    }
}

/// Who asks for an endpoint.
#[derive(Debug, Clone, Copy)]
pub struct Asking {
    /// Which endpoints it may have.
    pub caller: Caller,
    /// Whose calls stay together, where the Service wants that.
    pub client: Client,
}

/// The endpoints of a cluster at one version of its slot.
pub struct Members {
    version: u64,
    cluster: ClusterId,
    affinity: Option<Duration>,
    sessions: Arc<Sessions>,
    affinity_clients_max: usize,
    set: Arc<EndpointSet>,
    /// There are endpoints of both families.
    dual_stack: bool,
    balance: BalancePolicy,
    panic_threshold_percent: u32,
    /// By `kind_of`; each is made when the first such caller comes.
    tables: [OnceCell<BalanceTable>; CALLER_KINDS],
    endpoints: Vec<Rc<Endpoint>>,
}

/// Callers that `snapshot::tier` tells apart: by the family that they dialled, and by whether they are
/// in the cluster.
const CALLER_KINDS: usize = 6;

impl EndpointState for Members {
    fn in_flight(&self, endpoint: usize) -> u32 {
        self.endpoints[endpoint].in_flight.get()
    }

    fn is_ejected(&self, endpoint: usize) -> bool {
        self.endpoints[endpoint].health.is_ejected(clock::millis)
    }
}

impl Members {
    /// The endpoint for the next attempt of who asks, avoiding `tried`.
    ///
    /// # Errors
    /// Why none may take traffic.
    pub fn pick(&self, asking: Asking, tried: &[SocketAddr], random: u64) -> Result<&Rc<Endpoint>, Reason> {
        let mut indexes = smallvec::SmallVec::<[usize; 8]>::new();
        indexes.extend(
            tried.iter().filter_map(|t| self.set.endpoints.binary_search_by_key(t, |e| e.address).ok()),
        );
        let table = self.table(asking.caller);
        let picked = match self.affinity {
            None => table.pick(self, &indexes, random),
            Some(timeout) => self.stick(table, asking.client, &indexes, timeout),
        };
        picked.and_then(|index| self.endpoints.get(index)).ok_or_else(|| self.set.why_none())
    }

    /// The endpoint that a client had, or the best for it.
    fn stick(
        &self,
        table: &BalanceTable,
        client: Client,
        tried: &[usize],
        timeout: Duration,
    ) -> Option<usize> {
        let now = clock::millis();
        let address = |index: usize| self.endpoints[index].address;
        let known = self.sessions.get(self.cluster, client, now);
        let known = known.and_then(|a| self.set.endpoints.binary_search_by_key(&a, |e| e.address).ok());
        let picked = table.stick(self, tried, known, |index, weight| client.score(address(index), weight))?;
        let span = (now, timeout);
        self.sessions.put(self.cluster, client, address(picked), span, self.affinity_clients_max);
        Some(picked)
    }

    fn table(&self, caller: Caller) -> &BalanceTable {
        self.tables[self.kind_of(caller)]
            .get_or_init(|| BalanceTable::new(self.balance, &self.set, caller, self.panic_threshold_percent))
    }

    /// Callers for whom these endpoints make no difference are of one kind, and share a table.
    fn kind_of(&self, caller: Caller) -> usize {
        let family = match caller.family.filter(|_| self.dual_stack) {
            None => 0,
            Some(Family::V4) => 1,
            Some(Family::V6) => 2,
        };
        family * 2 + usize::from(caller.in_cluster && self.set.local_only)
    }
}

/// What one worker knows of a cluster.
pub struct ClusterState {
    cluster: RefCell<Arc<Cluster>>,
    members: RefCell<Rc<Members>>,
    budget: RefCell<RetryBudget>,
}

impl ClusterState {
    /// The members of this moment. Costs one load of a word unless the endpoints have changed.
    pub fn members(&self, registry: &Registry) -> Rc<Members> {
        let cluster = self.cluster.borrow();
        let mut members = self.members.borrow_mut();
        if members.version != cluster.endpoints.version() {
            *members = registry.align(&cluster, Some(&members));
        }
        Rc::clone(&members)
    }

    /// A new cluster of the same id may balance in another way.
    fn follow(&self, registry: &Registry, cluster: &Arc<Cluster>) {
        if !Arc::ptr_eq(&self.cluster.borrow(), cluster) {
            let mut members = self.members.borrow_mut();
            *members = registry.align(cluster, Some(&members));
            *self.cluster.borrow_mut() = Arc::clone(cluster);
        }
    }

    /// A request, not a repeat, has begun.
    pub fn requested(&self) {
        self.budget.borrow_mut().request(clock::millis());
    }

    /// Takes one repeat out of the budget, if there is one.
    pub fn try_retry(&self) -> bool {
        self.budget.borrow_mut().try_retry(clock::millis())
    }
}

/// The clusters that one worker has sent to.
pub struct Registry {
    limits: Arc<Limits>,
    health: Arc<HealthTable>,
    sessions: Arc<Sessions>,
    clusters: RefCell<FxHashMap<ClusterId, Rc<ClusterState>>>,
}

impl Registry {
    /// Knows none. `health` and `sessions` are the process's.
    pub fn new(limits: Arc<Limits>, health: Arc<HealthTable>, sessions: Arc<Sessions>) -> Self {
        Self { limits, health, sessions, clusters: RefCell::default() }
    }

    /// The state of a cluster.
    pub fn cluster(&self, cluster: &Arc<Cluster>) -> Rc<ClusterState> {
        let mut clusters = self.clusters.borrow_mut();
        if let Some(state) = clusters.get(&cluster.id) {
            state.follow(self, cluster);
            return Rc::clone(state);
        }
        let limits = &self.limits;
        let state = Rc::new(ClusterState {
            cluster: RefCell::new(Arc::clone(cluster)),
            members: RefCell::new(self.align(cluster, None)),
            budget: RefCell::new(RetryBudget::new(
                limits.retry_budget_percent,
                limits.retry_budget_min_per_second,
            )),
        });
        clusters.insert(cluster.id, Rc::clone(&state));
        state
    }

    /// The members by the newest set. Endpoints that stay keep their state; those that went lose
    /// their idle connections.
    fn align(&self, cluster: &Cluster, old: Option<&Rc<Members>>) -> Rc<Members> {
        // The version first: a set that is newer than it only means one more alignment.
        let version = cluster.endpoints.version();
        let set = cluster.endpoints.load();
        let mut known = old.map(|m| m.endpoints.iter().peekable());
        let endpoints = set.endpoints.iter().map(|endpoint| {
            let address = endpoint.address;
            let kept = known.as_mut().and_then(|known| {
                while let Some(gone) = known.next_if(|e| e.address < address) {
                    gone.pools.close();
                }
                known.next_if(|e| e.address == address)
            });
            kept.map_or_else(
                || {
                    let health = self.health.get(cluster.id, address);
                    Rc::new(Endpoint { address, in_flight: Cell::new(0), health, pools: Pools::default() })
                },
                Rc::clone,
            )
        });
        let endpoints = endpoints.collect();
        known.into_iter().flatten().for_each(|gone| gone.pools.close());
        let has = |family| set.endpoints.iter().any(|e| Family::of(e.address.ip()) == family);
        Rc::new(Members {
            version,
            cluster: cluster.id,
            affinity: cluster.affinity,
            sessions: Arc::clone(&self.sessions),
            affinity_clients_max: self.limits.affinity_clients_max,
            dual_stack: Family::ALL.into_iter().all(has),
            set,
            balance: cluster.balance,
            panic_threshold_percent: self.limits.panic_threshold_percent,
            tables: Default::default(),
            endpoints,
        })
    }

    /// Forgets clusters that the snapshot has no more, follows the endpoints of the others, and
    /// closes connections that were idle too long.
    pub fn sweep(&self, snapshot: &Snapshot) {
        self.clusters.borrow_mut().retain(|_, state| {
            let key = state.cluster.borrow().key.clone();
            let known = snapshot.clusters.get(&key).is_some();
            let members = state.members(self);
            for endpoint in &members.endpoints {
                if known { endpoint.pools.sweep(&self.limits) } else { endpoint.pools.close() }
            }
            known
        });
    }

    /// Closes the idle connections of a pod that is gone.
    pub fn forget_pod(&self, pod: PodId) {
        for state in self.clusters.borrow().values() {
            state.members.borrow().endpoints.iter().for_each(|e| e.pools.forget_pod(pod));
        }
    }
}

/// Failures that say something about the endpoint.
pub const fn is_endpoint_failure(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::ConnectRefused | Reason::ConnectTimeout | Reason::ConnectFailed | Reason::UpstreamReset
    )
}
