//! The application: builds the components and wires them together. The only file that knows them all.
//!
//! Two kinds of runtime: each worker has its own thread and runtime for traffic; everything else
//! (configuration, enrolment, status, logs, admin) lives on the one of the thread that calls `run`.

pub mod cni;
pub mod follow;
pub mod handover;
pub mod holder;
mod in_step;
mod installation;
pub mod kernel;
pub mod memory;
pub mod node;
pub mod pods;
pub mod ports;
pub mod source;
mod starting;
pub mod state;
pub mod workers;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use anyhow::{Context, anyhow, bail};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, LocalSet};

use crate::admin::server::{self as admin, Accept, Access, AdminSocket};
use crate::bootstrap::{Capture, Settings, Source};
use crate::capture::enrol::Enrolment;
use crate::capture::netns::is_of_home;
use crate::capture::pod_table::PodTable;
use crate::control::Control;
use crate::drain::{self, Cause, Drain, DrainTrigger, Signals};
use crate::limits::{ENDPOINTS_FORGOTTEN_AFTER, ENROL_FIRST_MAX, Limits};
use crate::proxy::shedding::MemoryUse;
use crate::readiness::{Blocked, Readiness};
use crate::snapshot::store::SnapshotStore;
use crate::telemetry::Telemetry;
use crate::telemetry::directory::Directory;
use crate::telemetry::endpoint_state::EndpointStates;
use crate::worker::WorkerContext;
use follow::Follow;
use handover::{HandoverServer, Predecessor};
use holder::{Held, Holder};
use in_step::KernelTablesOf;
use kernel::{Kernel, KernelOptions};
use node::{Ended, Node};
use pods::RunningGateway;
use ports::{Inherited, Ports};
use source::{PodFeed, PodsOfSource, Provided};
use state::{LatestReport, RunningState};
use workers::{NetnsSockets, Workers};

/// What a started gateway can be reached by.
#[derive(Debug, Clone)]
pub struct Bound {
    /// Gateway ports that are open.
    pub gateways: Vec<SocketAddr>,
    /// The admin socket.
    pub admin_socket: PathBuf,
    /// The read-only admin port, if it was asked for.
    pub admin_address: Option<SocketAddr>,
    /// Ends it in good order.
    pub drain: DrainTrigger,
}

/// How many processes that start at the same time may take over one from another.
const PREDECESSORS_MAX: usize = 8;

/// What is shared by everything that runs beside the workers.
#[derive(Clone)]
struct Parts {
    limits: Arc<Limits>,
    store: Arc<SnapshotStore>,
    kernel: Arc<Kernel>,
    telemetry: Arc<Telemetry>,
    workers: Arc<Workers>,
    endpoints: Arc<dyn EndpointStates>,
    memory: Arc<MemoryUse>,
    ports: Arc<Mutex<Ports>>,
    pods: PodTable,
    holder: Arc<Holder>,
    report: LatestReport,
    readiness: Readiness,
    /// Where a cluster tells.
    node: Option<Rc<Node>>,
}

/// The paths at which others find whoever serves, with that of the holder. A process that is to be replaced keeps them
/// until it is.
struct Doors {
    admin_socket: AdminSocket,
    handover: HandoverServer,
}

impl Doors {
    fn open(bound: &Bound, parts: &Parts, replaces: bool) -> anyhow::Result<Self> {
        let admin_socket = AdminSocket::bind(&bound.admin_socket, replaces)?;
        let next = handover::path_beside(&bound.admin_socket);
        let handover = HandoverServer::start(&next, Arc::clone(&parts.ports), bound.drain.clone())
            .with_context(|| format!("cannot make the handover socket {}", next.display()))?;
        parts.holder.take_place();
        Ok(Self { admin_socket, handover })
    }
}

/// A gateway that is built and bound, and serves once `serve` is polled.
pub struct App {
    parts: Parts,
    follow: Follow,
    predecessor: Option<Predecessor>,
    held: Held,
    /// None where a process before this one is still found there.
    doors: Option<Doors>,
    admin_port: Option<TcpListener>,
    starting: Blocked,
    drain: Drain,
    bound: Bound,
}

/// Serves until SIGTERM or SIGINT, or until a next process has taken over.
///
/// # Errors
/// When the gateway cannot start. Each says what to do.
pub fn run(settings: Settings) -> anyhow::Result<()> {
    let (pins, source) = (settings.bpf_root.clone(), settings.source.clone());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = LocalSet::new();
    let ended = local.block_on(&runtime, async {
        let mut signals = Signals::watch().context("SIGTERM cannot be watched")?;
        let admin_port = open_admin_port(settings.admin_address).await?;
        let provided = tokio::select! {
            provided = Provided::open(&settings) => provided?,
            () = starting::answer(admin_port.as_ref()) => bail!("the admin port ended"),
            () = signals.next() => return Ok(Ended::Stays),
        };
        let app = App::start_with(settings, provided, admin_port).await?;
        let trigger = app.bound.drain.clone();
        tokio::task::spawn_local(async move { trigger.start_on(signals).await });
        app.serve().await
    })?;
    // Whatever holds the datapath ends with them.
    drop((local, runtime));
    if let (Ended::Uninstalled, Source::Node(node)) = (ended, source) {
        node::remove_everything(&pins, &node);
    }
    Ok(())
}

impl App {
    /// Reads the configuration, opens everything, and binds.
    ///
    /// # Errors
    /// When something is in the way of all serving. A broken object or a port in use is not.
    pub async fn start(settings: Settings) -> anyhow::Result<Self> {
        let admin_port = open_admin_port(settings.admin_address).await?;
        let provided = Provided::open(&settings).await?;
        Self::start_with(settings, provided, admin_port).await
    }

    async fn start_with(
        settings: Settings,
        provided: Provided,
        admin_port: Option<TcpListener>,
    ) -> anyhow::Result<Self> {
        let (trigger, drain) = drain::channel();
        make_folder(&settings.admin_socket)?;
        let next = handover::path_beside(&settings.admin_socket);
        let (predecessor, inherited) = find_predecessor(&settings, &next)?;
        let (mut held, holder) = find_held(&settings, predecessor.is_some());
        held.ports.extend(inherited);
        let (parts, mut follow) = build(&settings, provided, &mut held, holder, &trigger)?;
        let starting = parts.readiness.block("start");
        open_datapath(&parts, &follow.pods, predecessor.is_some())?;
        follow.compare_ports(&parts);
        let bound = Bound {
            gateways: lock(&parts.ports).open().collect(),
            admin_socket: settings.admin_socket,
            admin_address: admin_port.as_ref().and_then(|p| p.local_addr().ok()),
            drain: trigger,
        };
        // A next process that asks at once gets open ports.
        let doors = match predecessor {
            None => Some(Doors::open(&bound, &parts, false)?),
            Some(_) => None,
        };
        Ok(Self { parts, follow, predecessor, held, doors, admin_port, starting, drain, bound })
    }

    /// What it can be reached by.
    pub fn bound(&self) -> &Bound {
        &self.bound
    }

    /// Serves until the drain is asked for, then drains. Poll it within a `LocalSet`. One that is to replace a process
    /// and is asked to end before it has leaves everything to that one.
    ///
    /// # Errors
    /// When the process that is replaced cannot be told so.
    pub async fn serve(self) -> anyhow::Result<Ended> {
        let Self { parts, follow, predecessor, mut held, doors, admin_port, starting, mut drain, bound } =
            self;
        let (stop_telemetry, stopped) = oneshot::channel::<()>();
        let reading = tokio::task::spawn_local(read_records(Arc::clone(&parts.telemetry), stopped));
        let reopening = tokio::task::spawn_local(reopen_log_on_hangup(Arc::clone(&parts.telemetry)));
        let watch = memory::watch(Arc::clone(&parts.limits), Arc::clone(&parts.memory));
        let watching = tokio::task::spawn_local(watch);
        let mut answering = Answering { state: parts.admin_state(&bound.drain), tasks: Vec::new() };
        // Every pod of a cluster reaches the port of a node.
        let access = if parts.node.is_some() { Access::Health } else { Access::ReadOnly };
        if let Some(port) = admin_port {
            answering.start(port, access);
        }
        let mut handover = doors.map(|doors| answering.open(doors));

        let mut enrolment = Enrolment::new(parts.gateway(), parts.pods.clone(), parts.limits.pods_max);
        let mut source = follow.pods.follow().context("pods cannot be looked for")?;
        enrolment.inherit(held.take_pods());
        let begun = tokio::select! {
            biased;
            _ = drain.started(), if predecessor.is_some() => false,
            () = begin(&mut enrolment, &mut source, &parts) => true,
        };
        enrolment.forget_inherited();
        let ended = if !begun {
            tracing::info!("asked to end before it took over: the process before goes on");
            parts.drain(Cause::Asked).await;
            Ended::Stays
        } else {
            // Before a process that is replaced stops answering.
            let runtime = parts.node.as_ref().and_then(|node| node.answer_runtime(&parts, source.hands()));
            if let Some(predecessor) = predecessor {
                handover = Some(answering.open(Doors::open(&bound, &parts, true)?));
                let pid = predecessor.pid();
                predecessor
                    .done()
                    .with_context(|| format!("process {pid} did not hear that it is replaced"))?;
                tracing::info!(pid, "taken over");
            }
            held.done();
            drop(starting);
            announce(&bound, &parts.pods);

            let reporting =
                parts.node.clone().map(|node| tokio::task::spawn_local(node.report(parts.clone())));
            let mut following = pin!(follow.run(&parts));
            let cause = tokio::select! {
                cause = drain.started() => cause,
                () = enrolment.follow(&mut source, parts.limits.pod_check_interval) => Cause::Asked,
                () = &mut following => Cause::Asked,
            };
            drop((handover, runtime, source));
            if let Some(reporting) = reporting {
                reporting.abort();
            }
            let mut ended = Ended::Stays;
            if let Some(node) = &parts.node {
                ended = tokio::select! {
                    ended = node.end(cause, &parts, &mut enrolment, &mut drain, &bound) => ended,
                    () = &mut following => ended,
                };
            }
            parts.drain(cause).await;
            ended
        };
        drop(stop_telemetry);
        // The last records are read; a panic there has been reported.
        let _ = reading.await;
        for task in answering.tasks.into_iter().chain([reopening, watching]) {
            task.abort();
            // Dropped when it has ended, and its socket with it.
            let _ = task.await;
        }
        Ok(ended)
    }
}

/// The tasks that answer admin requests.
struct Answering {
    state: Arc<RunningState>,
    tasks: Vec<JoinHandle<()>>,
}

impl Answering {
    fn start(&mut self, listener: impl Accept + 'static, access: Access) {
        self.tasks.push(tokio::task::spawn_local(admin::serve(listener, self.state.clone(), access)));
    }

    fn open(&mut self, Doors { admin_socket, handover }: Doors) -> HandoverServer {
        self.start(admin_socket, Access::Full);
        handover
    }
}

impl Parts {
    fn gateway(&self) -> RunningGateway {
        RunningGateway {
            kernel: Arc::clone(&self.kernel),
            workers: Arc::clone(&self.workers),
            names: Arc::clone(self.telemetry.pods()),
            holder: Arc::clone(&self.holder),
        }
    }

    fn admin_state(&self, drain: &DrainTrigger) -> Arc<RunningState> {
        Arc::new(RunningState {
            store: Arc::clone(&self.store),
            report: self.report.clone(),
            readiness: self.readiness.clone(),
            pods: self.pods.clone(),
            kernel: Arc::clone(&self.kernel),
            telemetry: Arc::clone(&self.telemetry),
            endpoints: Arc::clone(&self.endpoints),
            drain: drain.clone(),
            api: self.node.as_ref().map(|node| node.freshness().clone()),
        })
    }

    /// The orderly end: nothing new comes in, what is in flight finishes.
    async fn drain(&self, cause: Cause) {
        let _draining = self.readiness.block("the end: draining");
        let began = Instant::now();
        tracing::info!(?cause, timeout = ?self.limits.drain_timeout, "draining");
        match cause {
            Cause::Asked => self.kernel.retire(),
            // Kernel entries and pins are the successor's.
            Cause::Replaced => self.kernel.leave(),
        }
        // Before the workers have emptied the queues: nobody is to wait in one that nobody looks at.
        self.holder.end();
        lock(&self.ports).release();
        self.workers.drain().await;
        tracing::info!(took = ?began.elapsed(), "drained");
    }
}

/// Builds what serves, and applies the first configuration. Opens no port and no datapath.
fn build(
    settings: &Settings,
    provided: Provided,
    held: &mut Held,
    holder: Holder,
    drain: &DrainTrigger,
) -> anyhow::Result<(Parts, Follow)> {
    let limits = Arc::new(settings.limits.clone());
    let store = Arc::new(SnapshotStore::new());
    let kernel = Arc::new(Kernel::new(kernel_options(settings, held), Arc::clone(&store), drain.clone()));
    let tables = Box::new(KernelTablesOf::new(Arc::clone(&kernel)));
    let mut control = Control::new(Arc::clone(&store), tables, &limits);
    control.set_place(settings.place.clone());
    let directory = Directory { names: control.names(), ..Directory::default() };
    let telemetry = Telemetry::new(&settings.access_log, directory, &limits)
        .with_context(|| format!("cannot open the access log {:?}", settings.access_log.target))?;
    let Provided { mut desired, pods, cluster } = provided;

    let report = LatestReport::default();
    let first = desired.borrow_and_update().clone();
    report.set(control.apply_logged(&first).report);

    let destinations = Arc::new(kernel.destinations());
    let sockets = Arc::new(NetnsSockets { descriptors_max: limits.descriptors_usable_upstream() });
    let context = WorkerContext::new(Arc::clone(&store), Arc::clone(&limits), sockets, destinations)
        .with_trusted(settings.trusted.clone())
        .with_proxy_protocol_from(settings.proxy_protocol_from.clone());
    let workers = Workers::start(settings.workers, &context, &telemetry).context("cannot start workers")?;
    let parts = Parts {
        limits,
        store,
        kernel,
        telemetry,
        workers: Arc::new(workers),
        endpoints: context.endpoint_states(),
        memory: context.memory(),
        ports: Arc::new(Mutex::new(Ports::new(settings.workers, std::mem::take(&mut held.ports)))),
        holder: Arc::new(holder),
        pods: PodTable::default(),
        report,
        readiness: Readiness::default(),
        node: cluster.map(|cluster| Rc::new(Node::new(cluster))),
    };
    Ok((parts, Follow { control, desired, pods }))
}

/// Takes in the pods that are there, and lets those go that are not any more.
async fn begin(enrolment: &mut Enrolment<RunningGateway>, source: &mut PodsOfSource, parts: &Parts) {
    if enrolment.begin(source, ENROL_FIRST_MAX).await {
        parts.kernel.retain(&parts.pods.cookies());
    } else {
        tracing::warn!("not every pod that was there could be looked for: serving the others");
    }
}

/// Reads the workers' records until `stop`.
async fn read_records(telemetry: Arc<Telemetry>, stop: oneshot::Receiver<()>) {
    // A sender that is dropped is as good a stop.
    telemetry.run(async { drop(stop.await) }).await;
}

/// A node opens the datapath whether or not it has pods to capture yet, and serves Gateways without one; but it takes
/// no pods from a process that captures them.
fn open_datapath(parts: &Parts, pods: &PodFeed, replaces: bool) -> anyhow::Result<()> {
    if pods.needs_datapath() {
        parts.kernel.open().map_err(|error| {
            let why = indented(&error);
            anyhow!("cannot capture the folder's pods; --capture off serves its gateways alone: {why}")
        })?;
    } else if parts.node.is_some()
        && let Err(error) = parts.kernel.open()
    {
        if replaces && parts.kernel.is_anothers() {
            bail!(
                "no pod could be captured, and the process that captures them goes on: {}",
                indented(&error)
            );
        }
        tracing::error!("no pod can be captured: {}", indented(&error));
    }
    Ok(())
}

/// Several lines stand below what they belong to.
fn indented(text: &str) -> String {
    if text.contains('\n') { format!("\n  {}", text.replace('\n', "\n  ")) } else { text.to_owned() }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn kernel_options(settings: &Settings, held: &Held) -> KernelOptions {
    KernelOptions {
        enabled: settings.capture == Capture::Auto,
        cgroup: settings.cgroup.clone(),
        cgroups: match &settings.source {
            Source::Folder(_) => None,
            Source::Node(node) => Some(node.paths.cgroups.clone()),
        },
        pin_root: settings.bpf_root.clone(),
        takeover: settings.takeover,
        keep_flows: !held.pods.is_empty(),
        debug_log: settings.datapath_log,
        // On a node somebody else knows endpoints, and follows them.
        forget_after: match &settings.source {
            Source::Folder(_) => None,
            Source::Node(_) => Some(ENDPOINTS_FORGOTTEN_AFTER),
        },
    }
}

/// The folder of the admin socket: made when only the last part of it is missing.
fn make_folder(admin_socket: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    let folder = admin_socket.parent().filter(|folder| !folder.as_os_str().is_empty());
    let Some(folder) = folder.filter(|folder| !folder.is_dir()) else { return Ok(()) };
    std::fs::DirBuilder::new().mode(0o755).create(folder).with_context(|| {
        let folder = folder.display();
        format!("cannot make the folder {folder} of the admin socket; choose another with --admin-socket")
    })
}

/// What a gateway that was killed has left, and who keeps it for the next one after this.
fn find_held(settings: &Settings, replaces: bool) -> (Held, Holder) {
    let path = holder::path_beside(&settings.admin_socket);
    let held = if replaces { Held::default() } else { Held::ask(&path) };
    if !held.is_empty() {
        let (ports, pods) = (held.ports.len(), held.pods.len());
        tracing::info!(ports, pods, "a gateway was killed here: its listening sockets go on");
    }
    let started = if settings.holder { Holder::start(&path) } else { Ok(Holder::none()) };
    let holder = started.unwrap_or_else(|error| {
        tracing::warn!(%error, "no holder: listening sockets end with this process");
        Holder::none()
    });
    (held, holder)
}

/// The gateway that runs with the same admin socket, and what it hands over.
fn find_predecessor(settings: &Settings, path: &Path) -> anyhow::Result<(Option<Predecessor>, Inherited)> {
    // Each turn but the last meets a process that another one has replaced in the meantime.
    for _ in 0..PREDECESSORS_MAX {
        let found = Predecessor::find(path)
            .with_context(|| format!("cannot ask at {} whether a gateway runs already", path.display()))?;
        if let Source::Node(node) = &settings.source {
            installation::claim(node, found.as_ref().map(Predecessor::pid))?;
        }
        let Some(predecessor) = found else { return Ok((None, Inherited::new())) };
        if !settings.takeover {
            bail!(
                "another Weir (process {}) runs with the admin socket {}; stop it, replace it with --takeover, \
                 or choose another --admin-socket",
                predecessor.pid(),
                settings.admin_socket.display()
            );
        }
        let taken = predecessor.take_sockets().with_context(|| {
            format!("process {} does not hand its ports over; stop it and start again", predecessor.pid())
        })?;
        if let Some(mut inherited) = taken {
            // Those of a pod that this one replaces are in that pod's network.
            inherited.retain(|_, sockets| sockets.iter().all(is_of_home));
            return Ok((Some(predecessor), inherited));
        }
    }
    bail!("{PREDECESSORS_MAX} other processes took over at {} meanwhile; start again", path.display())
}

async fn open_admin_port(address: Option<SocketAddr>) -> anyhow::Result<Option<TcpListener>> {
    let Some(address) = address else { return Ok(None) };
    let port = TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address}; choose another --admin-address"))?;
    Ok(Some(port))
}

/// Log rotation moves the file away and sends SIGHUP.
async fn reopen_log_on_hangup(telemetry: Arc<Telemetry>) {
    let Ok(mut hangup) = signal(SignalKind::hangup()) else { return };
    while hangup.recv().await.is_some() {
        telemetry.reopen_log();
    }
}

fn announce(bound: &Bound, pods: &PodTable) {
    let (captured, wanted) = pods.counts();
    let gateways: Vec<String> = bound.gateways.iter().map(ToString::to_string).collect();
    tracing::info!(
        gateways = gateways.join(" "),
        pods = format!("{captured} of {wanted}"),
        admin = %bound.admin_socket.display(),
        "serving"
    );
}
