//! Many keep-alive connections that have had one answer each and then wait.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, ensure};

/// Longest wait for one answer.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// Opens them one after the other; an error when one is not answered 200.
pub fn open(
    address: SocketAddr,
    target: &str,
    host: &str,
    connections: usize,
) -> anyhow::Result<Vec<TcpStream>> {
    let request = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: bench\r\n\r\n");
    let mut buffer = vec![0; 16 << 10];
    let mut opened = Vec::with_capacity(connections);
    for number in 0..connections {
        let mut stream = TcpStream::connect(address).with_context(|| format!("connection {number}"))?;
        stream.set_read_timeout(Some(ANSWER_MAX))?;
        stream.write_all(request.as_bytes())?;
        let mut answer = Vec::new();
        while !is_whole(&answer) {
            let read = stream.read(&mut buffer).with_context(|| format!("connection {number}"))?;
            ensure!(read > 0, "connection {number} was closed");
            answer.extend_from_slice(&buffer[..read]);
        }
        ensure!(answer.starts_with(b"HTTP/1.1 200"), "connection {number} was not answered 200");
        opened.push(stream);
    }
    Ok(opened)
}

/// The backend's body is 1,024 bytes.
fn is_whole(answer: &[u8]) -> bool {
    memchr::memmem::find(answer, b"\r\n\r\n").is_some_and(|head| answer.len() >= head + 4 + 1024)
}
