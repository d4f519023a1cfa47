//! A closed loop of HTTP/1.1 requests over so many connections, from one epoll loop.

mod answer;
pub mod open;

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use anyhow::ensure;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use serde::{Deserialize, Serialize};

use crate::histogram::{Histogram, Times};
use answer::{Answer, Progress};

/// Longest wait for anything to happen: a proxy that hangs must not hang the benchmark.
const SILENCE_MAX: Duration = Duration::from_secs(5);
/// So many failures in a row end the run: nothing is measured by them.
const FAILURES_MAX: u64 = 10_000;

/// What to send.
#[derive(Debug, Clone)]
pub struct Load {
    /// Where to connect.
    pub address: SocketAddr,
    /// Request target.
    pub target: String,
    /// Host.
    pub host: String,
    /// Connections at once.
    pub connections: usize,
    /// A connection for each request; it is reset after the answer, so that no port stays in use.
    pub churn: bool,
    /// Not counted.
    pub warm_up: Duration,
    /// Counted.
    pub measured: Duration,
}

/// What became of the requests within the measured time.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// Answered 200, whole.
    pub completed: u64,
    /// Everything else, by what it was.
    pub failed: BTreeMap<String, u64>,
    /// Measured time, seconds.
    pub seconds: f64,
    /// From the request's first byte written to the answer's last byte read; with churn from before the connect.
    pub latency: Times,
}

impl Outcome {
    /// What has come since `begun`.
    fn since(begun: Instant, answered: &Histogram, failed: BTreeMap<String, u64>) -> Self {
        Self {
            completed: answered.total(),
            failed,
            seconds: begun.elapsed().as_secs_f64(),
            latency: answered.times(),
        }
    }

    /// Completed requests a second.
    pub fn rate(&self) -> f64 {
        self.completed as f64 / self.seconds.max(1e-9)
    }

    /// How many failed.
    pub fn failures(&self) -> u64 {
        self.failed.values().sum()
    }
}

/// The word on standard output between warm-up and what is counted.
pub const MEASURING: &str = "measuring";

/// The trace that every request belongs to.
pub const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

#[derive(Debug)]
struct Connection {
    stream: TcpStream,
    answer: Answer,
    begun: Instant,
}

/// Runs it. `measuring` is called when the warm-up is over.
pub fn run(load: &Load, measuring: impl FnOnce()) -> anyhow::Result<Outcome> {
    let mut run = Run {
        epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?,
        request: request(load).into_bytes(),
        histogram: Histogram::default(),
        failed: BTreeMap::new(),
        failed_in_a_row: 0,
        connections: Vec::new(),
        load,
    };
    for index in 0..load.connections.max(1) {
        let connection = run.connect(index)?;
        run.connections.push(connection);
    }
    let begun = Instant::now();
    run.turn_until(begun + load.warm_up)?;
    run.histogram.clear();
    run.failed.clear();
    measuring();
    let begun = Instant::now();
    run.turn_until(begun + load.measured)?;
    Ok(Outcome::since(begun, &run.histogram, run.failed))
}

/// Takes what has come; an error is what went wrong, in a word.
fn read(mut stream: &TcpStream, answer: &mut Answer, buffer: &mut [u8]) -> Result<Progress, &'static str> {
    match stream.read(buffer) {
        Ok(0) => Err("closed"),
        Ok(read) => answer.take(&buffer[..read]),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(Progress::More),
        Err(error) if error.kind() == ErrorKind::ConnectionReset => Err("reset"),
        Err(_) => Err("read"),
    }
}

/// As a client in a mesh sends it: with the context of a trace.
fn request(load: &Load) -> String {
    let Load { target, host, .. } = load;
    format!(
        "GET {target} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: bench\r\nAccept: */*\r\ntraceparent: {TRACE}\r\n\r\n"
    )
}

struct Run<'l> {
    epoll: Epoll,
    request: Vec<u8>,
    histogram: Histogram,
    failed: BTreeMap<String, u64>,
    failed_in_a_row: u64,
    connections: Vec<Connection>,
    load: &'l Load,
}

impl Run<'_> {
    /// Connects and sends the first request. Blocking: a connect on this machine takes as long as the kernel's part of it.
    fn connect(&self, index: usize) -> anyhow::Result<Connection> {
        let begun = Instant::now();
        let stream = TcpStream::connect(self.load.address)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        if self.load.churn {
            socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
        }
        self.epoll.add(stream.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, index as u64))?;
        let mut connection = Connection { stream, answer: Answer::default(), begun };
        ensure!(connection.stream.write(&self.request)? == self.request.len(), "no room for a request");
        Ok(connection)
    }

    fn turn_until(&mut self, end: Instant) -> anyhow::Result<()> {
        let mut events = vec![EpollEvent::empty(); 512];
        let mut buffer = vec![0; 128 << 10];
        loop {
            let silence = EpollTimeout::try_from(SILENCE_MAX)?;
            let ready = match self.epoll.wait(&mut events, silence) {
                Err(nix::errno::Errno::EINTR) => continue,
                ready => ready?,
            };
            ensure!(ready > 0, "no answer within {SILENCE_MAX:?}");
            for event in &events[..ready] {
                self.turn(usize::try_from(event.data())?, &mut buffer)?;
            }
            if Instant::now() >= end {
                return Ok(());
            }
        }
    }

    fn turn(&mut self, index: usize, buffer: &mut [u8]) -> anyhow::Result<()> {
        let connection = &mut self.connections[index];
        let progress = read(&connection.stream, &mut connection.answer, buffer);
        match progress {
            Ok(Progress::More) => return Ok(()),
            Ok(Progress::Whole { status: 200, .. }) => {
                self.failed_in_a_row = 0;
                self.histogram.add(u64::try_from(connection.begun.elapsed().as_nanos())?);
            }
            Ok(Progress::Whole { status, .. }) => self.fail(&status.to_string())?,
            Err(what) => self.fail(what)?,
        }
        let goes_on = matches!(progress, Ok(Progress::Whole { close: false, .. }));
        if self.load.churn || !goes_on {
            return self.connect_again(index);
        }
        let connection = &mut self.connections[index];
        connection.begun = Instant::now();
        // The peer may close between two requests, which the next read shows.
        let _ = connection.stream.write(&self.request);
        Ok(())
    }

    fn connect_again(&mut self, index: usize) -> anyhow::Result<()> {
        loop {
            match self.connect(index) {
                Ok(connection) => {
                    // The old one is closed by this, and with it its place in the epoll.
                    self.connections[index] = connection;
                    return Ok(());
                }
                Err(_) => self.fail("connect")?,
            }
        }
    }

    fn fail(&mut self, what: &str) -> anyhow::Result<()> {
        *self.failed.entry(what.to_owned()).or_default() += 1;
        self.failed_in_a_row += 1;
        ensure!(self.failed_in_a_row < FAILURES_MAX, "nothing but failures: {:?}", self.failed);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Load, run};
    use crate::backend;

    #[test]
    fn every_request_to_a_backend_is_answered_with_and_without_keep_alive() {
        let listener = backend::listen("127.0.0.1:0".parse().expect("an address")).expect("a port");
        let address = listener.local_addr().expect("bound");
        std::thread::spawn(move || backend::serve(&listener, "a"));
        for (churn, target) in [(false, "/"), (true, "/"), (false, "/?bytes=300000")] {
            let load = Load {
                address,
                target: target.to_owned(),
                host: "bench.test".to_owned(),
                connections: 3,
                churn,
                warm_up: Duration::from_millis(20),
                measured: Duration::from_millis(50),
            };
            let outcome = run(&load, || ()).expect("it runs");
            assert!(outcome.completed > 0 && outcome.failures() == 0, "{outcome:?}");
        }
    }
}
