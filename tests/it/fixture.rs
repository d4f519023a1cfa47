//! A folder of YAML with a Gateway on a free port, replicas on loopback, and clients of both.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{LazyLock, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use gateway_tests::echo::{self, Echo};
use gateway_tests::load::{self, Load, Tally, Until};
use gateway_tests::manifests;
use gateway_tests::wait::wait_for;
use gateway_tests::weir::{Options, Weir, binary};
use socket2::{Domain, Socket, Type};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

/// No answer and no condition is waited for longer.
pub(crate) const LONGEST: Duration = Duration::from_secs(30);

/// Ports of tests lie below those that the kernel gives to clients.
const PORTS: std::ops::Range<u16> = 10_000..30_000;

/// A port that nothing listens on, on any address, and that no other test of this process is given.
pub(crate) fn free_port() -> u16 {
    static NEXT: LazyLock<Mutex<u16>> = LazyLock::new(|| Mutex::new(fastrand::u16(PORTS)));
    let found = wait_for("a free port", LONGEST, || {
        let mut next = NEXT.lock().unwrap();
        *next = if PORTS.contains(&(*next + 1)) { *next + 1 } else { PORTS.start };
        TcpListener::bind((Ipv6Addr::UNSPECIFIED, *next)).is_ok().then_some(*next)
    });
    found.unwrap()
}

/// A runtime of one thread.
pub(crate) fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// How a replica goes.
enum End {
    /// What is in flight finishes.
    Graceful,
    /// Its sockets close at once.
    Sudden,
}

/// An echo backend with a thread of its own. Ends suddenly when dropped.
pub(crate) struct Replica {
    pub(crate) port: u16,
    end: Option<oneshot::Sender<End>>,
    thread: Option<JoinHandle<()>>,
}

impl Replica {
    /// One that answers at once.
    pub(crate) fn start(name: &str) -> Self {
        Self::start_at(free_port(), name, Duration::ZERO)
    }

    /// One that thinks before each answer.
    pub(crate) fn start_slow(name: &str, delay: Duration) -> Self {
        Self::start_at(free_port(), name, delay)
    }

    /// One on a port of the caller's choice.
    pub(crate) fn start_at(port: u16, name: &str, delay: Duration) -> Self {
        let echo = Echo { name: name.to_owned(), delay, fail_first: 0 };
        let (end, ended) = oneshot::channel();
        let (listens, listening) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            runtime().block_on(async {
                // A child that another test forks holds all sockets until it runs its program: also one just closed here.
                let listener = wait_for("its port", LONGEST, || echo::listen(port).ok()).unwrap();
                listens.send(listener.local_addr().unwrap().port()).unwrap();
                let (stop, stopped) = oneshot::channel::<()>();
                let serving = echo::serve(listener, echo, async { drop(stopped.await) });
                let mut serving = std::pin::pin!(serving);
                tokio::select! {
                    () = &mut serving => {}
                    how = ended => if let Ok(End::Graceful) = how {
                        drop(stop);
                        serving.await;
                    },
                }
            });
        });
        let port = listening.recv().unwrap();
        Self { port, end: Some(end), thread: Some(thread) }
    }

    /// Stops accepting, finishes what is in flight, and is gone.
    pub(crate) fn end(self) {
        self.finish(End::Graceful);
    }

    /// Every socket of it closes at once.
    pub(crate) fn kill(self) {
        self.finish(End::Sudden);
    }

    fn finish(mut self, how: End) {
        self.end.take().unwrap().send(how).ok().unwrap();
        self.thread.take().unwrap().join().unwrap();
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.end = None;
        if let Some(thread) = self.thread.take() {
            // A replica that panicked has said so.
            let _ = thread.join();
        }
    }
}

/// A folder of YAML and what is needed to serve it.
pub(crate) struct Site {
    pub(crate) config: TempDir,
    pub(crate) scratch: TempDir,
    pub(crate) port: u16,
}

impl Site {
    /// With a Gateway on a free port, and nothing behind it.
    pub(crate) fn new() -> Self {
        let site =
            Self { config: TempDir::new().unwrap(), scratch: TempDir::new().unwrap(), port: free_port() };
        site.write("gateway.yaml", &gateway(site.port));
        site
    }

    /// With a route of every path to the Service `shop` of these replicas.
    pub(crate) fn with_shop(replicas: &[&Replica]) -> Self {
        let site = Self::new();
        site.write("shop.yaml", &(service("shop", "http") + &route("shop", "path: {value: /}", "shop")));
        site.endpoints("shop", replicas);
        site
    }

    /// Writes a file of the folder.
    pub(crate) fn write(&self, file: &str, yaml: &str) {
        manifests::write(self.config.path(), file, yaml).unwrap();
    }

    /// Removes a file of the folder.
    pub(crate) fn remove(&self, file: &str) {
        std::fs::remove_file(self.config.path().join(file)).unwrap();
    }

    /// Makes these replicas the endpoints of a Service.
    pub(crate) fn endpoints(&self, service: &str, replicas: &[&Replica]) {
        let ports: Vec<u16> = replicas.iter().map(|replica| replica.port).collect();
        self.endpoint_ports(service, &ports);
    }

    /// Makes these ports of loopback the endpoints of a Service.
    pub(crate) fn endpoint_ports(&self, service: &str, ports: &[u16]) {
        let loopback = [IpAddr::V4(Ipv4Addr::LOCALHOST)];
        let slices: String = ports.iter().map(|port| manifests::slice(service, *port, &loopback)).collect();
        self.write(&format!("{service}-endpoints.yaml"), &slices);
    }

    /// How Weir is started here.
    pub(crate) fn options(&self) -> Options {
        Options::new(self.config.path(), self.scratch.path()).with(["--workers", "2"])
    }

    /// Serves the folder.
    pub(crate) fn start(&self) -> Weir {
        Weir::start(self.options()).unwrap()
    }

    /// The Gateway.
    pub(crate) fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// A connection to the Gateway.
    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address()).unwrap();
        stream.set_read_timeout(Some(LONGEST)).unwrap();
        stream
    }

    /// GET on a connection of its own.
    pub(crate) fn get(&self, path: &str) -> Answer {
        self.get_with(path, "")
    }

    /// GET with header lines, each with its CRLF.
    pub(crate) fn get_with(&self, path: &str, headers: &str) -> Answer {
        self.ask(&format!("GET {path} HTTP/1.1\r\nHost: shop.test\r\nConnection: close\r\n{headers}\r\n"))
    }

    /// What comes back for these bytes, up to the end of the connection.
    pub(crate) fn ask(&self, request: &str) -> Answer {
        let mut stream = self.connect();
        stream.write_all(request.as_bytes()).unwrap();
        let mut text = Vec::new();
        stream.read_to_end(&mut text).unwrap();
        Answer { text: String::from_utf8_lossy(&text).into_owned() }
    }

    /// Waits until GET of a path is answered so.
    pub(crate) fn wait_status(&self, path: &str, status: u16) {
        let what = format!("{path} is answered {status}");
        wait_for(&what, LONGEST, || (self.get(path).status() == status).then_some(())).unwrap();
    }

    /// Many GETs at once, until the load is finished.
    pub(crate) fn load(&self, path: &str) -> Running {
        Running::start(self.load_of(path))
    }

    /// What `load` sends.
    pub(crate) fn load_of(&self, path: &str) -> Load {
        Load {
            address: self.address(),
            uri: format!("http://shop.test{path}").parse().unwrap(),
            method: http::Method::GET,
            headers: Vec::new(),
            connections: 4,
            http2: false,
            keep_alive: true,
            rate: None,
            timeout: LONGEST,
        }
    }
}

/// A connection from another address than that of the test's other clients.
pub(crate) fn connect_as(address: Ipv4Addr, to: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddr::from((address, 0)).into())?;
    socket.connect(&to.into())?;
    socket.set_read_timeout(Some(LONGEST))?;
    Ok(socket.into())
}

/// Sends a request on a connection that is kept, and reads its answer.
pub(crate) fn exchange(stream: &mut TcpStream, request: &str) -> Answer {
    stream.write_all(request.as_bytes()).unwrap();
    read_answer(stream)
}

/// Reads one answer that has a length; what there is when the connection ends before.
pub(crate) fn read_answer(stream: &mut impl Read) -> Answer {
    let mut text = Vec::new();
    let mut byte = [0];
    let mut wanted = None;
    while wanted.is_none_or(|length| text.len() < length) && stream.read(&mut byte).unwrap_or(0) == 1 {
        text.push(byte[0]);
        if text.ends_with(b"\r\n\r\n") && wanted.is_none() {
            let head = Answer { text: String::from_utf8_lossy(&text).into_owned() };
            let length = head.header("content-length").and_then(|length| length.parse::<usize>().ok());
            wanted = Some(text.len() + length.unwrap_or(0));
        }
    }
    Answer { text: String::from_utf8_lossy(&text).into_owned() }
}

/// An answer as it came.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) text: String,
}

impl Answer {
    /// 0 when there is no status line.
    pub(crate) fn status(&self) -> u16 {
        self.text.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0)
    }

    /// The first header of a name.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let (head, _) = self.text.split_once("\r\n\r\n")?;
        let fields = head.lines().filter_map(|line| line.split_once(':'));
        fields.into_iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }

    /// What an echo backend says of the request it got.
    pub(crate) fn facts(&self) -> serde_json::Value {
        let (_, body) = self.text.split_once("\r\n\r\n").unwrap_or_default();
        let json = body.find('{').zip(body.rfind('}')).map_or("", |(from, to)| &body[from..=to]);
        serde_json::from_str(json).unwrap_or_default()
    }

    /// The replica that answered.
    pub(crate) fn replica(&self) -> &str {
        self.header("x-replica").unwrap_or_default()
    }
}

/// A load on a thread of its own.
pub(crate) struct Running {
    stop: oneshot::Sender<()>,
    thread: JoinHandle<Tally>,
}

impl Running {
    /// Starts it.
    pub(crate) fn start(load: Load) -> Self {
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = std::thread::spawn(move || {
            runtime().block_on(load::run(load, Until::Told, async { drop(stopped.await) }))
        });
        Self { stop, thread }
    }

    /// Ends it; what is under way is waited for.
    pub(crate) fn finish(self) -> Tally {
        drop(self.stop);
        self.thread.join().unwrap()
    }
}

/// Waits until the gateway has answered so many more requests.
pub(crate) fn wait_requests(weir: &Weir, more: f64) {
    let name = "http_server_request_duration_seconds_count";
    let before = weir.metric(name, "").unwrap();
    let enough = || (weir.metric(name, "").unwrap() >= before + more).then_some(());
    wait_for("requests run", LONGEST, enough).unwrap();
}

/// What a verb of the command line printed, on both streams, and its exit code.
pub(crate) fn weir(arguments: &[&str]) -> (i32, String) {
    let output = Command::new(binary()).args(arguments).output().unwrap();
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    let _ = write!(text, "{}", String::from_utf8_lossy(&output.stderr));
    (output.status.code().unwrap_or(-1), text)
}

/// A verb that asks a running gateway.
pub(crate) fn ask_weir(gateway: &Weir, arguments: &[&str]) -> (i32, String) {
    let socket = &gateway.options().admin_socket;
    let mut all = arguments.to_vec();
    all.extend(["--admin-socket", text(socket)]);
    weir(&all)
}

/// A path as an argument.
pub(crate) fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A folder that is kept apart from that of a site.
pub(crate) fn folder(files: &[(&str, &str)]) -> (TempDir, PathBuf) {
    let folder = TempDir::new().unwrap();
    for (file, yaml) in files {
        manifests::write(folder.path(), file, yaml).unwrap();
    }
    let path = folder.path().to_owned();
    (folder, path)
}

/// A GatewayClass and a Gateway with one HTTP port.
pub(crate) fn gateway(port: u16) -> String {
    format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: GatewayClass\nmetadata:\n  name: weir\nspec:\n  \
         controllerName: weir.dev/gateway-controller\n---\napiVersion: gateway.networking.k8s.io/v1\nkind: \
         Gateway\nmetadata:\n  name: front\n  namespace: demo\nspec:\n  gatewayClassName: weir\n  listeners:\n    - \
         name: http\n      port: {port}\n      protocol: HTTP\n"
    )
}

/// A Service with port 80.
pub(crate) fn service(name: &str, protocol: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: Service\nmetadata:\n  name: {name}\n  namespace: demo\nspec:\n  ports:\n    - \
         name: http\n      port: 80\n      appProtocol: {protocol}\n"
    )
}

/// An HTTPRoute of one rule: fields of its match, as YAML on one line, and its backend.
pub(crate) fn route(name: &str, matches: &str, backend: &str) -> String {
    route_of("HTTPRoute", name, matches, backend)
}

/// A route of a kind.
pub(crate) fn route_of(kind: &str, name: &str, matches: &str, backend: &str) -> String {
    format!(
        "---\napiVersion: gateway.networking.k8s.io/v1\nkind: {kind}\nmetadata:\n  name: {name}\n  namespace: \
         demo\nspec:\n  parentRefs:\n    - name: front\n  rules:\n    - matches:\n        - {{{matches}}}\n      \
         backendRefs:\n        - name: {backend}\n          port: 80\n"
    )
}
