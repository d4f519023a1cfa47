//! Opaque TCP: an endpoint is picked, and bytes are relayed unread.

pub mod relay;

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use http::Method;
use smallvec::SmallVec;
use tokio::net::TcpStream;

use super::recorder::Recorder;
use super::shutdown::Shutdown;
use super::upstream::connect::connect;
use super::upstream::note_failure;
use super::upstream::pool::Slot;
use super::upstream::registry::InFlight;
use super::upstream::retry::{Attempt, Decision, Facts, Reached, decide};
use super::{Downstream, Proxy};
use crate::reason::Reason;
use crate::snapshot::cluster::{Cluster, ClusterId};
use crate::telemetry::record::Protocol;
use relay::{Side, relay, reset};

/// A connection to an endpoint, and what is held while it lasts.
struct Connected {
    stream: TcpStream,
    _in_flight: InFlight,
    _slot: Slot,
}

/// Relays a connection to an endpoint of `cluster`, or resets it when there is none.
pub async fn serve(
    proxy: Rc<Proxy>,
    stream: TcpStream,
    downstream: Downstream,
    shutdown: Shutdown,
    frontend: Option<ClusterId>,
    cluster: Result<Arc<Cluster>, Reason>,
) {
    let mut recorder = Recorder::new(&proxy, &downstream, Protocol::Tcp);
    recorder.record.frontend = frontend;
    let connected = match cluster {
        Ok(cluster) => match recorder.enter(&cluster) {
            Ok(()) => reach(&proxy, &downstream, &cluster, &mut recorder).await,
            Err(reason) => Err(reason),
        },
        Err(reason) => Err(reason),
    };
    match connected {
        Ok(connected) => {
            let client = Side { stream, read: Bytes::new() };
            let endpoint = Side { stream: connected.stream, read: Bytes::new() };
            relay(client, endpoint, proxy.limits.tcp_idle_timeout, &shutdown, &mut recorder).await;
        }
        Err(reason) => {
            recorder.fail(reason);
            reset(stream);
        }
    }
}

/// Connects to an endpoint, to another one when that fails.
async fn reach(
    proxy: &Rc<Proxy>,
    downstream: &Downstream,
    cluster: &Arc<Cluster>,
    recorder: &mut Recorder,
) -> Result<Connected, Reason> {
    let state = proxy.upstream.cluster(cluster);
    state.requested();
    recorder.record.cluster = Some(cluster.id);
    let mut tried = SmallVec::<[SocketAddr; 4]>::new();
    loop {
        recorder.record.attempts += 1;
        let members = state.members(&proxy.upstream);
        let endpoint = members.pick(downstream.asking(None), &tried, fastrand::u64(..))?;
        let in_flight = InFlight::new(endpoint);
        recorder.record.endpoint = Some(endpoint.address);
        tried.push(endpoint.address);
        let netns = downstream.ingress.netns();
        let connecting = connect(&*proxy.sockets, netns, endpoint.address, cluster.connect_timeout);
        let reason = match connecting.await {
            Ok(stream) => {
                endpoint.succeeded();
                recorder.record.upstream_duration = Some(recorder.begin().elapsed());
                let slot = Slot::new(Rc::default(), cluster.id, &proxy.observe);
                return Ok(Connected { stream, _in_flight: in_flight, _slot: slot });
            }
            Err(reason) => reason,
        };
        note_failure(proxy, cluster.id, endpoint, reason);
        let attempt = Attempt::Failed { reason, reached: Reached::NotSent };
        let facts = Facts { method: &Method::CONNECT, replayable: true, attempts: recorder.record.attempts };
        let repeats = proxy.limits.retry_attempts;
        match decide(attempt, &facts, None, repeats, || state.try_retry(), fastrand::u64(..)) {
            Decision::Retry { backoff } => {
                proxy.observe.retried(cluster.id);
                tokio::time::sleep(backoff).await;
            }
            Decision::Stop(reason) => return Err(reason),
            Decision::Deliver => return Err(reason),
        }
    }
}
