//! A cluster with all that a controller has something to write about, and a node to follow.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result};
use gateway_tests::cluster::Cluster;
use gateway_tests::weir::binary;
use serde_json::{Value, json};

const ROLES: [(&str, &str, &str); 4] = [
    ("ClusterRole", "weir-controller", "rbac-controller.yaml"),
    ("Role", "weir-controller", "rbac-controller-namespace.yaml"),
    ("ClusterRole", "weir-node", "rbac-node.yaml"),
    ("Role", "weir-node", "rbac-node-namespace.yaml"),
];
/// How many of these are the controller's.
const CONTROLLER_ROLES: usize = 2;
/// What a fresh start takes away, so that all of it has to be made again.
const MADE: [&str; 9] = [
    "-n",
    "weir-shop",
    "delete",
    "--ignore-not-found",
    "service/web-weir",
    "endpointslice/web-weir-v4-0",
    "gateway/web",
    "httproute/cart",
    "grpcroute/cart",
];

/// Controllers write the same objects: one test at a time.
static TURN: Mutex<()> = Mutex::new(());

pub(super) struct Scene {
    cluster: Cluster,
    scratch: tempfile::TempDir,
    _turn: MutexGuard<'static, ()>,
}

pub(super) struct Controller {
    child: Child,
    log: PathBuf,
}

impl Scene {
    pub(super) fn find() -> Option<Self> {
        let cluster = Cluster::find()?;
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let scratch = tempfile::tempdir().expect("a folder");
        Some(Self { cluster, scratch, _turn: turn })
    }

    pub(super) fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// The controller's roles, as the chart has them.
    pub(super) fn roles(&self) -> Vec<Value> {
        let mut roles = self.all_roles().expect("the chart's rules");
        roles.truncate(CONTROLLER_ROLES);
        roles
    }

    /// Those of a node.
    pub(super) fn node_roles(&self) -> Vec<Value> {
        self.all_roles().expect("the chart's rules").split_off(CONTROLLER_ROLES)
    }

    fn all_roles(&self) -> Result<Vec<Value>> {
        let mut roles = Vec::new();
        for (kind, name, file) in ROLES {
            let rules = std::fs::read_to_string(chart().join("files").join(file))?;
            let namespace = if kind == "Role" { ", namespace: weir-system" } else { "" };
            let head = "apiVersion: rbac.authorization.k8s.io/v1";
            let yaml =
                format!("{head}\nkind: {kind}\nmetadata: {{name: {name}{namespace}}}\nrules:\n{rules}");
            let path = self.file("role.yaml", &yaml)?;
            let path = path.to_string_lossy();
            let json = self.cluster.kubectl(&["create", "--dry-run=client", "-o", "json", "-f", &path])?;
            roles.push(serde_json::from_str(&json)?);
        }
        Ok(roles)
    }

    pub(super) fn set_up(&self, roles: &[Value]) -> Result<()> {
        self.cluster.apply_gateway_api()?;
        self.cluster.apply(&chart_text("../weir-crds/templates/nodereports.yaml")?)?;
        let established =
            ["wait", "crd/nodereports.weir.dev", "--for=condition=Established", "--timeout=30s"];
        self.cluster.kubectl(&established)?;
        self.cluster.apply(include_str!("scene/namespaces.yaml"))?;
        for role in self.all_roles()? {
            self.cluster.apply(&role.to_string())?;
        }
        self.cluster.apply(&chart_text("templates/policies.yaml")?)?;
        self.cluster.apply(include_str!("scene/pods.yaml"))?;
        let ready = json!({"status": {
            "phase": "Running", "podIP": "10.9.0.1", "podIPs": [{"ip": "10.9.0.1"}],
            "conditions": [{"type": "Ready", "status": "True"}],
        }});
        let words =
            ["-n", "weir-system", "patch", "pod", "weir-n1", "--subresource=status", "--type=merge", "-p"];
        self.cluster.kubectl(&[&words[..], &[&ready.to_string()]].concat())?;
        let pod = self.object("pod", "cart-1");
        let reported = json!({
            "apiVersion": "weir.dev/v1alpha1", "kind": "NodeReport", "metadata": {"name": "n1"},
            "status": {"pods": [{
                "namespace": "weir-shop", "name": "cart-1", "uid": pod["metadata"]["uid"], "state": "captured",
            }]},
        });
        self.cluster.apply(&reported.to_string())?;
        self.start_over(roles)
    }

    /// As if no controller had run before, but for a Service and a slice that nobody needs any more.
    pub(super) fn start_over(&self, roles: &[Value]) -> Result<()> {
        for role in roles {
            self.cluster.apply(&role.to_string())?;
        }
        self.cluster.kubectl(&MADE)?;
        self.cluster.kubectl(&["delete", "--ignore-not-found", "gatewayclass/weir"])?;
        self.cluster.kubectl(&[
            "-n",
            "weir-system",
            "delete",
            "--ignore-not-found",
            "lease/weir-controller",
        ])?;
        self.cluster.kubectl(&[
            "-n",
            "weir-shop",
            "annotate",
            "pod",
            "cart-1",
            "weir.dev/capture-status-",
        ])?;
        self.cluster.apply(include_str!("scene/desired.yaml"))?;
        let owner = json!({
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway", "name": "web",
            "uid": self.object("gateway", "web")["metadata"]["uid"],
        });
        let labels = json!({
            "app.kubernetes.io/managed-by": "weir",
            "gateway.networking.k8s.io/gateway-name": "web",
            "endpointslice.kubernetes.io/managed-by": "controller.weir.dev",
            "kubernetes.io/service-name": "web-before",
        });
        let metadata = json!({
            "name": "web-before", "namespace": "weir-shop", "labels": labels, "ownerReferences": [owner],
        });
        let service = json!({
            "apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {"ports": [{"port": 80}]},
        });
        let slice = json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": metadata,
            "addressType": "IPv4", "endpoints": [],
        });
        self.cluster.apply(&service.to_string())?;
        self.cluster.apply(&slice.to_string())
    }

    /// One object of the scene's namespace.
    pub(super) fn object(&self, kind: &str, name: &str) -> Value {
        self.cluster.get(&["-n", "weir-shop", kind, name]).unwrap_or_default()
    }

    /// Everything that a controller writes here has been written.
    pub(super) fn is_done(&self) -> bool {
        let route = |kind: &str| {
            let route = self.object(kind, "cart");
            condition(&route["status"]["parents"][0]["conditions"], "Accepted") == "True"
        };
        condition(&self.object("gateway", "web")["status"]["conditions"], "Programmed") == "True"
            && route("httproute")
            && route("grpcroute")
            && self.object("pod", "cart-1")["metadata"]["annotations"]["weir.dev/capture-status"]
                == "captured"
            && self.object("service", "web-before").is_null()
            && self.object("endpointslice", "web-before").is_null()
    }

    /// A file that lasts as long as the scene.
    pub(super) fn file(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.scratch.path().join(name);
        std::fs::write(&path, text).with_context(|| format!("cannot write {name}"))?;
        Ok(path)
    }

    /// A kubeconfig with a token of a service account.
    pub(super) fn token(&self, account: &str, how: &[&str]) -> Result<PathBuf> {
        let words = [&["-n", "weir-system", "create", "token", account], how].concat();
        let token = self.cluster.kubectl(&words)?;
        let config = self.cluster.kubectl(&["config", "view", "--raw", "--flatten", "-o", "json"])?;
        let mut config: Value = serde_json::from_str(&config)?;
        config["users"] = json!([{"name": "token", "user": {"token": token.trim()}}]);
        config["contexts"][0]["context"]["user"] = "token".into();
        config["current-context"] = config["contexts"][0]["name"].clone();
        self.file(&format!("{account}-{}", how.len()), &config.to_string())
    }

    /// A controller with its own rights only. It ends with what this returns.
    pub(super) fn controller(&self) -> Result<Controller> {
        let log = self.scratch.path().join("log");
        let file = File::create(&log)?;
        let child = Command::new(binary())
            .args(["controller", "--gateway-service-type=ClusterIP", "--kubeconfig"])
            .arg(self.token("weir-controller", &[])?)
            .stderr(file)
            .stdin(Stdio::null())
            .spawn()
            .context("no controller")?;
        Ok(Controller { child, log })
    }
}

impl Controller {
    /// What it has said.
    pub(super) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The status of a condition; empty where there is none of that kind.
pub(super) fn condition<'a>(conditions: &'a Value, kind: &str) -> &'a str {
    let entry = conditions.as_array().into_iter().flatten().find(|c| c["type"] == kind);
    entry.and_then(|c| c["status"].as_str()).unwrap_or_default()
}

/// The CRD of reports, as the chart has it.
pub(super) fn report_crd() -> Result<String> {
    chart_text("../weir-crds/templates/nodereports.yaml")
}

fn chart() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/charts/weir")
}

/// A template without what only Helm reads: labels, and names that are the chart's defaults.
fn chart_text(file: &str) -> Result<String> {
    let text = std::fs::read_to_string(chart().join(file))?;
    let text = text
        .replace("{{ .Release.Namespace }}", "weir-system")
        .replace("{{ .Values.node.serviceAccount.name }}", "weir-node")
        .replace("{{ .Values.controller.serviceAccount.name }}", "weir-controller");
    Ok(text.lines().filter(|line| !line.contains("{{")).map(|line| format!("{line}\n")).collect())
}
