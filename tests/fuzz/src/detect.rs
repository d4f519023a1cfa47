//! What a connection speaks: an answer, once given, is not taken back.

use gateway_userspace::proxy::listener::detect::{DETECT_BYTES_MAX, Detected, detect as answer};

/// The bytes are the beginning of a connection.
pub(crate) fn detect(data: &[u8]) {
    let whole = answer(data);
    assert!(data.len() < DETECT_BYTES_MAX || whole != Detected::NeedMore);
    for end in 0..data.len().min(DETECT_BYTES_MAX + 1) {
        let early = answer(&data[..end]);
        assert!(early == Detected::NeedMore || early == whole, "at {end}: {early:?}, then {whole:?}");
    }
}
