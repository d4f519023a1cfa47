//! Headers of both versions as load balancers send them, broken ones, and any bytes at all.

use proptest::prelude::*;

use super::ProxyProtocolError::{Address, Command, Family, Length, Line, Missing, Tlv};
use super::*;

fn line_of(text: &str) -> Result<Parsed, ProxyProtocolError> {
    parse(text.as_bytes())
}

/// A header of version 2.
fn binary_of(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
    let mut header = SIGNATURE.to_vec();
    header.extend([command, family]);
    header.extend(u16::try_from(body.len()).unwrap().to_be_bytes());
    header.extend(body);
    header
}

/// 192.0.2.1:56324 to 198.51.100.1:443, then TLVs.
fn tcp4(tlvs: &[u8]) -> Vec<u8> {
    let mut body = vec![192, 0, 2, 1, 198, 51, 100, 1];
    body.extend([0xdc, 0x04, 0x01, 0xbb]);
    body.extend(tlvs);
    binary_of(0x21, 0x11, &body)
}

fn client(text: &str) -> Option<SocketAddr> {
    Some(text.parse().unwrap())
}

#[test]
fn the_client_of_a_line_is_its_source() {
    let said = [
        ("PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\n", client("192.0.2.1:56324")),
        ("PROXY TCP6 2001:db8::1 2001:db8::2 0 65535\r\n", client("[2001:db8::1]:0")),
        ("PROXY TCP6 ::ffff:192.0.2.1 ::1 7 8\r\n", client("192.0.2.1:7")),
        ("PROXY UNKNOWN\r\n", None),
        ("PROXY UNKNOWN ffff::1 anything 1 2\r\n", None),
    ];
    for (text, client) in said {
        let wanted = Ok(Parsed::Header { length: text.len(), client });
        assert_eq!(line_of(text), wanted, "{text}");
        assert_eq!(line_of(&format!("{text}GET / HTTP/1.1\r\n")), wanted, "{text}");
    }
}

#[test]
fn a_line_that_is_not_exactly_as_specified_is_refused() {
    let broken = [
        ("GET / HTTP/1.1\r\n", Missing),
        ("proxy TCP4 192.0.2.1 198.51.100.1 56324 443\r\n", Missing),
        ("PROXY\r\n", Missing),
        ("PROXY \r\n", Line),
        ("PROXY TCP4\r\n", Line),
        ("PROXY  TCP4 192.0.2.1 198.51.100.1 56324 443\r\n", Line),
        ("PROXY TCP4 192.0.2.1 198.51.100.1 56324 443 \r\n", Line),
        ("PROXY TCP4 192.0.2.1 198.51.100.1 56324 443 1\r\n", Line),
        ("PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\n", Line),
        ("PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\r\n", Line),
        ("PROXY UNKNOWN \r x\r\n", Line),
        ("PROXY TCP5 192.0.2.1 198.51.100.1 56324 443\r\n", Family),
        ("PROXY UDP4 192.0.2.1 198.51.100.1 56324 443\r\n", Family),
        ("PROXY UNKNOWNS 192.0.2.1 198.51.100.1 56324 443\r\n", Family),
        ("PROXY TCP4 ::1 ::1 56324 443\r\n", Address),
        ("PROXY TCP6 192.0.2.1 198.51.100.1 56324 443\r\n", Address),
        ("PROXY TCP4 192.0.2.01 198.51.100.1 56324 443\r\n", Address),
        ("PROXY TCP4 192.0.2.1 198.51.100 56324 443\r\n", Address),
        ("PROXY TCP4 192.0.2.1 198.51.100.1 056324 443\r\n", Address),
        ("PROXY TCP4 192.0.2.1 198.51.100.1 +1 443\r\n", Address),
        ("PROXY TCP4 192.0.2.1 198.51.100.1 1 65536\r\n", Address),
        ("PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n", Address),
    ];
    for (text, why) in broken {
        assert_eq!(line_of(text), Err(why), "{text:?}");
    }
}

#[test]
fn a_line_has_at_most_107_bytes() {
    let whole = |length: usize| format!("PROXY UNKNOWN {}\r\n", "x".repeat(length - 16));
    assert_eq!(line_of(&whole(107)), Ok(Parsed::Header { length: 107, client: None }));
    assert_eq!(line_of(&whole(108)), Err(Line));
    assert_eq!(line_of(&whole(108)[..105]), Ok(Parsed::NeedMore));
    assert_eq!(line_of(&whole(108)[..106]), Err(Line));
}

#[test]
fn the_client_of_a_binary_header_is_its_source() {
    let header = tcp4(&[]);
    let wanted = Ok(Parsed::Header { length: 28, client: client("192.0.2.1:56324") });
    assert_eq!(parse(&header), wanted);
    assert_eq!(parse(&[&header[..], b"GET /"].concat()), wanted);
    let mut body = Ipv6Addr::LOCALHOST.octets().to_vec();
    body.extend([0xff; 16]);
    body.extend([0, 9, 0, 10]);
    let header = binary_of(0x21, 0x21, &body);
    assert_eq!(parse(&header), Ok(Parsed::Header { length: 52, client: client("[::1]:9") }));
}

#[test]
fn a_sender_that_speaks_for_itself_has_no_client_whatever_it_says_of_one() {
    let wanted = |length| Ok(Parsed::Header { length, client: None });
    assert_eq!(parse(&binary_of(0x20, 0x00, &[])), wanted(16));
    assert_eq!(parse(&binary_of(0x20, 0x11, &[1; 12])), wanted(28));
    assert_eq!(parse(&binary_of(0x20, 0xff, &[0xff; 5])), wanted(21));
    assert_eq!(parse(&binary_of(0x21, 0x00, &[0xff; 5])), wanted(21));
}

#[test]
fn a_binary_header_that_is_not_exactly_as_specified_is_refused() {
    let limit = PROXY_PROTOCOL_TLV_BYTES_MAX;
    let broken = [
        (binary_of(0x11, 0x11, &[0; 12]), Command),
        (binary_of(0x22, 0x11, &[0; 12]), Command),
        (binary_of(0x21, 0x12, &[0; 12]), Family),
        (binary_of(0x21, 0x31, &[0; 216]), Family),
        (binary_of(0x21, 0x41, &[0; 12]), Family),
        (binary_of(0x21, 0x10, &[0; 12]), Family),
        (binary_of(0x21, 0x11, &[0; 11]), Length),
        (binary_of(0x21, 0x21, &[0; 35]), Length),
        (binary_of(0x21, 0x11, &vec![0; 13 + limit]), Length),
        (binary_of(0x20, 0x00, &vec![0; 37 + limit]), Length),
        (tcp4(&[1]), Tlv),
        (tcp4(&[1, 0]), Tlv),
        (tcp4(&[1, 0, 1]), Tlv),
        (tcp4(&[1, 0xff, 0xff, 0]), Tlv),
        (tcp4(&[4, 0, 0, 1, 0, 2, 0]), Tlv),
        (tcp4(&[TLV_CRC32C, 0, 4, 1, 2, 3, 4]), Tlv),
        (tcp4(&[TLV_CRC32C, 0, 3, 1, 2, 3]), Tlv),
    ];
    for (header, why) in broken {
        assert_eq!(parse(&header), Err(why), "{header:?}");
    }
    assert_eq!(parse(b"\r\n\r\n\0\r\nQUIT\r"), Err(Missing));
}

#[test]
fn tlvs_that_fit_are_skipped() {
    let mut tlvs = vec![1, 0, 2, b'h', b'2', 4, 0, 0, 0xe0, 0, 0];
    tlvs.resize(PROXY_PROTOCOL_TLV_BYTES_MAX, 7);
    let last = u16::try_from(tlvs.len() - 11).unwrap();
    tlvs[9..11].copy_from_slice(&last.to_be_bytes());
    let header = tcp4(&tlvs);
    let wanted = Parsed::Header { length: header.len(), client: client("192.0.2.1:56324") };
    assert_eq!(parse(&header), Ok(wanted));
}

#[test]
fn a_checksum_that_is_right_is_believed() {
    let mut header = tcp4(&[TLV_CRC32C, 0, 4, 0, 0, 0, 0]);
    let sum = crc32c_without(&header, 31);
    header[31..].copy_from_slice(&sum.to_be_bytes());
    assert!(parse(&header).is_ok());
    // The check value that catalogues of checksums give.
    assert_eq!(crc32c_without(b"123456789", 9), 0xe306_9283);
}

/// Headers that are nearly right, in pieces.
fn nearly() -> impl Strategy<Value = Vec<u8>> {
    let words = prop::sample::select(vec![
        "PROXY",
        "TCP4",
        "TCP6",
        "UNKNOWN",
        "192.0.2.1",
        "::1",
        "0",
        "443",
        "99999",
        "\r",
        "",
        "x",
    ]);
    let line = (prop::collection::vec(words, 0..9), prop::sample::select(vec!["\r\n", "\n", ""]))
        .prop_map(|(words, end)| format!("PROXY {}{end}", words.join(" ")).into_bytes());
    let parts = (
        prop::sample::select(vec![0x20, 0x21, 0x22]),
        prop::sample::select(vec![0x00, 0x11, 0x21, 0x31]),
        prop::collection::vec(any::<u8>(), 0..80),
    );
    let binary = parts.prop_map(|(command, family, body)| binary_of(command, family, &body));
    prop_oneof![line, binary, prop::collection::vec(any::<u8>(), 0..200)]
}

proptest! {
    #[test]
    fn an_answer_is_the_same_however_the_bytes_arrive(bytes in nearly()) {
        let whole = parse(&bytes);
        for end in 0..bytes.len() {
            match parse(&bytes[..end]) {
                Ok(Parsed::NeedMore) => {}
                early => prop_assert_eq!(early, whole, "at {}", end),
            }
        }
        if let Ok(Parsed::Header { length, .. }) = whole {
            prop_assert!(length <= bytes.len());
        }
    }

    #[test]
    fn enough_bytes_always_decide(mut bytes in nearly()) {
        bytes.resize(HEADER_BYTES_MAX.max(bytes.len()), b'x');
        prop_assert_ne!(parse(&bytes), Ok(Parsed::NeedMore));
    }

    #[test]
    fn every_client_is_read_back_from_the_line_that_a_sender_writes(
        source: std::net::IpAddr, source_port: u16, destination_port: u16,
    ) {
        let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
        let text = format!("PROXY {family} {source} {source} {source_port} {destination_port}\r\n");
        let client = Some(SocketAddr::new(source.to_canonical(), source_port));
        prop_assert_eq!(line_of(&text), Ok(Parsed::Header { length: text.len(), client }));
    }
}
