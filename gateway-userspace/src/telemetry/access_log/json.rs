//! Pure: a JSON object that is written field by field, in one line that shows all that is in it.

use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, SystemTime};

use super::figures;

/// DEL, C1 controls, line separators, marks of direction and of no width: some readers end a line at
/// them, some act on them, and some do not show them.
const fn obeyed(character: char) -> bool {
    matches!(
        character,
        '\u{7f}'..='\u{9f}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
    )
}

/// Stands for itself in a string.
const fn is_plain(byte: u8) -> bool {
    matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\'
}

/// An object that is not closed yet.
pub(super) struct Object<'a> {
    out: &'a mut Vec<u8>,
    separator: u8,
}

impl<'a> Object<'a> {
    pub(super) fn begin(out: &'a mut Vec<u8>) -> Self {
        Self { out, separator: b'{' }
    }

    /// Keys are the gateway's own, of plain characters.
    fn key(&mut self, key: &'static str) {
        self.out.extend_from_slice(&[self.separator, b'"']);
        self.separator = b',';
        self.out.extend_from_slice(key.as_bytes());
        self.out.extend_from_slice(b"\":");
    }

    /// Bytes as the text that they are, if they are.
    pub(super) fn bytes(&mut self, key: &'static str, value: &[u8]) {
        self.key(key);
        if value.iter().all(|byte| is_plain(*byte)) {
            self.quoted(|out| out.extend_from_slice(value));
        } else {
            self.quoted(|out| put_escaped(out, &String::from_utf8_lossy(value)));
        }
    }

    pub(super) fn text(&mut self, key: &'static str, value: &str) {
        self.bytes(key, value.as_bytes());
    }

    pub(super) fn optional(&mut self, key: &'static str, value: Option<&str>) {
        if let Some(value) = value {
            self.text(key, value);
        }
    }

    pub(super) fn nonempty(&mut self, key: &'static str, value: &[u8]) {
        if !value.is_empty() {
            self.bytes(key, value);
        }
    }

    fn quoted(&mut self, put: impl FnOnce(&mut Vec<u8>)) {
        self.out.push(b'"');
        put(self.out);
        self.out.push(b'"');
    }

    pub(super) fn time(&mut self, key: &'static str, time: SystemTime) {
        self.key(key);
        self.quoted(|out| figures::put_timestamp(out, time));
    }

    pub(super) fn ip(&mut self, key: &'static str, address: IpAddr) {
        self.key(key);
        self.quoted(|out| figures::put_ip(out, address));
    }

    pub(super) fn socket(&mut self, key: &'static str, address: SocketAddr) {
        self.key(key);
        self.quoted(|out| figures::put_socket(out, address));
    }

    pub(super) fn hex(&mut self, key: &'static str, bytes: &[u8]) {
        self.key(key);
        self.quoted(|out| figures::put_hex(out, bytes));
    }

    pub(super) fn integer(&mut self, key: &'static str, value: impl itoa::Integer) {
        self.key(key);
        figures::put_integer(self.out, value);
    }

    pub(super) fn millis(&mut self, key: &'static str, duration: Duration) {
        self.key(key);
        figures::put_millis(self.out, duration);
    }

    pub(super) fn end(self) {
        self.out.push(b'}');
    }
}

/// JSON need not escape all of these, and a terminal that shows the line obeys them.
fn put_escaped(out: &mut Vec<u8>, text: &str) {
    for character in text.chars() {
        // Writing to a vector cannot fail.
        let _ = match character {
            '"' | '\\' => write!(out, "\\{character}"),
            _ if character.is_ascii_control() || obeyed(character) => {
                write!(out, "\\u{:04x}", u32::from(character))
            }
            _ => write!(out, "{character}"),
        };
    }
}
