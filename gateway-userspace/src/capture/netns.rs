//! Network namespaces: the only place that changes the namespace of a thread.
//!
//! A namespace is entered for a few system calls and left before anything can await, so a runtime's
//! thread is never seen anywhere but at home. A thread that cannot come back would serve one pod's
//! traffic from another pod's network: that ends the process.
#![expect(unsafe_code, reason = "getsockopt(SO_NETNS_COOKIE) has no safe wrapper")]

use std::fs::File;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::ifaddrs::{InterfaceAddress, getifaddrs};
use nix::net::if_::InterfaceFlags;
use nix::sched::{CloneFlags, setns};
use socket2::{Domain, Protocol, Socket, Type};

/// Connections that may wait for `accept` on one in-pod listener. The namespace's `somaxconn` caps it.
const BACKLOG: i32 = 4096;

/// Why a namespace could not be used.
#[derive(Debug, thiserror::Error)]
pub enum NetnsError {
    /// Nothing is at the path, or it may not be opened.
    #[error("cannot open the network namespace {path}: {source}")]
    Open {
        /// As configured.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// There is one, but not for this process.
    #[error(transparent)]
    Hidden(super::Hidden),
    /// The path is a plain file: the namespace that was mounted there is gone, or never was.
    #[error("{0} is no network namespace (is it created yet? `ip netns add` makes one in /run/netns)")]
    NotANamespace(PathBuf),
    /// This process may not change namespaces.
    #[error("cannot enter a network namespace: {0}; run as root or give CAP_SYS_ADMIN")]
    Enter(io::Error),
    /// The namespace's loopback interface is not up, so nothing can listen there yet.
    #[error("the loopback interface of the namespace is down (`ip -n NAME link set lo up`)")]
    LoopbackDown,
    /// A listener could not be made for another reason.
    #[error("cannot listen on {address} in the namespace: {source}")]
    Listen {
        /// Loopback address that was tried.
        address: IpAddr,
        /// What the kernel said.
        source: io::Error,
    },
    /// The kernel does not tell the namespace's cookie.
    #[error("the kernel gives no cookie for a network namespace (needs Linux 5.14): {0}")]
    Cookie(io::Error),
    /// The namespace's addresses could not be listed.
    #[error("cannot list the addresses of the namespace: {0}")]
    Addresses(io::Error),
}

/// What makes two paths the same namespace: device and inode of nsfs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct NetnsId {
    device: u64,
    inode: u64,
}

/// An open network namespace. Keeps the namespace alive until dropped.
#[derive(Debug, Clone)]
pub struct Netns {
    file: Arc<OwnedFd>,
    id: NetnsId,
}

/// Addresses that the pod itself is known by: the first usable one of each family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PodAddresses {
    /// First IPv4 address of an interface that is up and not loopback.
    pub v4: Option<Ipv4Addr>,
    /// First IPv6 address with more than link scope.
    pub v6: Option<Ipv6Addr>,
}

/// The loopback listeners of one pod.
#[derive(Debug)]
pub struct PodSockets {
    /// On 127.0.0.1.
    pub v4: TcpListener,
    /// On `[::1]`, unless the namespace has no IPv6.
    pub v6: Option<TcpListener>,
}

impl PodSockets {
    /// From the listeners that an earlier process had in a pod; `None` when one of 127.0.0.1 is missing.
    pub fn from_listeners(listeners: Vec<TcpListener>) -> Option<Self> {
        let is_v4 = |socket: &TcpListener| socket.local_addr().is_ok_and(|address| address.is_ipv4());
        let (v4, v6): (Vec<_>, Vec<_>) = listeners.into_iter().partition(is_v4);
        Some(Self { v4: v4.into_iter().next()?, v6: v6.into_iter().next() })
    }
}

impl PartialEq for Netns {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Eq for Netns {}

impl Netns {
    /// Opens the namespace at `path`: `/run/netns/NAME`, `/proc/PID/ns/net`, or wherever a container
    /// runtime mounted it.
    pub fn open(path: &Path) -> Result<Self, NetnsError> {
        let file =
            File::open(path).map_err(|source| NetnsError::Open { path: path.to_path_buf(), source })?;
        let kind = nix::sys::statfs::fstatfs(&file)
            .map_err(|e| NetnsError::Open { path: path.to_path_buf(), source: e.into() })?;
        if kind.filesystem_type() != nix::sys::statfs::NSFS_MAGIC {
            return Err(NetnsError::NotANamespace(path.to_path_buf()));
        }
        let data = file.metadata().map_err(|source| NetnsError::Open { path: path.to_path_buf(), source })?;
        let id = NetnsId { device: data.dev(), inode: data.ino() };
        Ok(Self { file: Arc::new(file.into()), id })
    }

    /// One that somebody handed over.
    pub fn from_descriptor(descriptor: OwnedFd) -> Result<Self, NetnsError> {
        let path = PathBuf::from(format!("/proc/self/fd/{}", descriptor.as_raw_fd()));
        let leads_to = std::fs::read_link(&path).unwrap_or_default();
        if !leads_to.to_string_lossy().starts_with("net:[") {
            return Err(NetnsError::NotANamespace(leads_to));
        }
        let file = File::from(descriptor);
        let data = file.metadata().map_err(|source| NetnsError::Open { path, source })?;
        let id = NetnsId { device: data.dev(), inode: data.ino() };
        Ok(Self { file: Arc::new(file.into()), id })
    }

    /// Which namespace is at `path` right now; `None` when there is none any more. Opens nothing, so
    /// it keeps nothing alive.
    pub fn id_at(path: &Path) -> Option<NetnsId> {
        let data = std::fs::metadata(path).ok()?;
        Some(NetnsId { device: data.dev(), inode: data.ino() })
    }

    /// Which namespace this is.
    pub fn id(&self) -> NetnsId {
        self.id
    }

    /// The open file, to make sockets with. Each clone keeps the namespace alive.
    pub fn file(&self) -> Arc<OwnedFd> {
        Arc::clone(&self.file)
    }

    /// The number by which programs in the kernel know this namespace. Never used again while the
    /// machine runs.
    pub fn cookie(&self) -> Result<u64, NetnsError> {
        let socket = inside(self.file.as_fd(), || Socket::new(Domain::IPV4, Type::STREAM, None))
            .map_err(NetnsError::Enter)?
            .map_err(NetnsError::Cookie)?;
        socket_netns_cookie(&socket).map_err(NetnsError::Cookie)
    }

    /// The pod's own addresses.
    pub fn addresses(&self) -> Result<PodAddresses, NetnsError> {
        let interfaces = self.interfaces()?;
        let mut found = PodAddresses::default();
        let usable = interfaces.into_iter().filter(|i| {
            i.flags.contains(InterfaceFlags::IFF_UP) && !i.flags.contains(InterfaceFlags::IFF_LOOPBACK)
        });
        for address in usable.filter_map(|i| i.address) {
            if let Some(v4) = address.as_sockaddr_in() {
                found.v4.get_or_insert(v4.ip());
            } else if let Some(v6) = address.as_sockaddr_in6()
                && !v6.ip().is_unicast_link_local()
            {
                found.v6.get_or_insert(v6.ip());
            }
        }
        Ok(found)
    }

    fn interfaces(&self) -> Result<Vec<InterfaceAddress>, NetnsError> {
        inside(self.file.as_fd(), || getifaddrs().map(Iterator::collect))
            .map_err(NetnsError::Enter)?
            .map_err(|e| NetnsError::Addresses(e.into()))
    }

    /// Listens on loopback inside the namespace, on ports that the kernel chooses.
    pub fn listen(&self) -> Result<PodSockets, NetnsError> {
        // A listener can be made while loopback is down, but nothing would reach it.
        let up = InterfaceFlags::IFF_LOOPBACK | InterfaceFlags::IFF_UP;
        if !self.interfaces()?.iter().any(|i| i.flags.contains(up)) {
            return Err(NetnsError::LoopbackDown);
        }
        inside(self.file.as_fd(), || {
            let v4 = listen_at(Ipv4Addr::LOCALHOST.into())
                .map_err(|source| NetnsError::Listen { address: Ipv4Addr::LOCALHOST.into(), source })?;
            // A namespace may have IPv6 off, by module or by sysctl: then nothing dials ::1 either.
            let v6 = listen_at(Ipv6Addr::LOCALHOST.into()).ok();
            Ok(PodSockets { v4, v6 })
        })
        .map_err(NetnsError::Enter)?
    }
}

/// A TCP socket of `netns`, or of this process's own namespace. Two changes of namespace and a
/// `socket` call: fit for a worker's thread.
pub fn stream_socket(netns: Option<BorrowedFd<'_>>, domain: Domain) -> io::Result<Socket> {
    let make = || Socket::new(domain, Type::STREAM.nonblocking(), Some(Protocol::TCP));
    match netns {
        None => make(),
        Some(netns) => inside(netns, make)?,
    }
}

/// True for a socket of the network namespace that this process runs in. One that another process made
/// may be of another.
pub fn is_of_home(socket: &TcpListener) -> bool {
    let home = Socket::new(Domain::IPV4, Type::STREAM, None).and_then(|own| socket_netns_cookie(&own));
    let other = socket_netns_cookie(socket);
    matches!((home, other), (Ok(home), Ok(other)) if home == other)
}

fn listen_at(address: IpAddr) -> io::Result<TcpListener> {
    let address = SocketAddr::new(address, 0);
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn socket_netns_cookie(socket: &impl AsRawFd) -> io::Result<u64> {
    let mut cookie = 0_u64;
    let mut length = size_of::<u64>() as libc::socklen_t;
    // SAFETY: both pointers are to live locals, and `length` says how large the first one is.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut length,
        )
    };
    if result == 0 { Ok(cookie) } else { Err(io::Error::last_os_error()) }
}

thread_local! {
    /// The namespace this thread came from, opened once.
    static HOME: io::Result<File> = File::open("/proc/thread-self/ns/net");
}

/// Runs `work` with this thread inside `netns`. `work` must not spawn threads and cannot await.
fn inside<T>(netns: BorrowedFd<'_>, work: impl FnOnce() -> T) -> io::Result<T> {
    HOME.with(|home| {
        let home = home.as_ref().map_err(|e| io::Error::from(e.kind()))?;
        setns(netns, CloneFlags::CLONE_NEWNET)?;
        let _way_back = WayBack(home);
        Ok(work())
    })
}

/// Brings the thread home when dropped, also when the work panics.
struct WayBack<'a>(&'a File);

impl Drop for WayBack<'_> {
    fn drop(&mut self) {
        if let Err(error) = setns(self.0, CloneFlags::CLONE_NEWNET) {
            tracing::error!(%error, "a thread cannot leave a pod's network namespace: ending the process");
            std::process::abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Netns, NetnsError};
    use std::path::Path;

    #[test]
    fn a_plain_file_is_said_to_be_no_namespace() {
        let error = Netns::open(Path::new("/proc/self/status")).unwrap_err();
        assert!(matches!(&error, NetnsError::NotANamespace(_)), "{error}");
    }

    #[test]
    fn a_missing_namespace_is_named_with_its_path() {
        let error = Netns::open(Path::new("/run/netns/there-is-no-such-pod")).unwrap_err();
        assert!(error.to_string().contains("/run/netns/there-is-no-such-pod"), "{error}");
    }

    #[test]
    fn two_paths_of_one_namespace_have_one_id() {
        let a = Netns::open(Path::new("/proc/self/ns/net")).unwrap();
        assert_eq!(Some(a.id()), Netns::id_at(Path::new("/proc/thread-self/ns/net")));
    }
}
