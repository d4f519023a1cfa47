//! A stand-in for the proxy: listeners in pods, and the datapath in front of them.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use gateway_userspace::capture::netns::{Netns, PodSockets};
use gateway_userspace::ebpf::tables::{KernelEntry, KernelTables};
use gateway_userspace::ebpf::{Beat, Datapath, DatapathOptions, Flows, PodEntry};
use gateway_userspace::snapshot::cluster::ClusterId;
use gateway_userspace::snapshot::frontend::{FailPolicy, Mode};
use gateway_userspace::telemetry::record::PodId;
use nix::sched::{CloneFlags, setns};

use super::{Node, Pod};

/// How often the stand-in says that it lives.
const BEAT: Duration = Duration::from_millis(100);
/// From when on it counts as hung.
pub const STALE_AFTER: Duration = Duration::from_secs(2);

/// What the stand-in does with a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// Answers `NAME got ADDRESS` and closes.
    Answer,
    /// Passes bytes, ends and resets on to what was dialled.
    Relay,
    /// Listens and never accepts.
    Ignore,
}

/// A stand-in in a process of its own, so that it can be killed.
#[derive(Debug, clap::Args)]
pub struct Gateway {
    /// The cgroup of the pods.
    #[arg(long)]
    pods: PathBuf,
    /// `ADDRESS=MODE,POLICY[,ENDPOINT...]`
    #[arg(long = "service")]
    services: Vec<String>,
    /// `NETNS,IPv4,IPv6` of a pod to capture.
    #[arg(long = "pod")]
    captured: Vec<String>,
    /// Pass bytes on to what was dialled.
    #[arg(long)]
    relay: bool,
    /// Take the datapath over.
    #[arg(long)]
    takeover: bool,
    /// Endpoints are forgotten so long after the end, milliseconds.
    #[arg(long)]
    forget_after: Option<u64>,
    /// Memory to hold, MiB: a big process takes its time to die.
    #[arg(long, default_value_t = 0)]
    ballast: usize,
}

impl Gateway {
    /// Serves until stdin is closed.
    pub fn run(&self) -> Result<()> {
        let ballast = vec![1_u8; self.ballast << 20];
        let forget_after = self.forget_after.map(Duration::from_millis);
        let options = DatapathOptions { takeover: self.takeover, forget_after, ..options_at(&self.pods) };
        let manner = if self.relay { Manner::Relay } else { Manner::Answer };
        let proxy = StandIn::start("proxy", manner, &options)?;
        let mut services = KernelTables::default();
        for (number, service) in (1..).zip(&self.services) {
            let (address, rest) = service.split_once('=').context("ADDRESS=MODE,...")?;
            let mut words = rest.split(',');
            let mode = match words.next() {
                Some("l7") => Mode::L7,
                Some("l4") => Mode::L4,
                _ => Mode::Pass,
            };
            let fail_policy =
                if words.next() == Some("closed") { FailPolicy::Closed } else { FailPolicy::Open };
            let endpoints = words.map(str::parse).collect::<Result<_, _>>()?;
            let entry = KernelEntry { id: ClusterId(number), mode, fail_policy, endpoints };
            services.entries.insert(address.parse()?, entry);
        }
        proxy.datapath.sync(&services)?;
        for pod in &self.captured {
            let mut words = pod.split(',');
            let mut word = || words.next().context("NETNS,IPv4,IPv6");
            let pod = Pod {
                cgroup: PathBuf::new(),
                netns: PathBuf::from(word()?),
                ip_v4: word()?.parse()?,
                ip_v6: word()?.parse()?,
            };
            proxy.enroll(&pod)?;
        }
        writeln!(io::stdout(), "ready")?;
        io::stdin().read_to_end(&mut Vec::new())?;
        drop(ballast);
        Ok(())
    }
}

/// The datapath with a proxy that is just enough.
pub struct StandIn {
    /// The real datapath.
    pub datapath: Arc<Datapath>,
    name: String,
    manner: Manner,
    stop: Arc<AtomicBool>,
}

/// Options for a node: its cgroup, and a pin folder of its own.
pub fn options(node: &Node) -> DatapathOptions {
    options_at(node.cgroup())
}

/// Options for a node's cgroup.
pub fn options_at(cgroup: &Path) -> DatapathOptions {
    let name = cgroup.file_name().unwrap_or_default();
    let pin_root = PathBuf::from("/sys/fs/bpf").join(name);
    DatapathOptions {
        cgroup: cgroup.to_owned(),
        pin_root,
        stale_after: STALE_AFTER,
        ..DatapathOptions::default()
    }
}

/// A table of one line per Service: address, mode, policy, endpoints.
pub fn tables(lines: &[(&str, Mode, FailPolicy, &[&str])]) -> Result<KernelTables> {
    let mut tables = KernelTables::default();
    for (number, (address, mode, fail_policy, endpoints)) in (1..).zip(lines) {
        let endpoints: Result<Vec<SocketAddr>, _> =
            endpoints.iter().map(|endpoint| endpoint.parse()).collect();
        let entry = KernelEntry {
            id: ClusterId(number),
            mode: *mode,
            fail_policy: *fail_policy,
            endpoints: endpoints?,
        };
        tables.entries.insert(address.parse()?, entry);
    }
    Ok(tables)
}

impl StandIn {
    /// Opens the datapath and keeps its heart beating.
    pub fn start(name: &str, manner: Manner, options: &DatapathOptions) -> Result<Self> {
        let datapath = Arc::new(Datapath::open(options)?);
        let stop = Arc::new(AtomicBool::new(false));
        let beating = (Arc::downgrade(&datapath), Arc::clone(&stop));
        thread::spawn(move || {
            let (datapath, stop) = beating;
            while let (false, Some(datapath)) = (stop.load(Ordering::Relaxed), datapath.upgrade()) {
                if !matches!(datapath.beat(), Ok(Beat::Owner | Beat::Reattached)) {
                    return;
                }
                drop(datapath);
                thread::sleep(BEAT);
            }
        });
        Ok(Self { datapath, name: name.to_owned(), manner, stop })
    }

    /// Stops the heartbeat without closing anything: a hung process.
    pub fn hang(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Listens in a pod and captures it. Says the pod's cookie.
    pub fn enroll(&self, pod: &Pod) -> Result<u64> {
        let netns = Netns::open(&pod.netns)?;
        let cookie = netns.cookie()?;
        let PodSockets { v4, v6 } = netns.listen()?;
        let v6 = v6.context("the pod has no IPv6")?;
        let entry = PodEntry {
            netns_cookie: cookie,
            pod: PodId(1),
            port_v4: v4.local_addr()?.port(),
            port_v6: v6.local_addr()?.port(),
            ip_v4: Some(pod.ip_v4),
            ip_v6: Some(pod.ip_v6),
        };
        for listener in [v4, v6] {
            self.datapath.tag_listener(listener.as_fd())?;
            self.accept(listener, cookie, &pod.netns)?;
        }
        self.datapath.enroll(&entry).context("enroll")?;
        Ok(cookie)
    }

    fn accept(&self, listener: TcpListener, cookie: u64, netns: &Path) -> Result<()> {
        let connection = Connection {
            flows: self.datapath.flows(),
            cookie,
            port: listener.local_addr()?.port(),
            name: self.name.clone(),
            netns: netns.to_owned(),
        };
        let manner = self.manner;
        thread::spawn(move || {
            // Listeners that `Netns` makes do not block.
            if listener.set_nonblocking(false).is_err() {
                return;
            }
            if manner == Manner::Ignore {
                loop {
                    thread::park();
                }
            }
            for stream in listener.incoming() {
                let (Ok(stream), connection) = (stream, connection.clone()) else { continue };
                match manner {
                    Manner::Answer => drop(connection.answer(stream)),
                    Manner::Relay => drop(thread::spawn(move || connection.relay(stream))),
                    Manner::Ignore => {}
                }
            }
        });
        Ok(())
    }
}

#[derive(Clone)]
struct Connection {
    flows: Flows,
    cookie: u64,
    port: u16,
    name: String,
    netns: PathBuf,
}

impl Connection {
    fn destination(&self, stream: &TcpStream) -> Result<SocketAddr> {
        let flow = self.flows.take(self.cookie, stream.peer_addr()?, self.port);
        flow.context("a connection that was not steered")
    }

    fn answer(&self, mut stream: TcpStream) -> Result<()> {
        let destination = self.destination(&stream)?;
        writeln!(stream, "{} got {destination}", self.name)?;
        Ok(())
    }

    fn relay(&self, client: TcpStream) -> Result<()> {
        let destination = self.destination(&client)?;
        let netns = File::open(&self.netns)?;
        setns(netns.as_fd(), CloneFlags::CLONE_NEWNET)?;
        let server = TcpStream::connect(destination)?;
        let (up, down) = ((client.try_clone()?, server.try_clone()?), (server, client));
        let upward = thread::spawn(move || copy(&up.0, &up.1));
        copy(&down.0, &down.1);
        drop(upward.join());
        Ok(())
    }
}

/// Passes bytes one way until the end, then passes that on; a reset as a reset.
fn copy(from: &TcpStream, to: &TcpStream) {
    match io::copy(&mut &*from, &mut &*to) {
        Ok(_) => drop(to.shutdown(Shutdown::Write)),
        Err(_) => {
            // Both ends are closed with a reset once the other direction, woken by this, has ended too.
            let _ = socket2::SockRef::from(to).set_linger(Some(Duration::ZERO));
            let _ = to.shutdown(Shutdown::Read);
        }
    }
}
