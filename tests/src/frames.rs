//! An HTTP/2 client that sends frames as it is told to, right ones and wrong ones.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use socket2::{Domain, Socket, Type};

/// Frame types of RFC 9113 6.
pub mod kind {
    /// A piece of a body.
    pub const DATA: u8 = 0;
    /// A header block.
    pub const HEADERS: u8 = 1;
    /// Advice that nobody takes.
    pub const PRIORITY: u8 = 2;
    /// The end of a stream.
    pub const RST_STREAM: u8 = 3;
    /// Settings.
    pub const SETTINGS: u8 = 4;
    /// PING.
    pub const PING: u8 = 6;
    /// The end of the connection.
    pub const GOAWAY: u8 = 7;
    /// Room for more.
    pub const WINDOW_UPDATE: u8 = 8;
    /// More of a header block.
    pub const CONTINUATION: u8 = 9;
    /// None that anyone knows.
    pub const UNKNOWN: u8 = 0x42;
}

/// Flags of RFC 9113 6.
pub mod flag {
    /// SETTINGS and PING: an answer.
    pub const ACK: u8 = 1;
    /// DATA and HEADERS: the last of the stream.
    pub const END_STREAM: u8 = 1;
    /// HEADERS and CONTINUATION: the last of the block.
    pub const END_HEADERS: u8 = 4;
}

/// What opens a connection, before the first frame.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A header block of literals that are never indexed (RFC 7541 6.2.3).
pub fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0x10);
        for text in [name, value] {
            length(&mut block, text.len());
            block.extend(text.as_bytes());
        }
    }
    block
}

/// An integer with a prefix of seven bits (RFC 7541 5.1).
fn length(block: &mut Vec<u8>, mut length: usize) {
    if let Ok(short @ 0..0x7f) = u8::try_from(length) {
        return block.push(short);
    }
    block.push(0x7f);
    length -= 0x7f;
    while length >= 0x80 {
        block.push((length % 0x80) as u8 | 0x80);
        length /= 0x80;
    }
    block.push(length as u8);
}

/// The pseudo-header fields of a request.
pub fn request_fields<'a>(method: &'a str, path: &'a str) -> [(&'a str, &'a str); 4] {
    [(":method", method), (":scheme", "http"), (":authority", "shop.test"), (":path", path)]
}

/// HEADERS of a whole GET.
pub fn get(stream: u32, path: &str) -> Vec<u8> {
    let flags = flag::END_HEADERS | flag::END_STREAM;
    frame(kind::HEADERS, flags, stream, &block(&request_fields("GET", path)))
}

/// HEADERS of a POST whose body follows.
pub fn post(stream: u32, path: &str) -> Vec<u8> {
    frame(kind::HEADERS, flag::END_HEADERS, stream, &block(&request_fields("POST", path)))
}

/// What the gateway has sent.
#[derive(Debug, Default, Clone)]
pub struct Seen {
    /// Code and debug data of the last GOAWAY.
    pub goaway: Option<(u32, String)>,
    /// Streams that were reset, and the code of each.
    pub resets: Vec<(u32, u32)>,
    /// Streams whose answer has begun, and the first byte of its header block: it tells the status.
    pub answers: Vec<(u32, u8)>,
    /// Streams that have ended as they should.
    pub ended: Vec<u32>,
    /// Bytes of bodies.
    pub data: usize,
    /// PINGs that were answered.
    pub pongs: usize,
    /// PINGs of the gateway.
    pub pings: usize,
    /// The connection has ended.
    pub closed: bool,
}

impl Seen {
    fn take(&mut self, head: [u8; 9], payload: &[u8]) {
        let word = |bytes: &[u8]| bytes.iter().take(4).fold(0_u32, |word, byte| word << 8 | u32::from(*byte));
        let (flags, stream) = (head[4], word(&head[5..]) & 0x7fff_ffff);
        match head[3] {
            kind::DATA => self.data += payload.len(),
            kind::HEADERS => self.answers.push((stream, payload.first().copied().unwrap_or(0))),
            kind::RST_STREAM => self.resets.push((stream, word(payload))),
            kind::PING if flags & flag::ACK != 0 => self.pongs += 1,
            kind::PING => self.pings += 1,
            kind::GOAWAY => {
                let debug = String::from_utf8_lossy(payload.get(8..).unwrap_or_default()).into_owned();
                self.goaway = Some((word(payload.get(4..).unwrap_or_default()), debug));
            }
            _ => {}
        }
        if matches!(head[3], kind::DATA | kind::HEADERS) && flags & flag::END_STREAM != 0 {
            self.ended.push(stream);
        }
    }
}

/// A connection whose incoming frames are read by a thread of its own.
pub struct Client {
    stream: TcpStream,
    seen: Arc<(Mutex<Seen>, Condvar)>,
}

impl Client {
    /// Connects, and says the preface and empty settings.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn connect(address: SocketAddr) -> io::Result<Self> {
        let mut client = Self::connect_silent(address)?;
        client.send(PREFACE)?;
        client.send(&frame(kind::SETTINGS, 0, 0, &[]))?;
        Ok(client)
    }

    /// The same from an address of this machine: the gateway takes it for another client.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn connect_as(source: Ipv4Addr, address: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.bind(&SocketAddr::from((source, 0)).into())?;
        socket.connect(&address.into())?;
        let mut client = Self::of(socket.into())?;
        client.send(PREFACE)?;
        client.send(&frame(kind::SETTINGS, 0, 0, &[]))?;
        Ok(client)
    }

    /// Connects and says nothing.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn connect_silent(address: SocketAddr) -> io::Result<Self> {
        Self::of(TcpStream::connect(address)?)
    }

    fn of(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        let seen = Arc::<(Mutex<Seen>, Condvar)>::default();
        let (reading, told) = (stream.try_clone()?, Arc::clone(&seen));
        std::thread::spawn(move || read(reading, &told));
        Ok(Self { stream, seen })
    }

    /// Sends bytes.
    ///
    /// # Errors
    /// When the connection has ended.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// What has come so far.
    pub fn seen(&self) -> Seen {
        lock(&self.seen.0).clone()
    }

    /// Waits until what has come is as wanted.
    ///
    /// # Errors
    /// When that is not so in time: what has come instead.
    pub fn wait(&self, what: &str, longest: Duration, is_it: impl Fn(&Seen) -> bool) -> Result<Seen> {
        let deadline = Instant::now() + longest;
        let mut seen = lock(&self.seen.0);
        while !is_it(&seen) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                bail!("waited in vain for {what}: {:?}", *seen);
            }
            seen = self.seen.1.wait_timeout(seen, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        Ok(seen.clone())
    }

    /// Sends frame after frame until it is told to go, or to the last. Gives the number of frames that were
    /// given to the kernel.
    pub fn flood(&mut self, frames: impl Iterator<Item = Vec<u8>>) -> usize {
        let mut count = 0;
        for frame in frames {
            let is_over = {
                let seen = lock(&self.seen.0);
                seen.closed || seen.goaway.is_some()
            };
            if is_over || self.send(&frame).is_err() {
                break;
            }
            count += 1;
        }
        count
    }

    /// A PING, answered: all that was sent before it was read and borne.
    ///
    /// # Errors
    /// When there is no answer, or the connection has ended.
    pub fn ping(&mut self, longest: Duration) -> Result<Seen> {
        let before = self.seen().pongs;
        self.send(&frame(kind::PING, 0, 0, b"are-you?")).context("the connection has ended")?;
        let seen = self.wait("a PING's answer", longest, |seen| seen.closed || seen.pongs > before)?;
        if seen.pongs > before { Ok(seen) } else { bail!("the connection has ended: {seen:?}") }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // The reader ends with it.
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

fn read(mut stream: TcpStream, seen: &(Mutex<Seen>, Condvar)) {
    let mut next = || -> io::Result<()> {
        let mut head = [0; 9];
        stream.read_exact(&mut head)?;
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        let mut payload = vec![0; length];
        stream.read_exact(&mut payload)?;
        lock(&seen.0).take(head, &payload);
        seen.1.notify_all();
        Ok(())
    };
    while next().is_ok() {}
    // As clients do: who is told to go goes.
    let _ = stream.shutdown(Shutdown::Both);
    lock(&seen.0).closed = true;
    seen.1.notify_all();
}
