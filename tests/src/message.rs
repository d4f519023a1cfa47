//! HTTP/1 messages as a slow and strict reader takes them: what it accepts has one meaning only.

/// A message, read whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Request line or status line.
    pub start: String,
    /// Names in lower case.
    pub fields: Vec<(String, String)>,
    /// Without its framing.
    pub body: Vec<u8>,
    /// Fields behind a chunked body.
    pub trailers: Vec<(String, String)>,
}

/// What bytes so far are.
#[derive(Debug, PartialEq, Eq)]
pub enum Reading {
    /// A message, and how many bytes it took.
    Whole(Message, usize),
    /// The beginning of one.
    Partial,
    /// No message, whatever follows.
    Malformed(&'static str),
}

use Reading::{Malformed, Partial, Whole};

/// How the end of a body is known.
enum Framing {
    None,
    Length(usize),
    Chunked,
    UntilEnd,
}

impl Message {
    /// The value of a field that is there once.
    pub fn field(&self, name: &str) -> Option<&str> {
        let mut found = self.fields.iter().filter(|(n, _)| n == name);
        found.next().filter(|_| found.next().is_none()).map(|(_, value)| value.as_str())
    }

    /// Of a response; 0 when it has none.
    pub fn status(&self) -> u16 {
        self.start.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0)
    }

    /// The target of a request.
    pub fn target(&self) -> &str {
        self.start.split(' ').nth(1).unwrap_or_default()
    }

    fn has_chunks(&self) -> bool {
        self.fields.iter().any(|(name, _)| name == "transfer-encoding")
    }

    /// `None`: two servers could read it in two ways.
    fn length(&self) -> Result<Option<usize>, &'static str> {
        let mut lengths = self.fields.iter().filter(|(name, _)| name == "content-length");
        let Some((_, length)) = lengths.next() else { return Ok(None) };
        if lengths.next().is_some() || !length.bytes().all(|b| b.is_ascii_digit()) {
            return Err("length");
        }
        length.parse().map(Some).map_err(|_| "length")
    }

    fn framing(&self, otherwise: Framing) -> Result<Framing, &'static str> {
        match (self.length()?, self.has_chunks()) {
            (Some(_), true) => Err("length and coding"),
            (Some(length), false) => Ok(Framing::Length(length)),
            (None, true) if self.field("transfer-encoding") == Some("chunked") => Ok(Framing::Chunked),
            (None, true) => Err("coding"),
            (None, false) => Ok(otherwise),
        }
    }
}

/// Reads the first request of `bytes`.
pub fn request(bytes: &[u8]) -> Reading {
    let (message, head) = match head(bytes) {
        Ok(Some(read)) => read,
        Ok(None) => return Partial,
        Err(why) => return Malformed(why),
    };
    match message.framing(Framing::None) {
        Ok(framing) => body(message, head, bytes, framing, false),
        Err(why) => Malformed(why),
    }
}

/// Reads the first response of `bytes`. `to_head`: it answers HEAD; `has_ended`: no more bytes come.
pub fn response(bytes: &[u8], to_head: bool, has_ended: bool) -> Reading {
    let (message, head) = match head(bytes) {
        Ok(Some(read)) => read,
        Ok(None) => return Partial,
        Err(why) => return Malformed(why),
    };
    if to_head || matches!(message.status(), 100..=199 | 204 | 304) {
        return body(message, head, bytes, Framing::None, has_ended);
    }
    match message.framing(Framing::UntilEnd) {
        Ok(framing) => body(message, head, bytes, framing, has_ended),
        Err(why) => Malformed(why),
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

type Head = (Message, usize);

fn head(bytes: &[u8]) -> Result<Option<Head>, &'static str> {
    let Some(end) = find(bytes, b"\r\n\r\n") else { return Ok(None) };
    let text = std::str::from_utf8(&bytes[..end]).map_err(|_| "bytes outside of UTF-8")?;
    let mut lines = text.split("\r\n");
    let start = lines.next().unwrap_or_default().to_owned();
    if start.is_empty() || start.contains(|c: char| c.is_control()) {
        return Err("start line");
    }
    let fields = lines.map(field).collect::<Result<_, _>>()?;
    Ok(Some((Message { start, fields, body: Vec::new(), trailers: Vec::new() }, end + 4)))
}

fn field(line: &str) -> Result<(String, String), &'static str> {
    let (name, value) = line.split_once(':').ok_or("line without colon")?;
    if name.is_empty()
        || name.contains(|c: char| !c.is_ascii_graphic())
        || value.contains(|c: char| c.is_control() && c != '\t')
    {
        return Err("field");
    }
    Ok((name.to_ascii_lowercase(), value.trim_matches(' ').to_owned()))
}

fn body(mut message: Message, head: usize, bytes: &[u8], framing: Framing, has_ended: bool) -> Reading {
    let rest = &bytes[head..];
    match framing {
        Framing::None => Whole(message, head),
        Framing::Length(length) if rest.len() < length => Partial,
        Framing::Length(length) => {
            message.body = rest[..length].to_vec();
            Whole(message, head + length)
        }
        Framing::UntilEnd if has_ended => {
            message.body = rest.to_vec();
            Whole(message, bytes.len())
        }
        Framing::UntilEnd => Partial,
        Framing::Chunked => match chunks(rest, &mut message) {
            Ok(Some(length)) => Whole(message, head + length),
            Ok(None) => Partial,
            Err(why) => Malformed(why),
        },
    }
}

/// Reads chunks and trailers into the message: how many bytes they took.
fn chunks(bytes: &[u8], message: &mut Message) -> Result<Option<usize>, &'static str> {
    let mut at = 0;
    loop {
        let Some(line) = find(&bytes[at..], b"\r\n") else { return Ok(None) };
        let digits = std::str::from_utf8(&bytes[at..at + line]).map_err(|_| "chunk size")?;
        let is_number = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_hexdigit());
        let size = usize::from_str_radix(digits, 16).ok().filter(|_| is_number).ok_or("chunk size")?;
        at += line + 2;
        if size == 0 {
            return trailers(&bytes[at..], message).map(|length| length.map(|length| at + length));
        }
        let Some(chunk) = bytes.get(at..at + size + 2) else { return Ok(None) };
        if !chunk.ends_with(b"\r\n") {
            return Err("chunk end");
        }
        message.body.extend_from_slice(&chunk[..size]);
        at += size + 2;
    }
}

fn trailers(bytes: &[u8], message: &mut Message) -> Result<Option<usize>, &'static str> {
    if bytes.starts_with(b"\r\n") {
        return Ok(Some(2));
    }
    let Some(end) = find(bytes, b"\r\n\r\n") else { return Ok(None) };
    let text = std::str::from_utf8(&bytes[..end]).map_err(|_| "bytes outside of UTF-8")?;
    message.trailers = text.split("\r\n").map(field).collect::<Result<_, _>>()?;
    Ok(Some(end + 4))
}
