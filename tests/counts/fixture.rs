//! Two proxies with one worker each, one backend, and a client with one connection.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use gateway_bench::floor::Speaks;
use gateway_bench::{backend, floor};
use gateway_tests::manifests;
use gateway_tests::running::Running;
use gateway_tests::wait::wait_for;
use gateway_userspace::bootstrap::{Capture, Settings};
use gateway_userspace::telemetry::access_log::{AccessLogOptions, LogFormat, LogMode, LogTarget};
use tempfile::TempDir;

/// Nothing is waited for longer.
const LONGEST: Duration = Duration::from_secs(20);
/// Routes beside the one that is asked for.
const ROUTES: usize = 200;

/// A thread of this process.
pub(crate) struct Thread {
    pub(crate) name: &'static str,
    pub(crate) id: i32,
}

impl Thread {
    /// The one with this name, or the last of several.
    fn named(name: &'static str) -> Self {
        let found = wait_for("the thread runs", LONGEST, || {
            let tasks = std::fs::read_dir("/proc/self/task").ok()?;
            let all = tasks.filter_map(|task| {
                let path = task.ok()?.path();
                let is_it = std::fs::read_to_string(path.join("comm")).ok()?.trim_end() == name;
                is_it.then(|| path.file_name()?.to_str()?.parse::<i32>().ok())?
            });
            all.max()
        });
        Self { name, id: found.unwrap() }
    }
}

/// Below the ports that the kernel gives to clients: it stays free until the proxy asks for it.
fn free_address() -> SocketAddr {
    let is_free = |port: &u16| TcpListener::bind((Ipv6Addr::UNSPECIFIED, *port)).is_ok();
    let port = std::iter::repeat_with(|| fastrand::u16(10_000..30_000)).find(is_free).unwrap();
    (Ipv4Addr::LOCALHOST, port).into()
}

/// A backend that answers 1 KiB. It lives as long as the process.
fn start_backend() -> SocketAddr {
    let listener = backend::listen((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || backend::serve(&listener, "backend"));
    address
}

/// A proxy on bare hyper. It lives as long as the process.
pub(crate) struct Floor {
    pub(crate) address: SocketAddr,
    pub(crate) worker: Thread,
}

impl Floor {
    pub(crate) fn start() -> Self {
        const NAME: &str = "floor";
        let (address, upstream) = (free_address(), start_backend());
        let serve = move || floor::serve(address, upstream, Speaks::Http1, 1);
        let thread = std::thread::Builder::new().name(NAME.to_owned());
        drop(thread.spawn(serve).unwrap());
        wait_for("the floor listens", LONGEST, || TcpStream::connect(address).ok()).unwrap();
        // Its worker has the name of the thread that started it, and a higher number.
        Self { address, worker: Thread::named(NAME) }
    }
}

/// Weir with what it does by default: routes, metrics, an access log.
pub(crate) struct Gateway {
    pub(crate) address: SocketAddr,
    pub(crate) worker: Thread,
    _running: Running,
    _folder: TempDir,
}

impl Gateway {
    pub(crate) fn start() -> Self {
        let (address, backend) = (free_address(), start_backend());
        let folder = TempDir::new().unwrap();
        let config = folder.path().join("config");
        std::fs::create_dir(&config).unwrap();
        manifests::write(&config, "all.yaml", &yaml(address.port(), backend)).unwrap();
        let mut settings = Settings::new(config, folder.path().join("admin.sock"));
        settings.workers = 1;
        settings.capture = Capture::Off;
        settings.access_log = AccessLogOptions {
            mode: LogMode::All,
            format: LogFormat::Json,
            target: LogTarget::File(folder.path().join("access.log")),
        };
        let running = Running::start(settings).unwrap();
        Self { address, worker: Thread::named("worker-0"), _running: running, _folder: folder }
    }
}

fn yaml(port: u16, backend: SocketAddr) -> String {
    let kind = |api: &str, kind: &str, name: &str, spec: &str| {
        format!(
            "---\napiVersion: {api}\nkind: {kind}\nmetadata: {{name: {name}, namespace: demo}}\nspec: {spec}\n"
        )
    };
    let api = "gateway.networking.k8s.io/v1";
    let route = |name: &str, path: &str| {
        let matches = format!("[{{path: {{type: PathPrefix, value: {path}}}}}]");
        let rule = format!("{{matches: {matches}, backendRefs: [{{name: shop, port: 80}}]}}");
        kind(api, "HTTPRoute", name, &format!("{{parentRefs: [{{name: front}}], rules: [{rule}]}}"))
    };
    let listener = format!("{{name: http, port: {port}, protocol: HTTP}}");
    let mut yaml = kind(api, "GatewayClass", "weir", "{controllerName: weir.dev/gateway-controller}");
    yaml += &kind(api, "Gateway", "front", &format!("{{gatewayClassName: weir, listeners: [{listener}]}}"));
    yaml += &kind("v1", "Service", "shop", "{ports: [{name: http, port: 80, appProtocol: http}]}");
    yaml += &manifests::slice("shop", backend.port(), &[IpAddr::V4(Ipv4Addr::LOCALHOST)]);
    yaml += &route("shop", "/shop");
    (0..ROUTES).for_each(|number| yaml += &route(&format!("other-{number}"), &format!("/other/{number}")));
    yaml
}

/// One connection that is kept.
pub(crate) struct Client {
    stream: TcpStream,
    answer: Vec<u8>,
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(LONGEST)).unwrap();
        Self { stream, answer: vec![0; 16 * 1024] }
    }

    /// A request as a client in a mesh sends it, and its whole answer.
    pub(crate) fn get(&mut self) {
        const REQUEST: &[u8] =
            b"GET /shop/items/1?page=2 HTTP/1.1\r\nHost: shop.test\r\nUser-Agent: counts\r\n\
            Accept: */*\r\ntraceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n\r\n";
        self.stream.write_all(REQUEST).unwrap();
        let mut length = 0;
        while !is_whole(&self.answer[..length]) {
            let read = self.stream.read(&mut self.answer[length..]).unwrap();
            assert!(read > 0, "the connection was closed");
            length += read;
        }
        assert!(
            self.answer.starts_with(b"HTTP/1.1 200 "),
            "{}",
            String::from_utf8_lossy(&self.answer[..length])
        );
    }
}

/// True for a head and as many bytes as its `Content-Length` says.
fn is_whole(answer: &[u8]) -> bool {
    let text = String::from_utf8_lossy(answer);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let head = head.to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
    length.is_some_and(|length| length.trim().parse() == Ok(body.len()))
}
