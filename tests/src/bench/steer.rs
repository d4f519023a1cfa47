//! What interception costs a connect, and a relayed connection what relaying costs: in a pod, everything local to it.

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use gateway_bench::connect;
use gateway_bench::load::Outcome;
use gateway_userspace::ebpf::Datapath;
use serde::de::DeserializeOwned;

use super::Bench;
use super::cpus::{Placement, Sharing};
use super::measure;
use super::process::{Process, cpu_ns_of, pinned};
use super::report::{Report, Sample};
use crate::manifests::{self, Service};
use crate::pod::{Node, ensure_bpffs};
use crate::wait::wait_for;
use crate::weir::{Options, Weir};

/// Services of the pod: one whose endpoint the kernel picks, one that Weir relays.
const PICKED: &str = "10.96.0.10";
const RELAYED: &str = "10.96.0.11";
/// Ports in the pod: a server that echoes, an HTTP backend, a bare relay to the latter.
const ECHO: u16 = 9000;
const BACKEND: u16 = 9001;
const RELAY: u16 = 9002;
/// Rules that the last one stands behind.
const RULES: usize = 5000;
/// Connects a second where the listener's part of the work shall not hold them up.
const PACE: &str = "5000";
/// Longest wait for anything to serve.
const READY_WITHIN: Duration = Duration::from_secs(20);

/// Whether and how connects are intercepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    None,
    Ebpf,
    Redirect { rules: usize },
}

const WAYS: [(&str, Way); 4] = [
    ("none", Way::None),
    ("ebpf", Way::Ebpf),
    ("redirect", Way::Redirect { rules: 1 }),
    ("redirect-5000", Way::Redirect { rules: RULES }),
];

/// A pod with servers in it.
struct Stage {
    node: Node,
    folder: PathBuf,
    place: Placement,
    part: PathBuf,
}

/// Connects: to whom, and with an echo or only until the listener has it.
pub(super) fn run(bench: &Bench<'_>, report: &mut Report) {
    if let Some(why) = lacks() {
        println!("steer: {why}");
        return;
    }
    for repetition in 0..bench.options.repetitions {
        let mut ways = WAYS;
        if repetition % 2 == 1 {
            ways.reverse();
        }
        for (name, way) in ways.into_iter().filter(|(_, way)| !bench.alone || *way == Way::Ebpf) {
            for (variant, echo) in [("echo", true), ("listener", false)] {
                let mut sample = Sample::new("steer", variant, name, repetition);
                let measured = intercepted(bench, way, echo, &mut sample).map(|()| sample);
                report.take(&format!("steer {variant} {name}"), measured);
            }
        }
    }
}

fn intercepted(bench: &Bench<'_>, way: Way, echo: bool, sample: &mut Sample) -> Result<()> {
    // A connect is complete before the listener knows: on a CPU of its own it does not stand in the way.
    let stage = Stage::make(bench, if echo { Sharing::OneCpu } else { Sharing::Apart(1) })?;
    let listen = ["echo", "--listen", &format!("0.0.0.0:{ECHO}")];
    let _echo = stage.start(&listen, &stage.place.proxy, ECHO)?;
    let _backend = stage.server(&["backend", "--listen", &format!("0.0.0.0:{BACKEND}")], BACKEND)?;
    let _way = stage.intercept(way)?;
    let outcome = connects(bench, &stage, way, echo)?;
    sample.set("p50_us", outcome.connect.p50);
    sample.set("p99_us", outcome.connect.p99);
    if echo {
        sample.set("connects_s", outcome.completed as f64 / outcome.seconds);
        sample.set("echo_p50_us", outcome.echo.p50);
    }
    sample.set("failed", outcome.failed as f64);
    Ok(())
}

/// HTTP as opaque TCP: through Weir, through a relay that only copies, and directly.
pub(super) fn passthrough(bench: &Bench<'_>, report: &mut Report) {
    if let Some(why) = lacks() {
        println!("tcp: {why}");
        return;
    }
    for repetition in 0..bench.options.repetitions {
        let mut subjects = ["direct", "relay", "weir"];
        if repetition % 2 == 1 {
            subjects.reverse();
        }
        for subject in subjects.into_iter().filter(|subject| !bench.alone || *subject == "weir") {
            let mut sample = Sample::new("tcp", "", subject, repetition);
            let measured = relayed(bench, subject, &mut sample).map(|()| sample);
            report.take(&format!("tcp {subject}"), measured);
        }
    }
}

fn relayed(bench: &Bench<'_>, subject: &str, sample: &mut Sample) -> Result<()> {
    let stage = Stage::make(bench, Sharing::Apart(1))?;
    let own = stage.own_address();
    let _backend = stage.server(&["backend", "--listen", &format!("0.0.0.0:{BACKEND}")], BACKEND)?;
    let weir = (subject == "weir").then(|| stage.intercept(Way::Ebpf)).transpose()?;
    let upstream = SocketAddr::from((own, BACKEND)).to_string();
    let arguments = ["relay", "--listen", &format!("127.0.0.1:{RELAY}"), "--upstream", &upstream];
    let relay =
        (subject == "relay").then(|| stage.start(&arguments, &stage.place.proxy, RELAY)).transpose()?;
    let address = match subject {
        "weir" => format!("{RELAYED}:80"),
        "relay" => format!("127.0.0.1:{RELAY}"),
        _ => upstream,
    };
    let mut command = stage.node.pod(0).exec(&stage.part);
    command.args(["load", "--connect", &address, "--connections", "64"]);
    measure::span(bench, &mut command);
    let cpu = || match (&weir, &relay) {
        (Some(Intercepted::Weir(capture)), _) => cpu_ns_of(capture.weir.id()),
        (_, Some(relay)) => relay.cpu_ns(),
        _ => 0,
    };
    let mut before = 0;
    let outcome: Outcome = stage.measured(command, || before = cpu())?;
    let spent = cpu() - before;
    ensure!(outcome.completed > 0, "nothing was answered: {:?}", outcome.failed);
    sample.set("rps", outcome.rate());
    sample.set("p50_us", outcome.latency.p50);
    sample.set("failed", outcome.failures() as f64);
    if spent > 0 {
        sample.set("cpu_us", spent as f64 / 1000.0 / outcome.completed as f64);
    }
    Ok(())
}

/// What it takes that is not here.
fn lacks() -> Option<&'static str> {
    if !nix::unistd::geteuid().is_root() {
        return Some("pods and capture need root; left out");
    }
    super::peer::find("iptables").is_none().then_some("iptables is not installed; left out")
}

fn connects(bench: &Bench<'_>, stage: &Stage, way: Way, echo: bool) -> Result<connect::Outcome> {
    // A Service that Weir relays ends at its listener in the pod; the others end at the echo.
    let address = match way {
        Way::None => SocketAddr::from((stage.own_address(), ECHO)),
        Way::Ebpf if !echo => SocketAddr::new(RELAYED.parse()?, 80),
        Way::Ebpf | Way::Redirect { .. } => SocketAddr::new(PICKED.parse()?, 80),
    };
    let mut command = stage.node.pod(0).exec(&stage.part);
    command.args(["connect", "--connect", &address.to_string()]);
    if echo {
        command.arg("--echo");
    } else {
        command.args(["--rate", PACE]);
    }
    measure::span(bench, &mut command);
    let outcome: connect::Outcome = stage.measured(command, || ())?;
    ensure!(outcome.completed > 0, "no connect to {address} came through");
    Ok(outcome)
}

/// What makes connects go elsewhere, until it is dropped; rules go with their namespace.
enum Intercepted {
    Not,
    Weir(Box<Capture>),
}

/// Weir and what it has pinned.
struct Capture {
    weir: Weir,
    pins: PathBuf,
}

impl Stage {
    fn make(bench: &Bench<'_>, sharing: Sharing) -> Result<Self> {
        ensure_bpffs()?;
        let node = Node::make("bench", 1, &[])?;
        let place = sharing.place(&bench.cpus);
        Ok(Self { node, folder: bench.folder("steer")?, place, part: bench.part().to_owned() })
    }

    fn own_address(&self) -> IpAddr {
        self.node.pod(0).ip_v4.into()
    }

    /// Starts a part in the pod and waits until it listens.
    fn start(&self, arguments: &[&str], cpus: &[usize], port: u16) -> Result<Process> {
        let mut command = self.node.pod(0).exec(&self.part);
        command.args(arguments);
        let process = Process::start_silent(arguments[0], command, cpus, &self.folder.join("server.errors"))?;
        let netns = self.node.pod(0).netns.clone();
        wait_for("a server listens", READY_WITHIN, || {
            let connect = move || Ok(std::net::TcpStream::connect(("127.0.0.1", port))?);
            crate::pod::in_netns(&netns, connect).ok()
        })?;
        Ok(process)
    }

    fn server(&self, arguments: &[&str], port: u16) -> Result<Process> {
        self.start(arguments, &self.place.others, port)
    }

    /// Runs a load in the pod and looks when it begins to count.
    fn measured<T: DeserializeOwned>(&self, command: Command, measuring: impl FnOnce()) -> Result<T> {
        measure::watched(command, &self.place.others, &self.folder, measuring)
    }

    fn intercept(&self, way: Way) -> Result<Intercepted> {
        match way {
            Way::None => Ok(Intercepted::Not),
            Way::Redirect { rules } => redirect(&self.node.pod(0).netns, rules).map(|()| Intercepted::Not),
            Way::Ebpf => self.weir().map(|capture| Intercepted::Weir(Box::new(capture))),
        }
    }

    fn weir(&self) -> Result<Capture> {
        let config = self.folder.join("config");
        std::fs::create_dir_all(&config)?;
        let service =
            |name, address, annotations| Service { name, address, protocol: "tcp", annotations }.yaml();
        let own = self.own_address();
        let objects = [
            service("picked", PICKED, &["weir.dev/mode: l4"]),
            service("relayed", RELAYED, &["weir.dev/mode: l7"]),
            manifests::slice("picked", ECHO, &[own]),
            manifests::slice("relayed", BACKEND, &[own]),
            manifests::captured_pod("client", &self.node.pod(0).netns),
        ];
        manifests::write(&config, "all.yaml", &objects.concat())?;
        let pins = PathBuf::from(format!("/sys/fs/bpf/weir-bench-{}", std::process::id()));
        let pins_text = pins.display().to_string();
        let cgroup = self.node.cgroup().display().to_string();
        let mut options =
            Options::new(&config, &self.folder).with(["--cgroup", &cgroup, "--bpf-root", &pins_text]);
        options = options.with(["--workers", "1", "--access-log", "/dev/null"]);
        options.netns = Some(self.node.hub());
        self.node.unreachable("10.96.0.0/16")?;
        let weir = pinned(&self.place.proxy, || Weir::start(options))?;
        let capture = Capture { weir, pins };
        wait_for("the pod is captured", READY_WITHIN, || {
            let mut command = self.node.pod(0).exec(&self.part);
            command.args(["connect", "--connect", &format!("{RELAYED}:80")]);
            command.args(["--warm-up-ms", "0", "--measured-ms", "5"]);
            let outcome: connect::Outcome = self.measured(command, || ()).ok()?;
            (outcome.completed > 0 && outcome.failed == 0).then_some(())
        })
        .with_context(|| capture.weir.errors())?;
        Ok(capture)
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        // Gone already, or not: either way it is gone after this.
        let _ = self.weir.kill();
        if let Err(error) = Datapath::cleanup(&self.pins) {
            eprintln!("cannot remove the pins below {}: {error}", self.pins.display());
        }
    }
}

/// Redirects the Services to the echo, by a rule behind as many for other addresses.
fn redirect(netns: &Path, rules: usize) -> Result<()> {
    let mut text = "*nat\n".to_owned();
    for rule in 1..rules {
        let [_, _, c, d] = u32::try_from(rule)?.to_be_bytes();
        writeln!(text, "-A OUTPUT -d 10.97.{c}.{d}/32 -p tcp --dport 80 -j REDIRECT --to-ports {ECHO}")?;
    }
    writeln!(text, "-A OUTPUT -d {PICKED}/32 -p tcp --dport 80 -j REDIRECT --to-ports {ECHO}")?;
    text.push_str("COMMIT\n");
    let mut restore = Command::new("nsenter");
    restore.arg(format!("--net={}", netns.display())).args(["--", "iptables-restore"]);
    let mut restore = restore.stdin(Stdio::piped()).spawn().context("nsenter iptables-restore")?;
    restore.stdin.take().context("it is piped")?.write_all(text.as_bytes())?;
    ensure!(restore.wait()?.success(), "iptables-restore failed");
    Ok(())
}
