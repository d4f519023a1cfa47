//! Pure: a slow reader of HTTP/1 messages that tests compare the codec with. It goes byte by byte, as the grammar of RFC 9112
//! reads, refuses what is ambiguous, and shares no code with the codec.

#[cfg(test)]
pub(crate) mod messages;

/// The codec's limits as they are documented, said once more.
pub(crate) const METHOD_BYTES_MAX: usize = 32;
pub(crate) const SIZE_DIGITS_MAX: usize = 15;
pub(crate) const EXTENSION_BYTES_MAX: usize = 256;
const EXTENSIONS_BYTES_MAX: usize = 16 * 1024;
pub(crate) const TRAILER_BYTES_MAX: usize = 8 * 1024;
const TRAILER_FIELDS_MAX: usize = 32;

/// How large a head may be.
#[derive(Debug, Clone, Copy)]
pub struct Sizes {
    /// The whole head, bytes.
    pub head: usize,
    /// The request target, bytes.
    pub target: usize,
    /// Fields.
    pub fields: usize,
}

/// Name in lower case, and value without the blanks around it.
pub type Field = (String, Vec<u8>);

/// A request as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// As it came.
    pub method: Vec<u8>,
    /// As it came.
    pub target: Vec<u8>,
    /// Of HTTP/1.
    pub minor: u8,
    /// In their order.
    pub fields: Vec<Field>,
    /// Another request may follow.
    pub is_persistent: bool,
    /// Without its coding.
    pub body: Vec<u8>,
    /// In their order.
    pub trailers: Vec<Field>,
    /// Bytes from the first to the last of the message, with an empty line before it.
    pub length: usize,
    /// RFC 9110 4.2 and RFC 3986 say that the target is good. Of others a reader may refuse some.
    pub is_target_plain: bool,
}

/// An answer as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// 100 to 999.
    pub status: u16,
    /// Of HTTP/1.
    pub minor: u8,
    /// In their order.
    pub fields: Vec<Field>,
    /// Another answer may follow.
    pub is_persistent: bool,
    /// Without its coding.
    pub body: Vec<u8>,
    /// The body ends before the connection does.
    pub ends: bool,
    /// In their order.
    pub trailers: Vec<Field>,
    /// Bytes of the message.
    pub length: usize,
    /// The status line is as RFC 9112 4 wants it. Of others a reader may refuse some.
    pub is_line_plain: bool,
}

/// A name that CGI servers (RFC 3875 4.1.18) cannot tell from one of framing.
pub const DISGUISED: &str = "a field name that looks like framing";

/// Two equal lengths: "the recipient MUST either reject the message as invalid or replace the duplicated field values"
/// (RFC 9110 8.6).
pub const REPEATED_LENGTH: &str = "the same Content-Length twice";

/// Why there is no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// It goes on.
    NeedMore,
    /// Whatever follows, it will be none. The text says which rule is broken.
    Refused(&'static str),
}

type Read<T> = Result<T, Stop>;

/// The bytes, and how many of them are read.
struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Cursor<'_> {
    fn next(&mut self) -> Read<u8> {
        let byte = *self.bytes.get(self.at).ok_or(Stop::NeedMore)?;
        self.at += 1;
        Ok(byte)
    }

    fn peek(&self) -> Read<u8> {
        self.bytes.get(self.at).copied().ok_or(Stop::NeedMore)
    }

    fn take(&mut self, length: u64) -> Read<Vec<u8>> {
        let mut taken = Vec::new();
        for _ in 0..length {
            taken.push(self.next()?);
        }
        Ok(taken)
    }

    fn expect(&mut self, wanted: &[u8], rule: &'static str) -> Read<()> {
        for byte in wanted {
            if self.next()? != *byte {
                return Err(Stop::Refused(rule));
            }
        }
        Ok(())
    }
}

/// `HTTP-message` of RFC 9112 2.1, where it is a request.
///
/// # Errors
/// When there is no whole one, or never will be.
pub fn read_request(bytes: &[u8], sizes: &Sizes) -> Read<Message> {
    let mut cursor = Cursor { bytes, at: 0 };
    // "SHOULD ignore at least one empty line (CRLF) received prior to the request-line."
    if cursor.peek()? == b'\r' {
        cursor.expect(b"\r\n", "CR without LF")?;
    }
    let (method, target, minor, fields) = sized(&mut cursor, sizes, request_head)?;
    let mut trailers = Vec::new();
    let body = match framing(minor, &fields)? {
        Framing::None => Vec::new(),
        Framing::Length(length) => cursor.take(length)?,
        Framing::Chunks => chunked(&mut cursor, &mut trailers)?,
    };
    let is_target_plain = is_target_plain(&method, &target);
    let is_persistent = is_persistent(minor, &fields);
    Ok(Message {
        method,
        target,
        minor,
        fields,
        is_persistent,
        body,
        trailers,
        length: cursor.at,
        is_target_plain,
    })
}

/// `HTTP-message` of RFC 9112 2.1, where it answers a request.
///
/// # Errors
/// When there is no whole one, or never will be.
pub fn read_answer(bytes: &[u8], sizes: &Sizes, is_to_head: bool) -> Read<Answer> {
    let mut cursor = Cursor { bytes, at: 0 };
    let (status, minor, is_line_plain, fields) = sized(&mut cursor, sizes, status_head)?;
    let mut trailers = Vec::new();
    let framing = framing(minor, &fields)?;
    // RFC 9112 6.3, rule 1.
    let is_bodyless = is_to_head || matches!(status, 100..200 | 204 | 304);
    let (body, ends) = match framing {
        _ if is_bodyless => (Vec::new(), true),
        Framing::Length(length) => (cursor.take(length)?, true),
        Framing::Chunks => (chunked(&mut cursor, &mut trailers)?, true),
        Framing::None => (cursor.take((bytes.len() - cursor.at) as u64)?, false),
    };
    let is_persistent = ends && is_persistent(minor, &fields);
    Ok(Answer {
        status,
        minor,
        fields,
        is_persistent,
        body,
        ends,
        trailers,
        length: cursor.at,
        is_line_plain,
    })
}

/// A head of no more bytes than it may have.
fn sized<T>(cursor: &mut Cursor<'_>, sizes: &Sizes, head: fn(&mut Cursor<'_>, &Sizes) -> Read<T>) -> Read<T> {
    let begin = cursor.at;
    match head(cursor, sizes) {
        Err(Stop::NeedMore) if cursor.bytes.len() - begin >= sizes.head => {
            Err(Stop::Refused("head too long"))
        }
        Ok(_) if cursor.at - begin > sizes.head => Err(Stop::Refused("head too long")),
        other => other,
    }
}

/// `status-line = HTTP-version SP status-code SP [ reason-phrase ]`
fn status_head(cursor: &mut Cursor<'_>, sizes: &Sizes) -> Read<(u16, u8, bool, Vec<Field>)> {
    let minor = version(cursor)?;
    cursor.expect(b" ", "status line")?;
    let mut status = 0;
    for _ in 0..3 {
        let digit = char::from(cursor.next()?).to_digit(10).ok_or(Stop::Refused("status"))?;
        status = status * 10 + digit as u16;
    }
    if status < 100 {
        return Err(Stop::Refused("status"));
    }
    // Servers leave the second blank out where there is no reason.
    let mut has_blank = false;
    let mut is_ascii = true;
    loop {
        match cursor.next()? {
            b'\r' => break,
            b' ' if !has_blank => has_blank = true,
            b'\t' | b' '..=b'~' if has_blank => {}
            0x80.. if has_blank => is_ascii = false,
            _ => return Err(Stop::Refused("status line")),
        }
    }
    cursor.expect(b"\n", "CR without LF")?;
    Ok((status, minor, has_blank && is_ascii && status < 600, field_lines(cursor, sizes.fields)?))
}

/// `HTTP-version`, of HTTP/1 only.
fn version(cursor: &mut Cursor<'_>) -> Read<u8> {
    cursor.expect(b"HTTP/1.", "version")?;
    match cursor.next()? {
        b'0' => Ok(0),
        b'1' => Ok(1),
        _ => Err(Stop::Refused("version")),
    }
}

/// Method, target, minor version, fields.
type Head = (Vec<u8>, Vec<u8>, u8, Vec<Field>);

fn request_head(cursor: &mut Cursor<'_>, sizes: &Sizes) -> Read<Head> {
    let mut method = Vec::new();
    loop {
        match cursor.next()? {
            b' ' if !method.is_empty() => break,
            byte if is_tchar(byte) && method.len() < METHOD_BYTES_MAX => method.push(byte),
            _ => return Err(Stop::Refused("method")),
        }
    }
    let mut target = Vec::new();
    loop {
        match cursor.next()? {
            b' ' if !target.is_empty() => break,
            // VCHAR; a fragment is never sent (RFC 9110 7.1).
            byte @ 0x21..=0x7e if byte != b'#' && target.len() < sizes.target => target.push(byte),
            _ => return Err(Stop::Refused("target")),
        }
    }
    let minor = version(cursor)?;
    cursor.expect(b"\r\n", "end of the request line")?;
    check_scheme(&target)?;
    Ok((method, target, minor, field_lines(cursor, sizes.fields)?))
}

/// `*( field-line CRLF ) CRLF`
fn field_lines(cursor: &mut Cursor<'_>, most: usize) -> Read<Vec<Field>> {
    let mut fields = Vec::new();
    while cursor.peek()? != b'\r' {
        if fields.len() == most {
            return Err(Stop::Refused("too many fields"));
        }
        fields.push(field_line(cursor)?);
    }
    cursor.expect(b"\r\n", "end of the head")?;
    Ok(fields)
}

/// `field-name ":" OWS field-value OWS`
fn field_line(cursor: &mut Cursor<'_>) -> Read<Field> {
    let mut name = String::new();
    loop {
        match cursor.next()? {
            b':' if !name.is_empty() => break,
            byte if is_tchar(byte) => name.push(char::from(byte.to_ascii_lowercase())),
            _ => return Err(Stop::Refused("field name")),
        }
    }
    // What CGI servers cannot tell from the true field.
    if ["content_length", "transfer_encoding"].contains(&name.as_str()) {
        return Err(Stop::Refused(DISGUISED));
    }
    let mut value = Vec::new();
    loop {
        match cursor.next()? {
            b'\r' => break,
            byte @ (b'\t' | b' '..=b'~' | 0x80..) => value.push(byte),
            _ => return Err(Stop::Refused("field value")),
        }
    }
    cursor.expect(b"\n", "CR without LF")?;
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    while value.last().is_some_and(is_blank) {
        value.pop();
    }
    let blanks = value.iter().take_while(|byte| is_blank(byte)).count();
    value.drain(..blanks);
    Ok((name, value))
}

/// How a message says where its body ends.
enum Framing {
    /// Not at all.
    None,
    Length(u64),
    Chunks,
}

/// RFC 9112 6.3. Two framings are refused, not ranked.
fn framing(minor: u8, fields: &[Field]) -> Read<Framing> {
    let all = |wanted: &str| -> Vec<&[u8]> {
        fields.iter().filter(|(name, _)| name == wanted).map(|(_, value)| &value[..]).collect()
    };
    let number = |length: &[u8]| -> Option<u64> {
        let text = std::str::from_utf8(length).ok()?;
        text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
    };
    match (&all("content-length")[..], &all("transfer-encoding")[..]) {
        ([], []) => Ok(Framing::None),
        ([length], []) => number(length).map(Framing::Length).ok_or(Stop::Refused("Content-Length")),
        ([], [coding]) if minor == 1 && coding.eq_ignore_ascii_case(b"chunked") => Ok(Framing::Chunks),
        ([first, others @ ..], [])
            if number(first).is_some() && others.iter().all(|other| number(other) == number(first)) =>
        {
            Err(Stop::Refused(REPEATED_LENGTH))
        }
        _ => Err(Stop::Refused("framing")),
    }
}

/// RFC 9112 7.1: `*chunk last-chunk trailer-section CRLF`
fn chunked(cursor: &mut Cursor<'_>, trailers: &mut Vec<Field>) -> Read<Vec<u8>> {
    let mut body = Vec::new();
    let mut extensions = 0;
    loop {
        let size = chunk_size(cursor, &mut extensions)?;
        if size == 0 {
            break;
        }
        body.extend(cursor.take(size)?);
        cursor.expect(b"\r\n", "end of the chunk")?;
    }
    let begin = cursor.at;
    *trailers = match field_lines(cursor, TRAILER_FIELDS_MAX) {
        Err(Stop::NeedMore) if cursor.bytes.len() - begin > TRAILER_BYTES_MAX => {
            Err(Stop::Refused("trailers"))
        }
        other => other,
    }?;
    // Without the last LF.
    if cursor.at - begin - 1 > TRAILER_BYTES_MAX {
        return Err(Stop::Refused("trailers"));
    }
    Ok(body)
}

/// `1*HEXDIG [ chunk-ext ] CRLF`, where extensions are not looked into.
fn chunk_size(cursor: &mut Cursor<'_>, extensions: &mut usize) -> Read<u64> {
    let mut size: u64 = 0;
    let mut digits = 0;
    while let Some(digit) = char::from(cursor.peek()?).to_digit(16) {
        cursor.next()?;
        digits += 1;
        size = size * 16 + u64::from(digit);
        if digits > SIZE_DIGITS_MAX {
            return Err(Stop::Refused("chunk size"));
        }
    }
    let mut extension = 0;
    loop {
        match cursor.next()? {
            _ if digits == 0 => return Err(Stop::Refused("chunk size")),
            b'\r' => break,
            b';' if extension == 0 => extension = 1,
            b'\t' | b' '..=b'~' | 0x80.. if extension > 0 => extension += 1,
            _ => return Err(Stop::Refused("chunk extension")),
        }
        if extension > EXTENSION_BYTES_MAX {
            return Err(Stop::Refused("chunk extension"));
        }
    }
    cursor.expect(b"\n", "CR without LF")?;
    *extensions += extension;
    if *extensions > EXTENSIONS_BYTES_MAX {
        return Err(Stop::Refused("chunk extensions"));
    }
    Ok(size)
}

/// RFC 9112 9.3.
fn is_persistent(minor: u8, fields: &[Field]) -> bool {
    let connection = fields.iter().filter(|(name, _)| name == "connection");
    let options: Vec<String> = connection
        .flat_map(|(_, value)| value.split(|byte| *byte == b','))
        .map(|option| String::from_utf8_lossy(option).trim_matches([' ', '\t']).to_ascii_lowercase())
        .collect();
    let has = |wanted: &str| options.iter().any(|option| option == wanted);
    !has("close") && (minor == 1 || has("keep-alive"))
}

/// A gateway serves `http` and `https` only.
fn check_scheme(target: &[u8]) -> Read<()> {
    let text = String::from_utf8_lossy(target).to_ascii_lowercase();
    match text.split_once("://") {
        Some((scheme, _))
            if !text.starts_with(['/', '*', '?']) && scheme.bytes().all(|b| b.is_ascii_alphanumeric()) =>
        {
            if ["http", "https"].contains(&scheme) { Ok(()) } else { Err(Stop::Refused("scheme")) }
        }
        _ => Ok(()),
    }
}

/// `origin-form`, `asterisk-form`, or `absolute-form` with a plain host (RFC 9112 3.2).
fn is_target_plain(method: &[u8], target: &[u8]) -> bool {
    let text = String::from_utf8_lossy(target);
    if method == b"CONNECT" {
        return false;
    }
    if text == "*" {
        return method == b"OPTIONS";
    }
    let path = match text.strip_prefix("http://").or(text.strip_prefix("https://")) {
        Some(rest) => {
            let host = rest.split('/').next().unwrap_or_default();
            let is_plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'.';
            if host.is_empty() || !host.bytes().all(is_plain) {
                return false;
            }
            &rest[host.len()..]
        }
        None => &text,
    };
    path.starts_with('/') && path.bytes().all(|byte| is_pchar(byte) || matches!(byte, b'/' | b'?' | b'%'))
}

/// RFC 9110 5.6.2.
fn is_tchar(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// RFC 3986 3.3, without `pct-encoded`.
fn is_pchar(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@".contains(&byte)
}
