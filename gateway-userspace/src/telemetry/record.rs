//! Pure: the record of one request or one relayed connection.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{Method, StatusCode};

use crate::reason::Reason;
use crate::snapshot::cluster::ClusterId;
use crate::snapshot::router::RuleId;

/// A pod of this process's lifetime. 0 is "no pod": a gateway listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct PodId(pub u32);

/// What was spoken downstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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

/// One request, or one relayed TCP connection. No names: ids and bytes that cost no copy of text.
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
    /// `:authority` or Host as the client sent it, cut to `Limits::log_field_bytes`.
    pub authority: Bytes,
    /// Path without query, in its normal form, cut to `Limits::log_field_bytes`.
    pub path: Bytes,
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
    /// `x-request-id`, cut to 128 bytes; made by us when absent.
    pub request_id: Bytes,
    /// Trace id of `traceparent`, when the client sent a valid one.
    pub trace_id: Option<[u8; 16]>,
    /// User agent, cut.
    pub user_agent: Bytes,
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
