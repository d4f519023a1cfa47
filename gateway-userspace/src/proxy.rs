//! The data plane: bytes in, bytes out. Knows snapshots, not where they come from.

pub mod filter;
pub mod http;
pub mod listener;
pub mod upstream;

use std::net::SocketAddr;

use crate::snapshot::frontend::Frontend;
use crate::snapshot::listener::Listener;
use crate::telemetry::record::PodId;
use std::sync::Arc;

/// Where a downstream connection came in.
#[derive(Debug, Clone)]
pub enum Ingress {
    /// An in-pod listener: the pod dialled a Service.
    Pod {
        /// The pod whose listener accepted: the client's identity.
        pod: PodId,
        /// What it dialled.
        frontend: Arc<Frontend>,
    },
    /// A gateway listener.
    Gateway(Arc<Listener>),
}

/// One accepted connection.
#[derive(Debug, Clone)]
pub struct Downstream {
    /// Peer address as `accept` gave it.
    pub peer: SocketAddr,
    /// The Service address that was dialled, or the gateway listener's own.
    pub destination: SocketAddr,
    /// Where it came in.
    pub ingress: Ingress,
}
