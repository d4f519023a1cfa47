//! `weir controller`: statuses, and a Service for each Gateway, until it is told to end.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, ValueEnum};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::LocalSet;

use super::{Failure, Verdict};
use crate::controller::{self, Settings, exposure::ServiceType};
use crate::limits::{ControllerLimits, Limits};
use crate::telemetry::logging::{self, LoggingOptions};

const EXAMPLES: &str = "\
Examples:
  weir controller                                   in a pod with a service account
  weir controller --kubeconfig ~/.kube/config       from outside
  weir controller --gateway-service-type ClusterIP  where there is no load balancer

Of several replicas one leads, by the Lease `weir-controller` of its namespace. SIGTERM gives it back.";

/// Write statuses to a cluster, and make what its Gateways need
///
/// Reads Gateways and routes as every node does, and writes what became of them into their statuses. Each Gateway of
/// Weir's gets a Service `<gateway>-<class>` whose endpoints are the pods of `weir node`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, args_override_self = true)]
pub struct ControllerArgs {
    /// How to reach the API server [default: as the service account of this pod says]
    #[arg(long, value_name = "PATH", env = "KUBECONFIG")]
    kubeconfig: Option<PathBuf>,
    /// Where Weir is installed: its Lease and the pods of `weir node`
    #[arg(long, value_name = "NAME", env = "WEIR_NAMESPACE", default_value = "weir-system")]
    namespace: String,
    /// Labels of the pods of `weir node`
    #[arg(
        long,
        value_name = "SELECTOR",
        default_value = "app.kubernetes.io/name=weir,app.kubernetes.io/component=node"
    )]
    node_selector: String,
    /// Type of the Services of Gateways, unless the annotation weir.dev/gateway-service-type of a Gateway or
    /// its GatewayClass says otherwise
    #[arg(long, value_enum, default_value_t)]
    gateway_service_type: TypeWord,
    /// Serve /livez, /readyz and /metrics on this TCP address
    #[arg(long, value_name = "ADDRESS:PORT")]
    admin_address: Option<SocketAddr>,
    /// The name of this replica, unlike any other's; a random part is added
    #[arg(long, value_name = "NAME", env = "HOSTNAME", default_value = "weir-controller")]
    identity: String,
    /// What Weir says of itself on standard error: error, warn, info, debug, trace, or directives
    #[arg(long, value_name = "LEVEL", default_value = "info", env = "WEIR_LOG")]
    log_level: String,
    /// One JSON object per line on standard error instead of text
    #[arg(long)]
    log_json: bool,
}

/// Types of a Service, as the API writes them.
#[derive(Debug, Clone, Copy, Default, ValueEnum)]
enum TypeWord {
    /// Reached from outside through what the cluster has for that.
    #[default]
    #[value(name = "LoadBalancer")]
    LoadBalancer,
    /// Reached at a port of every node.
    #[value(name = "NodePort")]
    NodePort,
    /// Reached from within the cluster.
    #[value(name = "ClusterIP")]
    ClusterIp,
}

/// Runs until SIGTERM or SIGINT.
pub fn run(args: ControllerArgs) -> Result<Verdict, Failure> {
    let logging = LoggingOptions { level: args.log_level, json: args.log_json };
    logging::init(&logging).map_err(|e| Failure::Usage(e.to_string()))?;
    let settings = Settings {
        kubeconfig: args.kubeconfig,
        namespace: args.namespace,
        node_selector: args.node_selector,
        service_type: match args.gateway_service_type {
            TypeWord::LoadBalancer => ServiceType::LoadBalancer,
            TypeWord::NodePort => ServiceType::NodePort,
            TypeWord::ClusterIp => ServiceType::ClusterIp,
        },
        admin_address: args.admin_address,
        // A pod that starts again has its name from before.
        identity: format!("{}_{:08x}", args.identity, fastrand::u32(..)),
        limits: Arc::new(Limits::default()),
        pace: ControllerLimits::default(),
    };
    let failed = |error: std::io::Error| Failure::Failed(format!("cannot start: {error}"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    LocalSet::new().block_on(&runtime, async {
        let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
        let stop = async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        controller::run(settings, stop).await.map_err(|e| Failure::Failed(e.to_string()))
    })?;
    Ok(Verdict::Fine)
}
