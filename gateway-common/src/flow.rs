//! Pure: what a steered connection was meant for, from the connect hook to the proxy's accept.

use crate::addr::{Port, Socket};
use crate::layout::abi;

/// A steered connection as the proxy's accept sees it: the peer it names, in the namespace of its listener.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct FlowKey {
    /// The pod's network namespace.
    pub netns_cookie: u64,
    /// The client socket's own address: the pod's, unless the application bound another.
    pub peer: Socket,
    /// Port of the listener.
    pub listener: Port,
    /// Zero.
    pub reserved: [u8; 2],
}
abi!(FlowKey, 32);

impl FlowKey {
    /// The key of a connection from `peer` to the listener on `listener`.
    pub const fn new(netns_cookie: u64, peer: Socket, listener: Port) -> Self {
        Self { netns_cookie, peer, listener, reserved: [0; 2] }
    }
}

/// What the application dialled.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FlowValue {
    /// Service address and port.
    pub destination: Socket,
    /// `ServiceValue::id` at the time of the connect.
    pub service: u32,
}
abi!(FlowValue, 24);

/// What the connect hook leaves at a socket that it sent elsewhere.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SocketMark {
    /// The socket's network namespace.
    pub netns_cookie: u64,
    /// What the application dialled.
    pub original: Socket,
    /// Where the connection goes instead. A hook that sees another peer ignores the mark: the socket
    /// was connected again.
    pub actual: Socket,
    /// `ServiceValue::id` at the time of the connect.
    pub service: u32,
    /// [`SocketMark::STEERED`] or [`SocketMark::PICKED`].
    pub kind: u32,
}
abi!(SocketMark, 56);

impl SocketMark {
    /// Goes to the proxy: the flow map gets an entry before the SYN.
    pub const STEERED: u32 = 1;
    /// Goes to an endpoint: only `getpeername` needs the mark.
    pub const PICKED: u32 = 2;
}
