//! Pods without Kubernetes: a cgroup and a network namespace each, on a bridge of their own.
//!
//! Everything has a name with the process id in it and goes away on drop.

pub mod battery;
pub mod client;
pub mod stand_in;

use std::fs::{self, File};
use std::io::Write;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use gateway_userspace::ebpf::cgroup::mount_point;
use nix::sched::{CloneFlags, setns};

/// A node: a cgroup under which the pods' cgroups lie, and a namespace with the bridge and the servers.
pub struct Node {
    prefix: String,
    cgroup: PathBuf,
    pods: Vec<Pod>,
}

/// One pod.
#[derive(Debug, Clone)]
pub struct Pod {
    /// Its cgroup.
    pub cgroup: PathBuf,
    /// Its network namespace.
    pub netns: PathBuf,
    /// Its address on the bridge.
    pub ip_v4: Ipv4Addr,
    /// Its IPv6 address on the bridge.
    pub ip_v6: Ipv6Addr,
}

impl Node {
    /// Makes a node with `pods` pods. `label` keeps tests apart; `service_addresses` are given to the node's
    /// side of the bridge, so that they can be reached without interception too.
    pub fn make(label: &str, pods: u8, service_addresses: &[&str]) -> Result<Self> {
        let prefix = format!("wt-{label}-{}", std::process::id());
        let mounts = fs::read_to_string("/proc/self/mountinfo")?;
        let root = mount_point(&mounts).context("no cgroup2 hierarchy is mounted")?;
        let cgroup = root.join(&prefix);
        let mut node = Self { prefix, cgroup, pods: Vec::new() };
        fs::create_dir(&node.cgroup).with_context(|| format!("make cgroup {}", node.cgroup.display()))?;
        let hub = node.hub_name();
        ip(&format!("netns add {hub}"))?;
        ip(&format!("-n {hub} link add br0 type bridge"))?;
        ip(&format!("-n {hub} link set lo up"))?;
        ip(&format!("-n {hub} link set br0 up"))?;
        ip(&format!("-n {hub} address add 10.77.0.1/24 dev br0"))?;
        ip(&format!("-n {hub} address add fd77::1/64 dev br0 nodad"))?;
        for address in service_addresses {
            let nodad = if address.contains(':') { "nodad" } else { "" };
            ip(&format!("-n {hub} address add {address} dev br0 {nodad}"))?;
        }
        for number in 0..pods {
            node.add_pod(number)?;
        }
        Ok(node)
    }

    fn add_pod(&mut self, number: u8) -> Result<()> {
        let hub = self.hub_name();
        let name = format!("{}-{number}", self.prefix);
        let cgroup = self.cgroup.join(format!("pod{number}"));
        fs::create_dir(&cgroup)?;
        let host = number + 10;
        let pod = Pod {
            cgroup,
            netns: PathBuf::from("/run/netns").join(&name),
            ip_v4: Ipv4Addr::new(10, 77, 0, host),
            ip_v6: Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, u16::from(host)),
        };
        ip(&format!("netns add {name}"))?;
        self.pods.push(pod.clone());
        ip(&format!("-n {hub} link add p{number} type veth peer name eth0 netns {name}"))?;
        ip(&format!("-n {hub} link set p{number} master br0 up"))?;
        ip(&format!("-n {name} link set lo up"))?;
        ip(&format!("-n {name} link set eth0 up"))?;
        ip(&format!("-n {name} address add {}/24 dev eth0", pod.ip_v4))?;
        ip(&format!("-n {name} address add {}/64 dev eth0 nodad", pod.ip_v6))?;
        ip(&format!("-n {name} route add default via 10.77.0.1"))?;
        ip(&format!("-n {name} -6 route add default via fd77::1"))
    }

    fn hub_name(&self) -> String {
        format!("{}-hub", self.prefix)
    }

    /// Makes connects from pods to these addresses fail at once, unless they are intercepted.
    pub fn unreachable(&self, addresses: &str) -> Result<()> {
        self.pods
            .iter()
            .try_for_each(|pod| ip(&format!("-n {} route add unreachable {addresses}", name_of(&pod.netns))))
    }

    /// The cgroup that all pods are in.
    pub fn cgroup(&self) -> &Path {
        &self.cgroup
    }

    /// The namespace with the bridge and the servers.
    pub fn hub(&self) -> PathBuf {
        PathBuf::from("/run/netns").join(self.hub_name())
    }

    /// A pod.
    pub fn pod(&self, number: usize) -> &Pod {
        &self.pods[number]
    }

    /// A server on the node's side that answers each connection with `name` and a newline, and closes.
    /// `address` must be one of the node's (`10.77.0.1`, `fd77::1` or a service address).
    pub fn serve(&self, address: &str, name: &str) -> Result<()> {
        let address: SocketAddr = address.parse()?;
        let listener = in_netns(&self.hub(), move || Ok(TcpListener::bind(address)?))?;
        let answer = format!("{name}\n");
        thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                // A client that is gone already has had its answer.
                let _ = stream.write_all(answer.as_bytes());
            }
        });
        Ok(())
    }

    /// Removes the pods' cgroup and makes it anew, as a kubelet with another cgroup driver does.
    pub fn replace_cgroup(&self) -> Result<()> {
        remove_cgroups(&self.cgroup);
        ensure!(!self.cgroup.exists(), "{} is still in use", self.cgroup.display());
        fs::create_dir(&self.cgroup)?;
        self.pods.iter().try_for_each(|pod| fs::create_dir(&pod.cgroup)).map_err(Into::into)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        for pod in &self.pods {
            let _ = ip(&format!("netns del {}", name_of(&pod.netns)));
        }
        let _ = ip(&format!("netns del {}", self.hub_name()));
        remove_cgroups(&self.cgroup);
    }
}

impl Pod {
    /// Any program in the pod, in its cgroup before it makes a socket. Unlike `ip netns exec` this keeps the
    /// mounts, hence the cgroup and BPF filesystems.
    pub fn exec(&self, program: &Path) -> Command {
        let enter =
            r#"echo 0 > "$0/cgroup.procs" && netns="$1" && shift && exec nsenter --net="$netns" -- "$@""#;
        let mut command = Command::new("sh");
        command.arg("-c").arg(enter).arg(&self.cgroup).arg(&self.netns).arg(program);
        command
    }

    /// A program in the pod: in its cgroup before it makes a socket, and in its namespace.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.arg("--cgroup").arg(&self.cgroup).arg("--netns").arg(&self.netns);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        command
    }
}

fn name_of(netns: &Path) -> String {
    netns.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Cgroups cannot be removed while a process that has just ended is still in them.
fn remove_cgroups(top: &Path) {
    for _ in 0..100 {
        for entry in fs::read_dir(top).into_iter().flatten().flatten() {
            if entry.path().is_dir() {
                let _ = fs::remove_dir(entry.path());
            }
        }
        if fs::remove_dir(top).is_ok() || !top.exists() {
            return;
        }
        thread::sleep(Duration::from_millis(10));
    }
}

/// Runs `ip` with these arguments.
fn ip(arguments: &str) -> Result<()> {
    let output = Command::new("ip").args(arguments.split_whitespace()).output().context("run ip")?;
    let error = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "ip {arguments}: {}", error.trim());
    Ok(())
}

/// Does something on a thread of its own inside a network namespace; sockets made there stay there.
pub fn in_netns<T: Send + 'static>(
    netns: &Path,
    what: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let netns = File::open(netns).with_context(|| format!("open {}", netns.display()))?;
    let thread = thread::spawn(move || {
        setns(netns.as_fd(), CloneFlags::CLONE_NEWNET)?;
        what()
    });
    thread.join().unwrap_or_else(|_| anyhow::bail!("the thread in the namespace panicked"))
}

/// Moves this process into a pod, first the cgroup and then the namespace.
pub fn enter(cgroup: Option<&Path>, netns: Option<&Path>) -> Result<()> {
    if let Some(cgroup) = cgroup {
        let procs = cgroup.join("cgroup.procs");
        fs::write(&procs, "0").with_context(|| format!("write {}", procs.display()))?;
    }
    if let Some(netns) = netns {
        let file = File::open(netns).with_context(|| format!("open {}", netns.display()))?;
        setns(file.as_fd(), CloneFlags::CLONE_NEWNET)?;
    }
    Ok(())
}

/// Mounts a bpffs at `/sys/fs/bpf` when there is none; says so.
pub fn ensure_bpffs() -> Result<()> {
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    if mounts.lines().any(|line| line.contains(" /sys/fs/bpf ") && line.contains(" - bpf ")) {
        return Ok(());
    }
    eprintln!("no bpffs at /sys/fs/bpf: mounting one");
    let source = Some("bpf");
    nix::mount::mount(source, "/sys/fs/bpf", source, nix::mount::MsFlags::empty(), None::<&str>)
        .context("mount -t bpf bpf /sys/fs/bpf")
}
