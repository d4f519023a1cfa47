//! A client of the API server: one HTTP/2 connection for all that is asked, and a notice when it is dead.

use std::path::Path;
use std::time::Duration;

use http::HeaderValue;
use http::header::USER_AGENT;
use hyper_rustls::{FixedServerNameResolver, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use kube::Client;
use kube::client::{Body, ClientBuilder, ConfigExt};
use kube::config::{Config, KubeConfigOptions, Kubeconfig};
use thiserror::Error;
use tower::BoxError;
use tower::util::MapErrLayer;

/// Why there is no client.
#[derive(Debug, Error)]
pub enum ClientError {
    /// Neither in a pod nor told where the API server is.
    #[error("the API server is not known: {0}; run it in a pod with a service account, or give --kubeconfig")]
    NotInCluster(#[source] kube::config::InClusterError),
    /// The file does not say how to reach an API server.
    #[error("the kubeconfig {file} cannot be used: {source}")]
    Kubeconfig {
        /// As the user gave it.
        file: String,
        /// The cause.
        source: Box<kube::config::KubeconfigError>,
    },
    /// The credentials cannot be used.
    #[error("the credentials for the API server cannot be used: {0}")]
    Credentials(#[source] Box<kube::Error>),
    /// The name in the server's certificate is no name.
    #[error("tls-server-name of the kubeconfig is not a name: {0}")]
    ServerName(String),
}

/// What a client is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Agent {
    /// Follows the desired state, for a node or for the controller.
    Follows,
    /// A node writes its report, and asks whether it is to stay.
    Node,
    /// The controller writes what became of each object, and follows what it wrote.
    Controller,
}

impl Agent {
    const fn name(self) -> &'static str {
        match self {
            Self::Follows => concat!("weir/", env!("CARGO_PKG_VERSION"), " (follows)"),
            Self::Node => concat!("weir/", env!("CARGO_PKG_VERSION"), " (node)"),
            Self::Controller => concat!("weir/", env!("CARGO_PKG_VERSION"), " (controller)"),
        }
    }
}

/// Silence of the connection after which the server is asked whether it is there.
const PING_INTERVAL: Duration = Duration::from_secs(15);
/// How long it may take to answer that.
const PING_TIMEOUT: Duration = Duration::from_secs(15);
/// How long it may take to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of one list or watch on their way, and of all together.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;

/// How to reach the API server: as `kubeconfig` says, or as a pod's service account does.
///
/// # Errors
/// When neither says it.
pub async fn config(kubeconfig: Option<&Path>) -> Result<Config, ClientError> {
    let Some(file) = kubeconfig else { return Config::incluster().map_err(ClientError::NotInCluster) };
    let unusable =
        |source| ClientError::Kubeconfig { file: file.display().to_string(), source: Box::new(source) };
    let content = Kubeconfig::read_from(file).map_err(unusable)?;
    let options = KubeConfigOptions::default();
    Config::from_custom_kubeconfig(content, &options).await.map_err(unusable)
}

/// Makes a client. It belongs to the runtime that this is called in. The API server's audit log and metrics
/// tell by its user agent what it is there for: `weir/0.1.0 (follows)`.
///
/// # Errors
/// When the credentials cannot be used.
pub fn client(config: &Config, agent: Agent) -> Result<Client, ClientError> {
    // A second call finds it installed.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let unusable = |error| ClientError::Credentials(Box::new(error));
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(config.connect_timeout.unwrap_or(CONNECT_TIMEOUT).min(CONNECT_TIMEOUT)));
    tcp.set_keepalive(Some(PING_INTERVAL));
    let tls = config.rustls_client_config().map_err(unusable)?;
    let mut https = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http();
    if let Some(name) = &config.tls_server_name {
        let resolved = name.clone().try_into().map_err(|_| ClientError::ServerName(name.clone()))?;
        https = https.with_server_name_resolver(FixedServerNameResolver::new(resolved));
    }
    let http: legacy::Client<_, Body> = legacy::Client::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .http2_keep_alive_interval(PING_INTERVAL)
        .http2_keep_alive_timeout(PING_TIMEOUT)
        .http2_keep_alive_while_idle(true)
        .http2_initial_stream_window_size(STREAM_WINDOW)
        .http2_initial_connection_window_size(CONNECTION_WINDOW)
        .build(https.enable_all_versions().wrap_connector(tcp));
    let boxed = MapErrLayer::new(BoxError::from);
    let mut named = config.clone();
    named.headers.push((USER_AGENT, HeaderValue::from_static(agent.name())));
    let builder = ClientBuilder::new(http, config.default_namespace.clone())
        .with_layer(&boxed)
        .with_layer(&named.extra_headers_layer().map_err(unusable)?);
    let base = config.base_uri_layer();
    Ok(match config.auth_layer().map_err(unusable)? {
        Some(auth) => builder.with_layer(&auth).with_layer(&base).build(),
        None => builder.with_layer(&base).build(),
    })
}
