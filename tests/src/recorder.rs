//! A backend written by hand, which keeps every byte that it is sent and answers as it is told.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::message::{self, Message, Reading};

/// What a backend does with one request.
#[derive(Debug, Clone)]
pub struct Reply {
    /// Sent as they are.
    pub bytes: Vec<u8>,
    /// And then.
    pub then: Then,
}

/// What a backend does after it has answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// Reads the next request.
    Keep,
    /// Closes in order.
    Close,
    /// Resets.
    Reset,
    /// Speaks another protocol from here on: bytes are kept as they are.
    Switch,
}

impl Reply {
    /// 200 with the body `ok`, on a connection that is kept.
    pub fn ok() -> Self {
        Self { bytes: b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok".to_vec(), then: Then::Keep }
    }
}

/// How a connection stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It could carry more.
    Open,
    /// The gateway has closed it in order.
    Closed,
    /// The gateway has reset it.
    Reset,
    /// The backend itself has closed it.
    Ended,
}

/// What came over one connection since the recorder was last cleared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conversation {
    /// Whole requests.
    pub requests: Vec<Message>,
    /// Bytes that make no whole request, or those after a switch.
    pub rest: Vec<u8>,
    /// Why the bytes can be no request.
    pub malformed: Option<&'static str>,
    /// How it stands.
    pub standing: Standing,
    /// Most bytes that stood behind a request when it was read: nobody has answered it yet.
    pub early: usize,
    switched: bool,
}

type Answer = Box<dyn FnMut(&Message) -> Reply + Send>;

/// A backend with a thread of its own.
pub struct Recorder {
    /// Where it listens.
    pub address: SocketAddr,
    shared: Arc<Mutex<Vec<Conversation>>>,
    ask: UnixStream,
    thread: Option<JoinHandle<()>>,
}

impl Recorder {
    /// Listens on a free port of loopback.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn start(answer: impl FnMut(&Message) -> Reply + Send + 'static) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let (ask, asked) = UnixStream::pair()?;
        let shared = Arc::default();
        let address = listener.local_addr()?;
        let backend = Backend {
            listener,
            asked,
            answer: Box::new(answer),
            open: Vec::new(),
            shared: Arc::clone(&shared),
        };
        let thread = std::thread::Builder::new().name("recorder".into()).spawn(move || backend.run())?;
        Ok(Self { address, shared, ask, thread: Some(thread) })
    }

    /// What has come up to now, to the last byte that the kernel holds for it. Connections that
    /// brought nothing are left out.
    ///
    /// # Errors
    /// When the backend has ended.
    pub fn heard(&self) -> io::Result<Vec<Conversation>> {
        self.sweep()?;
        let said = |c: &&Conversation| !(c.requests.is_empty() && c.rest.is_empty());
        Ok(lock(&self.shared).iter().filter(said).cloned().collect())
    }

    /// Forgets what has come up to now.
    ///
    /// # Errors
    /// When the backend has ended.
    pub fn clear(&self) -> io::Result<()> {
        self.sweep()?;
        for conversation in lock(&self.shared).iter_mut() {
            conversation.requests.clear();
            conversation.rest.clear();
            conversation.malformed = None;
            conversation.early = 0;
        }
        Ok(())
    }

    fn sweep(&self) -> io::Result<()> {
        (&self.ask).write_all(b"?")?;
        (&self.ask).read_exact(&mut [0])
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        // It may have ended, by a panic that was reported.
        let _ = self.ask.shutdown(std::net::Shutdown::Both);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn lock(shared: &Mutex<Vec<Conversation>>) -> MutexGuard<'_, Vec<Conversation>> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The thread's side. `open` has the index of each connection's conversation.
struct Backend {
    listener: TcpListener,
    asked: UnixStream,
    answer: Answer,
    open: Vec<(usize, TcpStream)>,
    shared: Arc<Mutex<Vec<Conversation>>>,
}

impl Backend {
    fn run(mut self) {
        while self.wait().is_ok() {
            // Twice: a connection that was made after the first look may have bytes that are older than
            // those read in it.
            self.read_all();
            self.read_all();
            self.answer_all();
            if self.asked_and_told().is_err() {
                return;
            }
        }
    }

    fn wait(&self) -> nix::Result<()> {
        let wanted = |fd| PollFd::new(fd, PollFlags::POLLIN);
        let mut fds = vec![wanted(self.listener.as_fd()), wanted(self.asked.as_fd())];
        fds.extend(self.open.iter().map(|(_, stream)| wanted(stream.as_fd())));
        poll(&mut fds, PollTimeout::NONE).map(drop)
    }

    fn asked_and_told(&mut self) -> io::Result<()> {
        self.asked.set_nonblocking(true)?;
        match self.asked.read(&mut [0]) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => self.asked.write_all(b"!"),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn read_all(&mut self) {
        let mut conversations = lock(&self.shared);
        while let Ok((stream, _)) = self.listener.accept() {
            if stream.set_nonblocking(true).is_ok() && stream.set_nodelay(true).is_ok() {
                self.open.push((conversations.len(), stream));
                conversations.push(Conversation {
                    requests: Vec::new(),
                    rest: Vec::new(),
                    malformed: None,
                    standing: Standing::Open,
                    early: 0,
                    switched: false,
                });
            }
        }
        self.open.retain_mut(|(index, stream)| {
            let conversation = &mut conversations[*index];
            conversation.standing = read_some(stream, &mut conversation.rest);
            conversation.standing == Standing::Open || !conversation.rest.is_empty()
        });
    }

    fn answer_all(&mut self) {
        let mut conversations = lock(&self.shared);
        let answer = &mut self.answer;
        self.open.retain_mut(|(index, stream)| serve(&mut conversations[*index], stream, answer));
    }
}

/// Reads all there is.
fn read_some(stream: &mut TcpStream, into: &mut Vec<u8>) -> Standing {
    let mut buffer = [0; 16 * 1024];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return Standing::Closed,
            Ok(length) => into.extend_from_slice(&buffer[..length]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Standing::Open,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return Standing::Reset,
        }
    }
}

/// Answers the whole requests of a connection. False when it has ended.
fn serve(conversation: &mut Conversation, stream: &mut TcpStream, answer: &mut Answer) -> bool {
    if conversation.switched {
        return conversation.standing == Standing::Open;
    }
    loop {
        match message::request(&conversation.rest) {
            Reading::Whole(request, length) => {
                conversation.rest.drain(..length);
                conversation.early = conversation.early.max(conversation.rest.len());
                let reply = answer(&request);
                conversation.requests.push(request);
                // The gateway may have gone.
                let _ = write_all(stream, &reply.bytes);
                match reply.then {
                    Then::Keep => {}
                    Then::Switch => {
                        conversation.switched = true;
                        return true;
                    }
                    Then::Close | Then::Reset => {
                        conversation.standing = Standing::Ended;
                        if reply.then == Then::Reset {
                            let _ =
                                socket2::SockRef::from(&*stream).set_linger(Some(std::time::Duration::ZERO));
                        }
                        return false;
                    }
                }
            }
            Reading::Partial => return conversation.standing == Standing::Open,
            Reading::Malformed(why) => {
                conversation.malformed = Some(why);
                return conversation.standing == Standing::Open;
            }
        }
    }
}

/// A gateway that does not read is not waited for without end: it fails the test by its time.
fn write_all(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_write_timeout(Some(std::time::Duration::from_secs(10)))?;
    let written = stream.write_all(bytes);
    stream.set_nonblocking(true)?;
    written
}
