//! Relays bytes between two TCP connections: half-closes stay half-closes, resets stay resets.
//!
//! A connection that waits holds no buffer. Bytes go through one buffer of the thread; only what
//! the other side does not take at once is kept, and then nothing more is read.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::net::Shutdown as Direction;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use futures_util::future::{Either, select};
use socket2::SockRef;
use tokio::io::{AsyncRead, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::ReadHalf;

use crate::proxy::recorder::Recorder;
use crate::proxy::shutdown::Shutdown;
use crate::proxy::silence::Silence;
use crate::reason::Reason;

/// What is read at once.
const BUFFER_BYTES: usize = 64 * 1024;

thread_local! {
    static BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; BUFFER_BYTES].into_boxed_slice());
}

/// One of the two connections.
pub struct Side {
    /// The connection.
    pub stream: TcpStream,
    /// Bytes that were read from it already.
    pub read: Bytes,
}

/// Who broke the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Broken {
    Source,
    Sink,
}

/// Relays until both directions have ended, one side breaks, nothing moves for `idle_timeout`, or
/// the connection is cut. Counts into the record.
pub async fn relay(
    mut client: Side,
    mut endpoint: Side,
    idle_timeout: Duration,
    shutdown: &Shutdown,
    recorder: &mut Recorder,
) {
    let (received, sent, moved) = (Cell::new(0), Cell::new(0), Cell::new(false));
    let ((from_client, to_client), (from_endpoint, to_endpoint)) =
        (client.stream.split(), endpoint.stream.split());
    let (down, up) = (to_client.as_ref(), to_endpoint.as_ref());
    let sending = copy(from_client, client.read, up, &received, &moved);
    let answering = copy(from_endpoint, endpoint.read, down, &sent, &moved);
    let reason = tokio::select! {
        biased;
        broken = both(sending, answering, down, up) => broken,
        () = silent(idle_timeout, &moved) => Some(Reason::IdleTimeout),
        () = shutdown.is_cut() => Some(Reason::Draining),
    };
    recorder.record.bytes_received = received.get();
    recorder.record.bytes_sent = sent.get();
    if let Some(reason) = reason {
        recorder.fail(reason);
        reset(client.stream);
        reset(endpoint.stream);
    }
}

/// Both directions, to their ends. Says who broke off, if one did.
async fn both(
    sending: impl Future<Output = Result<(), Broken>>,
    answering: impl Future<Output = Result<(), Broken>>,
    client: &TcpStream,
    endpoint: &TcpStream,
) -> Option<Reason> {
    let by_client = |broken: Broken| match broken {
        Broken::Source => Reason::ClientClosed,
        Broken::Sink => Reason::UpstreamReset,
    };
    let by_endpoint = |broken: Broken| match broken {
        Broken::Source => Reason::UpstreamReset,
        Broken::Sink => Reason::ClientClosed,
    };
    // A side that has ended its sending is read no more, but may still break.
    match select(pin!(sending), pin!(answering)).await {
        Either::Left((Err(broken), _)) => Some(by_client(broken)),
        Either::Right((Err(broken), _)) => Some(by_endpoint(broken)),
        Either::Left((Ok(()), answering)) => tokio::select! {
            biased;
            ended = answering => ended.err().map(by_endpoint),
            () = reset_by_peer(client) => Some(Reason::ClientClosed),
        },
        Either::Right((Ok(()), sending)) => tokio::select! {
            biased;
            ended = sending => ended.err().map(by_client),
            () = reset_by_peer(endpoint) => Some(Reason::UpstreamReset),
        },
    }
}

async fn reset_by_peer(stream: &TcpStream) {
    let _ = stream.ready(Interest::ERROR).await;
}

/// Closes a connection by RST: its peer learns that this is no orderly end.
pub fn reset(stream: TcpStream) {
    let _ = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
}

/// Nothing moves for too long.
async fn silent(limit: Duration, moved: &Cell<bool>) {
    let mut silence = Silence::new(limit);
    poll_fn(|context| {
        if moved.take() {
            silence.moved();
        }
        silence.poll(context)
    })
    .await;
}

/// One direction, to its end. The end is passed on.
async fn copy(
    mut source: ReadHalf<'_>,
    read: Bytes,
    sink: &TcpStream,
    count: &Cell<u64>,
    moved: &Cell<bool>,
) -> Result<(), Broken> {
    write_all(sink, read, count).await.map_err(|_| Broken::Sink)?;
    loop {
        let chunk = match poll_fn(|context| pass(context, &mut source, sink, count)).await {
            Ok(Passed::End) => break,
            Ok(Passed::All) => {
                // Others on this thread have their turn: a read counts for the task's budget.
                moved.set(true);
                continue;
            }
            Ok(Passed::Some(rest)) => {
                moved.set(true);
                rest
            }
            Err(broken) => return Err(broken),
        };
        write_all(sink, chunk, count).await.map_err(|_| Broken::Sink)?;
        moved.set(true);
    }
    // A sink that is closed both ways already has nothing to be told.
    let _ = SockRef::from(sink).shutdown(Direction::Write);
    Ok(())
}

enum Passed {
    /// The source has ended.
    End,
    /// All that was read was written.
    All,
    /// This much was not.
    Some(Bytes),
}

/// Reads once and writes at once, through the thread's buffer. A read that does not fill it is known
/// to be all there is: the next one waits without asking the kernel.
fn pass(
    context: &mut Context<'_>,
    source: &mut ReadHalf<'_>,
    sink: &TcpStream,
    count: &Cell<u64>,
) -> Poll<Result<Passed, Broken>> {
    BUFFER.with_borrow_mut(|buffer| {
        let mut buffer = ReadBuf::new(buffer);
        ready!(Pin::new(source).poll_read(context, &mut buffer)).map_err(|_| Broken::Source)?;
        let read = buffer.filled();
        if read.is_empty() {
            return Poll::Ready(Ok(Passed::End));
        }
        let written = match sink.try_write(read) {
            Ok(written) => written,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(_) => return Poll::Ready(Err(Broken::Sink)),
        };
        count.set(count.get() + written as u64);
        let rest = &read[written..];
        let passed = if rest.is_empty() { Passed::All } else { Passed::Some(Bytes::copy_from_slice(rest)) };
        Poll::Ready(Ok(passed))
    })
}

async fn write_all(sink: &TcpStream, mut bytes: Bytes, count: &Cell<u64>) -> io::Result<()> {
    while bytes.has_remaining() {
        sink.writable().await?;
        match sink.try_write(&bytes) {
            Ok(written) => {
                bytes.advance(written);
                count.set(count.get() + written as u64);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
