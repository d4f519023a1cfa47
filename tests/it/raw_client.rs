//! A client that sends bytes as they are and tells a closed connection from one that is left open.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use gateway_tests::message::{self, Message, Reading};

/// What must happen on a connection happens sooner.
const PATIENCE: Duration = Duration::from_secs(10);

/// A connection and what came back over it.
pub(crate) struct RawClient {
    stream: TcpStream,
    /// Not yet taken as a response.
    pub(crate) bytes: Vec<u8>,
    /// It answers HEAD.
    pub(crate) to_head: bool,
    deadline: Instant,
}

/// What a read has brought.
enum Read1 {
    Bytes,
    End,
    /// Nothing, for too long.
    Silence,
}

impl RawClient {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Self { stream, bytes: Vec::new(), to_head: false, deadline: Instant::now() + PATIENCE }
    }

    /// The gateway may have closed before it has read all of it.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// Says that nothing more is sent.
    pub(crate) fn finish(&self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    fn read(&mut self) -> Read1 {
        self.read_until(self.deadline)
    }

    fn read_until(&mut self, deadline: Instant) -> Read1 {
        let mut buffer = [0; 16 * 1024];
        loop {
            let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            self.stream.set_read_timeout(Some(left)).unwrap();
            match self.stream.read(&mut buffer) {
                Ok(0) => return Read1::End,
                Ok(length) => {
                    self.bytes.extend_from_slice(&buffer[..length]);
                    return Read1::Bytes;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    return Read1::Silence;
                }
                // A reset is as good an end as any.
                Err(_) => return Read1::End,
            }
        }
    }

    /// The next response, interim ones passed over; `None` when the connection ends before.
    pub(crate) fn response(&mut self) -> Option<Message> {
        let mut has_ended = false;
        loop {
            match message::response(&self.bytes, self.to_head, has_ended) {
                Reading::Whole(message, length) => {
                    self.bytes.drain(..length);
                    if message.status() >= 200 || message.status() == 101 {
                        return Some(message);
                    }
                }
                Reading::Partial if !has_ended => match self.read() {
                    Read1::Bytes => {}
                    Read1::End => has_ended = true,
                    Read1::Silence => return None,
                },
                Reading::Partial | Reading::Malformed(_) => return None,
            }
        }
    }

    /// Reads for a while: whether the connection has ended by then.
    pub(crate) fn ends_within(&mut self, time: Duration) -> bool {
        let deadline = Instant::now() + time;
        loop {
            match self.read_until(deadline) {
                Read1::Bytes => {}
                Read1::End => return true,
                Read1::Silence => return false,
            }
        }
    }

    /// Reads to the end of the connection. False when it is left open.
    pub(crate) fn ends(&mut self) -> bool {
        loop {
            match self.read() {
                Read1::Bytes => {}
                Read1::End => return true,
                Read1::Silence => return false,
            }
        }
    }
}
