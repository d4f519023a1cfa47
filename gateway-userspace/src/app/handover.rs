//! Handover: how a new process gets the gateway ports of the one it replaces, without losing a connection.
//!
//! The running process waits at a Unix socket beside its admin socket. The next one gets the very
//! sockets that it listens with, accept queues included, says `done` when it serves, and only then
//! does the old one drain. A next one that dies before `done` changes nothing. Whoever asks after
//! `done` hears `gone`, and asks again at the same path, where the new process waits by then.
#![expect(unsafe_code, reason = "descriptors that arrive in a message become owned here")]

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use nix::sys::socket::sockopt::{PeerCredentials, ReceiveTimeout};
use nix::sys::socket::{
    AddressFamily, Backlog, ControlMessage, ControlMessageOwned, MsgFlags, Shutdown, SockFlag, SockType,
    UnixAddr, accept4, bind, connect, getsockopt, listen, recvmsg, sendmsg, setsockopt, shutdown, socket,
};
use nix::sys::time::{TimeVal, TimeValLike};

use super::ports::{Inherited, Ports};
use crate::drain::{Cause, DrainTrigger};

/// Sockets of one address that fit into one message (the kernel's SCM_MAX_FD is 253).
pub(super) const SOCKETS_MAX: usize = 253;

/// Longest message, bytes: an address, or a word.
const MESSAGE_BYTES_MAX: usize = 64;

/// Longest time the next process may take from `takeover` to `done`, seconds.
const DONE_WITHIN_SECONDS: i64 = 60;

pub(super) const TAKEOVER: &[u8] = b"takeover";
pub(super) const END: &[u8] = b"end";
pub(super) const DONE: &[u8] = b"done";
const GONE: &[u8] = b"gone";

/// Where the process with this admin socket hands over.
pub fn path_beside(admin_socket: &Path) -> PathBuf {
    let mut path = admin_socket.as_os_str().to_owned();
    path.push(".next");
    path.into()
}

/// A gateway that runs already.
#[derive(Debug)]
pub struct Predecessor {
    socket: OwnedFd,
    pid: i32,
}

impl Predecessor {
    /// The gateway that runs at `path`, if one does.
    pub fn find(path: &Path) -> io::Result<Option<Self>> {
        let socket = seqpacket()?;
        match connect(socket.as_raw_fd(), &UnixAddr::new(path)?) {
            Ok(()) => {}
            // No such path, or one that a process left behind which did not end in order.
            Err(nix::Error::ENOENT | nix::Error::ECONNREFUSED) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        let pid = getsockopt(&socket, PeerCredentials)?.pid();
        Ok(Some(Self { socket, pid }))
    }

    /// Its process id.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Its listening sockets. It keeps serving, too. Nothing when another process has taken over
    /// from it already, or it has ended.
    pub fn take_sockets(&self) -> io::Result<Option<Inherited>> {
        send_message(&self.socket, TAKEOVER, &[])?;
        let mut inherited = Inherited::new();
        loop {
            let (text, sockets) = receive_message(&self.socket)?;
            if text == END {
                return Ok(Some(inherited));
            }
            if text == GONE {
                return Ok(None);
            }
            let address: SocketAddr = std::str::from_utf8(&text)
                .ok()
                .and_then(|t| t.parse().ok())
                .ok_or_else(|| io::Error::other("the running gateway's handover was not understood"))?;
            inherited.insert(address, sockets.into_iter().map(TcpListener::from).collect());
        }
    }

    /// We serve now: it drains and ends.
    pub fn done(self) -> io::Result<()> {
        send_message(&self.socket, DONE, &[])
    }
}

/// Waits for a next process, for as long as this lives.
#[derive(Debug)]
pub struct HandoverServer {
    listener: Arc<OwnedFd>,
    path: PathBuf,
    inode: Option<u64>,
}

impl HandoverServer {
    /// Waits at `path`, in a thread of its own, from the moment that this returns. The socket of a
    /// process before is replaced in one step: somebody always answers there.
    pub fn start(path: &Path, ports: Arc<Mutex<Ports>>, drain: DrainTrigger) -> io::Result<Self> {
        let listener = Arc::new(listen_in_place(path)?);
        let waiting = Arc::clone(&listener);
        std::thread::Builder::new().name("weir-handover".into()).spawn(move || {
            let mut replaced = false;
            while let Ok(client) = accept_client(&waiting) {
                match serve(&client, &ports, replaced) {
                    Ok(true) => {
                        replaced = true;
                        drain.start(Cause::Replaced);
                    }
                    Ok(false) => {}
                    Err(error) => tracing::warn!(%error, "a handover to a new process broke off: serving on"),
                }
            }
        })?;
        Ok(Self { listener, path: path.to_path_buf(), inode: inode(path) })
    }
}

impl Drop for HandoverServer {
    fn drop(&mut self) {
        // Wakes the thread out of `accept`.
        if let Err(error) = shutdown(self.listener.as_raw_fd(), Shutdown::Both) {
            tracing::debug!(%error, "the handover thread stays until the process ends");
        }
        // The next process may have made its own there.
        if self.inode.is_some() && inode(&self.path) == self.inode {
            drop(std::fs::remove_file(&self.path));
        }
    }
}

pub(super) fn inode(path: &Path) -> Option<u64> {
    std::fs::metadata(path).ok().map(|data| std::os::unix::fs::MetadataExt::ino(&data))
}

/// A socket that listens at `path`, in the place of what was there.
pub(super) fn listen_in_place(path: &Path) -> io::Result<OwnedFd> {
    let mut made = path.as_os_str().to_owned();
    made.push(format!(".{}", std::process::id()));
    let made = PathBuf::from(made);
    // Left by a process with the same number.
    drop(std::fs::remove_file(&made));
    let listener = seqpacket()?;
    bind(listener.as_raw_fd(), &UnixAddr::new(&made)?)?;
    only_for_us(&made)?;
    listen(&listener, Backlog::new(4)?)?;
    std::fs::rename(&made, path)?;
    Ok(listener)
}

/// One next process. True when it has taken over.
fn serve(client: &OwnedFd, ports: &Mutex<Ports>, replaced: bool) -> io::Result<bool> {
    setsockopt(client, ReceiveTimeout, &TimeVal::seconds(DONE_WITHIN_SECONDS))?;
    let (text, _) = receive_message(client)?;
    if text != TAKEOVER {
        // A process that only wanted to know who runs here.
        return Ok(false);
    }
    if replaced {
        send_message(client, GONE, &[])?;
        return Ok(false);
    }
    {
        let ports = ports.lock().unwrap_or_else(PoisonError::into_inner);
        for (address, sockets) in ports.sockets() {
            let descriptors: Vec<RawFd> = sockets.iter().map(AsRawFd::as_raw_fd).take(SOCKETS_MAX).collect();
            send_message(client, address.to_string().as_bytes(), &descriptors)?;
        }
    }
    send_message(client, END, &[])?;
    let (text, _) = receive_message(client)?;
    Ok(text == DONE)
}

/// Before `listen` nobody can connect: no one else's process gets at our sockets.
fn only_for_us(path: &Path) -> io::Result<()> {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))
}

/// The next process that asks.
pub(super) fn accept_client(listener: &OwnedFd) -> io::Result<OwnedFd> {
    let client = accept4(listener.as_raw_fd(), SockFlag::SOCK_CLOEXEC)?;
    // SAFETY: accept4 returned this descriptor just now and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(client) })
}

pub(super) fn seqpacket() -> io::Result<OwnedFd> {
    Ok(socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None)?)
}

pub(super) fn send_message(socket: &OwnedFd, text: &[u8], descriptors: &[RawFd]) -> io::Result<()> {
    let rights = [ControlMessage::ScmRights(descriptors)];
    let control = if descriptors.is_empty() { &rights[..0] } else { &rights[..] };
    sendmsg::<UnixAddr>(socket.as_raw_fd(), &[IoSlice::new(text)], control, MsgFlags::MSG_NOSIGNAL, None)?;
    Ok(())
}

/// One message; empty when the other side has hung up.
pub(super) fn receive_message(socket: &OwnedFd) -> io::Result<(Vec<u8>, Vec<OwnedFd>)> {
    receive(socket, MESSAGE_BYTES_MAX)
}

/// One message of at most so many bytes.
pub(super) fn receive(socket: &OwnedFd, bytes_max: usize) -> io::Result<(Vec<u8>, Vec<OwnedFd>)> {
    let mut text = vec![0; bytes_max];
    let mut control = nix::cmsg_space!([RawFd; SOCKETS_MAX]);
    let mut owned = Vec::new();
    let length = {
        let mut parts = [IoSliceMut::new(&mut text)];
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        let message = recvmsg::<UnixAddr>(socket.as_raw_fd(), &mut parts, Some(&mut control), flags)?;
        for part in message.cmsgs()? {
            if let ControlMessageOwned::ScmRights(descriptors) = part {
                // SAFETY: the kernel has just put these descriptors into our table for this message.
                owned.extend(descriptors.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
            }
        }
        message.bytes
    };
    text.truncate(length);
    Ok((text, owned))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drain;
    use crate::snapshot::listener::{Listener, ListenerKind};
    use crate::snapshot::router::WeightedBackends;

    fn serving() -> (SocketAddr, Arc<Mutex<Ports>>) {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let kind = ListenerKind::Tcp(WeightedBackends::default());
        let listener =
            Arc::new(Listener { address, port: address.port(), name: "shop/edge/tcp".into(), kind });
        let mut ports = Ports::new(2, Inherited::new());
        assert_eq!(ports.compare(&[listener]).len(), 1);
        (address, Arc::new(Mutex::new(ports)))
    }

    #[tokio::test]
    async fn the_next_process_gets_the_sockets_and_the_old_one_drains_when_it_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = path_beside(&folder.path().join("admin.sock"));
        let (address, ports) = serving();
        let (trigger, mut drain) = drain::channel();
        let _server = HandoverServer::start(&path, ports, trigger).unwrap();
        let predecessor = Predecessor::find(&path).unwrap().unwrap();
        assert_eq!(predecessor.pid(), i32::try_from(std::process::id()).unwrap());
        let inherited = predecessor.take_sockets().unwrap().unwrap();
        assert_eq!(inherited[&address].len(), 2);
        assert_eq!(inherited[&address][0].local_addr().unwrap(), address);
        assert!(!drain.is_started());
        predecessor.done().unwrap();
        assert_eq!(drain.started().await, Cause::Replaced);
    }

    #[tokio::test]
    async fn whoever_asks_a_process_that_is_replaced_finds_the_one_that_replaced_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = path_beside(&folder.path().join("admin.sock"));
        let (address, ports) = serving();
        let (trigger, mut drain) = drain::channel();
        let _old = HandoverServer::start(&path, ports, trigger).unwrap();
        let second = Predecessor::find(&path).unwrap().unwrap();
        let third = Predecessor::find(&path).unwrap().unwrap();
        second.take_sockets().unwrap().unwrap();
        let (next_address, next_ports) = serving();
        let (trigger, _drain) = drain::channel();
        let _new = HandoverServer::start(&path, next_ports, trigger).unwrap();
        second.done().unwrap();
        assert_eq!(drain.started().await, Cause::Replaced);
        assert!(third.take_sockets().unwrap().is_none());
        let inherited = Predecessor::find(&path).unwrap().unwrap().take_sockets().unwrap().unwrap();
        assert!(inherited.contains_key(&next_address) && !inherited.contains_key(&address));
    }

    #[test]
    fn a_next_process_that_dies_changes_nothing_and_another_can_come() {
        let folder = tempfile::tempdir().unwrap();
        let path = path_beside(&folder.path().join("admin.sock"));
        let (address, ports) = serving();
        let (trigger, drain) = drain::channel();
        let server = HandoverServer::start(&path, ports, trigger).unwrap();
        drop(Predecessor::find(&path).unwrap().unwrap().take_sockets().unwrap());
        let again = Predecessor::find(&path).unwrap().unwrap();
        assert!(again.take_sockets().unwrap().unwrap().contains_key(&address));
        assert!(!drain.is_started());
        drop((again, server));
        assert!(Predecessor::find(&path).unwrap().is_none());
        assert!(!path.exists());
    }
}
