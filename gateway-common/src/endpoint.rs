//! Pure: where a Service's traffic may go, by slot, so that the kernel can pick one.

use crate::addr::Socket;
use crate::layout::abi;
use crate::seal::{self, mix_all};

/// One slot of one list of endpoints.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct EndpointKey {
    /// `ServiceValue::id`.
    pub service: u32,
    /// `ServiceValue::epoch`.
    pub epoch: u32,
    /// Below `ServiceValue::endpoints`.
    pub slot: u32,
}
abi!(EndpointKey, 12);

/// An endpoint of a Service port.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EndpointValue {
    /// Where to connect, in the family of the Service address.
    pub socket: Socket,
    /// Over the key and `socket`.
    pub seal: u32,
}
abi!(EndpointValue, 24);

impl EndpointValue {
    /// An endpoint with the seal that fits `key`.
    pub fn sealed(key: &EndpointKey, socket: Socket) -> Self {
        Self { socket, seal: Self::seal_for(key, &socket) }
    }

    /// True when this was written for `key` in one piece.
    #[inline(always)]
    pub fn is_sealed(&self, key: &EndpointKey) -> bool {
        self.seal == Self::seal_for(key, &self.socket)
    }

    #[inline(always)]
    fn seal_for(key: &EndpointKey, socket: &Socket) -> u32 {
        let seal = mix_all(seal::START, [key.service, key.epoch, key.slot]);
        mix_all(mix_all(seal, socket.address.0), [u32::from(socket.port.get())])
    }
}
