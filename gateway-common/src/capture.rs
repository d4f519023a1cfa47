//! Pure: what becomes of a connect. The programs gather the facts; this decides.

use crate::counter::Counter;
use crate::service::{FailPolicy, Mode};

/// What kind of socket connects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caller {
    /// `SOCK_STREAM` and `IPPROTO_TCP`.
    pub tcp: bool,
    /// A Multipath TCP socket or a subflow of one.
    pub mptcp: bool,
    /// `SO_BINDTODEVICE` or `IP_UNICAST_IF` names a device.
    pub bound_device: bool,
    /// The process is the gateway itself.
    pub own: bool,
}

/// Why a connect is left alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Untouched {
    /// UDP, raw, and everything else that is not TCP.
    NotTcp,
    /// `getpeername` on a Multipath TCP socket would show where we sent its subflow.
    Mptcp,
    /// Loopback cannot be reached through a device.
    BoundDevice,
    /// Our own connects would come back to us.
    Own,
    /// The network namespace is not an enrolled pod's.
    NotEnrolled,
    /// The destination is no Service that we know.
    NotService,
    /// The Service port says so.
    Pass,
    /// Mode `l4`, and no endpoint is known.
    NoEndpoint,
    /// The proxy is gone, the Service fails open, and no endpoint is known.
    OpenNoEndpoint,
}

/// What the kernel can tell about the proxy at this moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proxy {
    /// The alive word is set, the heartbeat is fresh and the pod has our listener.
    Alive,
    /// The process that owned the datapath has exited.
    Dead,
    /// It is there and does nothing.
    Hung,
    /// No listener of ours in the pod for this family.
    NoListener,
}

/// What to do with a connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Leave it alone.
    Untouched(Untouched),
    /// Send it to the proxy's listener in the pod.
    Steer,
    /// Send it to an endpoint.
    PickEndpoint(Pick),
    /// Let it be refused.
    Refuse,
}

/// Why the kernel picks the endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pick {
    /// Mode `l4`.
    ByMode,
    /// The proxy is gone and the Service port fails open.
    FailOpen,
}

/// A Service port, as far as a connect is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Service {
    /// What is done while all is well.
    pub mode: Mode,
    /// What is done while the proxy is gone.
    pub fail_policy: FailPolicy,
    /// Whether the kernel knows an endpoint of the family that was dialled.
    pub has_endpoints: bool,
}

/// First look, before any map is read: `Some` says why the connect is none of our business.
#[inline(always)]
pub const fn screen(caller: &Caller) -> Option<Untouched> {
    if !caller.tcp {
        // Multipath TCP has a protocol number of its own.
        return Some(if caller.mptcp { Untouched::Mptcp } else { Untouched::NotTcp });
    }
    if caller.mptcp {
        return Some(Untouched::Mptcp);
    }
    if caller.bound_device {
        return Some(Untouched::BoundDevice);
    }
    if caller.own {
        return Some(Untouched::Own);
    }
    None
}

/// Whether endpoints may be picked that were written when the heartbeat was: nobody has followed what became of
/// them since. `forget_ns` of 0 is never: there is nobody else who knows endpoints.
#[inline(always)]
pub const fn knows_endpoints(age_ns: u64, forget_ns: u64) -> bool {
    forget_ns == 0 || age_ns <= forget_ns
}

/// What becomes of a connect to a known Service. `proxy` is asked only when the answer depends on it:
/// looking for the listener is the dearest step.
#[inline(always)]
pub fn decide(service: &Service, proxy: impl FnOnce() -> Proxy) -> Verdict {
    match service.mode {
        Mode::Pass => Verdict::Untouched(Untouched::Pass),
        Mode::L4 if service.has_endpoints => Verdict::PickEndpoint(Pick::ByMode),
        Mode::L4 => Verdict::Untouched(Untouched::NoEndpoint),
        Mode::L7 => match proxy() {
            Proxy::Alive => Verdict::Steer,
            Proxy::Dead | Proxy::Hung | Proxy::NoListener => without_proxy(service),
        },
    }
}

/// What becomes of a connect that the proxy should have had, but cannot.
#[inline(always)]
pub const fn without_proxy(service: &Service) -> Verdict {
    match service.fail_policy {
        FailPolicy::Closed => Verdict::Refuse,
        FailPolicy::Open if service.has_endpoints => Verdict::PickEndpoint(Pick::FailOpen),
        FailPolicy::Open => Verdict::Untouched(Untouched::OpenNoEndpoint),
    }
}

impl Untouched {
    /// What it counts as.
    pub const fn counter(self) -> Counter {
        match self {
            Self::NotTcp => Counter::NotTcp,
            Self::Mptcp => Counter::Mptcp,
            Self::BoundDevice => Counter::BoundDevice,
            Self::Own => Counter::Own,
            Self::NotEnrolled => Counter::NotEnrolled,
            Self::NotService => Counter::NotService,
            Self::Pass => Counter::Pass,
            Self::NoEndpoint => Counter::NoEndpoint,
            Self::OpenNoEndpoint => Counter::OpenNoEndpoint,
        }
    }
}

impl Verdict {
    /// What it counts as.
    pub const fn counter(self) -> Counter {
        match self {
            Self::Untouched(why) => why.counter(),
            Self::Steer => Counter::Steered,
            Self::PickEndpoint(Pick::ByMode) => Counter::PickedL4,
            Self::PickEndpoint(Pick::FailOpen) => Counter::PickedOpen,
            Self::Refuse => Counter::Refused,
        }
    }
}

#[cfg(test)]
mod tests;
