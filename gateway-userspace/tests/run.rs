//! `weir run` as an operator meets it: the binary, a folder of YAML, real sockets on loopback.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Longest wait for anything that should happen soon.
const SOON: Duration = Duration::from_secs(20);

/// A user that owns nothing.
const NOBODY: u32 = 65534;

/// A folder with configuration and an admin socket beside it, readable by everyone.
struct Site {
    folder: tempfile::TempDir,
}

impl Site {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let site = Self { folder };
        std::fs::create_dir(site.config()).unwrap();
        for path in [site.folder.path().to_path_buf(), site.config()] {
            let everyone = std::os::unix::fs::PermissionsExt::from_mode(0o777);
            std::fs::set_permissions(path, everyone).unwrap();
        }
        site
    }

    fn config(&self) -> PathBuf {
        self.folder.path().join("config")
    }

    fn write(&self, name: &str, text: &str) {
        // As editors do it: a reader never sees half a file.
        let making = self.folder.path().join("making");
        std::fs::write(&making, text).unwrap();
        std::fs::rename(making, self.config().join(name)).unwrap();
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
        command.args(arguments).env("WEIR_CONFIG", self.config());
        command.env("WEIR_ADMIN_SOCKET", self.folder.path().join("admin.sock"));
        command
    }

    fn weir(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    fn start(&self, arguments: &[&str]) -> Weir {
        Weir::start(&mut self.command(&[&["run"], arguments].concat()))
    }
}

/// A running gateway. Killed when dropped.
struct Weir {
    child: Child,
    log: Arc<Mutex<String>>,
}

impl Weir {
    fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        let (stderr, lines) = (child.stderr.take().unwrap(), Arc::clone(&log));
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                *lines.lock().unwrap() += &(line + "\n");
            }
        });
        let weir = Self { child, log };
        weir.wait_for_log(" serving ");
        weir
    }

    fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    fn wait_for_log(&self, text: &str) {
        wait_for(|| self.log().contains(text), || format!("{text:?} in the log:\n{}", self.log()));
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), signal).unwrap();
    }

    fn exit_code(&mut self) -> Option<i32> {
        let deadline = Instant::now() + SOON;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(Instant::now() < deadline, "it does not end:\n{}", self.log());
            std::thread::yield_now();
        }
    }
}

impl Drop for Weir {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn wait_for(mut done: impl FnMut() -> bool, what: impl Fn() -> String) {
    let deadline = Instant::now() + SOON;
    while !done() {
        assert!(Instant::now() < deadline, "never came: {}", what());
        std::thread::yield_now();
    }
}

/// Ports of tests lie below those that the kernel gives to clients.
const PORTS: std::ops::Range<u16> = 10_000..30_000;

/// A port that nothing listens on and that no other test of this process is given.
fn free_port() -> u16 {
    static NEXT: LazyLock<Mutex<u16>> = LazyLock::new(|| Mutex::new(fastrand::u16(PORTS)));
    let mut next = NEXT.lock().unwrap();
    loop {
        *next = if PORTS.contains(&(*next + 1)) { *next + 1 } else { PORTS.start };
        if TcpListener::bind((Ipv4Addr::UNSPECIFIED, *next)).is_ok() {
            return *next;
        }
    }
}

/// A backend that answers every request with `hello`, or when it is told to.
struct Backend {
    address: SocketAddr,
    arrived: Receiver<Sender<()>>,
    held: Arc<AtomicBool>,
}

impl Backend {
    fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let (arriving, arrived) = channel();
        let held = Arc::new(AtomicBool::new(false));
        let holding = Arc::clone(&held);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (arriving, holding) = (arriving.clone(), Arc::clone(&holding));
                std::thread::spawn(move || answer(stream, &arriving, &holding));
            }
        });
        Self { address, arrived, held }
    }
}

fn answer(mut stream: TcpStream, arriving: &Sender<Sender<()>>, held: &AtomicBool) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut line = String::new();
    while reader.read_line(&mut line).is_ok_and(|n| n > 0) {
        if line.ends_with("\r\n\r\n") || line == "\r\n" {
            if held.load(Ordering::Acquire) {
                let (go, gone) = channel();
                arriving.send(go).unwrap();
                gone.recv().unwrap();
            }
            if stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello").is_err() {
                return;
            }
        }
        line.clear();
    }
}

fn edge(ports: &[u16], backend: SocketAddr) -> String {
    let listeners: String =
        ports.iter().map(|port| format!("  - {{name: p{port}, port: {port}, protocol: HTTP}}\n")).collect();
    format!(
        "apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {{name: weir}}
spec: {{controllerName: weir.dev/gateway-controller}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: edge, namespace: shop}}
spec:
  gatewayClassName: weir
  addresses: [{{type: IPAddress, value: 127.0.0.1}}]
  listeners:
{listeners}---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: all, namespace: shop}}
spec:
  parentRefs: [{{name: edge}}]
  rules: [{{backendRefs: [{{name: cart, port: 80}}]}}]
---
apiVersion: v1
kind: Service
metadata: {{name: cart, namespace: shop}}
spec: {{ports: [{{name: http, port: 80}}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: cart-1, namespace: shop, labels: {{kubernetes.io/service-name: cart}}}}
addressType: IPv4
ports: [{{name: http, port: {}}}]
endpoints: [{{addresses: [{}]}}]
",
        backend.port(),
        backend.ip()
    )
}

const POD: &str = "apiVersion: weir.dev/v1alpha1
kind: CapturedPod
metadata: {name: web, namespace: shop}
spec: {netns: /run/netns/there-is-no-such-pod}
";

fn get(port: u16) -> std::io::Result<String> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(SOON))?;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: shop\r\nconnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

fn assert_hello(port: u16) {
    let answer = get(port).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("hello"), "{answer}");
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_gateway_serves_without_any_privilege() {
    let (site, backend, port) = (Site::new(), Backend::start(), free_port());
    site.write("edge.yaml", &edge(&[port], backend.address));
    let mut command = site.command(&["run"]);
    if nix::unistd::geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    let mut weir = Weir::start(&mut command);
    assert_hello(port);
    weir.signal(Signal::SIGTERM);
    assert_eq!(weir.exit_code(), Some(0), "{}", weir.log());
}

#[test]
fn a_port_in_use_is_reported_and_the_rest_serves_on() {
    let (site, backend, port) = (Site::new(), Backend::start(), free_port());
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let taken_port = taken.local_addr().unwrap().port();
    site.write("edge.yaml", &edge(&[port, taken_port], backend.address));
    let _weir = site.start(&[]);
    assert_hello(port);
    let status = site.weir(&["status"]);
    assert!(text(&status.stdout).contains("PortUnavailable"), "{}", text(&status.stdout));
    assert_eq!(status.status.code(), Some(1));
    drop(taken);
    wait_for(|| get(taken_port).is_ok(), || "the port, once it is free".to_owned());
    assert_eq!(site.weir(&["status"]).status.code(), Some(0));
}

#[test]
fn a_change_of_the_folder_opens_and_closes_ports() {
    let (site, backend) = (Site::new(), Backend::start());
    let [first, second] = [free_port(), free_port()];
    site.write("edge.yaml", &edge(&[first], backend.address));
    let _weir = site.start(&[]);
    assert_hello(first);
    site.write("edge.yaml", &edge(&[second], backend.address));
    wait_for(|| get(second).is_ok() && get(first).is_err(), || "the second port instead".to_owned());
    assert_hello(second);
}

#[test]
fn sigterm_lets_a_request_in_flight_finish() {
    let (site, backend, port) = (Site::new(), Backend::start(), free_port());
    site.write("edge.yaml", &edge(&[port], backend.address));
    let mut weir = site.start(&[]);
    backend.held.store(true, Ordering::Release);
    let client = std::thread::spawn(move || get(port));
    let go = backend.arrived.recv_timeout(SOON).unwrap();
    weir.signal(Signal::SIGTERM);
    weir.wait_for_log("draining");
    wait_for(|| TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err(), || "a closed port".to_owned());
    go.send(()).unwrap();
    assert!(client.join().unwrap().unwrap().ends_with("hello"));
    assert_eq!(weir.exit_code(), Some(0), "{}", weir.log());
}

#[test]
fn a_request_that_outlasts_the_drain_is_cut_and_the_process_ends() {
    let (site, backend, port) = (Site::new(), Backend::start(), free_port());
    site.write("edge.yaml", &edge(&[port], backend.address));
    let mut weir = site.start(&["--drain-timeout", "100ms"]);
    backend.held.store(true, Ordering::Release);
    let client = std::thread::spawn(move || get(port));
    let _go = backend.arrived.recv_timeout(SOON).unwrap();
    weir.signal(Signal::SIGTERM);
    assert_eq!(weir.exit_code(), Some(0), "{}", weir.log());
    assert!(!client.join().unwrap().is_ok_and(|answer| answer.ends_with("hello")));
}

#[test]
fn a_second_gateway_names_the_first_and_stops() {
    let (site, backend, port) = (Site::new(), Backend::start(), free_port());
    site.write("edge.yaml", &edge(&[port], backend.address));
    let weir = site.start(&[]);
    let second = site.weir(&["run"]);
    assert_eq!(second.status.code(), Some(1));
    let said = text(&second.stderr);
    assert!(said.contains(&format!("process {}", weir.child.id())) && said.contains("--takeover"), "{said}");
    assert_hello(port);
}

#[test]
fn takeovers_under_load_fail_no_connection() {
    let (site, backend, port) = (Site::new(), Backend::start(), free_port());
    site.write("edge.yaml", &edge(&[port], backend.address));
    let mut running = site.start(&["--workers", "2"]);
    let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let load: Vec<_> = (0..4)
        .map(|_| {
            let (stop, done) = (Arc::clone(&stop), Arc::clone(&done));
            std::thread::spawn(move || {
                let mut failures = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    match get(port) {
                        Ok(answer) if answer.ends_with("hello") => {}
                        other => failures.push(format!("{other:?}")),
                    }
                    done.fetch_add(1, Ordering::Relaxed);
                }
                failures
            })
        })
        .collect();
    let wait_for_requests = |count| {
        let from = done.load(Ordering::Relaxed);
        wait_for(|| done.load(Ordering::Relaxed) >= from + count, || format!("{count} requests"));
    };
    // More workers, fewer, and as many: sockets are dealt out anew each time.
    for workers in ["3", "1", "2"] {
        wait_for_requests(50);
        let next = site.start(&["--takeover", "--workers", workers]);
        assert_eq!(running.exit_code(), Some(0), "{}", running.log());
        running = next;
    }
    wait_for_requests(50);
    stop.store(true, Ordering::Relaxed);
    let failures: Vec<String> = load.into_iter().flat_map(|client| client.join().unwrap()).collect();
    let (all, failed) = (done.load(Ordering::Relaxed), failures.len());
    assert!(failures.is_empty(), "{failed} of {all} failed, the first with {}", failures[0]);
    assert_eq!(site.weir(&["status"]).status.code(), Some(0), "the socket is the successor's");
}

#[test]
fn pods_that_cannot_be_captured_are_one_clear_line_and_gateways_can_be_served_without() {
    let (site, backend, port) = (Site::new(), Backend::start(), free_port());
    site.write("edge.yaml", &edge(&[port], backend.address));
    site.write("pod.yaml", POD);
    let mut command = site.command(&["run", "--log-level", "error"]);
    if nix::unistd::geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(said.lines().count() == 1 && said.contains("cannot capture the folder's pods"), "{said}");
    let _weir = site.start(&["--capture", "off"]);
    assert_hello(port);
}

#[test]
fn a_full_disk_under_the_access_log_stops_nobody() {
    let (site, backend, port) = (Site::new(), Backend::start(), free_port());
    site.write("edge.yaml", &edge(&[port], backend.address));
    let _weir = site.start(&["--access-log", "/dev/full"]);
    for _ in 0..20 {
        assert_hello(port);
    }
}

#[test]
fn an_admin_socket_that_cannot_be_made_is_one_clear_line() {
    let site = Site::new();
    let long = format!("/tmp/{}/admin.sock", "x".repeat(100));
    for (path, code) in [("/proc/weir/admin.sock", 1), ("/proc/version/admin.sock", 1), (long.as_str(), 2)] {
        let output = site.weir(&["run", "--admin-socket", path]);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert!(said.lines().count() == 1 && said.contains("--admin-socket"), "{said}");
    }
}
