//! Where requests go: which endpoint, how often, over which connection.

pub mod acknowledged;
pub mod affinity;
pub mod answer;
pub mod balance;
pub mod body;
pub mod budget;
pub mod connect;
pub mod forward;
pub mod health;
pub mod http1;
pub mod http2;
pub mod outlier_detection;
pub mod pool;
pub mod registry;
pub mod retry;
pub mod stream;

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response, response};
use smallvec::SmallVec;
use tokio::time::Instant;

use super::http::interim::Refused;
use super::recorder::Recorder;
use super::{Ingress, Proxy};
use crate::reason::Reason;
use crate::snapshot::cluster::{Cluster, ClusterId};
use crate::snapshot::router::RetryPolicy;
use answer::AnswerBody;
use body::RequestBody;
use forward::{Broken, Message, forward};
use pool::{Lease, Speak};
use registry::{Asking, ClusterState, Endpoint, InFlight};
use retry::{Attempt, Decision, Facts, Reached, decide};

/// A request's way to a cluster.
pub struct Call<'a> {
    /// The worker's data plane.
    pub proxy: &'a Proxy,
    /// Who asks: connections are made in its namespace, and never shared with others.
    pub ingress: &'a Ingress,
    /// Which endpoints are for it.
    pub asking: Asking,
    /// Where it goes.
    pub cluster: &'a Arc<Cluster>,
    /// What the route says about repeats.
    pub retry: Option<&'a RetryPolicy>,
    /// What to speak to the endpoint.
    pub speak: Speak,
    /// Where interim answers go.
    pub interim: &'a dyn Fn(response::Parts) -> Result<(), Refused>,
    /// When the whole response must have ended.
    pub deadline: Option<Instant>,
    /// How long one attempt may take, to the end of its response.
    pub attempt_timeout: Option<Duration>,
}

/// A response head, and what is held until its body has ended.
pub struct Answer {
    /// Head and body.
    pub response: Response<AnswerBody>,
    /// The connection it comes on.
    pub lease: Lease,
    /// Counts as load of the endpoint until it goes.
    pub in_flight: InFlight,
    /// When the body must have ended.
    pub deadline: Option<Instant>,
}

/// Endpoints that were tried for one request.
type Tried = SmallVec<[SocketAddr; 4]>;

/// An attempt that brought no response head.
struct Failure {
    reason: Reason,
    reached: Reached,
    /// It says something about the endpoint.
    is_endpoints: bool,
}

impl Failure {
    /// One that says nothing about the endpoint.
    fn ours(reason: Reason, reached: Reached) -> Self {
        Self { reason, reached, is_endpoints: false }
    }

    fn unconnected(reason: Reason) -> Self {
        Self { reason, reached: Reached::NotSent, is_endpoints: true }
    }
}

impl From<Broken> for Failure {
    fn from(broken: Broken) -> Self {
        Self { reason: broken.reason, reached: broken.reached, is_endpoints: broken.is_connection }
    }
}

/// Sends `request` to an endpoint of the cluster, and to another one when that fails and repeating
/// it is safe.
///
/// # Errors
/// Why there is no response to pass on.
pub async fn send(
    call: &Call<'_>,
    request: Request<RequestBody>,
    recorder: &mut Recorder,
) -> Result<Answer, Reason> {
    let state = call.proxy.upstream.cluster(call.cluster);
    state.requested();
    recorder.record.cluster = Some(call.cluster.id);
    let method = request.method().clone();
    let mut message = Message::new(request, call.speak);
    let mut tried = Tried::new();
    loop {
        recorder.record.attempts += 1;
        let result = call.attempt(&state, &mut message, &mut tried, recorder).await;
        let attempt = match &result {
            Ok(answer) => Attempt::Answered(answer.response.status()),
            Err(_) if let Some(reason) = recorder.upload_failure() => return Err(reason),
            Err(failure) => Attempt::Failed { reason: failure.reason, reached: failure.reached },
        };
        let facts =
            Facts { method: &method, replayable: message.is_at_hand(), attempts: recorder.record.attempts };
        match decide(
            attempt,
            &facts,
            call.retry,
            call.proxy.limits.retry_attempts,
            || state.try_retry(),
            fastrand::u64(..),
        ) {
            Decision::Deliver => return result.map_err(|failure| failure.reason),
            Decision::Stop(reason) => return Err(reason),
            Decision::Retry { backoff } => {
                drop(result);
                call.pause(backoff).await?;
            }
        }
    }
}

impl Call<'_> {
    /// One endpoint, one answer or failure.
    async fn attempt(
        &self,
        state: &ClusterState,
        message: &mut Message,
        tried: &mut Tried,
        recorder: &mut Recorder,
    ) -> Result<Answer, Failure> {
        let members = state.members(&self.proxy.upstream);
        let picked = members.pick(self.asking, tried, fastrand::u64(..));
        let endpoint = picked.map_err(|reason| Failure::ours(reason, Reached::NotSent))?;
        let in_flight = InFlight::new(endpoint);
        recorder.record.endpoint = Some(endpoint.address);
        tried.push(endpoint.address);
        let begin = Instant::now();
        let deadline = earlier(self.deadline, self.attempt_timeout.map(|timeout| begin + timeout));
        let exchanged = match deadline {
            None => self.exchange(endpoint, message).await,
            Some(at) => match tokio::time::timeout_at(at, self.exchange(endpoint, message)).await {
                Ok(exchanged) => exchanged,
                Err(_) => Err(Failure::ours(Reason::UpstreamTimeout, Reached::Unknown)),
            },
        };
        recorder.record.upstream_duration = Some(begin.elapsed());
        match exchanged {
            Ok((response, lease)) => {
                endpoint.succeeded();
                Ok(Answer { response, lease, in_flight, deadline })
            }
            Err(failure) => {
                if failure.is_endpoints && recorder.upload_failure().is_none() {
                    note_failure(self.proxy, self.cluster.id, endpoint, failure.reason);
                }
                Err(failure)
            }
        }
    }

    /// A pooled connection may have been closed by the endpoint just now: what provably did not arrive
    /// goes out on the next one.
    async fn exchange(
        &self,
        endpoint: &Rc<Endpoint>,
        message: &mut Message,
    ) -> Result<(Response<AnswerBody>, Lease), Failure> {
        let limits = &self.proxy.limits;
        let pool = endpoint.pool(self.cluster.id, self.ingress.pod_id());
        if self.ingress.is_leaving() {
            // A connection kept for later would keep the pod's namespace alive.
            pool.close();
        }
        let mut stale = 0;
        loop {
            let leased = pool.lease(self.proxy, self.ingress, self.speak, self.cluster.connect_timeout).await;
            let mut lease = leased.map_err(Failure::unconnected)?;
            let broken = match forward(&mut lease, message, limits, self.interim).await {
                Ok(response) => return Ok((response, lease)),
                Err(broken) => broken,
            };
            stale += 1;
            let was_closed = lease.is_reused() && broken.reached == Reached::Unprocessed;
            if !was_closed || !message.is_at_hand() || stale > limits.pool_idle_max {
                return Err(broken.into());
            }
        }
    }

    /// Waits before a repeat.
    async fn pause(&self, backoff: Duration) -> Result<(), Reason> {
        self.proxy.observe.retried(self.cluster.id);
        let now = Instant::now();
        if self.deadline.is_some_and(|deadline| now + backoff >= deadline) {
            return Err(Reason::UpstreamTimeout);
        }
        if !backoff.is_zero() {
            tokio::time::sleep(backoff).await;
        }
        Ok(())
    }
}

/// Counts a failure that the endpoint is to blame for.
pub fn note_failure(proxy: &Proxy, cluster: ClusterId, endpoint: &Endpoint, reason: Reason) {
    if registry::is_endpoint_failure(reason) && endpoint.failed(&proxy.limits) {
        proxy.observe.ejected(cluster, reason);
    }
}

fn earlier(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (one, other) => one.or(other),
    }
}
