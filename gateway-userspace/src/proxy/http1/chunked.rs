//! Pure: the chunked transfer coding, read strictly and written plainly (RFC 9112 7.1).

use bytes::{Buf, Bytes, BytesMut};
use http::HeaderMap;

use super::head::{Malformed, append};
use crate::limits::{
    CHUNK_EXTENSION_BYTES_MAX, CHUNK_EXTENSIONS_BYTES_MAX, TRAILER_BYTES_MAX, TRAILER_FIELDS_MAX,
};

/// 2^60 is enough for everybody, and cannot overflow.
const SIZE_DIGITS_MAX: usize = 15;

/// Bytes that are no chunked body. The connection cannot be read any further.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChunkError {
    /// No size in hexadecimal digits, or one of more than 15.
    #[error("the size of a chunk is malformed")]
    Size,
    /// Over its limit, or with a character that it cannot have.
    #[error("a chunk extension is malformed or too long")]
    Extension,
    /// A line, or the data of a chunk, does not end with CR LF.
    #[error("a chunk does not end with CR LF")]
    LineEnd,
    /// Malformed or over their limit.
    #[error("the trailers are malformed or too large")]
    Trailers,
}

/// What a decoder found.
#[derive(Debug)]
pub enum Decoded {
    /// Part of the body; not empty.
    Data(Bytes),
    /// The body has ended, with or without trailers.
    End(Option<HeaderMap>),
    /// Nothing more before more bytes come.
    NeedMore,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Size,
    Data(u64),
    DataEnd,
    Trailers,
    Done,
}

/// Reads one chunked body.
#[derive(Debug)]
pub struct Decoder {
    state: State,
    extensions: usize,
}

impl Default for Decoder {
    fn default() -> Self {
        Self { state: State::Size, extensions: 0 }
    }
}

impl Decoder {
    /// Takes what it can from the front of `bytes`.
    ///
    /// # Errors
    /// When they are no chunked body; all that follows is unreadable.
    pub fn decode(&mut self, bytes: &mut BytesMut) -> Result<Decoded, ChunkError> {
        loop {
            match self.state {
                State::Size => {
                    let Some(size) = self.size(bytes)? else {
                        return Ok(Decoded::NeedMore);
                    };
                    self.state = if size == 0 { State::Trailers } else { State::Data(size) };
                }
                State::Data(left) => {
                    if bytes.is_empty() {
                        return Ok(Decoded::NeedMore);
                    }
                    let length = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
                    let left = left - length as u64;
                    self.state = if left == 0 { State::DataEnd } else { State::Data(left) };
                    return Ok(Decoded::Data(bytes.split_to(length).freeze()));
                }
                State::DataEnd => match &bytes[..] {
                    [b'\r', b'\n', ..] => {
                        bytes.advance(2);
                        self.state = State::Size;
                    }
                    [] | [b'\r'] => return Ok(Decoded::NeedMore),
                    _ => return Err(ChunkError::LineEnd),
                },
                State::Trailers => {
                    let Some(trailers) = trailers(bytes)? else {
                        return Ok(Decoded::NeedMore);
                    };
                    self.state = State::Done;
                    return Ok(Decoded::End(trailers));
                }
                State::Done => return Ok(Decoded::End(None)),
            }
        }
    }

    /// The size line; `None` when it is not complete.
    fn size(&mut self, bytes: &mut BytesMut) -> Result<Option<u64>, ChunkError> {
        let digits = bytes.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        if digits > SIZE_DIGITS_MAX || (digits == 0 && !bytes.is_empty()) {
            return Err(ChunkError::Size);
        }
        match bytes.get(digits) {
            None => return Ok(None),
            Some(b'\r' | b';') => {}
            Some(b'\n') => return Err(ChunkError::LineEnd),
            Some(_) => return Err(ChunkError::Size),
        }
        let rest = &bytes[digits..];
        let Some(end) = rest.iter().position(|byte| !is_extension(*byte)) else {
            return if rest.len() > CHUNK_EXTENSION_BYTES_MAX {
                Err(ChunkError::Extension)
            } else {
                Ok(None)
            };
        };
        match rest[end..] {
            [b'\r'] => return Ok(None),
            [b'\r', b'\n', ..] => {}
            [b'\r' | b'\n', ..] => return Err(ChunkError::LineEnd),
            _ => return Err(ChunkError::Extension),
        }
        self.extensions += end;
        if end > CHUNK_EXTENSION_BYTES_MAX || self.extensions > CHUNK_EXTENSIONS_BYTES_MAX {
            return Err(ChunkError::Extension);
        }
        let size = bytes[..digits].iter().fold(0_u64, |size, digit| size * 16 + u64::from(value(*digit)));
        bytes.advance(digits + end + 2);
        Ok(Some(size))
    }
}

const fn value(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20) - b'a' + 10,
    }
}

/// Visible characters, blanks, and bytes that quoted strings may have.
const fn is_extension(byte: u8) -> bool {
    matches!(byte, b'\t' | b' '..=b'~' | 0x80..=0xff)
}

/// The trailers after the last chunk, with the empty line; the outer `None` when incomplete.
fn trailers(bytes: &mut BytesMut) -> Result<Option<Option<HeaderMap>>, ChunkError> {
    let mut begin = 0;
    loop {
        let Some(found) = memchr::memchr(b'\n', &bytes[begin..]) else {
            return if bytes.len() > TRAILER_BYTES_MAX { Err(ChunkError::Trailers) } else { Ok(None) };
        };
        let at = begin + found;
        if at > TRAILER_BYTES_MAX {
            return Err(ChunkError::Trailers);
        }
        if at == begin || bytes[at - 1] != b'\r' {
            return Err(ChunkError::LineEnd);
        }
        if at - 1 == begin {
            let block = bytes.split_to(at + 1).freeze();
            return if begin == 0 { Ok(Some(None)) } else { parse_trailers(&block).map(Some) };
        }
        begin = at + 1;
    }
}

fn parse_trailers(block: &Bytes) -> Result<Option<HeaderMap>, ChunkError> {
    let mut fields = [httparse::EMPTY_HEADER; TRAILER_FIELDS_MAX];
    let parsed = httparse::parse_headers(block, &mut fields).map_err(|_| ChunkError::Trailers)?;
    let httparse::Status::Complete((length, fields)) = parsed else {
        return Err(ChunkError::Trailers);
    };
    if length != block.len() {
        return Err(ChunkError::Trailers);
    }
    let mut trailers = HeaderMap::with_capacity(fields.len());
    for field in fields {
        append(&mut trailers, block, field).map_err(|_: Malformed| ChunkError::Trailers)?;
    }
    Ok(Some(trailers))
}

/// Appends the line before the data of a chunk.
pub fn put_size(out: &mut Vec<u8>, size: usize) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut shift = (usize::BITS - size.leading_zeros()).div_ceil(4).max(1) * 4;
    while shift > 0 {
        shift -= 4;
        out.push(DIGITS[(size >> shift) & 15]);
    }
    out.extend_from_slice(b"\r\n");
}

/// Appends what ends a chunked body.
pub fn put_end(out: &mut Vec<u8>, trailers: Option<&HeaderMap>) {
    out.extend_from_slice(b"0\r\n");
    if let Some(trailers) = trailers {
        super::encode::put_fields(out, trailers);
    }
    out.extend_from_slice(b"\r\n");
}
