//! Pure: addresses and ports in network order, as they lie in sockets and maps.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::layout::abi;

/// The third word of `::ffff:a.b.c.d`, in network order.
const MAPPED: u32 = 0x0000_ffff_u32.to_be();

/// An IP address as four words in network order; IPv4 as the mapped `::ffff:a.b.c.d`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Address(pub [u32; 4]);
abi!(Address, 16);

impl Address {
    /// No address; never a Service's.
    pub const NONE: Self = Self([0; 4]);
    /// `127.0.0.1`.
    pub const LOOPBACK_V4: Self = Self::from_v4(0x7f00_0001_u32.to_be());
    /// `::1`.
    pub const LOOPBACK_V6: Self = Self([0, 0, 0, 1_u32.to_be()]);

    /// From an IPv4 address in network order.
    pub const fn from_v4(network_order: u32) -> Self {
        Self([0, 0, MAPPED, network_order])
    }

    /// The IPv4 address in network order, if this is one.
    pub const fn v4(&self) -> Option<u32> {
        let [a, b, c, d] = self.0;
        if a == 0 && b == 0 && c == MAPPED { Some(d) } else { None }
    }

    /// True for IPv4, mapped or not: the two are one here.
    pub const fn is_v4(&self) -> bool {
        self.v4().is_some()
    }

    /// True for [`Address::NONE`].
    pub const fn is_none(&self) -> bool {
        let [a, b, c, d] = self.0;
        a | b | c | d == 0
    }

    /// The address that the standard library knows; a mapped one comes back as IPv4.
    pub fn to_ip(self) -> IpAddr {
        match self.v4() {
            Some(v4) => IpAddr::V4(Ipv4Addr::from_bits(u32::from_be(v4))),
            None => {
                let [a, b, c, d] = self.0.map(|word| u128::from(u32::from_be(word)));
                IpAddr::V6(Ipv6Addr::from_bits(a << 96 | b << 64 | c << 32 | d))
            }
        }
    }
}

impl From<IpAddr> for Address {
    fn from(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(v4) => Self::from_v4(v4.to_bits().to_be()),
            IpAddr::V6(v6) => {
                let bits = v6.to_bits();
                let word = |shift: u32| ((bits >> shift) as u32).to_be();
                Self([word(96), word(64), word(32), word(0)])
            }
        }
    }
}

/// A TCP port in network order.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Port(pub [u8; 2]);
abi!(Port, 2);

impl Port {
    /// Port 0: no listener can have it, so a connect to it is refused at once.
    pub const NONE: Self = Self([0; 2]);

    /// From a number.
    pub const fn new(port: u16) -> Self {
        Self(port.to_be_bytes())
    }

    /// As a number.
    pub const fn get(self) -> u16 {
        u16::from_be_bytes(self.0)
    }

    /// True for [`Port::NONE`].
    pub const fn is_none(self) -> bool {
        self.get() == 0
    }
}

/// An address and a port.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Socket {
    /// Where.
    pub address: Address,
    /// Which port.
    pub port: Port,
    /// Zero.
    pub reserved: [u8; 2],
}
abi!(Socket, 20);

impl Socket {
    /// An address and a port.
    pub const fn new(address: Address, port: Port) -> Self {
        Self { address, port, reserved: [0; 2] }
    }

    /// What the standard library knows; a mapped address comes back as IPv4.
    pub fn to_std(self) -> SocketAddr {
        SocketAddr::new(self.address.to_ip(), self.port.get())
    }
}

impl From<SocketAddr> for Socket {
    fn from(socket: SocketAddr) -> Self {
        Self::new(socket.ip().into(), Port::new(socket.port()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Address, Port, Socket};
    use core::net::{IpAddr, SocketAddr};

    #[test]
    fn an_address_lies_in_memory_as_it_does_on_the_wire() {
        let v4 = Address::from(IpAddr::from([10, 96, 0, 1]));
        let bytes: Vec<u8> = v4.0.iter().flat_map(|word| word.to_ne_bytes()).collect();
        assert_eq!(bytes, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 96, 0, 1]);
        assert_eq!(Port::new(0x1f90).0, [0x1f, 0x90]);
    }

    #[test]
    fn loopback_constants_are_the_loopback_addresses() {
        assert_eq!(Address::LOOPBACK_V4.to_ip(), IpAddr::from([127, 0, 0, 1]));
        assert_eq!(Address::LOOPBACK_V6.to_ip(), "::1".parse::<IpAddr>().unwrap());
    }

    #[test]
    fn a_mapped_address_is_the_ipv4_address() {
        let mapped: IpAddr = "::ffff:10.96.0.1".parse().unwrap();
        assert_eq!(Address::from(mapped), Address::from(IpAddr::from([10, 96, 0, 1])));
    }

    proptest! {
        #[test]
        fn a_socket_survives_the_way_to_the_kernel_and_back(ip: IpAddr, port: u16) {
            let socket = SocketAddr::new(ip, port);
            prop_assert_eq!(Socket::from(socket).to_std(), SocketAddr::new(ip.to_canonical(), port));
        }
    }
}
