//! Pure: the one normal form of a request path, used to match, log and send upstream.
//!
//! RFC 3986 6.2.2: dot segments removed, unreserved characters decoded, escapes in upper case; and
//! runs of slashes are one slash. What servers are known to read in different ways is refused, not
//! guessed: encoded slashes, backslashes, controls, non-ASCII bytes, and parameters on dot segments.

use std::borrow::Cow;

use http::uri::PathAndQuery;

/// Why a path has no normal form. The request is answered 400.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// Neither origin form nor anything that has a path.
    #[error("the path does not begin with a slash")]
    NotAbsolute,
    /// `%` without two hexadecimal digits.
    #[error("the path has an incomplete percent escape")]
    BadEscape,
    /// `%2F` or `%5C`: some servers split there and some do not.
    #[error("the path has an encoded slash or backslash")]
    EncodedSlash,
    /// Controls (`%00` too), blanks, backslash, `#`, `?` or bytes outside of ASCII.
    #[error("the path has a character that must not stand in a path")]
    BadCharacter,
    /// `..;x`: some servers drop the parameter and then see a dot segment.
    #[error("the path has a parameter on a dot segment")]
    DotParameter,
}

/// The normal form of `path` (no query). Borrows when it already is in it.
pub fn normalize(path: &str) -> Result<Cow<'_, str>, PathError> {
    if !path.starts_with('/') {
        return Err(PathError::NotAbsolute);
    }
    if is_normal(path.as_bytes()) {
        return Ok(Cow::Borrowed(path));
    }
    let decoded = decode(path.as_bytes())?;
    remove_dot_segments(&decoded).map(Cow::Owned)
}

/// The normal form of a request target, query untouched. `None` when it already is in it.
pub fn normalize_target(target: &PathAndQuery) -> Result<Option<PathAndQuery>, PathError> {
    let Cow::Owned(mut path) = normalize(target.path())? else {
        return Ok(None);
    };
    if let Some(query) = target.query() {
        path.push('?');
        path.push_str(query);
    }
    PathAndQuery::try_from(path).map(Some).map_err(|_| PathError::BadCharacter)
}

/// True for what `normalize` would give back as it is.
fn is_normal(path: &[u8]) -> bool {
    let mut segments = path.split(|byte| *byte == b'/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        if (segment.is_empty() && segments.peek().is_some()) || !is_normal_segment(segment) {
            return false;
        }
    }
    true
}

fn is_normal_segment(segment: &[u8]) -> bool {
    if segment.first() == Some(&b'.') && (matches!(segment, b"." | b"..") || has_dot_parameter(segment)) {
        return false;
    }
    let mut rest = segment;
    loop {
        rest = match rest {
            [] => return true,
            [b'%', high, low, rest @ ..] if is_kept_escape(*high, *low) => rest,
            [byte, rest @ ..] if *byte != b'%' && is_allowed(*byte) => rest,
            _ => return false,
        }
    }
}

/// An escape in the one spelling that the normal form keeps.
const fn is_kept_escape(high: u8, low: u8) -> bool {
    if high.is_ascii_lowercase() || low.is_ascii_lowercase() {
        return false;
    }
    match (hex_value(high), hex_value(low)) {
        (Some(high), Some(low)) => matches!(judge(high * 16 + low), Escape::Keep),
        _ => false,
    }
}

/// What becomes of an escaped byte.
enum Escape {
    Decode,
    Keep,
    Refuse(PathError),
}

const fn judge(byte: u8) -> Escape {
    match byte {
        b'/' | b'\\' => Escape::Refuse(PathError::EncodedSlash),
        0..0x20 | 0x7f => Escape::Refuse(PathError::BadCharacter),
        _ if is_unreserved(byte) => Escape::Decode,
        _ => Escape::Keep,
    }
}

/// Bytes that may stand in a path as they are. Wider than RFC 3986 `pchar`: clients send `{`, `|`
/// and `"`, and every server reads them alike.
const fn is_allowed(byte: u8) -> bool {
    byte > b' ' && byte < 0x7f && !matches!(byte, b'\\' | b'#' | b'?')
}

const fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// Decodes what means the same decoded; brings other escapes to upper case. ASCII in, ASCII out.
fn decode(path: &[u8]) -> Result<String, PathError> {
    let mut out = String::with_capacity(path.len());
    let mut bytes = path.iter().copied();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            if !is_allowed(byte) {
                return Err(PathError::BadCharacter);
            }
            out.push(char::from(byte));
            continue;
        }
        let (Some(high), Some(low)) = (bytes.next().and_then(hex_value), bytes.next().and_then(hex_value))
        else {
            return Err(PathError::BadEscape);
        };
        match judge(high * 16 + low) {
            Escape::Refuse(error) => return Err(error),
            Escape::Decode => out.push(char::from(high * 16 + low)),
            Escape::Keep => out.extend(['%', hex_digit(high), hex_digit(low)]),
        }
    }
    Ok(out)
}

const fn hex_value(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

const fn hex_digit(value: u8) -> char {
    (if value < 10 { b'0' + value } else { b'A' + value - 10 }) as char
}

/// RFC 3986 5.2.4 over segments, empty ones dropped first, so that `/a//../b` is `/b`.
fn remove_dot_segments(path: &str) -> Result<String, PathError> {
    let mut out = String::with_capacity(path.len());
    let mut ends_in_directory = false;
    for segment in path.split('/') {
        ends_in_directory = matches!(segment, "" | "." | "..");
        match segment {
            "" | "." => {}
            ".." => out.truncate(out.rfind('/').unwrap_or(0)),
            _ if has_dot_parameter(segment.as_bytes()) => return Err(PathError::DotParameter),
            _ => {
                out.push('/');
                out.push_str(segment);
            }
        }
    }
    if ends_in_directory {
        out.push('/');
    }
    Ok(out)
}

fn has_dot_parameter(segment: &[u8]) -> bool {
    [&b"."[..], b".."].iter().any(|dots| {
        segment.strip_prefix(*dots).is_some_and(|rest| rest.starts_with(b";") || rest.starts_with(b"%3B"))
    })
}

#[cfg(test)]
mod tests;
