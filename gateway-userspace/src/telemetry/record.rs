//! Pure: the record of one request or one relayed connection.

pub mod text;

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, SystemTime};

use http::{Method, StatusCode};

use self::text::Text;
use crate::reason::Reason;
use crate::snapshot::cluster::ClusterId;
use crate::snapshot::router::RuleId;

/// A pod of this process's lifetime. 0 is "no pod": a gateway listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct PodId(pub u32);

/// What was spoken downstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// HTTP/1.0 or 1.1.
    Http1,
    /// HTTP/2.
    Http2,
    /// gRPC over HTTP/2.
    Grpc,
    /// A WebSocket or other upgraded connection.
    Upgrade,
    /// Relayed bytes.
    Tcp,
}

/// One request, or one relayed TCP connection. No names but the client's own: ids.
#[derive(Debug, Clone)]
pub struct Record {
    /// When it began.
    pub start: SystemTime,
    /// From the first byte of the head to the last byte of the answer.
    pub duration: Duration,
    /// What was spoken downstream.
    pub protocol: Protocol,
    /// Pod that asked, or `PodId(0)`.
    pub pod: PodId,
    /// Who connected, as its socket says.
    pub downstream: SocketAddr,
    /// The client, as trusted proxies name it; `None` when it is `downstream`.
    pub client: Option<IpAddr>,
    /// Where it wanted to go: the Service address, or the gateway listener's.
    pub destination: SocketAddr,
    /// Frontend Service port, or the listener's `None`.
    pub frontend: Option<ClusterId>,
    /// Rule that matched.
    pub rule: Option<RuleId>,
    /// Service port it was sent to.
    pub cluster: Option<ClusterId>,
    /// Endpoint that gave the answer, or the last one tried.
    pub endpoint: Option<SocketAddr>,
    /// Attempts made; 0 when refused before any.
    pub attempts: u32,
    /// Time until the response head of the last attempt.
    pub upstream_duration: Option<Duration>,
    /// `None` for TCP.
    pub method: Option<Method>,
    /// Authority, path and user agent, each cut to `Limits::log_field_bytes`; request id, cut to 128 bytes.
    pub text: Text,
    /// Status sent to the client; `None` for TCP.
    pub status: Option<StatusCode>,
    /// `grpc-status`, when the answer had one.
    pub grpc_status: Option<u16>,
    /// Why it was refused or failed.
    pub reason: Option<Reason>,
    /// Body bytes from the client.
    pub bytes_received: u64,
    /// Body bytes to the client.
    pub bytes_sent: u64,
    /// Trace id of `traceparent`, when the client sent a valid one.
    pub trace_id: Option<[u8; 16]>,
}

impl Record {
    /// Nothing but where it came from is known yet.
    pub fn new(
        start: SystemTime,
        protocol: Protocol,
        pod: PodId,
        downstream: SocketAddr,
        destination: SocketAddr,
    ) -> Self {
        Self {
            start,
            duration: Duration::ZERO,
            protocol,
            pod,
            downstream,
            client: None,
            destination,
            frontend: None,
            rule: None,
            cluster: None,
            endpoint: None,
            attempts: 0,
            upstream_duration: None,
            method: None,
            text: Text::default(),
            status: None,
            grpc_status: None,
            reason: None,
            bytes_received: 0,
            bytes_sent: 0,
            trace_id: None,
        }
    }

    /// True for what an operator wants to see first: refused, failed, or answered with an error.
    pub fn is_failure(&self) -> bool {
        let status = self.status.is_some_and(|s| s.is_client_error() || s.is_server_error());
        self.reason.is_some() || status || self.grpc_status.is_some_and(|code| code != 0)
    }
}

/// What a worker is given to report with. One implementation writes rings and counters
/// (`telemetry::worker`), tests collect into a vector.
pub trait Observe {
    /// A request or relayed connection has ended.
    fn ended(&self, record: Record);
    /// An attempt is repeated.
    fn retried(&self, cluster: ClusterId);
    /// An endpoint was ejected.
    fn ejected(&self, cluster: ClusterId, cause: Reason);
    /// A downstream connection was opened or closed.
    fn downstream_connections(&self, change: i64);
    /// An upstream connection was opened or closed.
    fn upstream_connections(&self, cluster: ClusterId, change: i64);
    /// A connection was closed before any record could be made of it (direct dial, limits, bytes
    /// that are no request).
    fn rejected(&self, reason: Reason);
}

/// What a request says, for tests.
#[cfg(test)]
pub(crate) fn said(authority: &str, path: &str, user_agent: &str, request_id: &str) -> Text {
    let mut text = Text::new(authority.as_bytes(), path.as_bytes(), user_agent.as_bytes());
    text.set_request_id(request_id.as_bytes());
    text
}

/// A request that went well, for tests to vary.
#[cfg(test)]
pub(crate) fn example() -> Record {
    Record {
        start: SystemTime::UNIX_EPOCH + Duration::from_millis(1_790_000_000_123),
        duration: Duration::from_micros(1500),
        protocol: Protocol::Http1,
        pod: PodId(1),
        downstream: SocketAddr::from(([10, 0, 0, 1], 40000)),
        client: None,
        destination: SocketAddr::from(([10, 96, 4, 7], 80)),
        frontend: Some(ClusterId(0)),
        rule: Some(RuleId(0)),
        cluster: Some(ClusterId(0)),
        endpoint: Some(SocketAddr::from(([10, 1, 2, 9], 8080))),
        attempts: 1,
        upstream_duration: Some(Duration::from_micros(1200)),
        method: Some(Method::GET),
        text: said("cart.shop", "/items", "curl/8", "r-1"),
        status: Some(StatusCode::OK),
        grpc_status: None,
        reason: None,
        bytes_received: 0,
        bytes_sent: 12,
        trace_id: None,
    }
}
