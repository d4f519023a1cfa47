//! What a connect costs: connects one after the other, each with or without a byte there and back, each reset.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::backend::listen;
use crate::histogram::{Histogram, Times};

/// Longest wait for the byte.
const BYTE_MAX: Duration = Duration::from_secs(5);

/// What to do.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Where to connect.
    pub address: SocketAddr,
    /// Send a byte and wait for its echo.
    pub echo: bool,
    /// Connects a second; as many as go when 0.
    pub rate: u32,
    /// Not counted.
    pub warm_up: Duration,
    /// Counted.
    pub measured: Duration,
}

/// What it took.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// Connections, each with its echo if there was to be one.
    pub completed: u64,
    /// What failed.
    pub failed: u64,
    /// Measured time, seconds.
    pub seconds: f64,
    /// The connect alone.
    pub connect: Times,
    /// From before the connect to the echo.
    pub echo: Times,
}

/// Runs it.
pub fn run(plan: &Plan, measuring: impl FnOnce()) -> Outcome {
    turn(plan, plan.warm_up);
    measuring();
    turn(plan, plan.measured)
}

fn turn(plan: &Plan, length: Duration) -> Outcome {
    let (mut connects, mut echoes) = (Histogram::default(), Histogram::default());
    let mut outcome = Outcome::default();
    let begun = Instant::now();
    let mut started = 0_u32;
    while begun.elapsed() < length {
        if plan.rate > 0 {
            let due = begun + Duration::from_secs(1) * started / plan.rate;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
        }
        started += 1;
        match once(plan) {
            Ok((connect, echo)) => {
                connects.add(connect);
                echoes.add(echo);
            }
            Err(_) => outcome.failed += 1,
        }
    }
    outcome.completed = connects.total();
    outcome.seconds = begun.elapsed().as_secs_f64();
    outcome.connect = connects.times();
    outcome.echo = echoes.times();
    outcome
}

/// Nanoseconds until connected, and until the echo.
fn once(plan: &Plan) -> std::io::Result<(u64, u64)> {
    let begun = Instant::now();
    let mut stream = TcpStream::connect(plan.address)?;
    let connected = begun.elapsed();
    // The reset leaves no port behind that waits.
    socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
    if plan.echo {
        stream.set_read_timeout(Some(BYTE_MAX))?;
        stream.write_all(b"x")?;
        stream.read_exact(&mut [0])?;
    }
    let ns = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    Ok((ns(connected), ns(begun.elapsed())))
}

/// Accepts for ever, one connection after the other: one byte comes back, until the peer goes.
pub fn serve(address: SocketAddr) -> anyhow::Result<()> {
    let listener = listen(address)?;
    listener.set_nonblocking(false)?;
    loop {
        let (mut stream, _) = listener.accept()?;
        let mut byte = [0];
        // The peer may be gone, or want no echo: then this is over.
        while matches!(stream.read(&mut byte), Ok(1)) && stream.write_all(&byte).is_ok() {}
    }
}
