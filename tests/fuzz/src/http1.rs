//! HTTP/1 messages: the codec reads what a slow reader by the grammar reads, in whatever pieces they come.

use bytes::BytesMut;
use gateway_userspace::proxy::http1::chunked::Decoded;
use gateway_userspace::proxy::http1::decode::BodyDecoder;
use gateway_userspace::proxy::http1::head::{HeadLimits, HeadReader};
use http::Method;

const LIMITS: HeadLimits = HeadLimits { bytes_max: 512, target_bytes_max: 128, fields_max: 8 };

/// Two bytes say where the pieces end, the rest is a request and what follows it.
pub(crate) fn head(data: &[u8]) {
    let [a, b, message @ ..] = data else { return };
    #[cfg(fuzzing)]
    gateway_userspace::proxy::http1::comparison::assert_agreement(message, &[(*a).into(), (*b).into()]);
    let _ = (a, b);
    let mut buffer = BytesMut::from(message);
    if let Ok(Some(head)) = HeadReader::default().request(&mut buffer, &LIMITS) {
        drain(BodyDecoder::new(head.body), buffer);
    }
}

/// One byte says to what, two where the pieces end, the rest is an answer and what follows it.
pub(crate) fn answer(data: &[u8]) {
    let [to, a, b, message @ ..] = data else { return };
    let is_to_head = to & 1 == 1;
    #[cfg(fuzzing)]
    gateway_userspace::proxy::http1::comparison::assert_agreement_on_answer(
        message,
        is_to_head,
        &[(*a).into(), (*b).into()],
    );
    let _ = (a, b);
    let mut buffer = BytesMut::from(message);
    let to = if is_to_head { Method::HEAD } else { Method::GET };
    if let Ok(Some(head)) = HeadReader::default().response(&mut buffer, &LIMITS, &to) {
        drain(BodyDecoder::new(head.body), buffer);
    }
}

/// The bytes are a chunked body, after a head that says so.
pub(crate) fn chunks(data: &[u8]) {
    let [a, b, body @ ..] = data else { return };
    let mut message = b"PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    message.extend_from_slice(body);
    // The head is not cut again: the pieces end in the body.
    let begin = u8::try_from(message.len() - body.len()).unwrap_or_default();
    head(&[&[a.saturating_add(begin), b.saturating_add(begin)], &message[..]].concat());
}

/// A body never has more than came, and no piece of it is empty.
fn drain(mut decoder: BodyDecoder, mut buffer: BytesMut) {
    let mut left = buffer.len();
    loop {
        match decoder.decode(&mut buffer) {
            Ok(Decoded::Data(piece)) => {
                assert!(!piece.is_empty() && piece.len() <= left);
                left -= piece.len();
            }
            Ok(Decoded::NeedMore | Decoded::End(_)) | Err(_) => return,
        }
    }
}
