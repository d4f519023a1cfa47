//! What the data plane knows of an endpoint, as others may ask.

use std::net::SocketAddr;
use std::time::Duration;

use crate::reason::Reason;
use crate::snapshot::cluster::ClusterId;

/// The live state of one endpoint, over all workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EndpointState {
    /// Set while it is out of rotation.
    pub ejection: Option<Ejection>,
}

/// An endpoint's time out of rotation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ejection {
    /// What it did, where that is known.
    pub cause: Option<Reason>,
    /// Until it may be tried again.
    pub remaining: Duration,
}

/// Answers for every endpoint of the process. The data plane implements it.
pub trait EndpointStates: Send + Sync {
    /// `None` for an endpoint that was never used.
    fn state(&self, cluster: ClusterId, address: SocketAddr) -> Option<EndpointState>;
}

/// Knows nothing: every endpoint is as new.
#[cfg(test)]
pub(crate) struct NoEndpointStates;

#[cfg(test)]
impl EndpointStates for NoEndpointStates {
    fn state(&self, _: ClusterId, _: SocketAddr) -> Option<EndpointState> {
        None
    }
}
