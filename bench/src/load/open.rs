//! An open loop of HTTP/1.1 requests: so many a second, whether or not those before them are answered.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::TcpStream;
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrStorage, connect, socket};

use super::answer::{Answer, Progress};
use super::{Load, Outcome, read, request};
use crate::histogram::Histogram;

/// Requests that are due are looked for so often, milliseconds.
const TICK_MS: u8 = 1;

/// Runs it: `rate` requests a second, on connections that are kept and reused. `load.connections` is the
/// most there may be at once; a request that is due while all of them wait for an answer is counted as
/// "no connection". `measuring` is called when the warm-up is over.
pub fn run(load: &Load, rate: u32, measuring: impl FnOnce()) -> anyhow::Result<Outcome> {
    let mut run = Run {
        epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?,
        request: request(load).into_bytes(),
        histogram: Histogram::default(),
        failed: BTreeMap::new(),
        connections: Vec::new(),
        idle: Vec::new(),
        gone: Vec::new(),
        load,
    };
    run.turn_for(load.warm_up, rate)?;
    run.histogram.clear();
    run.failed.clear();
    measuring();
    let begun = Instant::now();
    run.turn_for(load.measured, rate)?;
    Ok(Outcome::since(begun, &run.histogram, run.failed))
}

struct Connection {
    stream: TcpStream,
    answer: Answer,
    /// When its request was due; `None` while it is idle.
    asked: Option<Instant>,
    /// It is not connected yet, and its request not sent.
    connecting: bool,
}

struct Run<'l> {
    epoll: Epoll,
    request: Vec<u8>,
    histogram: Histogram,
    failed: BTreeMap<String, u64>,
    connections: Vec<Option<Connection>>,
    /// Those without a request; the last one to be used is the first to be used again.
    idle: Vec<usize>,
    /// Places of connections that have ended.
    gone: Vec<usize>,
    load: &'l Load,
}

impl Run<'_> {
    fn turn_for(&mut self, time: Duration, rate: u32) -> anyhow::Result<()> {
        let mut events = vec![EpollEvent::empty(); 1024];
        let mut buffer = vec![0; 128 << 10];
        let begun = Instant::now();
        let mut sent = 0;
        loop {
            let elapsed = begun.elapsed();
            if elapsed >= time {
                return Ok(());
            }
            let due = (elapsed.as_secs_f64() * f64::from(rate)) as u64;
            while sent < due {
                sent += 1;
                self.send();
            }
            let ready = match self.epoll.wait(&mut events, EpollTimeout::from(TICK_MS)) {
                Err(nix::errno::Errno::EINTR) => continue,
                ready => ready?,
            };
            for event in &events[..ready] {
                let index = usize::try_from(event.data())?;
                if event.events().contains(EpollFlags::EPOLLOUT) {
                    self.connected(index)?;
                }
                self.receive(index, &mut buffer)?;
            }
        }
    }

    /// One request, on whatever connection there is.
    fn send(&mut self) {
        let Some(index) = self.idle.pop().or_else(|| self.connect()) else { return };
        let Some(connection) = &mut self.connections[index] else { return };
        connection.asked = Some(Instant::now());
        if connection.connecting {
            return;
        }
        // One that the peer has closed is found by the next read.
        let _ = connection.stream.write(&self.request);
    }

    fn connect(&mut self) -> Option<usize> {
        if self.connections.len() - self.gone.len() >= self.load.connections {
            self.fail("no connection");
            return None;
        }
        match self.open() {
            Ok(index) => Some(index),
            Err(_) => {
                self.fail("connect");
                None
            }
        }
    }

    /// Begins to connect. It must not wait: a proxy whose queue is full answers a second later.
    fn open(&mut self) -> anyhow::Result<usize> {
        let family = if self.load.address.is_ipv6() { AddressFamily::Inet6 } else { AddressFamily::Inet };
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let stream = TcpStream::from(socket(family, SockType::Stream, flags, None)?);
        stream.set_nodelay(true)?;
        match connect(stream.as_raw_fd(), &SockaddrStorage::from(self.load.address)) {
            Ok(()) | Err(nix::errno::Errno::EINPROGRESS) => {}
            Err(error) => return Err(error.into()),
        }
        let index = self.gone.pop().unwrap_or(self.connections.len());
        let writable = EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT;
        self.epoll.add(stream.as_fd(), EpollEvent::new(writable, index as u64))?;
        let connection =
            Some(Connection { stream, answer: Answer::default(), asked: None, connecting: true });
        if index == self.connections.len() {
            self.connections.push(connection);
        } else {
            self.connections[index] = connection;
        }
        Ok(index)
    }

    /// Sends the request that has waited for the connection; an error is found by the next read.
    fn connected(&mut self, index: usize) -> anyhow::Result<()> {
        let Some(connection) = &mut self.connections[index] else { return Ok(()) };
        let readable = &mut EpollEvent::new(EpollFlags::EPOLLIN, index as u64);
        self.epoll.modify(connection.stream.as_fd(), readable)?;
        if std::mem::take(&mut connection.connecting) {
            let _ = connection.stream.write(&self.request);
        }
        Ok(())
    }

    fn receive(&mut self, index: usize, buffer: &mut [u8]) -> anyhow::Result<()> {
        let Some(connection) = &mut self.connections[index] else { return Ok(()) };
        let progress = read(&connection.stream, &mut connection.answer, buffer);
        let asked = match progress {
            Ok(Progress::More) => return Ok(()),
            _ => connection.asked.take(),
        };
        match (progress, asked) {
            (Ok(Progress::Whole { status: 200, .. }), Some(asked)) => {
                self.histogram.add(u64::try_from(asked.elapsed().as_nanos())?);
            }
            (Ok(Progress::Whole { status, .. }), _) => self.fail(&status.to_string()),
            (Err(what), Some(_)) => self.fail(what),
            // An idle connection may be closed.
            _ => self.idle.retain(|idle| *idle != index),
        }
        if matches!(progress, Ok(Progress::Whole { close: false, .. })) {
            self.idle.push(index);
        } else {
            self.connections[index] = None;
            self.gone.push(index);
        }
        Ok(())
    }

    fn fail(&mut self, what: &str) {
        *self.failed.entry(what.to_owned()).or_default() += 1;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Load, run};
    use crate::backend;

    #[test]
    fn as_many_requests_are_sent_as_were_asked_for() {
        let listener = backend::listen("127.0.0.1:0".parse().expect("an address")).expect("a port");
        let address = listener.local_addr().expect("bound");
        std::thread::spawn(move || backend::serve(&listener, "a"));
        let load = Load {
            address,
            target: "/".to_owned(),
            host: "bench.test".to_owned(),
            connections: 100,
            churn: false,
            warm_up: Duration::ZERO,
            measured: Duration::from_millis(500),
        };
        let outcome = run(&load, 200, || ()).expect("it runs");
        // The last ones may be on their way when the time is over.
        assert!((50..=100).contains(&outcome.completed) && outcome.failures() == 0, "{outcome:?}");
    }
}
