//! Pure: one HTTP/1 body, taken from the bytes of its connection as they come.

use bytes::BytesMut;

use super::chunked::{ChunkError, Decoded, Decoder};
use super::framing::BodyLength;

/// Reads the body of one message.
#[derive(Debug)]
pub enum BodyDecoder {
    /// This many bytes are to come.
    Known(u64),
    /// In chunks.
    Chunked(Decoder),
    /// To the end of the connection.
    UntilClose,
    /// It has ended.
    Ended,
}

impl BodyDecoder {
    /// For a body of this length.
    pub fn new(length: BodyLength) -> Self {
        match length {
            BodyLength::Empty | BodyLength::Known(0) => Self::Ended,
            BodyLength::Known(length) => Self::Known(length),
            BodyLength::Chunked => Self::Chunked(Decoder::default()),
            BodyLength::UntilClose => Self::UntilClose,
        }
    }

    /// True when nothing of the body is to come.
    pub fn is_ended(&self) -> bool {
        matches!(self, Self::Ended)
    }

    /// Bytes still to come, where that is known.
    pub fn remaining(&self) -> Option<u64> {
        match self {
            Self::Known(left) => Some(*left),
            Self::Ended => Some(0),
            Self::Chunked(_) | Self::UntilClose => None,
        }
    }

    /// Takes what belongs to the body from the front of `bytes`.
    ///
    /// # Errors
    /// When they are not what the body's coding wants.
    pub fn decode(&mut self, bytes: &mut BytesMut) -> Result<Decoded, ChunkError> {
        match self {
            Self::Ended => Ok(Decoded::End(None)),
            Self::Known(_) | Self::UntilClose if bytes.is_empty() => Ok(Decoded::NeedMore),
            Self::Known(left) => {
                let length = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                *left -= length as u64;
                if *left == 0 {
                    *self = Self::Ended;
                }
                Ok(Decoded::Data(bytes.split_to(length).freeze()))
            }
            Self::UntilClose => Ok(Decoded::Data(bytes.split().freeze())),
            Self::Chunked(decoder) => {
                let decoded = decoder.decode(bytes)?;
                if matches!(decoded, Decoded::End(_)) {
                    *self = Self::Ended;
                }
                Ok(decoded)
            }
        }
    }

    /// The connection has ended. True when the body has ended with it, in good order.
    pub fn closed(&mut self) -> bool {
        let is_whole = matches!(self, Self::Ended | Self::UntilClose);
        *self = Self::Ended;
        is_whole
    }
}
