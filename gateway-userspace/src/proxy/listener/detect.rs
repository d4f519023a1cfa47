//! Pure: what a client that speaks first is speaking, from its first bytes.

/// What the bytes so far say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detected {
    /// Could still be more than one thing; `DETECT_BYTES_MAX` bytes always decide.
    NeedMore,
    /// A request line has begun.
    Http1,
    /// The whole client connection preface of HTTP/2 (RFC 9113 3.4).
    Http2Preface,
    /// A TLS handshake record.
    Tls,
    /// A request line gone wrong, or nothing that could be one.
    Invalid,
    /// Words of some other protocol, an HTTP/2 preface gone wrong for one: an answer in HTTP/1 would be no
    /// answer there (RFC 9113 3.4).
    Foreign,
}

/// No more bytes than these are ever needed.
pub const DETECT_BYTES_MAX: usize = 36;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// What no HTTP/1 request begins with: `PRI` is reserved for the preface (RFC 9113 11.6).
const PREFACE_METHOD: &[u8] = b"PRI ";
/// Longer methods are no method that anyone registered.
const METHOD_BYTES_MAX: usize = 32;
/// After these anything is taken for a request, so that its client is told what is wrong with it.
const METHODS: [&[u8]; 9] =
    [b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"PATCH", b"CONNECT", b"TRACE"];
const TLS_HANDSHAKE: u8 = 22;
const TLS_MAJOR: u8 = 3;

/// Decides on the first bytes of a connection, all of them given each time.
pub fn detect(bytes: &[u8]) -> Detected {
    let common = bytes.iter().zip(PREFACE).take_while(|(a, b)| a == b).count();
    if common == PREFACE.len() {
        return Detected::Http2Preface;
    }
    if common == bytes.len() {
        return Detected::NeedMore;
    }
    if common >= PREFACE_METHOD.len() {
        return Detected::Invalid;
    }
    match bytes {
        [TLS_HANDSHAKE] => Detected::NeedMore,
        [TLS_HANDSHAKE, TLS_MAJOR, ..] => Detected::Tls,
        _ => detect_http1(bytes),
    }
}

/// A method and a space, and after a method that is not well known what a target can begin with: a
/// slash, `*`, or the `h` of `http:`. One empty line may come first (RFC 9112 2.2).
fn detect_http1(bytes: &[u8]) -> Detected {
    let line = match bytes {
        [b'\r'] | [b'\r', b'\n'] => return Detected::NeedMore,
        [b'\r', b'\n', line @ ..] => line,
        _ => bytes,
    };
    let method = line.iter().take_while(|b| is_token(**b)).count();
    match line.get(method) {
        Some(b' ') if METHODS.contains(&&line[..method]) => Detected::Http1,
        Some(b' ') if (1..=METHOD_BYTES_MAX).contains(&method) => match line.get(method + 1) {
            None => Detected::NeedMore,
            Some(b'/' | b'*' | b'h' | b'H') => Detected::Http1,
            Some(_) => Detected::Foreign,
        },
        None if method <= METHOD_BYTES_MAX => Detected::NeedMore,
        _ => Detected::Invalid,
    }
}

/// RFC 9110 5.6.2.
const fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const WHOLE: [(&[u8], Detected); 19] = [
        (b"GET / HTTP/1.1\r\n", Detected::Http1),
        (b"\r\nGET / HTTP/1.1\r\n", Detected::Http1),
        (b"P /", Detected::Http1),
        (b"MKCOL http://a/", Detected::Http1),
        (b"REPORT *", Detected::Http1),
        (b"GET a", Detected::Http1),
        (b"GET  /", Detected::Http1),
        (b"INVALID CONNECTION PREFACE\r\n\r\n", Detected::Foreign),
        (b"PRINT /", Detected::Http1),
        (b"PROPFIND /x HTTP/1.1\r\n", Detected::Http1),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0", Detected::Http2Preface),
        (b"PRI * HTTP/1.1\r\n", Detected::Invalid),
        (b"PRI / HTTP/1.1\r\n", Detected::Invalid),
        (b"\x16\x03\x01\x02\0", Detected::Tls),
        (b"\x16\x02\x01", Detected::Invalid),
        (b" GET /", Detected::Invalid),
        (b"\r\n\r\nGET /", Detected::Invalid),
        (b"\0\0\0\x04", Detected::Invalid),
        (b"THISMETHODISFARTOOLONGTOBEAREALMETHOD /", Detected::Invalid),
    ];

    #[test]
    fn each_opening_is_told_apart() {
        for (bytes, wanted) in WHOLE {
            assert_eq!(detect(bytes), wanted, "{:?}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn at_every_split_the_answer_is_the_same_or_wait() {
        for (bytes, wanted) in WHOLE {
            let mut decided = false;
            for end in 0..=bytes.len() {
                match detect(&bytes[..end]) {
                    Detected::NeedMore => assert!(!decided, "took back an answer at {end} of {bytes:?}"),
                    answer => {
                        assert_eq!(answer, wanted, "at {end} of {bytes:?}");
                        decided = true;
                    }
                }
            }
            assert!(decided);
        }
    }

    proptest! {
        #[test]
        fn enough_bytes_always_decide_and_an_answer_stays(
            bytes in prop::collection::vec(any::<u8>(), DETECT_BYTES_MAX..64),
        ) {
            let answer = detect(&bytes);
            prop_assert_ne!(answer, Detected::NeedMore);
            for end in 0..bytes.len() {
                let early = detect(&bytes[..end]);
                prop_assert!(early == Detected::NeedMore || early == answer);
            }
        }

        #[test]
        fn letters_alone_are_never_waited_for_without_end(text in "\r?\n?[A-Z]{35,60}") {
            prop_assert_ne!(detect(text.as_bytes()), Detected::NeedMore);
        }
    }
}
