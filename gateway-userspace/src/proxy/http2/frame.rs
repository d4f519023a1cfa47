//! Pure: finds the frames in a stream of bytes as they pass, without keeping them (RFC 9113 4.1).

use std::io::IoSlice;
use std::ops::ControlFlow;

/// What a client says before its first frame (RFC 9113 3.4), bytes.
pub const PREFACE_BYTES: usize = 24;
/// Bytes of a frame before its payload.
const HEAD_BYTES: usize = 9;
/// Bytes of a reset stream's error code.
const CODE_BYTES: usize = 4;
const FLAG_END_STREAM: u8 = 1;
const FLAG_ACK: u8 = 1;
const FLAG_END_HEADERS: u8 = 4;

/// What a frame is, as far as a guard wants to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A piece of a body.
    Data,
    /// A header block has begun.
    Headers,
    /// It goes on.
    Continuation,
    /// A stream is given up, with this error code.
    Reset(u32),
    /// Settings, or the acknowledgement of ours.
    Settings,
    /// PING that wants an answer.
    Ping,
    /// PING that is one.
    Pong,
    /// WINDOW_UPDATE.
    WindowUpdate,
    /// GOAWAY.
    GoAway,
    /// PRIORITY, PUSH_PROMISE, and whatever there is outside of the RFC.
    Other,
}

/// One frame, when its head has passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame {
    pub kind: Kind,
    /// 0: the connection's.
    pub stream: u32,
    /// Bytes of payload.
    pub length: u32,
    /// Of a body or message, this is the last.
    pub ends_stream: bool,
    /// No CONTINUATION follows.
    pub ends_headers: bool,
}

/// Of what was to be written, the parts that were: `length` bytes in all.
pub fn written<'a>(slices: &'a [IoSlice<'_>], length: usize) -> impl Iterator<Item = &'a [u8]> {
    let mut left = length;
    slices.iter().map(move |slice| {
        let part = left.min(slice.len());
        left -= part;
        &slice[..part]
    })
}

/// Where in the stream of frames the bytes are.
#[derive(Debug)]
pub struct Scanner {
    /// The head, and of a reset the code behind it.
    kept: [u8; HEAD_BYTES + CODE_BYTES],
    kept_len: usize,
    /// Payload that has not passed yet.
    left: usize,
}

impl Scanner {
    /// A stream that begins with `preface` bytes that are no frame.
    pub fn behind(preface: usize) -> Self {
        Self { kept: [0; HEAD_BYTES + CODE_BYTES], kept_len: 0, left: preface }
    }

    /// True when the head of a frame has begun and is not complete.
    pub fn is_in_head(&self) -> bool {
        self.kept_len > 0
    }

    /// True in the payload of a frame, or in what comes before the first.
    pub fn is_in_payload(&self) -> bool {
        self.left > 0
    }

    /// Tells `seen` of each frame when what is wanted of it has passed. When that says stop, the rest
    /// of that frame is still passed over. Gives the number of bytes that have passed.
    pub fn scan(&mut self, bytes: &[u8], mut seen: impl FnMut(Frame) -> ControlFlow<()>) -> usize {
        let mut passed = 0;
        let mut is_last = false;
        loop {
            let skipped = self.left.min(bytes.len() - passed);
            self.left -= skipped;
            passed += skipped;
            if passed == bytes.len() || (is_last && self.left == 0) {
                return passed;
            }
            self.kept[self.kept_len] = bytes[passed];
            self.kept_len += 1;
            passed += 1;
            let wanted = HEAD_BYTES + if self.has_code() { CODE_BYTES } else { 0 };
            if self.kept_len < wanted {
                continue;
            }
            let frame = self.frame();
            self.left = frame.length as usize - (self.kept_len - HEAD_BYTES);
            self.kept_len = 0;
            is_last = seen(frame).is_break();
        }
    }

    /// A reset of the length that the RFC wants. Any other ends the connection anyway.
    fn has_code(&self) -> bool {
        self.kept_len >= HEAD_BYTES && self.kept[3] == 3 && self.kept[..3] == [0, 0, 4]
    }

    fn frame(&self) -> Frame {
        let [a, b, c, kind, flags, s0, s1, s2, s3, code @ ..] = self.kept;
        let is_message = matches!(kind, 0 | 1);
        Frame {
            kind: match kind {
                0 => Kind::Data,
                1 => Kind::Headers,
                3 if self.has_code() => Kind::Reset(u32::from_be_bytes(code)),
                3 => Kind::Reset(0),
                4 => Kind::Settings,
                6 if flags & FLAG_ACK != 0 => Kind::Pong,
                6 => Kind::Ping,
                7 => Kind::GoAway,
                8 => Kind::WindowUpdate,
                9 => Kind::Continuation,
                _ => Kind::Other,
            },
            stream: u32::from_be_bytes([s0 & 0x7f, s1, s2, s3]),
            length: u32::from_be_bytes([0, a, b, c]),
            ends_stream: is_message && flags & FLAG_END_STREAM != 0,
            ends_headers: matches!(kind, 1 | 9) && flags & FLAG_END_HEADERS != 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let mut bytes = length[1..].to_vec();
        bytes.extend([kind, flags]);
        bytes.extend(stream.to_be_bytes());
        bytes.extend(payload);
        bytes
    }

    fn scanned(scanner: &mut Scanner, pieces: &[&[u8]]) -> Vec<Frame> {
        let mut frames = Vec::new();
        for piece in pieces {
            let passed = scanner.scan(piece, |frame| {
                frames.push(frame);
                ControlFlow::Continue(())
            });
            assert_eq!(passed, piece.len());
        }
        frames
    }

    #[test]
    fn a_reset_is_seen_with_its_code_and_data_with_its_length() {
        let mut bytes = b"preface!".to_vec();
        bytes.extend(frame(0, 1, 3, b"hello"));
        bytes.extend(frame(3, 0, 0x8000_0005, &[0, 0, 0, 8]));
        bytes.extend(frame(1, 4, 7, &[]));
        bytes.extend(frame(6, 1, 0, &[0; 8]));
        let frames = scanned(&mut Scanner::behind(8), &[&bytes]);
        let seen: Vec<_> = frames.iter().map(|f| (f.kind, f.stream, f.length)).collect();
        assert_eq!(
            seen,
            [(Kind::Data, 3, 5), (Kind::Reset(8), 5, 4), (Kind::Headers, 7, 0), (Kind::Pong, 0, 8)]
        );
        assert!(frames[0].ends_stream && frames[2].ends_headers && !frames[2].ends_stream);
    }

    #[test]
    fn a_stop_holds_at_the_end_of_its_frame() {
        let mut bytes = frame(0, 0, 1, b"abc");
        let end = bytes.len();
        bytes.extend(frame(6, 0, 0, &[0; 8]));
        let mut scanner = Scanner::behind(0);
        let mut stop = |_| ControlFlow::Break(());
        assert_eq!(scanner.scan(&bytes, &mut stop), end);
        assert!(!scanner.is_in_head() && !scanner.is_in_payload());
        assert_eq!(scanner.scan(&bytes[end..], &mut stop), bytes.len() - end);
    }

    proptest! {
        #[test]
        fn frames_are_the_same_however_the_bytes_are_cut(
            frames in prop::collection::vec(
                (0u8..12, any::<u8>(), 0u32..9, prop::collection::vec(any::<u8>(), 0..40)), 1..20),
            cuts in prop::collection::vec(1usize..30, 1..200),
        ) {
            let bytes: Vec<u8> = frames.iter().flat_map(|(k, f, s, p)| frame(*k, *f, *s, p)).collect();
            let whole = scanned(&mut Scanner::behind(0), &[&bytes]);
            prop_assert_eq!(whole.len(), frames.len());
            for (seen, (_, _, stream, payload)) in whole.iter().zip(&frames) {
                prop_assert_eq!((seen.stream, seen.length as usize), (*stream, payload.len()));
            }
            let mut pieces = Vec::new();
            let mut rest = &bytes[..];
            for cut in cuts.iter().cycle() {
                let (piece, after) = rest.split_at((*cut).min(rest.len()));
                pieces.push(piece);
                rest = after;
                if rest.is_empty() {
                    break;
                }
            }
            let mut scanner = Scanner::behind(0);
            prop_assert_eq!(scanned(&mut scanner, &pieces), whole);
            prop_assert!(!scanner.is_in_head() && !scanner.is_in_payload());
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), stop in any::<bool>()) {
            let mut scanner = Scanner::behind(3);
            let flow = |_| if stop { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let passed = scanner.scan(rest, flow);
                prop_assert!(passed > 0);
                rest = &rest[passed..];
            }
        }
    }
}
