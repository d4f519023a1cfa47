//! PROXY protocol headers: the same answer however they arrive, and never more bytes than there are.

use gateway_userspace::proxy::listener::proxy_protocol::{HEADER_BYTES_MAX, Parsed, parse};

/// The bytes are the beginning of a connection.
pub(crate) fn proxy_protocol(data: &[u8]) {
    let whole = parse(data);
    for end in 0..data.len().min(HEADER_BYTES_MAX) {
        let early = parse(&data[..end]);
        assert!(early == Ok(Parsed::NeedMore) || early == whole, "at {end}: {early:?}, then {whole:?}");
    }
    match whole {
        Ok(Parsed::Header { length, client }) => {
            assert!(length <= data.len() && length <= HEADER_BYTES_MAX);
            assert!(client.is_none_or(|client| client.ip().to_canonical() == client.ip()));
            assert_eq!(parse(&data[..length]), whole, "what follows a header changes it");
        }
        Ok(Parsed::NeedMore) => assert!(data.len() < HEADER_BYTES_MAX),
        Err(_) => {}
    }
}
