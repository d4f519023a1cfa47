//! Bytes that are no request, and clients that never send one.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;

use crate::fixture::{LONGEST, Replica, Site};

/// Bytes that are no HTTP/1 request: a TLS hello, binary, text, a bad version, a forbidden head.
const GARBAGE: [&[u8]; 8] = [
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03garbage",
    b"\x00\x00\x00\x00\xff\xff\xff\xff\r\n\r\n",
    b"this is no request at all\r\n\r\n",
    b"GET / HTTP/9.9\r\nHost: shop.test\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: shop.test\r\nbad header\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
    b"POST / HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST /echo HTTP/1.1\r\nHost: shop.test\r\nTransfer-Encoding: gzip\r\n\r\nZZ\r\n",
];

/// Whether bytes were refused: no answer at all, or one with a status of 400 to 499, or 501 or 505.
fn is_refusal(answer: &[u8]) -> bool {
    let status = answer.strip_prefix(b"HTTP/1.1 ").or(answer.strip_prefix(b"HTTP/1.0 "));
    let refuses = |status: &[u8]| [&b"4"[..], b"501", b"505"].iter().any(|code| status.starts_with(code));
    answer.is_empty() || status.is_some_and(refuses)
}

/// Everything that comes back. A reset is as good an end as any.
fn rest(mut stream: impl Read) -> Vec<u8> {
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(length @ 1..) = stream.read(&mut buffer) {
        answer.extend_from_slice(&buffer[..length]);
    }
    answer
}

#[test]
fn garbage_on_a_gateway_port_is_answered_400_or_closed_and_serving_goes_on() {
    let one = Replica::start("one");
    let site = Site::with_shop(&[&one]);
    let weir = site.start();
    for garbage in GARBAGE {
        let mut stream = site.connect();
        stream.write_all(garbage).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let answer = rest(stream);
        let shown = (String::from_utf8_lossy(garbage), String::from_utf8_lossy(&answer));
        assert!(is_refusal(&answer), "{shown:?}");
        assert_eq!(site.get("/").status(), 200);
    }
    let mut stream = site.connect();
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff\xff\xff\xff\xff").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    rest(stream);
    assert_eq!(site.get("/").status(), 200);
    assert_eq!(weir.get("/livez").unwrap().0, 200);
}

#[test]
fn random_bytes_on_a_gateway_port_never_stop_it() {
    let one = Replica::start("one");
    let site = Site::with_shop(&[&one]);
    let _weir = site.start();
    for length in [1, 7, 64, 1000, 100_000] {
        let mut bytes = vec![0; length];
        fastrand::Rng::with_seed(length as u64).fill(&mut bytes);
        let mut stream = site.connect();
        // It may close before it has read all of it.
        let _ = stream.write_all(&bytes).and_then(|()| stream.shutdown(Shutdown::Write));
        assert!(is_refusal(&rest(stream)), "{length} bytes");
    }
    assert_eq!(site.get("/").status(), 200);
}

#[test]
fn garbage_on_the_admin_socket_is_answered_400_or_closed_and_it_goes_on_answering() {
    let site = Site::with_shop(&[]);
    let weir = site.start();
    for garbage in GARBAGE.iter().take(5) {
        let mut stream = UnixStream::connect(&weir.options().admin_socket).unwrap();
        stream.set_read_timeout(Some(LONGEST)).unwrap();
        stream.write_all(garbage).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let answer = rest(stream);
        assert!(is_refusal(&answer), "{}", String::from_utf8_lossy(&answer));
        assert_eq!(weir.get("/livez").unwrap().0, 200);
    }
}

#[test]
fn idle_connections_and_half_request_heads_keep_nobody_else_waiting() {
    let one = Replica::start("one");
    let site = Site::with_shop(&[&one]);
    let weir = site.start();
    let idle: Vec<TcpStream> = (0..200).map(|_| site.connect()).collect();
    let halves: Vec<TcpStream> = (0..50)
        .map(|_| {
            let mut stream = site.connect();
            stream.write_all(b"GET / HTTP/1.1\r\nHost: sh").unwrap();
            stream
        })
        .collect();
    for _ in 0..20 {
        assert_eq!(site.get("/").status(), 200);
    }
    drop((idle, halves));
    assert_eq!(site.get("/").status(), 200);
    assert_eq!(weir.get("/livez").unwrap().0, 200);
}

#[test]
fn a_request_head_over_its_limit_is_refused() {
    let one = Replica::start("one");
    let site = Site::with_shop(&[&one]);
    let _weir = site.start();
    let large = format!("x-large: {}\r\n", "a".repeat(200_000));
    let mut stream = site.connect();
    let request = format!("GET / HTTP/1.1\r\nHost: shop.test\r\n{large}\r\n");
    // It may close before it has read all of it.
    let _ = stream.write_all(request.as_bytes());
    assert!(is_refusal(&rest(stream)));
    assert_eq!(site.get("/").status(), 200);
}
