//! A running `weir`, started as its users start it and asked through its admin socket.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::getsockopt;
use nix::sys::socket::sockopt::PeerCredentials;
use nix::unistd::Pid;

use crate::wait::wait_for;

/// Longest wait until a gateway is ready, and for an answer of its admin socket.
const READY_WITHIN: Duration = Duration::from_secs(20);

/// How to start one.
#[derive(Debug, Clone)]
pub struct Options {
    /// Folder of YAML.
    pub config: PathBuf,
    /// Folder for its admin socket, access log and standard error.
    pub scratch: PathBuf,
    /// Its admin socket. The next process that takes over has the same.
    pub admin_socket: PathBuf,
    /// Keeps the logs of several processes in one `scratch` apart.
    pub name: String,
    /// Network namespace to run in.
    pub netns: Option<PathBuf>,
    /// Descriptors that it may have, if not as many as this process.
    pub descriptors: Option<u64>,
    /// Capabilities that it may have, if not those of this process.
    pub capabilities: Option<Vec<String>>,
    /// Further arguments of `weir run`.
    pub arguments: Vec<String>,
}

impl Options {
    /// A gateway that captures nothing.
    pub fn new(config: &Path, scratch: &Path) -> Self {
        Self {
            config: config.to_owned(),
            scratch: scratch.to_owned(),
            admin_socket: scratch.join("admin.sock"),
            name: "weir".to_owned(),
            netns: None,
            descriptors: None,
            capabilities: None,
            arguments: Vec::new(),
        }
    }

    /// With further arguments.
    #[must_use]
    pub fn with<S: Into<String>>(mut self, arguments: impl IntoIterator<Item = S>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Where its access log is.
    pub fn access_log(&self) -> PathBuf {
        self.scratch.join(format!("{}.access.log", self.name))
    }

    fn errors(&self) -> PathBuf {
        self.scratch.join(format!("{}.stderr", self.name))
    }
}

/// A running gateway. Killed when dropped.
#[derive(Debug)]
pub struct Weir {
    child: Child,
    options: Options,
}

/// The `weir` binary: `$WEIR_BIN`, else the one that was built beside this program.
pub fn binary() -> PathBuf {
    program("weir", Some("WEIR_BIN"))
}

/// A program that was built beside this one.
pub fn sibling(name: &str) -> PathBuf {
    program(name, None)
}

/// What stands before a command that may have these capabilities and no other, as in a container.
pub fn bounded(capabilities: &[String]) -> [OsString; 4] {
    let kept: String = capabilities.iter().map(|name| format!(",+{}", name.to_lowercase())).collect();
    let words =
        ["setpriv".into(), format!("--bounding-set=-all{kept}"), "--inh-caps=-all".into(), "--".into()];
    words.map(OsString::from)
}

/// The capabilities that the chart asks for.
pub fn chart_capabilities() -> Vec<String> {
    let chart = include_str!("../../deploy/charts/weir/templates/daemonset.yaml");
    let listed = chart.lines().skip_while(|line| line.trim() != "add:").skip(1);
    let listed = listed.map(str::trim).take_while(|line| line.starts_with(['#', '-']));
    listed.filter_map(|line| Some(line.strip_prefix("- ")?.to_owned())).collect()
}

fn program(name: &str, variable: Option<&str>) -> PathBuf {
    if let Some(path) = variable.and_then(std::env::var_os) {
        return path.into();
    }
    let here = std::env::current_exe().unwrap_or_default();
    let folders = here.ancestors().skip(1).take(2);
    folders.map(|folder| folder.join(name)).find(|path| path.exists()).unwrap_or_else(|| name.into())
}

impl Weir {
    /// Starts it and waits until it is ready.
    pub fn start(options: Options) -> Result<Self> {
        let mut weir = Self::spawn(options)?;
        weir.wait_ready()?;
        Ok(weir)
    }

    /// Starts it and does not wait.
    pub fn spawn(options: Options) -> Result<Self> {
        let mut words = Vec::<OsString>::new();
        if let Some(netns) = &options.netns {
            words.extend(["nsenter".into(), format!("--net={}", netns.display()).into(), "--".into()]);
        }
        if let Some(descriptors) = options.descriptors {
            words.extend(["prlimit".into(), format!("--nofile={descriptors}").into(), "--".into()]);
        }
        if let Some(capabilities) = &options.capabilities {
            words.extend(bounded(capabilities));
        }
        words.push(binary().into());
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).arg("run").arg("--config").arg(&options.config);
        command.arg("--admin-socket").arg(&options.admin_socket);
        if !options.arguments.iter().any(|argument| argument == "--access-log") {
            command.arg("--access-log").arg(options.access_log());
        }
        command.args(&options.arguments);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(options.errors())?);
        let child = command.spawn().with_context(|| format!("cannot start {}", binary().display()))?;
        Ok(Self { child, options })
    }

    /// Waits until `/readyz` says so, and it is this process that does.
    pub fn wait_ready(&mut self) -> Result<()> {
        let socket = self.options.admin_socket.clone();
        let mut ended = None;
        let waited = wait_for("weir is ready", READY_WITHIN, || {
            ended = self.child.try_wait().ok().flatten();
            let is_ready = || matches!(get(&socket, "/readyz"), Ok((200, _)));
            (ended.is_some() || (self.is_at(&socket) && is_ready())).then_some(())
        });
        if ended.is_none() && waited.is_ok() {
            return Ok(());
        }
        bail!("weir is not ready ({ended:?}):\n{}", self.errors())
    }

    /// Until it has taken over, the process before is there.
    fn is_at(&self, socket: &Path) -> bool {
        let peer =
            UnixStream::connect(socket).ok().and_then(|stream| getsockopt(&stream, PeerCredentials).ok());
        peer.is_some_and(|peer| u32::try_from(peer.pid()) == Ok(self.child.id()))
    }

    /// What it said on standard error.
    pub fn errors(&self) -> String {
        fs::read_to_string(self.options.errors()).unwrap_or_default()
    }

    /// The access log so far.
    pub fn access_log(&self) -> String {
        fs::read_to_string(self.options.access_log()).unwrap_or_default()
    }

    /// How it was started.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill(Pid::from_raw(i32::try_from(self.child.id())?), signal)?)
    }

    /// Whether it does something else at a signal than what every process does.
    pub fn minds(&self, signal: Signal) -> bool {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap_or_default();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
        let caught = caught.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
        caught & (1 << (signal as i32 - 1)) != 0
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Waits until it has ended.
    pub fn wait(&mut self, longest: Duration) -> Result<ExitStatus> {
        wait_for("weir ends", longest, || self.child.try_wait().ok().flatten())
    }

    /// SIGKILL, and waits until it is gone.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// A page of its admin socket: status and body.
    pub fn get(&self, path: &str) -> Result<(u16, String)> {
        get(&self.options.admin_socket, path)
    }

    /// The sum of a metric over its series whose labels contain `label`.
    pub fn metric(&self, name: &str, label: &str) -> Result<f64> {
        let (_, text) = self.get("/metrics")?;
        let values = text.lines().filter_map(|line| {
            let (series, value) = line.rsplit_once(' ')?;
            let family = series.split('{').next()?;
            (family == name && series.contains(label)).then(|| value.parse::<f64>().ok())?
        });
        Ok(values.sum())
    }

    /// Resident memory, KiB.
    pub fn resident_kib(&self) -> Result<u64> {
        self.memory_kib("VmRSS:")
    }

    /// Resident memory without the pages of the binary itself, KiB.
    pub fn resident_own_kib(&self) -> Result<u64> {
        self.memory_kib("RssAnon:")
    }

    fn memory_kib(&self, field: &'static str) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix(field)).context(field)?;
        Ok(line.trim().trim_end_matches(" kB").parse()?)
    }
}

impl Drop for Weir {
    fn drop(&mut self) {
        // Ended already, or not: either way it is gone after this.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- weir said:\n{}", self.errors());
        }
    }
}

/// One request to an admin socket.
pub fn get(socket: &Path, path: &str) -> Result<(u16, String)> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(READY_WITHIN))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no HTTP answer")?;
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).context("no status")?;
    let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
    Ok((status, if chunked { unchunk(body) } else { body.to_owned() }))
}

fn unchunk(mut body: &str) -> String {
    let mut whole = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let size = usize::from_str_radix(size.trim(), 16).unwrap_or(0).min(rest.len());
        if size == 0 {
            break;
        }
        whole.push_str(&rest[..size]);
        body = rest[size..].trim_start_matches("\r\n");
    }
    whole
}
