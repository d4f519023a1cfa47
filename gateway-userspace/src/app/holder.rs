//! Holder: a small process beside the gateway that keeps its listening sockets open when it dies.
//!
//! It is told of each socket by a message with a duplicate in it. A gateway that ends in order says so, and the
//! holder ends with it. One that is killed cannot: then what its clients connect to stays open for
//! `HOLD_SECONDS`, and a gateway that is started in that time gets the sockets, and with them whoever has
//! connected meanwhile. Nothing of the traffic depends on it while the gateway lives.

pub mod keeper;

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use nix::sys::socket::sockopt::{ReceiveTimeout, SendTimeout};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, setsockopt, socketpair};
use nix::sys::time::{TimeVal, TimeValLike};

use super::handover::{DONE, END, SOCKETS_MAX, TAKEOVER, receive_message, send_message, seqpacket};
use super::ports::Inherited;
use crate::capture::netns::PodSockets;

/// How long the sockets are kept for a next gateway, seconds. Longer than a supervisor takes to start one.
pub const HOLD_SECONDS: i64 = 5;

/// Longest wait for a holder to take or give a message, seconds.
const PATIENCE_SECONDS: i64 = 1;

const HERE: &[u8] = b"here";
const KEEP: &str = "keep ";
const DROP: &str = "drop ";
const BYE: &[u8] = b"bye";
const GATEWAY: &str = "gateway ";
const POD: &str = "pod ";

/// Where the holder of the process with this admin socket gives out what it holds.
pub fn path_beside(admin_socket: &Path) -> PathBuf {
    let mut path = admin_socket.as_os_str().to_owned();
    path.push(".held");
    path.into()
}

/// The holder of this process, or none.
#[derive(Debug, Default)]
pub struct Holder(Mutex<Option<Running>>);

#[derive(Debug)]
struct Running {
    socket: OwnedFd,
    child: Child,
}

impl Holder {
    /// No holder: the sockets end with this process.
    pub fn none() -> Self {
        Self::default()
    }

    /// Starts `weir hold`. Until [`Self::take_place`], whoever asks at `path` finds the holder of the process before.
    ///
    /// # Errors
    /// When there can be no further process.
    pub fn start(path: &Path) -> io::Result<Self> {
        let (ours, theirs) =
            socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
        setsockopt(&ours, SendTimeout, &TimeVal::seconds(PATIENCE_SECONDS))?;
        setsockopt(&ours, ReceiveTimeout, &TimeVal::seconds(PATIENCE_SECONDS))?;
        let mut command = Command::new("/proc/self/exe");
        command.arg0("weir").arg("hold").arg(path);
        // A group of its own: the terminal's Ctrl-C is for the gateway, which tells it to end.
        command.stdin(Stdio::from(theirs)).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        Ok(Self(Mutex::new(Some(Running { socket: ours, child: command.spawn()? }))))
    }

    /// This process serves: whoever asks after its death finds its holder, as a rule from the moment that this returns.
    pub fn take_place(&self) {
        self.with(|socket| {
            send_message(socket, HERE, &[])?;
            // One that gets no CPU now takes its place later.
            if let Err(error) = receive_message(socket) {
                tracing::debug!(%error, "the holder takes its time");
            }
            Ok(())
        });
    }

    /// Keeps the sockets of a gateway port.
    pub fn keep_port(&self, address: SocketAddr, sockets: &[TcpListener]) {
        self.keep(&format!("{KEEP}{GATEWAY}{address}"), sockets.iter());
    }

    /// The port is closed.
    pub fn drop_port(&self, address: SocketAddr) {
        self.tell(format!("{DROP}{GATEWAY}{address}").as_bytes(), &[]);
    }

    /// Keeps the listeners of a pod.
    pub fn keep_pod<'a>(&self, netns_cookie: u64, sockets: impl Iterator<Item = &'a TcpListener>) {
        self.keep(&format!("{KEEP}{POD}{netns_cookie}"), sockets);
    }

    /// The pod is no longer captured.
    pub fn drop_pod(&self, netns_cookie: u64) {
        self.tell(format!("{DROP}{POD}{netns_cookie}").as_bytes(), &[]);
    }

    /// The orderly end: waits until it holds nothing any more.
    pub fn end(&self) {
        self.tell(BYE, &[]);
        let running = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Running { socket, mut child }) = running {
            drop(socket);
            // It has nothing else to do.
            let _ = child.wait();
        }
    }

    fn keep<'a>(&self, text: &str, sockets: impl Iterator<Item = &'a TcpListener>) {
        let descriptors: Vec<RawFd> = sockets.map(AsRawFd::as_raw_fd).collect();
        for part in descriptors.chunks(SOCKETS_MAX) {
            self.tell(text.as_bytes(), part);
        }
    }

    fn tell(&self, text: &[u8], descriptors: &[RawFd]) {
        self.with(|socket| send_message(socket, text, descriptors));
    }

    fn with(&self, speak: impl FnOnce(&OwnedFd) -> io::Result<()>) {
        let mut running = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(Running { socket, child }) = &mut *running else { return };
        if let Err(error) = speak(socket) {
            tracing::warn!(%error, "the holder is given up: sockets end with this process");
            // What it holds must not outlive what it was told of.
            let _ = child.kill();
            let _ = child.wait();
            *running = None;
        }
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        self.end();
    }
}

/// What the holder of a process that was killed has kept.
#[derive(Debug, Default)]
pub struct Held {
    /// Sockets of gateway ports.
    pub ports: Inherited,
    /// Listeners of pods, by their namespace's cookie.
    pub pods: BTreeMap<u64, Vec<TcpListener>>,
    socket: Option<OwnedFd>,
}

impl Held {
    /// Asks at `path`. Nothing when nobody holds anything there.
    pub fn ask(path: &Path) -> Self {
        Self::try_ask(path).unwrap_or_else(|error| {
            tracing::debug!(%error, "no sockets of an earlier process");
            Self::default()
        })
    }

    fn try_ask(path: &Path) -> io::Result<Self> {
        let socket = seqpacket()?;
        connect(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
        setsockopt(&socket, ReceiveTimeout, &TimeVal::seconds(PATIENCE_SECONDS))?;
        send_message(&socket, TAKEOVER, &[])?;
        let mut held = Self::default();
        loop {
            let (text, sockets) = receive_message(&socket)?;
            if text == END {
                held.socket = Some(socket);
                return Ok(held);
            }
            let sockets = sockets.into_iter().map(TcpListener::from);
            let text = String::from_utf8_lossy(&text).into_owned();
            let not_understood = || io::Error::other("the holder was not understood");
            if let Some(address) = text.strip_prefix(GATEWAY) {
                let address = address.parse().map_err(|_| not_understood())?;
                held.ports.entry(address).or_default().extend(sockets);
            } else {
                let cookie = text.strip_prefix(POD).and_then(|cookie| cookie.parse().ok());
                held.pods.entry(cookie.ok_or_else(not_understood)?).or_default().extend(sockets);
            }
        }
    }

    /// The listeners of pods, as enrolment wants them.
    pub fn take_pods(&mut self) -> BTreeMap<u64, PodSockets> {
        let pods = std::mem::take(&mut self.pods).into_iter();
        pods.filter_map(|(cookie, sockets)| Some((cookie, PodSockets::from_listeners(sockets)?))).collect()
    }

    /// True when there is nothing.
    pub fn is_empty(&self) -> bool {
        self.ports.is_empty() && self.pods.is_empty()
    }

    /// We serve now: the holder ends.
    pub fn done(&mut self) {
        if let Some(socket) = self.socket.take()
            && let Err(error) = send_message(&socket, DONE, &[])
        {
            tracing::debug!(%error, "the holder has ended already");
        }
    }
}

#[cfg(test)]
mod tests;
