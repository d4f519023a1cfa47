//! `cargo xtask cluster`: a real Kubernetes on this machine, of namespaces, or its API server alone.

mod api;
mod cgroups;
mod host;
mod kubectl;
mod layout;
mod network;
mod node;
mod pki;
mod process;
mod programs;

use std::ffi::OsString;
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, bail};
use clap::Subcommand;

use crate::{chart, image, workspace};
use api::Place;
use host::Need;
use layout::{Layout, NODES_MAX, Node, POD_CIDR, SERVICE_CIDR};
use programs::Programs;

/// A real Kubernetes on this machine.
///
/// Each node is a set of namespaces and cgroups with containerd, kubelet and kube-proxy in it; the control plane has a network
/// namespace of its own, and the machine's gets no address, route or rule. Kubernetes, etcd and CoreDNS are built from
/// `tests/cluster` once for this user (about 12 minutes of CPU time). Nodes need root; an API server alone does not.
/// A first look: `cargo xtask cluster up --install`, then `cargo xtask cluster kubectl get pods -A`.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Which cluster: namespaces, cgroups and the state's folder are named after it.
    #[arg(long, global = true, default_value = "weir-test", value_parser = name)]
    name: String,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Start it. What an earlier one of that name has left is removed first.
    Up(Up),
    /// Stop it and remove everything of it.
    Down,
    /// What runs.
    Status,
    /// kubectl as its administrator.
    #[command(disable_help_flag = true)]
    Kubectl {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// A command in a node's namespaces and cgroups.
    Exec {
        /// `n1`, `n2`.
        #[arg(value_parser = node_name)]
        node: Node,
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        command: Vec<String>,
    },
    /// Import images into every node, from OCI or docker archives.
    Load {
        #[arg(required = true)]
        archives: Vec<PathBuf>,
    },
    /// Stop the API server, or start it again; etcd goes on.
    Api {
        #[arg(value_enum)]
        action: Server,
    },
    #[command(hide = true)]
    NodeEnter {
        #[arg(value_parser = node_name)]
        node: Node,
    },
    #[command(hide = true)]
    NodeInit {
        #[arg(value_parser = node_name)]
        node: Node,
    },
}

#[derive(Debug, clap::Args)]
pub(crate) struct Up {
    /// How many nodes.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=i64::from(NODES_MAX)))]
    pub(crate) nodes: u8,
    /// etcd and the API server alone, on loopback: no nodes, no controllers, no root.
    #[arg(long)]
    pub(crate) api_only: bool,
    /// Apply the CRDs of the Gateway API.
    #[arg(long)]
    pub(crate) gateway_api: bool,
    /// Install what is missing (Debian packages as root, Go). CI=true does the same.
    #[arg(long)]
    pub(crate) install: bool,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Server {
    Stop,
    Start,
}

/// What was started, so that any shell finds it.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
struct Record {
    nodes: u8,
    place: Place,
    programs: Programs,
}

/// What a program needs to use a cluster that runs: variables, and where it must stand.
#[derive(Debug)]
pub(crate) struct Access {
    variables: Vec<(&'static str, OsString)>,
    /// The network namespace from which its API server is reached; none is the machine's own.
    netns: Option<PathBuf>,
}

/// What it takes to install Weir in a cluster: its image, the optimised one or the one that is built sooner, and helm.
#[derive(Debug)]
pub(crate) struct Installable([(&'static str, OsString); 2]);

impl Installable {
    /// The image's archive, and helm.
    pub(crate) fn parts(&self) -> (PathBuf, PathBuf) {
        let [archive, helm] = &self.0;
        (archive.1.clone().into(), helm.1.clone().into())
    }

    /// Builds what is missing of it.
    pub(crate) fn build(release: bool, install: bool) -> anyhow::Result<Self> {
        let archive = image::for_cluster(release, install)?;
        Ok(Self([("WEIR_IMAGE_ARCHIVE", archive.into()), ("WEIR_HELM", chart::helm(install)?.into())]))
    }
}

impl Access {
    /// The program finds that, too.
    pub(crate) fn with(mut self, weir: Option<Installable>) -> Self {
        self.variables.extend(weir.into_iter().flat_map(|weir| weir.0));
        self
    }

    /// The kubeconfig of its administrator.
    pub(crate) fn kubeconfig(&self) -> Option<&OsString> {
        self.variables.iter().find(|(name, _)| *name == "WEIR_KUBECONFIG").map(|(_, file)| file)
    }

    /// A program that stands there.
    pub(crate) fn command(&self, program: &Path) -> Command {
        let mut command = match &self.netns {
            Some(netns) => {
                let mut nsenter = Command::new("nsenter");
                nsenter.arg(format!("--net={}", netns.display())).arg(program);
                nsenter
            }
            None => Command::new(program),
        };
        command.envs(self.variables.iter().cloned());
        command
    }
}

/// True when no program has to be built before a cluster starts.
pub(crate) fn is_built() -> anyhow::Result<bool> {
    programs::are_built()
}

/// Starts a cluster for a program that is run then.
pub(crate) fn start_for(name: &str, up: &Up) -> anyhow::Result<Access> {
    let layout = layout(name);
    start(&layout, up)?;
    let Record { place, programs, .. } = record(&layout)?;
    let variables = vec![
        ("WEIR_KUBECONFIG", layout.kubeconfig("admin").into()),
        ("WEIR_KUBECTL", programs.kubernetes("kubectl").into()),
        ("WEIR_GATEWAY_API", programs.gateway_api.into()),
        ("WEIR_CLUSTER", name.into()),
        ("WEIR_AUDIT_LOG", layout.audit_log().into()),
        // This very program, even when cargo has put another in its place meanwhile.
        ("WEIR_XTASK", format!("/proc/{}/exe", std::process::id()).into()),
    ];
    Ok(Access { variables, netns: place.netns.as_deref().map(layout::netns_path) })
}

/// The conformance suite of the Gateway API, built when it is not yet, and the images that its backends run.
pub(crate) fn conformance(install: bool) -> anyhow::Result<(PathBuf, Vec<PathBuf>)> {
    programs::conformance(install)
}

/// Imports images into every node of it.
pub(crate) fn load_images(name: &str, archives: &[PathBuf]) -> anyhow::Result<()> {
    load(&layout(name), archives)
}

/// What `--name` of a cluster takes.
pub(crate) fn parse_name(text: &str) -> Result<String, String> {
    name(text)
}

/// Removes it.
pub(crate) fn stop(name: &str) -> anyhow::Result<()> {
    sweep(&layout(name))
}

/// Short enough for a namespace, and nothing in it that a path or a shell would take for something else.
fn name(text: &str) -> Result<String, String> {
    let is_good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let good = !text.is_empty() && text.len() <= 32 && text.chars().all(is_good) && !text.starts_with('-');
    good.then(|| text.to_owned()).ok_or_else(|| "lower-case letters, digits and -, at most 32".to_owned())
}

fn node_name(text: &str) -> Result<Node, String> {
    Node::parse(text).ok_or_else(|| format!("n1 to n{NODES_MAX}"))
}

/// False when a command that was run has failed and said why.
pub(crate) fn run(options: &Options) -> anyhow::Result<bool> {
    let layout = layout(&options.name);
    match &options.action {
        Action::Up(up) => start(&layout, up)?,
        Action::Down => sweep(&layout)?,
        Action::Status => return status(&layout),
        Action::Kubectl { arguments } => {
            let Record { place, programs, .. } = record(&layout)?;
            let error = kubectl::command(&layout, &programs, &place).args(arguments).exec();
            return Err(error).context("cannot run kubectl");
        }
        Action::Exec { node, command } => node::exec(&layout, *node, command)?,
        Action::Load { archives } => load(&layout, archives)?,
        Action::Api { action: Server::Stop } => api::stop_server(&layout)?,
        Action::Api { action: Server::Start } => {
            let Record { place, programs, .. } = record(&layout)?;
            api::start_server(&layout, &programs, &place)?;
        }
        Action::NodeEnter { node } => node::enter(&layout, *node)?,
        Action::NodeInit { node } => node::init::run(&layout, *node, &record(&layout)?.programs)?,
    }
    Ok(true)
}

fn layout(name: &str) -> Layout {
    Layout::new(&workspace::cache_dir().join("cluster/run"), name)
}

fn record(layout: &Layout) -> anyhow::Result<Record> {
    let text = std::fs::read(layout.record());
    let text = text.with_context(|| format!("cluster {} is not up: cargo xtask cluster up", layout.name))?;
    serde_json::from_slice(&text).context("the record of the cluster is damaged")
}

/// Starts a cluster; an error says where the logs are.
fn start(layout: &Layout, up: &Up) -> anyhow::Result<()> {
    let install = up.install || workspace::is_ci();
    host::prepare(if up.api_only { Need::Api } else { Need::Nodes }, install)?;
    let programs = programs::build(install)?;
    sweep(layout)?;
    let begun = Instant::now();
    std::fs::create_dir_all(layout.logs())
        .with_context(|| format!("cannot make {}", layout.logs().display()))?;
    let place = if up.api_only { Place::alone()? } else { Place::of_cluster(layout) };
    let record = Record { nodes: if up.api_only { 0 } else { up.nodes }, place, programs };
    std::fs::write(layout.record(), serde_json::to_vec_pretty(&record)?)?;
    let started = start_all(layout, &record, begun)
        .and_then(|()| if up.gateway_api { apply_gateway_api(layout, &record) } else { Ok(()) });
    if started.is_err() {
        end_all(layout)?;
    }
    started
        .with_context(|| format!("cluster {} did not start; logs: {}", layout.name, layout.logs().display()))
}

fn start_all(layout: &Layout, record: &Record, begun: Instant) -> anyhow::Result<()> {
    let say = |what: &str| println!("{:>5.1} s  {what}", begun.elapsed().as_secs_f64());
    let Record { nodes, place, programs } = record;
    pki::make(layout, *nodes, &place.server())?;
    if *nodes > 0 {
        network::up(layout, *nodes)?;
    }
    // Containers' images are imported while the control plane starts.
    for node in Node::all(*nodes) {
        node::start(layout, node)?;
    }
    api::start(layout, programs, place)?;
    say(&format!("API server at {}", place.server()));
    if *nodes > 0 {
        start_controllers(layout, record)?;
        let mut manifests =
            std::fs::read_to_string(workspace::root().join("tests/cluster/manifests/base.yaml"))?;
        for node in Node::all(*nodes) {
            manifests.push_str("---\n");
            manifests.push_str(&node::manifest(node)?);
        }
        kubectl::apply(layout, programs, place, &manifests)?;
        File::create(layout.ready())?;
        kubectl::run(
            layout,
            programs,
            place,
            &["wait", "node", "--all", "--for=condition=Ready", "--timeout=90s"],
        )?;
        say(&format!("{nodes} nodes ready"));
        let rollout = ["--namespace=kube-system", "rollout", "status", "deployment/coredns", "--timeout=90s"];
        kubectl::run(layout, programs, place, &rollout)?;
        say("CoreDNS ready");
    }
    println!("kubeconfig  {}", layout.kubeconfig("admin").display());
    Ok(())
}

fn apply_gateway_api(layout: &Layout, record: &Record) -> anyhow::Result<()> {
    let Record { place, programs, .. } = record;
    let file = programs.gateway_api.display().to_string();
    // On the server's side: they are too large for the annotation that the client's way leaves.
    kubectl::run(layout, programs, place, &["apply", "--server-side", "--filename", &file])?;
    let established = ["wait", "crd", "--all", "--for=condition=Established", "--timeout=60s"];
    kubectl::run(layout, programs, place, &established)
}

fn start_controllers(layout: &Layout, record: &Record) -> anyhow::Result<()> {
    let Record { place, programs, .. } = record;
    let file = |name: &str| layout.pki().join(name).display().to_string();
    let common = |user: &str| {
        let kubeconfig = layout.kubeconfig(user).display().to_string();
        vec![
            format!("--kubeconfig={kubeconfig}"),
            format!("--authentication-kubeconfig={kubeconfig}"),
            format!("--authorization-kubeconfig={kubeconfig}"),
            "--bind-address=127.0.0.1".to_owned(),
            "--leader-elect=false".to_owned(),
        ]
    };
    let mut manager = common("controller-manager");
    manager.extend([
        "--use-service-account-credentials=true".to_owned(),
        format!("--service-account-private-key-file={}", file("sa.key")),
        format!("--root-ca-file={}", file("ca.crt")),
        format!("--cluster-signing-cert-file={}", file("ca.crt")),
        format!("--cluster-signing-key-file={}", file("ca.key")),
        // The manifests of the nodes say them.
        "--allocate-node-cidrs=false".to_owned(),
        format!("--cluster-cidr={POD_CIDR}"),
        format!("--service-cluster-ip-range={SERVICE_CIDR}"),
    ]);
    let netns = place.netns.as_deref();
    process::spawn(layout, netns, &programs.kubernetes("kube-controller-manager"), &manager)?;
    process::spawn(layout, netns, &programs.kubernetes("kube-scheduler"), &common("scheduler"))
}

/// Removes everything that a cluster of this name has left: processes, cgroups, namespaces, mounts, files.
fn sweep(layout: &Layout) -> anyhow::Result<()> {
    end_all(layout)?;
    match std::fs::remove_dir_all(&layout.root) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", layout.root.display()))
        }
        _ => Ok(()),
    }
}

/// The files stay: its logs say what was wrong.
fn end_all(layout: &Layout) -> anyhow::Result<()> {
    for node in Node::all(NODES_MAX).filter(|node| layout.node_cgroups(*node).exists()) {
        node::stop(layout, node)?;
    }
    process::end(&format!("the processes of {}", layout.name), || process::all(layout))?;
    network::down(layout)
}

fn status(layout: &Layout) -> anyhow::Result<bool> {
    let Ok(Record { nodes, place, programs }) = record(layout) else {
        println!("{} is not up", layout.name);
        return Ok(false);
    };
    println!("{}: {nodes} nodes, API server {}", layout.name, place.server());
    if let Some(netns) = &place.netns {
        println!("network namespace of the control plane  {netns}");
    }
    println!("kubeconfig  {}", layout.kubeconfig("admin").display());
    println!("logs        {}", layout.logs().display());
    println!("processes   {}", process::all(layout).len());
    let what: &[&str] =
        if nodes > 0 { &["get", "nodes,pods", "-A", "-o", "wide"] } else { &["get", "--raw", "/readyz"] };
    let answer = kubectl::output(layout, &programs, &place, what);
    println!("{}", answer.as_deref().unwrap_or("the API server does not answer"));
    Ok(answer.is_some())
}

fn load(layout: &Layout, archives: &[impl AsRef<Path>]) -> anyhow::Result<()> {
    let nodes = record(layout)?.nodes;
    if nodes == 0 {
        bail!("{} has no nodes", layout.name);
    }
    for archive in archives.iter().map(AsRef::as_ref) {
        for node in Node::all(nodes) {
            let file = File::open(archive).with_context(|| format!("cannot open {}", archive.display()))?;
            let import = ["ctr", "--namespace", "k8s.io", "images", "import", "-"];
            node::run(layout, node, &import, Stdio::from(file))?;
        }
        println!("{} is on {nodes} nodes", archive.display());
    }
    Ok(())
}
