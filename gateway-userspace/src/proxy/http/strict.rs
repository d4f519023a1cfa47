//! Pure: what the HTTP/1 codec lets pass and other servers may read in another way is found in the bytes before it.
//!
//! Follows heads, lengths and chunks (RFC 9112). Keeps a line only while its end has not come.

/// Digits of a chunk size: 2^60 is enough for everybody, and cannot overflow.
const SIZE_DIGITS_MAX: usize = 15;
/// Extensions of one chunk, bytes. Nobody uses them.
const EXTENSION_BYTES_MAX: usize = 256;
/// Longest line that is looked at; what is longer than a whole head may be, the codec refuses itself.
const LINE_BYTES_MAX: usize = 64 * 1024;

/// Bytes that have no single meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Ambiguous {
    /// In a head, at this place of the bytes given.
    #[error("a message head has no single meaning")]
    Head(usize),
    /// In the framing of a body, at this place: nothing that follows can be read.
    #[error("the framing of a body has no single meaning")]
    Body(usize),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before the first line.
    Begin,
    Head,
    Size {
        digits: usize,
        size: u64,
    },
    Extension {
        bytes: usize,
        size: u64,
    },
    SizeLf(u64),
    Data(u64),
    DataCr,
    DataLf,
    Trailers,
    /// A body of a length.
    Body(u64),
    /// It may be no HTTP any more.
    Unread,
}

/// How a head says that its body ends.
#[derive(Debug, Default)]
struct Framing {
    length: Option<u64>,
    chunked: bool,
    /// A switch that can be made is asked for, by both fields that it takes.
    upgrade: bool,
    connection: bool,
    /// It is not offered: of HTTP/1.0, or to HTTP/2.
    not_offered: bool,
}

/// Follows the bytes of a client.
#[derive(Debug)]
pub struct Strict {
    state: State,
    line: Vec<u8>,
    framing: Framing,
    skipped_line: bool,
}

impl Strict {
    /// Before the first request.
    pub fn requests() -> Self {
        let framing = Framing::default();
        Self { state: State::Begin, line: Vec::new(), framing, skipped_line: false }
    }

    /// Looks at bytes as they come.
    ///
    /// # Errors
    /// At the first one that has no single meaning; what follows it must not be served.
    pub fn check(&mut self, bytes: &[u8]) -> Result<(), Ambiguous> {
        let mut at = 0;
        while at < bytes.len() {
            match self.state {
                State::Unread => return Ok(()),
                State::Body(left) | State::Data(left) => {
                    let taken = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len() - at);
                    at += taken;
                    self.state = match (self.state, left - taken as u64) {
                        (State::Body(_), 0) => State::Begin,
                        (State::Body(_), left) => State::Body(left),
                        (_, 0) => State::DataCr,
                        (_, left) => State::Data(left),
                    };
                }
                State::Begin | State::Head | State::Trailers => {
                    at = self.line(bytes, at)?;
                }
                _ => {
                    self.state = self.chunk_byte(bytes[at]).ok_or(Ambiguous::Body(at))?;
                    at += 1;
                }
            }
        }
        Ok(())
    }

    /// Reads up to the end of a line, or of the bytes: how far it came.
    fn line(&mut self, bytes: &[u8], begin: usize) -> Result<usize, Ambiguous> {
        let rest = &bytes[begin..];
        let ambiguous =
            |state, at| if state == State::Trailers { Ambiguous::Body(at) } else { Ambiguous::Head(at) };
        if self.line.last() == Some(&b'\r') {
            if rest[0] != b'\n' {
                return Err(ambiguous(self.state, begin));
            }
            let mut line = std::mem::take(&mut self.line);
            line.pop();
            self.state = self.after(&line).ok_or(ambiguous(self.state, begin))?;
            return Ok(begin + 1);
        }
        let Some(found) = memchr::memchr3(b'\n', b'\r', 0, rest) else {
            return Ok(self.keep(bytes, rest));
        };
        let end = begin + found;
        match rest[found..] {
            [b'\r'] => Ok(self.keep(bytes, rest)),
            [b'\r', b'\n', ..] => {
                let next = if self.line.is_empty() {
                    self.after(&rest[..found])
                } else {
                    let mut line = std::mem::take(&mut self.line);
                    line.extend_from_slice(&rest[..found]);
                    self.after(&line)
                };
                self.state = next.ok_or(ambiguous(self.state, end + 1))?;
                Ok(end + 2)
            }
            [b'\r', ..] => Err(ambiguous(self.state, end + 1)),
            _ => Err(ambiguous(self.state, end)),
        }
    }

    /// The line goes on in the next bytes. Memory is held only meanwhile.
    fn keep(&mut self, bytes: &[u8], part: &[u8]) -> usize {
        self.line.extend_from_slice(part);
        if self.line.len() > LINE_BYTES_MAX {
            self.line = Vec::new();
            self.state = State::Unread;
        }
        bytes.len()
    }

    /// The state behind a line; `None` when it cannot stand there.
    fn after(&mut self, line: &[u8]) -> Option<State> {
        match (self.state, line) {
            (State::Begin, []) if self.skipped_line => None,
            (State::Begin, []) => {
                self.skipped_line = true;
                Some(State::Begin)
            }
            (State::Begin, line) if line.contains(&b'#') => None,
            (State::Begin, line) => {
                self.framing.note_first(line);
                Some(State::Head)
            }
            (State::Head, []) => self.body(),
            (State::Trailers, []) => Some(State::Begin),
            (State::Head, field) => {
                self.framing.note(field);
                Some(State::Head)
            }
            (state, _) => Some(state),
        }
    }

    /// What follows the head that has ended; `None` when it says so in two ways.
    fn body(&mut self) -> Option<State> {
        self.skipped_line = false;
        let framing = std::mem::take(&mut self.framing);
        if framing.chunked && framing.length.is_some() {
            return None;
        }
        if framing.upgrade && framing.connection && !framing.not_offered {
            return Some(State::Unread);
        }
        Some(match framing {
            Framing { chunked: true, .. } => State::Size { digits: 0, size: 0 },
            Framing { length: Some(length @ 1..), .. } => State::Body(length),
            _ => State::Begin,
        })
    }

    /// The next state; `None` when the byte cannot stand there.
    fn chunk_byte(&self, byte: u8) -> Option<State> {
        Some(match (self.state, byte) {
            (State::Size { digits: 1.., size }, b'\r') => State::SizeLf(size),
            (State::Size { digits: 1.., size }, b';') => State::Extension { bytes: 0, size },
            (State::Size { digits, size }, _) if digits < SIZE_DIGITS_MAX => {
                let digit = char::from(byte).to_digit(16)?;
                State::Size { digits: digits + 1, size: size * 16 + u64::from(digit) }
            }
            (State::Extension { size, .. }, b'\r') => State::SizeLf(size),
            (State::Extension { bytes, size }, b'\t' | b' '..=b'~' | 0x80..)
                if bytes < EXTENSION_BYTES_MAX =>
            {
                State::Extension { bytes: bytes + 1, size }
            }
            (State::SizeLf(0), b'\n') => State::Trailers,
            (State::SizeLf(size), b'\n') => State::Data(size),
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => State::Size { digits: 0, size: 0 },
            _ => return None,
        })
    }
}

impl Framing {
    /// `GET / HTTP/1.1`; anything else the codec refuses by itself.
    fn note_first(&mut self, line: &[u8]) {
        self.not_offered = line.ends_with(b"HTTP/1.0");
    }

    /// What the codec refuses by itself, as a length that is no number, need not be understood.
    fn note(&mut self, field: &[u8]) {
        let Some(colon) = field.iter().position(|byte| *byte == b':') else { return };
        let (name, value) = (&field[..colon], field[colon + 1..].trim_ascii());
        if name.eq_ignore_ascii_case(b"content-length") {
            let number = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
            self.length = Some(number.unwrap_or(0));
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            self.chunked = true;
        } else if name.eq_ignore_ascii_case(b"upgrade") {
            self.upgrade = true;
            self.not_offered |= has_item(value, b"h2c");
        } else if name.eq_ignore_ascii_case(b"connection") {
            self.connection |= has_item(value, b"upgrade");
        }
    }
}

fn has_item(list: &[u8], wanted: &[u8]) -> bool {
    list.split(|byte| *byte == b',').any(|item| item.trim_ascii().eq_ignore_ascii_case(wanted))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(text: &str) -> Result<(), Ambiguous> {
        Strict::requests().check(text.as_bytes())
    }

    const CHUNKED: &str = "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";

    #[test]
    fn what_the_codec_would_let_pass_is_found_where_it_stands() {
        assert_eq!(check("GET / HTTP/1.1\nHost: h\r\n\r\n"), Err(Ambiguous::Head(14)));
        assert_eq!(check("GET / HTTP/1.1\r\nHost: h\n\r\n"), Err(Ambiguous::Head(23)));
        assert_eq!(check("GET /#a HTTP/1.1\r\nHost: h\r\n\r\n"), Err(Ambiguous::Head(17)));
        assert_eq!(check("\r\n\r\nGET / HTTP/1.1\r\n"), Err(Ambiguous::Head(3)));
        assert_eq!(check("GET / HTTP/1.1\r\nX: a\rb\r\n"), Err(Ambiguous::Head(21)));
        let both = "POST / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert_eq!(check(both), Err(Ambiguous::Head(both.len() - 1)));
        for body in [
            "3;\0\r\nabc\r\n0\r\n\r\n",
            "3\r\nabc\r\n0\r\n\n",
            "0\r\nx: y\n\r\n",
            "3\nabc",
            "3 \r\nabc\r\n",
            "\r\n",
        ] {
            let verdict = check(&format!("{CHUNKED}{body}"));
            assert!(matches!(verdict, Err(Ambiguous::Body(_))), "{body:?} {verdict:?}");
        }
        let long = format!("{CHUNKED}3;{}\r\nabc\r\n0\r\n\r\n", "a".repeat(257));
        assert!(matches!(check(&long), Err(Ambiguous::Body(_))));
        let digits = format!("{CHUNKED}{}3\r\nabc", "0".repeat(15));
        assert_eq!(check(&digits), Err(Ambiguous::Body(CHUNKED.len() + 15)));
    }

    /// Honest requests, one behind the other, with what must not be mistaken for heads in bodies.
    fn honest() -> String {
        let sized = "\r\nPOST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\n\n\n\0#";
        let chunks = format!("{CHUNKED}4;a=b\r\n\n\n\0#\r\n000\r\nx: y\r\n\r\n");
        [
            sized,
            "GET / HTTP/1.1\r\nHost: h\r\n\r\n",
            &chunks,
            &CHUNKED.replace("\r\n\r\n", "\r\n\r\n0\r\n\r\n"),
        ]
        .concat()
    }

    #[test]
    fn honest_requests_pass_and_their_bodies_are_not_looked_at() {
        assert_eq!(check(&honest().repeat(3)), Ok(()));
        let switch = "GET / HTTP/1.1\r\nConnection: a, Upgrade\r\nUpgrade: x\r\n\r\n\n\0\n";
        assert_eq!(check(switch), Ok(()));
        for no_switch in [
            switch.replace("Connection", "Other"),
            switch.replace("Upgrade: x", "Upgrade: h2c"),
            switch.replace("Upgrade: x", "Upgrade: a, H2C\r\nUpgrade: x"),
            switch.replace("Upgrade: x", "X: y"),
            switch.replace("HTTP/1.1", "HTTP/1.0"),
        ] {
            assert_eq!(check(&no_switch), Err(Ambiguous::Head(no_switch.len() - 3)), "{no_switch}");
        }
    }

    proptest! {
        #[test]
        fn in_whatever_pieces_it_comes_the_verdict_is_the_same(
            cuts in prop::collection::vec(1usize..40, 1..60),
            damage in prop::option::of((0usize..400, any::<u8>())),
        ) {
            let mut bytes = honest().repeat(2).into_bytes();
            if let Some((at, byte)) = damage {
                let at = at % bytes.len();
                bytes[at] = byte;
            }
            let whole = Strict::requests().check(&bytes);
            let mut strict = Strict::requests();
            let mut begin = 0;
            let mut verdict = Ok(());
            for length in cuts.into_iter().cycle() {
                if begin >= bytes.len() || verdict.is_err() {
                    break;
                }
                let end = (begin + length).min(bytes.len());
                verdict = strict.check(&bytes[begin..end]).map_err(|error| match error {
                    Ambiguous::Head(at) => Ambiguous::Head(begin + at),
                    Ambiguous::Body(at) => Ambiguous::Body(begin + at),
                });
                begin = end;
            }
            prop_assert_eq!(verdict, whole);
        }
    }
}
