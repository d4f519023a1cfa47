//! Pure: the PROXY protocol, versions 1 and 2: which client a load balancer in front says it speaks for.
//!
//! After the specification of HAProxy. A header is whole and valid, or the connection is refused: what
//! follows a header that was misread would be taken for a request.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::limits::PROXY_PROTOCOL_TLV_BYTES_MAX;

/// The longest line of version 1 with its CRLF, bytes (section 2.1).
const LINE_BYTES_MAX: usize = 107;
/// Version 2 begins so (section 2.2).
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, version and command, family, length.
const HEAD_BYTES: usize = 16;
const TCP4_BYTES: usize = 12;
const TCP6_BYTES: usize = 36;
/// No header is longer, bytes.
pub const HEADER_BYTES_MAX: usize = HEAD_BYTES + TCP6_BYTES + PROXY_PROTOCOL_TLV_BYTES_MAX;
/// TLV type of a checksum over the whole header (section 2.2.3).
const TLV_CRC32C: u8 = 3;

/// Why a header is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProxyProtocolError {
    /// It begins like neither version.
    #[error("no PROXY protocol header")]
    Missing,
    /// The line of version 1 is too long or is not one of the three forms.
    #[error("not a line of the PROXY protocol")]
    Line,
    /// An address or a port of the line is not written as it has to be.
    #[error("not an address of the PROXY protocol")]
    Address,
    /// Another version than 2, or a command that it does not have.
    #[error("unknown version or command")]
    Command,
    /// Neither TCP over IPv4 or IPv6, nor unspecified.
    #[error("not an address family of TCP")]
    Family,
    /// Too short for its addresses, or too long.
    #[error("a length that does not fit")]
    Length,
    /// A TLV that ends behind the header, or a checksum that is not that of the header.
    #[error("broken TLVs")]
    Tlv,
}

/// What the bytes so far say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parsed {
    /// All of the bytes belong to a header that goes on.
    NeedMore,
    /// A whole header.
    Header {
        /// Its length, bytes: what follows is the client's.
        length: usize,
        /// The client; `None` when the sender speaks for itself (LOCAL) or does not know (UNKNOWN).
        client: Option<SocketAddr>,
    },
}

/// Reads the header at the start of a connection; all bytes so far are given each time.
///
/// `HEADER_BYTES_MAX` bytes always decide.
///
/// # Errors
/// When no further bytes can make it a header.
pub fn parse(bytes: &[u8]) -> Result<Parsed, ProxyProtocolError> {
    const LINE_START: &[u8] = b"PROXY ";
    if starts(bytes, SIGNATURE) {
        binary(bytes)
    } else if starts(bytes, LINE_START) {
        line(bytes)
    } else {
        Err(ProxyProtocolError::Missing)
    }
}

/// True as long as nothing contradicts it.
fn starts(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.iter().zip(wanted).all(|(a, b)| a == b)
}

fn line(bytes: &[u8]) -> Result<Parsed, ProxyProtocolError> {
    let window = &bytes[..bytes.len().min(LINE_BYTES_MAX)];
    let Some(end) = window.iter().position(|byte| matches!(byte, b'\r' | b'\n')) else {
        let full = window.len() >= LINE_BYTES_MAX - 1;
        return if full { Err(ProxyProtocolError::Line) } else { Ok(Parsed::NeedMore) };
    };
    match window[end..] {
        [b'\r', b'\n', ..] => {}
        [b'\r'] if window.len() < LINE_BYTES_MAX => return Ok(Parsed::NeedMore),
        _ => return Err(ProxyProtocolError::Line),
    }
    let text = std::str::from_utf8(&window[..end]).map_err(|_| ProxyProtocolError::Line)?;
    Ok(Parsed::Header { length: end + 2, client: client_of_line(text)? })
}

/// `PROXY TCP4 192.0.2.1 198.51.100.1 56324 443`, without its CRLF.
fn client_of_line(text: &str) -> Result<Option<SocketAddr>, ProxyProtocolError> {
    let mut words = text.split(' ').skip(1);
    let family = words.next();
    if family == Some("UNKNOWN") {
        // Whatever follows is to be ignored (section 2.1).
        return Ok(None);
    }
    let words: Option<[&str; 4]> = words.collect::<Vec<_>>().try_into().ok();
    let [source, destination, source_port, destination_port] = words.ok_or(ProxyProtocolError::Line)?;
    let address = |text: &str| match family {
        Some("TCP4") => text.parse().map(IpAddr::V4).map_err(|_| ProxyProtocolError::Address),
        Some("TCP6") => text.parse().map(IpAddr::V6).map_err(|_| ProxyProtocolError::Address),
        _ => Err(ProxyProtocolError::Family),
    };
    let client = SocketAddr::new(address(source)?.to_canonical(), port(source_port)?);
    address(destination)?;
    port(destination_port)?;
    Ok(Some(client))
}

/// A decimal number without sign and without leading zeros.
fn port(text: &str) -> Result<u16, ProxyProtocolError> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| plain).ok_or(ProxyProtocolError::Address)
}

fn binary(bytes: &[u8]) -> Result<Parsed, ProxyProtocolError> {
    let Some((head, rest)) = bytes.split_first_chunk::<HEAD_BYTES>() else {
        return binary_so_far(bytes);
    };
    let [.., command, family, high, low] = *head;
    let has_client = has_client(command)?;
    let length = usize::from(u16::from_be_bytes([high, low]));
    let addresses = match (has_client, family) {
        // The addresses of LOCAL, and those of no family, are to be skipped whatever they are.
        (false, _) | (true, 0x00) => 0,
        (true, 0x11) => TCP4_BYTES,
        (true, 0x21) => TCP6_BYTES,
        (true, _) => return Err(ProxyProtocolError::Family),
    };
    let longest = if addresses == 0 { TCP6_BYTES } else { addresses } + PROXY_PROTOCOL_TLV_BYTES_MAX;
    if length < addresses || length > longest {
        return Err(ProxyProtocolError::Length);
    }
    let Some(body) = rest.get(..length) else { return Ok(Parsed::NeedMore) };
    let client = client_of(body, addresses);
    if client.is_some() {
        check_tlvs(&bytes[..HEAD_BYTES + length], HEAD_BYTES + addresses)?;
    }
    Ok(Parsed::Header { length: HEAD_BYTES + length, client })
}

/// Refuses a head early, as soon as its version or command is there.
fn binary_so_far(bytes: &[u8]) -> Result<Parsed, ProxyProtocolError> {
    if let Some(command) = bytes.get(SIGNATURE.len()) {
        has_client(*command)?;
    }
    Ok(Parsed::NeedMore)
}

/// Version 2 in the high half; LOCAL or PROXY in the low one.
const fn has_client(command: u8) -> Result<bool, ProxyProtocolError> {
    match command {
        0x20 => Ok(false),
        0x21 => Ok(true),
        _ => Err(ProxyProtocolError::Command),
    }
}

/// Source address, destination address, source port, destination port.
fn client_of(body: &[u8], addresses: usize) -> Option<SocketAddr> {
    let (ip, ports) = match addresses {
        TCP4_BYTES => (IpAddr::V4(Ipv4Addr::from(*body.first_chunk::<4>()?)), body.get(8..)?),
        TCP6_BYTES => (IpAddr::V6(Ipv6Addr::from(*body.first_chunk::<16>()?)), body.get(32..)?),
        _ => return None,
    };
    Some(SocketAddr::new(ip.to_canonical(), u16::from_be_bytes(*ports.first_chunk()?)))
}

/// Walks the TLVs of a header from an offset to its end.
fn check_tlvs(header: &[u8], mut at: usize) -> Result<(), ProxyProtocolError> {
    while let Some(tlv) = header.get(at..).filter(|rest| !rest.is_empty()) {
        let [kind, high, low, rest @ ..] = tlv else { return Err(ProxyProtocolError::Tlv) };
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let value = rest.get(..length).ok_or(ProxyProtocolError::Tlv)?;
        if *kind == TLV_CRC32C {
            let said: [u8; 4] = value.try_into().map_err(|_| ProxyProtocolError::Tlv)?;
            if u32::from_be_bytes(said) != crc32c_without(header, at + 3) {
                return Err(ProxyProtocolError::Tlv);
            }
        }
        at += 3 + length;
    }
    Ok(())
}

/// CRC-32C (RFC 9260 appendix A) of a header whose four bytes at an offset count as zero.
fn crc32c_without(header: &[u8], checksum_at: usize) -> u32 {
    const REVERSED_POLYNOMIAL: u32 = 0x82f6_3b78;
    let field = checksum_at..checksum_at + 4;
    let bytes = header.iter().enumerate().map(|(at, byte)| if field.contains(&at) { 0 } else { *byte });
    !bytes.fold(!0, |sum, byte| {
        (0..8).fold(sum ^ u32::from(byte), |sum, _| {
            if sum & 1 == 1 { (sum >> 1) ^ REVERSED_POLYNOMIAL } else { sum >> 1 }
        })
    })
}

#[cfg(test)]
mod tests;
