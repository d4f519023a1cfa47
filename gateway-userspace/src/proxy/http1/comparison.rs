//! Pure: the codec and the slow reader on the same bytes, whole and in pieces: they have to agree.

use bytes::BytesMut;
use http::{HeaderMap, Method, Version};

use crate::proxy::http::reference::{Answer, Field, Message, Sizes, Stop, read_answer, read_request};
use crate::proxy::http1::chunked::Decoded;
use crate::proxy::http1::decode::BodyDecoder;
use crate::proxy::http1::framing::BodyLength;
use crate::proxy::http1::head::{HeadLimits, HeadReader, Malformed};

/// Small, so that short inputs reach them.
pub const SIZES: Sizes = Sizes { head: 512, target: 128, fields: 8 };

/// Panics when the two readers disagree on the request at the front of `bytes`, or the codec reads it differently when
/// it comes in pieces that end at `cuts`.
pub fn assert_agreement(bytes: &[u8], cuts: &[usize]) {
    let wanted = read_request(bytes, &SIZES);
    let whole = decode(bytes, &[]);
    let shown = String::from_utf8_lossy(bytes);
    match (&wanted, &whole) {
        (Ok(wanted), Ok(read)) => assert_same(wanted, read, &shown),
        // Characters that RFC 3986 has not, but every server takes, or not.
        (Ok(wanted), Err(Stop::Refused("Target"))) if !wanted.is_target_plain => {}
        (Err(Stop::NeedMore), Err(Stop::NeedMore)) | (Err(Stop::Refused(_)), Err(Stop::Refused(_))) => {}
        // A target that is refused before the body has come.
        (Err(Stop::NeedMore), Err(Stop::Refused("Target"))) => {}
        // The codec may wait for the end of what is broken already, but not for ever.
        (Err(Stop::Refused(_)), Err(Stop::NeedMore)) => {
            let ended = [bytes, b"\r\n\r\n"].concat();
            let later = decode(&ended, &[]);
            assert!(matches!(later, Err(Stop::Refused(_))), "{wanted:?}, and then {later:?}: {shown:?}");
        }
        _ => panic!("{wanted:?}, but the codec says {whole:?}: {shown:?}"),
    }
    let pieces = decode(bytes, cuts);
    match (&whole, &pieces) {
        (Err(Stop::Refused(_)), Err(Stop::Refused(_))) => {}
        _ => assert_eq!(whole, pieces, "in pieces it is something else: {cuts:?} of {shown:?}"),
    }
}

fn assert_same(wanted: &Message, read: &Message, shown: &str) {
    let target = String::from_utf8_lossy(&wanted.target);
    let read_target = String::from_utf8_lossy(&read.target);
    // The codec keeps a target as a URI, which has a path always.
    let is_same = target == read_target || format!("{target}/") == read_target;
    assert!(is_same || !wanted.is_target_plain, "{target} was read as {read_target}");
    let comparable = |message: &Message| {
        let mut message = message.clone();
        message.target.clear();
        message.is_target_plain = true;
        // A map keeps the order of the values of one name only.
        message.fields.sort_by(|(a, _), (b, _)| a.cmp(b));
        message.trailers.sort_by(|(a, _), (b, _)| a.cmp(b));
        message
    };
    assert_eq!(comparable(wanted), comparable(read), "{shown:?}");
}

/// Panics when the two readers disagree on an answer, as `assert_agreement` does on a request.
pub fn assert_agreement_on_answer(bytes: &[u8], is_to_head: bool, cuts: &[usize]) {
    let wanted = read_answer(bytes, &SIZES, is_to_head);
    let whole = decode_answer(bytes, is_to_head, &[]);
    let shown = String::from_utf8_lossy(bytes);
    match (&wanted, &whole) {
        (Ok(wanted), Ok(read)) => {
            let comparable = |answer: &Answer| {
                let mut answer = answer.clone();
                answer.is_line_plain = true;
                answer.fields.sort_by(|(a, _), (b, _)| a.cmp(b));
                answer.trailers.sort_by(|(a, _), (b, _)| a.cmp(b));
                answer
            };
            assert_eq!(comparable(wanted), comparable(read), "{shown:?}");
        }
        (Ok(wanted), Err(Stop::Refused(_))) if !wanted.is_line_plain => {}
        (Err(Stop::NeedMore), Err(Stop::NeedMore)) | (Err(Stop::Refused(_)), Err(Stop::Refused(_))) => {}
        (Err(Stop::Refused(_)), Err(Stop::NeedMore)) => {
            let later = decode_answer(&[bytes, b"\r\n\r\n"].concat(), is_to_head, &[]);
            assert!(matches!(later, Err(Stop::Refused(_))), "{wanted:?}, and then {later:?}: {shown:?}");
        }
        _ => panic!("{wanted:?}, but the codec says {whole:?}: {shown:?}"),
    }
    let pieces = decode_answer(bytes, is_to_head, cuts);
    match (&whole, &pieces) {
        (Err(Stop::Refused(_)), Err(Stop::Refused(_))) => {}
        _ => assert_eq!(whole, pieces, "in pieces it is something else: {cuts:?} of {shown:?}"),
    }
}

/// A body as far as it has come.
#[derive(Default)]
struct Body {
    data: Vec<u8>,
    trailers: Vec<Field>,
    is_whole: bool,
    length: usize,
}

/// Feeds bytes, so that those so far end at each of `cuts` for a moment, to the codec; the head and the body.
fn feed<H>(
    bytes: &[u8],
    cuts: &[usize],
    mut head: impl FnMut(&mut BytesMut) -> Result<Option<H>, Malformed>,
    length: fn(&H) -> BodyLength,
) -> Result<(H, Body), Stop> {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).collect();
    cuts.sort_unstable();
    cuts.push(bytes.len());
    let (mut buffer, mut fed) = (BytesMut::new(), 0);
    let mut state = None;
    let mut body = Body::default();
    for cut in cuts {
        buffer.extend_from_slice(&bytes[fed..cut]);
        fed = cut;
        if state.is_none() {
            let read = head(&mut buffer).map_err(|error| refused(&error))?;
            state = read.map(|head| (BodyDecoder::new(length(&head)), head));
        }
        let Some((decoder, _)) = &mut state else { continue };
        while !body.is_whole {
            match decoder.decode(&mut buffer).map_err(|error| refused(&error))? {
                Decoded::Data(data) => body.data.extend_from_slice(&data),
                Decoded::NeedMore => break,
                Decoded::End(trailers) => {
                    body.trailers = trailers.as_ref().map(fields).unwrap_or_default();
                    body.is_whole = true;
                    body.length = fed - buffer.len();
                }
            }
        }
    }
    let (mut decoder, head) = state.ok_or(Stop::NeedMore)?;
    if !body.is_whole {
        body.length = bytes.len() - buffer.len();
        if !decoder.closed() {
            return Err(Stop::NeedMore);
        }
    }
    Ok((head, body))
}

const LIMITS: HeadLimits =
    HeadLimits { bytes_max: SIZES.head, target_bytes_max: SIZES.target, fields_max: SIZES.fields };

fn decode(bytes: &[u8], cuts: &[usize]) -> Result<Message, Stop> {
    let mut reader = HeadReader::default();
    let (head, body) = feed(bytes, cuts, |buffer| reader.request(buffer, &LIMITS), |head| head.body)?;
    Ok(Message {
        method: head.parts.method.as_str().into(),
        target: head.parts.uri.to_string().into_bytes(),
        minor: u8::from(head.parts.version == Version::HTTP_11),
        fields: fields(&head.parts.headers),
        is_persistent: head.is_persistent,
        body: body.data,
        trailers: body.trailers,
        length: body.length,
        is_target_plain: true,
    })
}

fn decode_answer(bytes: &[u8], is_to_head: bool, cuts: &[usize]) -> Result<Answer, Stop> {
    let mut reader = HeadReader::default();
    let to = if is_to_head { Method::HEAD } else { Method::GET };
    let (head, body) = feed(bytes, cuts, |buffer| reader.response(buffer, &LIMITS, &to), |head| head.body)?;
    Ok(Answer {
        status: head.parts.status.as_u16(),
        minor: u8::from(head.parts.version == Version::HTTP_11),
        fields: fields(&head.parts.headers),
        is_persistent: head.is_persistent,
        body: body.data,
        ends: body.is_whole,
        trailers: body.trailers,
        length: body.length,
        is_line_plain: true,
    })
}

/// A refused target is told apart: it is the one thing on which the readers may differ.
fn refused(error: &dyn std::fmt::Debug) -> Stop {
    Stop::Refused(if format!("{error:?}") == "Target" { "Target" } else { "by the codec" })
}

fn fields(map: &HeaderMap) -> Vec<Field> {
    map.iter().map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec())).collect()
}

#[cfg(test)]
mod tests;
