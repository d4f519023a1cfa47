//! What a socket can be asked to do, one scenario after the other, as a transcript.
//!
//! The same client talks to the same server with and without the gateway between them. A scenario's
//! name is the first line that it sends, and the server plays its part.
#![expect(
    unsafe_code,
    reason = "ioctl(FIONREAD), connect(AF_UNSPEC) and sendto with flags have no safe wrapper"
)]

mod server;

pub use server::Server;

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(5);
/// A bulk transfer: more than socket buffers hold.
const BULK: usize = 4 << 20;

/// How the battery is run.
#[derive(Debug, Clone, clap::Args)]
pub struct Battery {
    /// The Service with the battery's server behind it.
    pub to: SocketAddr,
    /// A second Service with the same server.
    pub other: SocketAddr,
    /// A Service with nobody behind it.
    pub nobody: SocketAddr,
    /// The pod's own address in the family of `to`.
    pub own: IpAddr,
    /// Dial IPv4 through IPv6 sockets.
    #[arg(long)]
    pub mapped: bool,
}

type Scenario = fn(&Battery) -> io::Result<String>;

const SCENARIOS: [(&str, Scenario); 22] = [
    ("names", names),
    ("half-close", client_half_close),
    ("server-half-close", server_half_close),
    ("server-reset", server_reset),
    ("client-reset", client_reset),
    ("fionread", fionread),
    ("peek", peek),
    ("splice", splice),
    ("sendfile", sendfile),
    ("zerocopy", zerocopy),
    ("bulk-echo", bulk_echo),
    ("fast-open", fast_open),
    ("fast-open-connect", fast_open_connect),
    ("non-blocking", non_blocking),
    ("connect-twice", connect_twice),
    ("connect-again", connect_again),
    ("v6only", v6only),
    ("bind-first", bind_first),
    ("bind-device", bind_device),
    ("mptcp", mptcp),
    ("udp", udp),
    ("refused", refused),
];

/// Differences that the gateway cannot avoid; `docs/datapath.md` tells each with its reason.
pub const DIFFERENCES: [&str; 2] = ["refused", "connect-again"];

impl Battery {
    /// Runs everything: a line `scenario: what was seen` each.
    pub fn run(&self) -> Vec<String> {
        let line = |(name, scenario): &(&str, Scenario)| match scenario(self) {
            Ok(seen) => format!("{name}: {seen}"),
            Err(error) => format!("{name}: {}", super::client::name(&error)),
        };
        SCENARIOS.iter().map(line).collect()
    }

    fn dialled(&self, to: SocketAddr) -> SocketAddr {
        match (self.mapped, to.ip()) {
            (true, IpAddr::V4(v4)) => SocketAddr::new(v4.to_ipv6_mapped().into(), to.port()),
            _ => to,
        }
    }

    fn socket(&self) -> io::Result<Socket> {
        let socket =
            Socket::new(Domain::for_address(self.dialled(self.to)), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.set_write_timeout(Some(PATIENCE))?;
        Ok(socket)
    }

    /// A connection on which the server plays its part of `scenario`.
    fn connect(&self, scenario: &str) -> io::Result<TcpStream> {
        let socket = self.socket()?;
        socket.connect(&self.dialled(self.to).into())?;
        let mut stream = TcpStream::from(socket);
        writeln!(stream, "{scenario}")?;
        Ok(stream)
    }

    /// Peer, and own address without its port.
    fn names_of(stream: &TcpStream) -> io::Result<String> {
        Ok(format!("peer {} own {}", stream.peer_addr()?, stream.local_addr()?.ip()))
    }
}

fn rest(stream: &mut TcpStream) -> io::Result<String> {
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

fn names(battery: &Battery) -> io::Result<String> {
    let mut stream = battery.connect("names")?;
    // The server says whom it sees.
    let seen = rest(&mut stream)?;
    Ok(format!("{}; the server sees {seen}", Battery::names_of(&stream)?))
}

fn client_half_close(battery: &Battery) -> io::Result<String> {
    let mut stream = battery.connect("half-close")?;
    stream.write_all(&[7; 1000])?;
    stream.shutdown(Shutdown::Write)?;
    rest(&mut stream)
}

fn server_half_close(battery: &Battery) -> io::Result<String> {
    let mut stream = battery.connect("server-half-close")?;
    let first = rest(&mut stream)?;
    stream.write_all(b"still here")?;
    stream.shutdown(Shutdown::Write)?;
    Ok(first)
}

fn server_reset(battery: &Battery) -> io::Result<String> {
    let mut stream = battery.connect("server-reset")?;
    rest(&mut stream)
}

fn client_reset(battery: &Battery) -> io::Result<String> {
    let mut stream = battery.connect("client-reset")?;
    let mut ready = [0; 5];
    stream.read_exact(&mut ready)?;
    socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
    drop(stream);
    Ok("closed".to_owned())
}

fn readable(stream: &TcpStream) -> io::Result<usize> {
    let mut waiting: libc::c_int = 0;
    // SAFETY: FIONREAD writes one int to where the pointer says.
    let result = unsafe { libc::ioctl(stream.as_raw_fd(), libc::FIONREAD, &raw mut waiting) };
    if result == 0 { Ok(usize::try_from(waiting).unwrap_or(0)) } else { Err(io::Error::last_os_error()) }
}

fn wait(stream: &impl AsFd, what: PollFlags) -> io::Result<PollFlags> {
    let mut polled = [PollFd::new(stream.as_fd(), what)];
    poll(&mut polled, PollTimeout::from(5000_u16))?;
    Ok(polled[0].revents().unwrap_or(PollFlags::empty()))
}

fn fionread(battery: &Battery) -> io::Result<String> {
    let mut stream = battery.connect("five-bytes")?;
    let before = wait(&stream, PollFlags::POLLIN)?;
    let waiting = readable(&stream)?;
    stream.read_exact(&mut [0; 5])?;
    Ok(format!("{before:?}, {waiting} bytes wait, then {}", readable(&stream)?))
}

fn peek(battery: &Battery) -> io::Result<String> {
    let mut stream = battery.connect("five-bytes")?;
    wait(&stream, PollFlags::POLLIN)?;
    let mut first = [0; 5];
    let peeked = stream.peek(&mut first)?;
    let mut second = [0; 5];
    stream.read_exact(&mut second)?;
    Ok(format!("{peeked} bytes, the same again: {}", first == second))
}

fn splice(battery: &Battery) -> io::Result<String> {
    let stream = battery.connect("five-bytes")?;
    let (read, write) = nix::unistd::pipe()?;
    let moved = nix::fcntl::splice(&stream, None, &write, None, 5, nix::fcntl::SpliceFFlags::empty())?;
    drop(write);
    let mut text = String::new();
    File::from(read).read_to_string(&mut text)?;
    Ok(format!("{moved} bytes: {text}"))
}

fn sendfile(battery: &Battery) -> io::Result<String> {
    let mut stream = battery.connect("half-close")?;
    let mut file = tempfile::tempfile()?;
    file.write_all(&[9; 300_000])?;
    let mut offset = 0;
    while usize::try_from(offset).unwrap_or(0) < 300_000 {
        nix::sys::sendfile::sendfile(&stream, &file, Some(&mut offset), 300_000)?;
    }
    stream.shutdown(Shutdown::Write)?;
    rest(&mut stream)
}

fn zerocopy(battery: &Battery) -> io::Result<String> {
    let mut stream = battery.connect("half-close")?;
    set_option(&stream, libc::SOL_SOCKET, libc::SO_ZEROCOPY)?;
    let data = vec![5_u8; 200_000];
    let mut sent = 0;
    while sent < data.len() {
        let left = &data[sent..];
        // SAFETY: pointer and length are those of `left`, which outlives the connection.
        let result =
            unsafe { libc::send(stream.as_raw_fd(), left.as_ptr().cast(), left.len(), libc::MSG_ZEROCOPY) };
        sent += usize::try_from(result).map_err(|_| io::Error::last_os_error())?;
    }
    stream.shutdown(Shutdown::Write)?;
    rest(&mut stream)
}

fn set_option(socket: &impl AsRawFd, level: i32, option: i32) -> io::Result<()> {
    let on: libc::c_int = 1;
    let length = libc::socklen_t::try_from(size_of::<libc::c_int>()).map_err(io::Error::other)?;
    // SAFETY: the value is an int that outlives the call.
    let result =
        unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, (&raw const on).cast(), length) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn bulk_echo(battery: &Battery) -> io::Result<String> {
    let mut stream = battery.connect("echo")?;
    let mut writer = stream.try_clone()?;
    let sender = std::thread::spawn(move || {
        writer.write_all(&vec![3; BULK])?;
        writer.shutdown(Shutdown::Write)
    });
    let mut echoed = Vec::new();
    stream.read_to_end(&mut echoed)?;
    sender.join().map_err(|_| io::ErrorKind::Other)??;
    Ok(format!("{} bytes, all right: {}", echoed.len(), echoed.iter().all(|byte| *byte == 3)))
}

/// Data with the SYN, where the kernel allows it; a plain handshake else. Either way the data arrives.
fn fast_open(battery: &Battery) -> io::Result<String> {
    let socket = battery.socket()?;
    let to = SockAddr::from(battery.dialled(battery.to));
    let request = b"names\n";
    // SAFETY: buffer and address outlive the call, with their own lengths.
    let sent = unsafe {
        libc::sendto(
            socket.as_raw_fd(),
            request.as_ptr().cast(),
            request.len(),
            libc::MSG_FASTOPEN,
            to.as_ptr().cast(),
            to.len(),
        )
    };
    if sent < 0 {
        return Err(io::Error::last_os_error());
    }
    let mut stream = TcpStream::from(socket);
    let seen = rest(&mut stream)?;
    Ok(format!("sent {sent}; {}; the server sees {seen}", Battery::names_of(&stream)?))
}

fn fast_open_connect(battery: &Battery) -> io::Result<String> {
    let socket = battery.socket()?;
    set_option(&socket, libc::IPPROTO_TCP, libc::TCP_FASTOPEN_CONNECT)?;
    socket.connect(&battery.dialled(battery.to).into())?;
    let mut stream = TcpStream::from(socket);
    writeln!(stream, "names")?;
    let seen = rest(&mut stream)?;
    Ok(format!("{}; the server sees {seen}", Battery::names_of(&stream)?))
}

fn non_blocking(battery: &Battery) -> io::Result<String> {
    let socket = battery.socket()?;
    socket.set_nonblocking(true)?;
    let first = match socket.connect(&battery.dialled(battery.to).into()) {
        // On loopback, or with a quick peer, either is right.
        Ok(()) => "connected or in progress".to_owned(),
        Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {
            "connected or in progress".to_owned()
        }
        Err(error) => super::client::name(&error),
    };
    let ready = wait(&socket, PollFlags::POLLOUT)?;
    let error = socket.take_error()?.map(|error| super::client::name(&error));
    Ok(format!("{first}, then {ready:?}, SO_ERROR {error:?}"))
}

fn connect_twice(battery: &Battery) -> io::Result<String> {
    let socket = battery.socket()?;
    let to = battery.dialled(battery.to).into();
    socket.connect(&to)?;
    let second = socket.connect(&to).map_err(|error| super::client::name(&error));
    Ok(format!("{second:?}, {}", Battery::names_of(&TcpStream::from(socket))?))
}

/// `connect(AF_UNSPEC)` and then another Service on the same socket, and then something that is none.
fn connect_again(battery: &Battery) -> io::Result<String> {
    let socket = battery.socket()?;
    socket.connect(&battery.dialled(battery.to).into())?;
    disconnect(&socket)?;
    let between = socket.local_addr()?.as_socket().map(|address| address.ip().to_string());
    let peer = socket.peer_addr().map_err(|error| super::client::name(&error)).map(drop);
    socket.connect(&battery.dialled(battery.other).into())?;
    let there = Battery::names_of(&TcpStream::from(socket.try_clone()?))?;
    disconnect(&socket)?;
    let loopback: IpAddr = match battery.to {
        SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    };
    let neighbour = TcpListener::bind((loopback, 0))?;
    let port = neighbour.local_addr()?.port();
    socket.connect(&battery.dialled(SocketAddr::new(loopback, port)).into())?;
    let home = socket.peer_addr()?.as_socket().map(|peer| peer.ip().to_string());
    Ok(format!("own address between {between:?}, peer {peer:?}, then {there}, then at home {home:?}"))
}

pub(super) fn disconnect(socket: &Socket) -> io::Result<()> {
    let unspecified = libc::sockaddr { sa_family: 0, sa_data: [0; 14] };
    let length = libc::socklen_t::try_from(size_of_val(&unspecified)).map_err(io::Error::other)?;
    // SAFETY: the address outlives the call, with its own length.
    let result = unsafe { libc::connect(socket.as_raw_fd(), &raw const unspecified, length) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn v6only(battery: &Battery) -> io::Result<String> {
    let IpAddr::V4(v4) = battery.to.ip() else { return Ok("an IPv6 Service".to_owned()) };
    let socket = Socket::new(Domain::IPV6, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_only_v6(true)?;
    let mapped = SocketAddr::new(v4.to_ipv6_mapped().into(), battery.to.port());
    socket.connect(&mapped.into())?;
    Ok("connected".to_owned())
}

fn bind_first(battery: &Battery) -> io::Result<String> {
    let socket = battery.socket()?;
    let own = battery.dialled(SocketAddr::new(battery.own, 0));
    socket.bind(&own.into())?;
    let port = socket.local_addr()?.as_socket().map(|address| address.port());
    socket.connect(&battery.dialled(battery.to).into())?;
    let kept = socket.local_addr()?.as_socket().map(|address| address.port()) == port;
    Ok(format!("port kept: {kept}, {}", Battery::names_of(&TcpStream::from(socket))?))
}

fn bind_device(battery: &Battery) -> io::Result<String> {
    let socket = battery.socket()?;
    socket.bind_device(Some(b"eth0"))?;
    socket.connect(&battery.dialled(battery.to).into())?;
    Battery::names_of(&TcpStream::from(socket))
}

fn mptcp(battery: &Battery) -> io::Result<String> {
    let domain = Domain::for_address(battery.dialled(battery.to));
    let socket = Socket::new(domain, Type::STREAM, Some(Protocol::from(super::client::MPTCP)))?;
    socket.connect(&battery.dialled(battery.to).into())?;
    let mut stream = TcpStream::from(socket);
    writeln!(stream, "names")?;
    let seen = rest(&mut stream)?;
    Ok(format!("{}; the server sees {seen}", Battery::names_of(&stream)?))
}

fn udp(battery: &Battery) -> io::Result<String> {
    let to = battery.dialled(battery.to);
    let socket = Socket::new(Domain::for_address(to), Type::DGRAM, Some(Protocol::UDP))?;
    socket.connect(&to.into())?;
    Ok(format!("peer {:?}", socket.peer_addr()?.as_socket()))
}

fn refused(battery: &Battery) -> io::Result<String> {
    let socket = battery.socket()?;
    socket.set_nonblocking(true)?;
    // The first answer depends on who is quicker; the poll that follows does not.
    let _ = socket.connect(&battery.dialled(battery.nobody).into());
    let ready = wait(&socket, PollFlags::POLLOUT)?;
    let error = socket.take_error()?.map(|error| super::client::name(&error));
    Ok(format!("{}, SO_ERROR {error:?}", ready.contains(PollFlags::POLLERR)))
}
