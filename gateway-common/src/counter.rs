//! Pure: what the programs count, per CPU, and the names under which it is shown.

/// One thing that is counted. Every connect that a hook sees counts as exactly one of the first group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Counter {
    /// To the proxy.
    Steered,
    /// To an endpoint, because the Service port is in mode `l4`.
    PickedL4,
    /// To an endpoint, because the proxy was gone and the Service port fails open.
    PickedOpen,
    /// Refused, because the proxy was gone and the Service port fails closed.
    Refused,
    /// Left alone: not a TCP socket.
    NotTcp,
    /// Left alone: a Multipath TCP socket.
    Mptcp,
    /// Left alone: bound to a device, which cannot reach loopback.
    BoundDevice,
    /// Left alone: one of the gateway's own connects.
    Own,
    /// Left alone: its network namespace is not enrolled.
    NotEnrolled,
    /// Left alone: not a Service that the gateway knows.
    NotService,
    /// Left alone: the Service port is in mode `pass`.
    Pass,
    /// Left alone: mode `l4` with no endpoint.
    NoEndpoint,
    /// Left alone: the proxy was gone, the Service port fails open and has no endpoint.
    OpenNoEndpoint,

    /// Found: the alive word was cleared.
    ProxyDead,
    /// Found: the heartbeat was stale.
    ProxyHung,
    /// Found: no listener of ours in the pod.
    NoListener,
    /// The socket took no mark (memory): treated as if the proxy were gone.
    MarkFailed,
    /// The socket kept its own address (the application had bound it).
    BindFailed,
    /// `getpeername` answered with the Service address.
    Named,
    /// A flow was recorded for the proxy's accept.
    FlowRecorded,
    /// A flow could not be recorded: the proxy closes that connection.
    FlowLost,
    /// A value was read while it was being replaced, and read again.
    Torn,
}

impl Counter {
    /// All of them, at their numbers.
    pub const ALL: [Self; 22] = [
        Self::Steered,
        Self::PickedL4,
        Self::PickedOpen,
        Self::Refused,
        Self::NotTcp,
        Self::Mptcp,
        Self::BoundDevice,
        Self::Own,
        Self::NotEnrolled,
        Self::NotService,
        Self::Pass,
        Self::NoEndpoint,
        Self::OpenNoEndpoint,
        Self::ProxyDead,
        Self::ProxyHung,
        Self::NoListener,
        Self::MarkFailed,
        Self::BindFailed,
        Self::Named,
        Self::FlowRecorded,
        Self::FlowLost,
        Self::Torn,
    ];

    /// How many connects count as an outcome: the length of the first group.
    pub const OUTCOMES: usize = 13;

    /// The number in the map and in decisions.
    pub const fn raw(self) -> u32 {
        self as u32
    }

    /// The counter of a number, if this version knows it.
    pub fn from_raw(raw: u32) -> Option<Self> {
        Self::ALL.get(raw as usize).copied()
    }

    /// The word that users see, e.g. `steered`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Steered => "steered",
            Self::PickedL4 => "picked_l4",
            Self::PickedOpen => "picked_fail_open",
            Self::Refused => "refused_fail_closed",
            Self::NotTcp => "untouched_not_tcp",
            Self::Mptcp => "untouched_mptcp",
            Self::BoundDevice => "untouched_bound_device",
            Self::Own => "untouched_own",
            Self::NotEnrolled => "untouched_not_enrolled",
            Self::NotService => "untouched_not_service",
            Self::Pass => "untouched_pass",
            Self::NoEndpoint => "untouched_no_endpoint",
            Self::OpenNoEndpoint => "untouched_fail_open_no_endpoint",
            Self::ProxyDead => "proxy_dead",
            Self::ProxyHung => "proxy_hung",
            Self::NoListener => "no_listener",
            Self::MarkFailed => "mark_failed",
            Self::BindFailed => "bind_kept",
            Self::Named => "getpeername_service",
            Self::FlowRecorded => "flow_recorded",
            Self::FlowLost => "flow_lost",
            Self::Torn => "torn_read",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Counter;

    #[test]
    fn every_counter_stands_at_its_number_under_a_name_of_its_own() {
        for (number, counter) in Counter::ALL.iter().enumerate() {
            assert_eq!(counter.raw() as usize, number);
            assert_eq!(Counter::from_raw(counter.raw()), Some(*counter));
            assert_eq!(Counter::ALL.iter().filter(|c| c.as_str() == counter.as_str()).count(), 1);
        }
        assert_eq!(Counter::from_raw(Counter::ALL.len() as u32), None);
    }
}
