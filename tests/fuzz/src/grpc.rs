//! gRPC's own words: a refusal is read back as it was meant, a timeout is what its digits say.

use std::time::Duration;

use gateway_userspace::proxy::http::grpc;
use gateway_userspace::reason::Reason;

use crate::fields;

/// The first byte is a reason, the rest is field lines, and a message.
pub(crate) fn grpc(data: &[u8]) {
    let Some((number, rest)) = data.split_first() else { return };
    let mut headers = fields::of_lines(rest);
    let _ = grpc::is_grpc(&headers);
    let _ = grpc::status_of(&headers);
    if let Some(timeout) = grpc::timeout(&headers) {
        assert!(timeout <= Duration::from_secs(99_999_999 * 3600), "{timeout:?}");
    }
    let reason = Reason::ALL[usize::from(*number) % Reason::ALL.len()];
    let status = grpc::status_for(reason);
    grpc::trailers_only(&mut headers, status, &String::from_utf8_lossy(rest));
    assert_eq!(grpc::status_of(&headers), Some(status.0));
    assert!(grpc::is_grpc(&headers) && headers["grpc-message"].as_bytes().is_ascii());
}
