//! The backend: answers HTTP/1.1 from one epoll loop at next to no cost, so that a measurement is one of the proxy.
//!
//! `?bytes=N` in the target asks for a body of N bytes instead of 1,024. Each answer says the backend's name.

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::rc::Rc;

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

/// Body of an answer when the request does not say otherwise, bytes.
const BODY_BYTES: usize = 1024;
/// Most that a request can ask for, bytes.
const BODY_BYTES_MAX: usize = 64 << 20;
/// Longest request head, bytes.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// The listener's mark in the events; connections count from 0.
const LISTENER: u64 = u64::MAX;

/// Whether a connection goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Open,
    Closed,
}

#[derive(Debug)]
struct Connection {
    stream: TcpStream,
    /// What was read of a request that is not complete.
    input: Vec<u8>,
    /// Bytes of a request body that are still to come.
    skip: usize,
    /// Answers that the socket had no room for: the first from this offset.
    output: Vec<Rc<[u8]>>,
    sent: usize,
    /// Whether it is told of room in the socket.
    wants_room: bool,
}

/// Listens with this option set that lets several processes, or the next one, have the port.
pub fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(4096)?;
    Ok(socket.into())
}

/// Serves for ever.
pub fn serve(listener: &TcpListener, name: &str) -> anyhow::Result<()> {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    epoll.add(listener, EpollEvent::new(EpollFlags::EPOLLIN, LISTENER))?;
    let mut answers = Answers { name: name.to_owned(), rendered: HashMap::new() };
    let mut connections: Vec<Option<Connection>> = Vec::new();
    let mut free = Vec::new();
    let mut events = vec![EpollEvent::empty(); 512];
    let mut buffer = vec![0; 64 << 10];
    loop {
        let ready = match epoll.wait(&mut events, EpollTimeout::NONE) {
            Err(nix::errno::Errno::EINTR) => 0,
            ready => ready?,
        };
        for event in &events[..ready] {
            if event.data() == LISTENER {
                accept(listener, &epoll, &mut connections, &mut free)?;
                continue;
            }
            let index = usize::try_from(event.data())?;
            let Some(connection) = &mut connections[index] else { continue };
            let fate = connection.turn(event.events(), &mut buffer, &mut answers);
            if fate == Fate::Open && connection.rearm(&epoll, event.data()).is_ok() {
                continue;
            }
            connections[index] = None;
            free.push(index);
        }
    }
}

fn accept(
    listener: &TcpListener,
    epoll: &Epoll,
    connections: &mut Vec<Option<Connection>>,
    free: &mut Vec<usize>,
) -> anyhow::Result<()> {
    loop {
        let stream = match listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            // The peer was gone before it was accepted.
            Err(error) if error.kind() == ErrorKind::ConnectionAborted => continue,
            Err(error) => return Err(error.into()),
        };
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        let index = free.pop().unwrap_or(connections.len());
        if index == connections.len() {
            connections.push(None);
        }
        epoll.add(stream.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, index as u64))?;
        connections[index] = Some(Connection {
            stream,
            input: Vec::new(),
            skip: 0,
            output: Vec::new(),
            sent: 0,
            wants_room: false,
        });
    }
}

impl Connection {
    fn turn(&mut self, flags: EpollFlags, buffer: &mut [u8], answers: &mut Answers) -> Fate {
        if flags.contains(EpollFlags::EPOLLOUT) && self.flush() == Fate::Closed {
            return Fate::Closed;
        }
        if !flags.intersects(EpollFlags::EPOLLIN | EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR) {
            return Fate::Open;
        }
        match self.stream.read(buffer) {
            Ok(0) => Fate::Closed,
            Ok(read) => self.take(&buffer[..read], answers),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Fate::Open,
            Err(_) => Fate::Closed,
        }
    }

    fn take(&mut self, bytes: &[u8], answers: &mut Answers) -> Fate {
        if self.input.is_empty() {
            let used = self.answer_all(bytes, answers);
            let Some(used) = used else { return Fate::Closed };
            self.input.extend_from_slice(&bytes[used..]);
        } else {
            let mut input = std::mem::take(&mut self.input);
            input.extend_from_slice(bytes);
            let Some(used) = self.answer_all(&input, answers) else { return Fate::Closed };
            input.drain(..used);
            self.input = input;
        }
        if self.input.len() > HEAD_BYTES_MAX { Fate::Closed } else { self.flush() }
    }

    /// Answers every whole request; how many bytes they were. `None` for what is not HTTP.
    fn answer_all(&mut self, bytes: &[u8], answers: &mut Answers) -> Option<usize> {
        let mut used = self.skip.min(bytes.len());
        self.skip -= used;
        while let Some(end) = memchr::memmem::find(&bytes[used..], b"\r\n\r\n") {
            let head = &bytes[used..used + end + 2];
            used += end + 4;
            self.output.push(answers.get(asked_bytes(head)?));
            let body = content_length(head);
            let here = body.min(bytes.len() - used);
            used += here;
            self.skip = body - here;
        }
        Some(used)
    }

    fn flush(&mut self) -> Fate {
        while let Some(answer) = self.output.first() {
            match self.stream.write(&answer[self.sent..]) {
                Ok(written) => self.sent += written,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Fate::Open,
                Err(_) => return Fate::Closed,
            }
            if self.sent == answer.len() {
                self.output.remove(0);
                self.sent = 0;
            }
        }
        Fate::Open
    }

    /// Asks for room in the socket only while something waits for it.
    fn rearm(&mut self, epoll: &Epoll, mark: u64) -> nix::Result<()> {
        if self.wants_room != self.output.is_empty() {
            return Ok(());
        }
        self.wants_room = !self.output.is_empty();
        let mut flags = EpollFlags::EPOLLIN;
        flags.set(EpollFlags::EPOLLOUT, self.wants_room);
        epoll.modify(self.stream.as_fd(), &mut EpollEvent::new(flags, mark))
    }
}

/// How long a body the target asks for.
fn asked_bytes(head: &[u8]) -> Option<usize> {
    let line = &head[..memchr::memchr(b'\r', head)?];
    let Some(at) = memchr::memmem::find(line, b"bytes=") else { return Some(BODY_BYTES) };
    Some(number(&line[at + 6..]).min(BODY_BYTES_MAX))
}

fn content_length(head: &[u8]) -> usize {
    // A GET, nearly always: nothing to look for.
    if head.starts_with(b"GET ") {
        return 0;
    }
    let mut lines = head.split(|byte| *byte == b'\n');
    let value = lines.find_map(|line| {
        let (name, value) = line.split_at_checked(15)?;
        name.eq_ignore_ascii_case(b"content-length:").then_some(value)
    });
    value.map_or(0, |value| number(value.trim_ascii()))
}

fn number(bytes: &[u8]) -> usize {
    let digits = bytes.iter().take_while(|byte| byte.is_ascii_digit());
    digits.fold(0usize, |sum, digit| sum.saturating_mul(10).saturating_add(usize::from(digit - b'0')))
}

/// Whole answers by the length of their body, each rendered once.
#[derive(Debug)]
struct Answers {
    name: String,
    rendered: HashMap<usize, Rc<[u8]>>,
}

impl Answers {
    fn get(&mut self, bytes: usize) -> Rc<[u8]> {
        let name = &self.name;
        let render = || {
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/octet-stream\r\nx-replica: {name}\r\n\
                 content-length: {bytes}\r\n\r\n"
            );
            [head.as_bytes(), &vec![b'X'; bytes]].concat().into()
        };
        Rc::clone(self.rendered.entry(bytes).or_insert_with(render))
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream;

    use super::{asked_bytes, content_length, listen, serve};

    #[test]
    fn what_a_request_asks_for_is_read_from_its_head() {
        assert_eq!(asked_bytes(b"GET /r1/a?bytes=4096 HTTP/1.1\r\n"), Some(4096));
        assert_eq!(asked_bytes(b"GET / HTTP/1.1\r\nx: bytes=7\r\n"), Some(1024));
        assert_eq!(content_length(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 12\r\n"), 12);
    }

    #[test]
    fn requests_in_one_piece_and_in_several_are_answered_in_order() {
        let listener = listen("127.0.0.1:0".parse().expect("an address")).expect("a port");
        let address = listener.local_addr().expect("bound");
        std::thread::spawn(move || serve(&listener, "a"));
        let mut stream = TcpStream::connect(address).expect("it listens");
        let text = "GET /?bytes=3 HTTP/1.1\r\n\r\nPOST /?bytes=400000 HTTP/1.1\r\ncontent-length: 2\r\n\r\nhiGET /?bytes=5 HTTP/1.1\r\n\r\n";
        for piece in text.as_bytes().chunks(7) {
            stream.write_all(piece).expect("it reads");
        }
        let (mut answers, mut buffer) = (Vec::new(), [0; 4096]);
        while answers.iter().filter(|byte| **byte == b'X').count() < 400_008 {
            let read = stream.read(&mut buffer).expect("it answers");
            assert!(read > 0, "it closed after {} bytes", answers.len());
            answers.extend_from_slice(&buffer[..read]);
        }
        assert_eq!(String::from_utf8_lossy(&answers).matches("HTTP/1.1 200 OK").count(), 3);
    }
}
