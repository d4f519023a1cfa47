//! Pure: which address and port is a Service's, and what the kernel does with a connect to it.

use crate::addr::Socket;
use crate::layout::abi;
use crate::seal::{self, mix_all};

/// A Service address and port as pods dial it. TCP is implied.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct ServiceKey {
    /// Cluster IP and Service port.
    pub socket: Socket,
}
abi!(ServiceKey, 20);

/// What the kernel does with a connect to a Service port while all is well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// To the proxy's listener in the pod.
    L7,
    /// To an endpoint that the kernel picks.
    L4,
    /// Nothing.
    Pass,
}

impl Mode {
    /// The number in [`ServiceValue::mode`].
    pub const fn raw(self) -> u8 {
        match self {
            Self::Pass => 0,
            Self::L4 => 1,
            Self::L7 => 2,
        }
    }

    /// A number that no version wrote reads as [`Mode::Pass`]: hands off.
    pub const fn from_raw(raw: u8) -> Self {
        match raw {
            1 => Self::L4,
            2 => Self::L7,
            _ => Self::Pass,
        }
    }
}

/// What the kernel does while the proxy is dead or hung.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailPolicy {
    /// Picks an endpoint, or leaves the connect alone where it knows none.
    Open,
    /// Lets the connect be refused.
    Closed,
}

impl FailPolicy {
    /// The number in [`ServiceValue::fail_policy`].
    pub const fn raw(self) -> u8 {
        match self {
            Self::Open => 0,
            Self::Closed => 1,
        }
    }

    /// A number that no version wrote reads as [`FailPolicy::Closed`].
    pub const fn from_raw(raw: u8) -> Self {
        match raw {
            0 => Self::Open,
            _ => Self::Closed,
        }
    }
}

/// A Service port in the kernel. Replaced as a whole: a new endpoint list lies under a new `epoch`
/// before this value names it.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ServiceValue {
    /// Number of the Service port, for humans and as part of the endpoint keys.
    pub id: u32,
    /// Which list of endpoints is in force. Never used twice for one `id` on one set of maps.
    pub epoch: u32,
    /// Slots `0..endpoints` of (`id`, `epoch`) are filled.
    pub endpoints: u32,
    /// See [`Mode`].
    pub mode: u8,
    /// See [`FailPolicy`].
    pub fail_policy: u8,
    /// Zero.
    pub reserved: [u8; 2],
    /// Over the key and everything above.
    pub seal: u32,
}
abi!(ServiceValue, 20);

impl ServiceValue {
    /// This value with the seal that fits `key`.
    #[must_use]
    pub fn sealed(mut self, key: &ServiceKey) -> Self {
        self.seal = self.seal_for(key);
        self
    }

    /// True when this was written for `key` in one piece.
    #[inline(always)]
    pub fn is_sealed(&self, key: &ServiceKey) -> bool {
        self.seal == self.seal_for(key)
    }

    #[inline(always)]
    fn seal_for(&self, key: &ServiceKey) -> u32 {
        let flags = u32::from(self.mode) << 8 | u32::from(self.fail_policy);
        let seal = mix_all(seal::START, key.socket.address.0);
        mix_all(seal, [u32::from(key.socket.port.get()), self.id, self.epoch, self.endpoints, flags])
    }
}

#[cfg(test)]
mod tests {
    use super::{FailPolicy, Mode, ServiceKey, ServiceValue};
    use crate::addr::{Port, Socket};
    use proptest::prelude::*;

    #[test]
    fn modes_and_policies_survive_the_way_to_the_kernel_and_back() {
        for mode in [Mode::L7, Mode::L4, Mode::Pass] {
            assert_eq!(Mode::from_raw(mode.raw()), mode);
        }
        for policy in [FailPolicy::Open, FailPolicy::Closed] {
            assert_eq!(FailPolicy::from_raw(policy.raw()), policy);
        }
    }

    fn value() -> impl Strategy<Value = ServiceValue> {
        (any::<u32>(), any::<u32>(), any::<u32>(), 0..3_u8, 0..2_u8).prop_map(
            |(id, epoch, endpoints, mode, fail_policy)| ServiceValue {
                id,
                epoch,
                endpoints,
                mode,
                fail_policy,
                ..ServiceValue::default()
            },
        )
    }

    proptest! {
        #[test]
        fn a_value_that_mixes_two_writes_is_not_taken_for_either(
            old in value(), new in value(), old_port: u16, new_port: u16, words in 0..6_usize,
        ) {
            let key = |port| ServiceKey { socket: Socket::new(crate::addr::Address::LOOPBACK_V4, Port::new(port)) };
            let old = old.sealed(&key(old_port));
            let new = new.sealed(&key(new_port));
            let mut torn = old;
            if words > 0 { torn.id = new.id; }
            if words > 1 { torn.epoch = new.epoch; }
            if words > 2 { torn.endpoints = new.endpoints; }
            if words > 3 { torn.mode = new.mode; torn.fail_policy = new.fail_policy; }
            if words > 4 { torn.seal = new.seal; }
            let is_old = torn == old;
            let is_new = torn == new && old_port == new_port;
            prop_assert_eq!(torn.is_sealed(&key(old_port)), is_old || is_new);
        }
    }
}
