//! etcd and the API server: of a cluster, or alone on loopback.

use std::net::TcpListener;
use std::time::Duration;

use anyhow::{Context, bail};

use super::layout::{API_PORT, CONTROL_PLANE_ADDRESS, Layout, SERVICE_CIDR};
use super::programs::Programs;
use super::{kubectl, process};
use crate::workspace;

/// Where the two listen.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub(super) struct Place {
    /// The network namespace; none is the machine's own.
    pub(super) netns: Option<String>,
    pub(super) address: String,
    pub(super) port: u16,
    /// On loopback: for clients, and for peers that there are none of.
    pub(super) etcd_ports: [u16; 2],
}

impl Place {
    /// In the namespace of the control plane.
    pub(super) fn of_cluster(layout: &Layout) -> Self {
        Self {
            netns: Some(layout.control_plane_netns()),
            address: CONTROL_PLANE_ADDRESS.to_owned(),
            port: API_PORT,
            etcd_ports: [2379, 2380],
        }
    }

    /// On the machine's loopback, at ports that are free.
    pub(super) fn alone() -> anyhow::Result<Self> {
        // Held together, so that they differ.
        let held = [(); 3].map(|()| TcpListener::bind("127.0.0.1:0"));
        let mut ports = Vec::new();
        for listener in &held {
            let listener = listener.as_ref().map_err(|error| anyhow::anyhow!("no free port: {error}"))?;
            ports.push(listener.local_addr()?.port());
        }
        let [port, client, peer] = ports[..] else { bail!("three ports") };
        Ok(Self { netns: None, address: "127.0.0.1".to_owned(), port, etcd_ports: [client, peer] })
    }

    pub(super) fn server(&self) -> String {
        format!("https://{}:{}", self.address, self.port)
    }
}

/// Starts both and waits until the API answers.
pub(super) fn start(layout: &Layout, programs: &Programs, place: &Place) -> anyhow::Result<()> {
    let netns = place.netns.as_deref();
    process::spawn(layout, netns, &programs.kubernetes("etcd"), &etcd(layout, place))?;
    start_server(layout, programs, place)
}

/// Starts the API server on an etcd that runs.
pub(super) fn start_server(layout: &Layout, programs: &Programs, place: &Place) -> anyhow::Result<()> {
    const READY_WITHIN: Duration = Duration::from_secs(60);
    let program = programs.kubernetes("kube-apiserver");
    process::spawn(layout, place.netns.as_deref(), &program, &apiserver(layout, place))?;
    process::wait_for("the API server answers /readyz", READY_WITHIN, || {
        if kubectl::output(layout, programs, place, &["get", "--raw", "/readyz"]).is_some() {
            return Ok(true);
        }
        let log = layout.log("kube-apiserver");
        let pids = process::named(layout, "kube-apiserver");
        if pids.iter().any(|pid| process::is_alive(*pid)) {
            return Ok(false);
        }
        let says = std::fs::read_to_string(&log).unwrap_or_default();
        bail!("the API server ended: {}", says.lines().last().unwrap_or("it says nothing"))
    })
}

/// Ends the API server and leaves etcd: what an outage looks like.
pub(super) fn stop_server(layout: &Layout) -> anyhow::Result<()> {
    process::end("the API server", || process::named(layout, "kube-apiserver")).context("cannot stop the API")
}

fn etcd(layout: &Layout, place: &Place) -> Vec<String> {
    let [client, peer] = place.etcd_ports.map(|port| format!("http://127.0.0.1:{port}"));
    vec![
        "--name=test".to_owned(),
        format!("--data-dir={}", layout.root.join("etcd").display()),
        // Nothing here outlives a power cut.
        "--unsafe-no-fsync".to_owned(),
        format!("--listen-client-urls={client}"),
        format!("--advertise-client-urls={client}"),
        format!("--listen-peer-urls={peer}"),
        format!("--initial-advertise-peer-urls={peer}"),
        format!("--initial-cluster=test={peer}"),
        "--log-level=warn".to_owned(),
    ]
}

/// What the API server notes of whom: what Weir lists and watches.
const AUDIT_POLICY: &str = "tests/cluster/audit.yaml";

fn apiserver(layout: &Layout, place: &Place) -> Vec<String> {
    let file = |name: &str| layout.pki().join(name).display().to_string();
    let bind = if place.netns.is_some() { "0.0.0.0" } else { "127.0.0.1" };
    vec![
        format!("--etcd-servers=http://127.0.0.1:{}", place.etcd_ports[0]),
        format!("--bind-address={bind}"),
        format!("--secure-port={}", place.port),
        format!("--advertise-address={}", place.address),
        format!("--service-cluster-ip-range={SERVICE_CIDR}"),
        "--allow-privileged=true".to_owned(),
        "--authorization-mode=Node,RBAC".to_owned(),
        "--enable-admission-plugins=NodeRestriction".to_owned(),
        format!("--client-ca-file={}", file("ca.crt")),
        format!("--tls-cert-file={}", file("apiserver.crt")),
        format!("--tls-private-key-file={}", file("apiserver.key")),
        format!("--kubelet-client-certificate={}", file("apiserver-kubelet-client.crt")),
        format!("--kubelet-client-key={}", file("apiserver-kubelet-client.key")),
        format!("--kubelet-certificate-authority={}", file("ca.crt")),
        "--kubelet-preferred-address-types=InternalIP".to_owned(),
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local".to_owned(),
        format!("--service-account-key-file={}", file("sa.pub")),
        format!("--service-account-signing-key-file={}", file("sa.key")),
        format!("--audit-policy-file={}", workspace::root().join(AUDIT_POLICY).display()),
        format!("--audit-log-path={}", layout.audit_log().display()),
    ]
}
