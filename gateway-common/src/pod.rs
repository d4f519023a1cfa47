//! Pure: an enrolled pod, by the cookie of its network namespace.

use crate::addr::{Address, Port};
use crate::layout::abi;
use crate::seal::{self, mix_all};

/// The kernel's number of a network namespace (`SO_NETNS_COOKIE`). Never reused while the node is up.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct PodKey {
    /// The cookie.
    pub netns_cookie: u64,
}
abi!(PodKey, 8);

/// Where an enrolled pod's listeners are. Replaced as a whole: a port flips in one step.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PodValue {
    /// Number of the pod in the process that enrolled it.
    pub pod: u32,
    /// Listener on `127.0.0.1`, or [`Port::NONE`].
    pub port_v4: Port,
    /// Listener on `::1`, or [`Port::NONE`].
    pub port_v6: Port,
    /// The pod's own IPv4 address, or [`Address::NONE`]: what `getsockname` shows.
    pub ip_v4: Address,
    /// The pod's own IPv6 address, or [`Address::NONE`].
    pub ip_v6: Address,
    /// Over the key and everything above.
    pub seal: u32,
}
abi!(PodValue, 44);

impl PodValue {
    /// This value with the seal that fits `key`.
    #[must_use]
    pub fn sealed(mut self, key: &PodKey) -> Self {
        self.seal = self.seal_for(key);
        self
    }

    /// True when this was written for `key` in one piece.
    #[inline(always)]
    pub fn is_sealed(&self, key: &PodKey) -> bool {
        self.seal == self.seal_for(key)
    }

    #[inline(always)]
    fn seal_for(&self, key: &PodKey) -> u32 {
        let cookie = [(key.netns_cookie >> 32) as u32, key.netns_cookie as u32];
        let ports = u32::from(self.port_v4.get()) << 16 | u32::from(self.port_v6.get());
        let seal = mix_all(mix_all(seal::START, cookie), [self.pod, ports]);
        mix_all(mix_all(seal, self.ip_v4.0), self.ip_v6.0)
    }
}
