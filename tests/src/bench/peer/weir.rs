//! Weir with what it does for its users: metrics, access log, forwarding headers, balancing, outlier detection.

use std::fmt::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use anyhow::Result;

use super::{HOST, Speaks, Task};

/// Objects in a file.
const FILE_OBJECTS: usize = 500;

pub(super) fn configure(command: &mut Command, task: &Task<'_>) -> Result<()> {
    let config = task.folder.join("config");
    std::fs::create_dir_all(&config)?;
    let protocol = match task.speaks {
        Speaks::Http1 | Speaks::Http2 => "http",
        Speaks::Grpc => "kubernetes.io/h2c",
    };
    let mut objects = gateway(task.listen.port());
    objects.push_str(&service("backend", protocol));
    objects.push_str(&slice("backend", &[task.upstream]));
    std::fs::write(config.join("gateway.yaml"), objects)?;
    let routes: Vec<String> = (0..task.routes).map(|number| route(number, "backend")).collect();
    for (file, routes) in routes.chunks(FILE_OBJECTS).enumerate() {
        std::fs::write(config.join(format!("routes-{file}.yaml")), routes.concat())?;
    }
    run(command, &config, task.folder, task.workers);
    Ok(())
}

/// The arguments that make it serve this folder.
fn run(command: &mut Command, config: &Path, scratch: &Path, workers: usize) {
    command.arg("run").arg("--config").arg(config);
    command.arg("--admin-socket").arg(scratch.join("admin.sock"));
    command.args(["--workers", &workers.to_string()]);
    command.args(["--access-log", "/dev/null", "--capture", "off", "--log-level", "warn"]);
}

/// A Gateway with one port.
pub(in crate::bench) fn gateway(port: u16) -> String {
    format!(
        "---
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {{name: weir}}
spec: {{controllerName: weir.dev/gateway-controller}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: front, namespace: default}}
spec:
  gatewayClassName: weir
  listeners: [{{name: http, port: {port}, protocol: HTTP}}]
"
    )
}

/// A route of its own for one path prefix.
pub(in crate::bench) fn route(number: usize, service: &str) -> String {
    format!(
        "---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: r{number}, namespace: default}}
spec:
  parentRefs: [{{name: front}}]
  hostnames: [{HOST}]
  rules:
    - matches: [{{path: {{type: PathPrefix, value: /r{number}}}}}]
      backendRefs: [{{name: {service}, port: 80}}]
"
    )
}

/// A Service with one port.
pub(in crate::bench) fn service(name: &str, protocol: &str) -> String {
    format!(
        "---
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: default}}
spec: {{ports: [{{name: main, port: 80, appProtocol: {protocol}}}]}}
"
    )
}

/// Where a Service's replicas are; all on the port of the first.
pub(in crate::bench) fn slice(service: &str, replicas: &[SocketAddr]) -> String {
    let port = replicas.first().map_or(80, SocketAddr::port);
    let mut text = format!(
        "---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: {service}-1
  namespace: default
  labels: {{kubernetes.io/service-name: {service}}}
addressType: IPv4
ports: [{{name: main, port: {port}}}]
endpoints:
"
    );
    for replica in replicas {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  - addresses: [{}]", replica.ip());
    }
    text
}
