//! Gateway ports of this host: opened and closed as the snapshot's listeners come and go.
//!
//! One socket per worker and port (SO_REUSEPORT), so that no worker hands a connection to another. A
//! port that cannot be opened is reported and tried again; the rest serves on.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;

use socket2::{Domain, Protocol, Socket, Type};

use crate::snapshot::listener::Listener;

/// Connections that may wait for `accept` on one socket. `net.core.somaxconn` caps it.
const BACKLOG: i32 = 4096;

/// What is to be done to the workers after a comparison.
#[derive(Debug)]
pub enum PortChange {
    /// Serve these, one per worker in the order of workers.
    Open {
        /// What is served there.
        listener: Arc<Listener>,
        /// Listening already.
        sockets: Vec<TcpListener>,
    },
    /// Stop serving this address.
    Close(SocketAddr),
}

/// Sockets that an earlier process has handed over, by address.
pub type Inherited = BTreeMap<SocketAddr, Vec<TcpListener>>;

/// Which ports are open.
#[derive(Debug)]
pub struct Ports {
    workers: usize,
    /// Duplicates of the workers' sockets, to hand over to the next process.
    open: BTreeMap<SocketAddr, Vec<TcpListener>>,
    failed: BTreeMap<SocketAddr, String>,
    inherited: Inherited,
}

impl Ports {
    /// No port open yet. `inherited` sockets are used instead of new ones.
    pub fn new(workers: usize, inherited: Inherited) -> Self {
        Self { workers, open: BTreeMap::new(), failed: BTreeMap::new(), inherited }
    }

    /// Opens what is missing and closes what is no longer there. Ports that failed are tried again.
    pub fn compare(&mut self, listeners: &[Arc<Listener>]) -> Vec<PortChange> {
        let wanted: BTreeMap<SocketAddr, &Arc<Listener>> = listeners.iter().map(|l| (l.address, l)).collect();
        let gone: Vec<_> = self.open.keys().filter(|a| !wanted.contains_key(*a)).copied().collect();
        let mut changes = Vec::new();
        // Closing first: an address may be wanted again under a wider or narrower one.
        for address in gone {
            self.open.remove(&address);
            tracing::info!(%address, "gateway port closed");
            changes.push(PortChange::Close(address));
        }
        self.failed.retain(|address, _| wanted.contains_key(address));
        for (address, listener) in wanted {
            if self.open.contains_key(&address) {
                continue;
            }
            match self.open_port(address) {
                Ok(sockets) => {
                    self.failed.remove(&address);
                    tracing::info!(%address, listener = %listener.name, "gateway port open");
                    changes.push(PortChange::Open { listener: Arc::clone(listener), sockets });
                }
                Err(error) => self.note_failure(address, listener, &error),
            }
        }
        // What no listener wants now will not be wanted by its old name later.
        self.inherited.clear();
        changes
    }

    /// Addresses that are open.
    pub fn open(&self) -> impl Iterator<Item = SocketAddr> {
        self.open.keys().copied()
    }

    /// Addresses that could not be opened, and why.
    pub fn failed(&self) -> &BTreeMap<SocketAddr, String> {
        &self.failed
    }

    /// Every open socket, to hand over.
    pub fn sockets(&self) -> &BTreeMap<SocketAddr, Vec<TcpListener>> {
        &self.open
    }

    /// Gives up the duplicates: the workers' own sockets are the last ones.
    pub fn release(&mut self) {
        self.open.clear();
    }

    fn open_port(&mut self, address: SocketAddr) -> io::Result<Vec<TcpListener>> {
        let mut sockets = self.inherited.remove(&address).unwrap_or_default();
        if sockets.is_empty() {
            probe(address)?;
        }
        while sockets.len() < self.workers {
            sockets.push(listen(address)?);
        }
        let duplicates = sockets.iter().map(TcpListener::try_clone).collect::<io::Result<_>>()?;
        self.open.insert(address, duplicates);
        Ok(sockets)
    }

    fn note_failure(&mut self, address: SocketAddr, listener: &Listener, error: &io::Error) {
        let text = explain(address, error);
        if self.failed.get(&address) != Some(&text) {
            tracing::error!(%address, listener = %listener.name, "gateway port not open: {text}");
        }
        self.failed.insert(address, text);
    }
}

fn explain(address: SocketAddr, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            format!(
                "another process listens on port {} (`ss -ltnp 'sport = :{0}'` says which)",
                address.port()
            )
        }
        io::ErrorKind::PermissionDenied => format!(
            "port {} needs a privilege: run as root, give CAP_NET_BIND_SERVICE, or lower net.ipv4.ip_unprivileged_port_start",
            address.port()
        ),
        io::ErrorKind::AddrNotAvailable => format!("this host has no address {}", address.ip()),
        _ => error.to_string(),
    }
}

/// Fails when anyone listens there. With SO_REUSEPORT alone, a second gateway of the same user
/// would silently get half of the connections.
fn probe(address: SocketAddr) -> io::Result<()> {
    bound(address, false)?.listen(1)
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = bound(address, true)?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn bound(address: SocketAddr, reuse_port: bool) -> io::Result<Socket> {
    match bound_as(address, reuse_port) {
        // A host without IPv6 still has all of its addresses.
        Err(error)
            if address.is_ipv6()
                && address.ip().is_unspecified()
                && error.raw_os_error() == Some(libc::EAFNOSUPPORT) =>
        {
            bound_as(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), address.port()), reuse_port)
        }
        other => other,
    }
}

fn bound_as(address: SocketAddr, reuse_port: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(reuse_port)?;
    if address.is_ipv6() {
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    socket.bind(&address.into())?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::listener::ListenerKind;
    use crate::snapshot::router::WeightedBackends;

    fn free_port() -> SocketAddr {
        TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
    }

    fn listener(address: SocketAddr) -> Arc<Listener> {
        Arc::new(Listener {
            address,
            port: address.port(),
            name: "shop/edge/http".into(),
            kind: ListenerKind::Tcp(WeightedBackends::default()),
        })
    }

    #[test]
    fn a_port_is_open_from_its_first_snapshot_to_its_last() {
        let address = free_port();
        let mut ports = Ports::new(2, Inherited::new());
        let changes = ports.compare(&[listener(address)]);
        assert!(matches!(&changes[..], [PortChange::Open { sockets, .. }] if sockets.len() == 2));
        std::net::TcpStream::connect(address).unwrap();
        assert!(ports.compare(&[listener(address)]).is_empty());
        let closed = ports.compare(&[]);
        assert!(matches!(closed[..], [PortChange::Close(a)] if a == address));
        drop((changes, closed));
        assert!(std::net::TcpStream::connect(address).is_err());
    }

    #[test]
    fn a_port_that_another_process_has_is_reported_and_opened_when_it_is_free() {
        let other = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = other.local_addr().unwrap();
        let mut ports = Ports::new(1, Inherited::new());
        assert!(ports.compare(&[listener(address)]).is_empty());
        assert!(ports.failed()[&address].contains("another process listens"), "{:?}", ports.failed());
        drop(other);
        assert_eq!(ports.compare(&[listener(address)]).len(), 1);
        assert!(ports.failed().is_empty());
    }

    #[test]
    fn a_second_gateway_does_not_share_a_port_by_accident() {
        let address = free_port();
        let mut first = Ports::new(1, Inherited::new());
        let served = first.compare(&[listener(address)]);
        assert_eq!(served.len(), 1);
        let mut second = Ports::new(1, Inherited::new());
        assert!(second.compare(&[listener(address)]).is_empty());
    }

    #[test]
    fn inherited_sockets_are_used_and_their_queues_with_them() {
        let address = free_port();
        let mut old = Ports::new(1, Inherited::new());
        let served = old.compare(&[listener(address)]);
        let waiting = std::net::TcpStream::connect(address).unwrap();
        let handed = old.sockets()[&address].iter().map(|s| s.try_clone().unwrap()).collect();
        let mut new = Ports::new(2, Inherited::from([(address, handed)]));
        let changes = new.compare(&[listener(address)]);
        drop((served, old));
        let [PortChange::Open { sockets, .. }] = &changes[..] else { panic!("{changes:?}") };
        assert_eq!(sockets.len(), 2);
        let (_, peer) = sockets[0].accept().unwrap();
        assert_eq!(peer, waiting.local_addr().unwrap());
    }
}
