//! Envoy, configured like the others.

use std::process::Command;

use anyhow::Result;
use serde_json::{Value, json};

use super::{HOST, Speaks, Task};

pub(super) fn configure(command: &mut Command, task: &Task<'_>) -> Result<()> {
    let path = task.folder.join("envoy.json");
    std::fs::write(&path, serde_json::to_vec(&bootstrap(task))?)?;
    command.arg("-c").arg(path).arg("--concurrency").arg(task.workers.to_string());
    command.args(["--disable-hot-restart", "--log-level", "error"]);
    Ok(())
}

const EXTENSION: &str = "type.googleapis.com/envoy.extensions";

fn bootstrap(task: &Task<'_>) -> Value {
    let upgrades = match task.speaks {
        Speaks::Http1 | Speaks::Http2 => json!({"http_protocol_options": {}}),
        Speaks::Grpc => json!({"http2_protocol_options": {"max_concurrent_streams": 1024}}),
    };
    let unlimited = 1_000_000;
    let thresholds = json!([{
        "max_connections": unlimited, "max_pending_requests": unlimited, "max_requests": unlimited
    }]);
    let protocol = json!({
        "@type": format!("{EXTENSION}.upstreams.http.v3.HttpProtocolOptions"),
        "explicit_http_config": upgrades,
    });
    json!({"static_resources": {
        "listeners": [{"name": "front", "address": address(task.listen), "filter_chains": [{"filters": [{
            "name": "envoy.filters.network.http_connection_manager",
            "typed_config": connection_manager(task),
        }]}]}],
        "clusters": [{
            "name": "backend",
            "type": "STATIC",
            "connect_timeout": "5s",
            "circuit_breakers": {"thresholds": thresholds},
            "typed_extension_protocol_options": {
                "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": protocol
            },
            "load_assignment": {"cluster_name": "backend", "endpoints": [{"lb_endpoints": [
                {"endpoint": {"address": address(task.upstream)}}
            ]}]},
        }],
    }})
}

fn connection_manager(task: &Task<'_>) -> Value {
    let route = |route| json!({"match": {"prefix": format!("/r{route}/")}, "route": {"cluster": "backend"}});
    json!({
        "@type": format!("{EXTENSION}.filters.network.http_connection_manager.v3.HttpConnectionManager"),
        "stat_prefix": "front",
        "codec_type": "AUTO",
        "use_remote_address": true,
        "http2_protocol_options": {"max_concurrent_streams": 1024},
        "access_log": [{"name": "envoy.access_loggers.file", "typed_config": {
            "@type": format!("{EXTENSION}.access_loggers.file.v3.FileAccessLog"),
            "path": "/dev/null",
        }}],
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {
            "@type": format!("{EXTENSION}.filters.http.router.v3.Router")
        }}],
        "route_config": {"name": "routes", "virtual_hosts": [{
            "name": "bench",
            "domains": [HOST],
            "routes": (0..task.routes).map(route).collect::<Vec<_>>(),
        }]},
    })
}

fn address(address: std::net::SocketAddr) -> Value {
    json!({"socket_address": {"address": address.ip().to_string(), "port_value": address.port()}})
}
