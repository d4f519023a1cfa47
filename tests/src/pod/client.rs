//! A client in a pod: connects as it is told and says what it saw.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use socket2::{Domain, Protocol, Socket, Type};

/// Longest wait for a connect or an answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// `IPPROTO_MPTCP`.
pub(crate) const MPTCP: i32 = 262;

/// How to connect.
#[derive(Debug, Clone, clap::Args)]
pub struct Request {
    /// Where to connect.
    pub to: SocketAddr,
    /// How many times, one after the other.
    #[arg(long, default_value_t = 1)]
    pub count: u64,
    /// Go on until stdin is closed.
    #[arg(long)]
    pub until_eof: bool,
    /// Dial an IPv4 address through an IPv6 socket.
    #[arg(long)]
    pub mapped: bool,
    /// Bind to a device first.
    #[arg(long)]
    pub device: Option<String>,
    /// Bind to an address first.
    #[arg(long)]
    pub bind: Option<IpAddr>,
    /// Use Multipath TCP.
    #[arg(long)]
    pub mptcp: bool,
    /// Use UDP: connect, and ask for the peer.
    #[arg(long)]
    pub udp: bool,
    /// Once connected, dissolve that and connect the same socket to this address.
    #[arg(long)]
    pub again: Option<SocketAddr>,
    /// Do not wait for an answer.
    #[arg(long)]
    pub mute: bool,
}

/// What came of it. Texts with how often each was seen.
#[derive(Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
pub struct Seen {
    /// Connects that succeeded and, unless mute, were answered.
    pub ok: u64,
    /// Errors by name.
    pub errors: BTreeMap<String, u64>,
    /// First line of the answer.
    pub answers: BTreeMap<String, u64>,
    /// What `getpeername` said.
    pub peers: BTreeMap<String, u64>,
    /// Address that `getsockname` said.
    pub locals: BTreeMap<String, u64>,
    /// The longest connect, microseconds.
    pub slowest_us: u64,
}

impl Seen {
    /// The only answer; a panic tells what else was seen.
    pub fn answer(&self) -> &str {
        assert_eq!((self.answers.len(), self.errors.len()), (1, 0), "{self:?}");
        self.answers.keys().next().map_or("", String::as_str)
    }
}

/// Connects as asked.
pub fn run(request: &Request) -> Seen {
    let mut seen = Seen::default();
    let done = Arc::new(AtomicBool::new(!request.until_eof));
    if request.until_eof {
        let done = Arc::clone(&done);
        std::thread::spawn(move || {
            let _ = io::stdin().read_to_end(&mut Vec::new());
            done.store(true, Ordering::Relaxed);
        });
    }
    let mut made = 0;
    while made < request.count || !done.load(Ordering::Relaxed) {
        made += 1;
        match once(request, &mut seen) {
            Ok(()) => seen.ok += 1,
            Err(error) => *seen.errors.entry(name(&error)).or_default() += 1,
        }
    }
    seen
}

/// `ECONNREFUSED` rather than a sentence.
pub(crate) fn name(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(number) => format!("{:?}", nix::errno::Errno::from_raw(number)),
        None => format!("{:?}", error.kind()),
    }
}

fn once(request: &Request, seen: &mut Seen) -> io::Result<()> {
    let to = match (request.mapped, request.to.ip()) {
        (true, IpAddr::V4(v4)) => SocketAddr::new(v4.to_ipv6_mapped().into(), request.to.port()),
        _ => request.to,
    };
    let socket = open(request, Domain::for_address(to))?;
    if let Some(device) = &request.device {
        socket.bind_device(Some(device.as_bytes()))?;
    }
    if let Some(address) = request.bind {
        socket.bind(&SocketAddr::new(address, 0).into())?;
    }
    socket.set_write_timeout(Some(PATIENCE))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let start = Instant::now();
    socket.connect(&to.into())?;
    seen.slowest_us = seen.slowest_us.max(u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX));
    if let Some(again) = request.again {
        super::battery::disconnect(&socket)?;
        socket.connect(&again.into())?;
    }
    let peer = socket.peer_addr()?.as_socket().map(|peer| peer.to_string()).unwrap_or_default();
    *seen.peers.entry(peer).or_default() += 1;
    let local = socket.local_addr()?.as_socket().map(|local| local.ip().to_string()).unwrap_or_default();
    *seen.locals.entry(local).or_default() += 1;
    if request.mute || request.udp {
        return Ok(());
    }
    let mut line = String::new();
    BufReader::new(&socket).read_line(&mut line)?;
    *seen.answers.entry(line.trim_end().to_owned()).or_default() += 1;
    Ok(())
}

fn open(request: &Request, domain: Domain) -> io::Result<Socket> {
    if request.udp {
        Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))
    } else {
        let protocol = if request.mptcp { Protocol::from(MPTCP) } else { Protocol::TCP };
        Socket::new(domain, Type::STREAM, Some(protocol))
    }
}
