//! Pure: the record of one request or one relayed connection.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use http::{Method, StatusCode};

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
            authority: Bytes::new(),
            path: Bytes::new(),
            status: None,
            grpc_status: None,
            reason: None,
            bytes_received: 0,
            bytes_sent: 0,
            request_id: Bytes::new(),
            trace_id: None,
            user_agent: Bytes::new(),
        }
    }

    /// Owns its bytes, in one piece: what a worker made may still hold on to whole read buffers.
    pub fn compacted(mut self) -> Self {
        let total = self.authority.len() + self.path.len() + self.request_id.len() + self.user_agent.len();
        let mut all = BytesMut::with_capacity(total);
        for field in [&mut self.authority, &mut self.path, &mut self.request_id, &mut self.user_agent] {
            all.extend_from_slice(field);
            *field = all.split().freeze();
        }
        self
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
        authority: Bytes::from_static(b"cart.shop"),
        path: Bytes::from_static(b"/items"),
        status: Some(StatusCode::OK),
        grpc_status: None,
        reason: None,
        bytes_received: 0,
        bytes_sent: 12,
        request_id: Bytes::from_static(b"r-1"),
        trace_id: None,
        user_agent: Bytes::from_static(b"curl/8"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_compacted_record_says_the_same_and_holds_no_foreign_buffer() {
        let buffer = Bytes::from(vec![b'x'; 64 * 1024]);
        let record = Record { path: buffer.slice(10..20), user_agent: buffer.slice(30..40), ..example() };
        let compacted = record.compacted();
        assert_eq!(compacted.path, "xxxxxxxxxx");
        assert_eq!((&compacted.authority[..], &compacted.request_id[..]), (&b"cart.shop"[..], &b"r-1"[..]));
        assert!(buffer.try_into_mut().is_ok(), "the record still refers to the buffer");
    }
}
