//! `weir controller`: writes what became of each object where its author looks, and makes what a Gateway needs to be reached.
//!
//! Of several replicas one leads (`election`). It compiles the desired state as every node does,
//! compares the report with what the API server has (`seen`), and writes the difference (`plan`), not
//! faster than a rate and not in a war with another writer (`schedule`).

pub mod applied;
pub mod capture_status;
pub mod election;
pub mod exposure;
pub mod features;
pub mod follow;
pub mod leading;
pub mod lease;
pub mod meters;
pub mod plan;
pub mod refusal;
pub mod schedule;
pub mod seen;
pub mod slices;
pub mod status;
pub mod write;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, Client};
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tracing::{error, info};

use self::election::Terms;
use self::exposure::ServiceType;
use self::follow::NodePods;
use self::leading::{Leading, Surroundings};
use self::lease::Replica;
use self::meters::{ControllerPages, Meters};
use self::write::Writer;
use crate::admin::server::{self, Access};
use crate::control::provider::kubernetes::client::{self, Agent, ClientError};
use crate::control::provider::kubernetes::{Kubernetes, Settings as FollowSettings, StartError};
use crate::limits::{ControllerLimits, Limits};
use crate::readiness::Readiness;

/// The name of the Lease by which replicas find out who leads.
pub const LEASE_NAME: &str = "weir-controller";

/// Why the controller does not run.
#[derive(Debug, Error)]
pub enum ControllerError {
    /// The API server cannot be asked.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The API server cannot be followed.
    #[error(transparent)]
    Start(#[from] StartError),
    /// What follows it has ended, and nothing is known from then on.
    #[error("the API server is followed no longer; another replica leads meanwhile")]
    Unfollowed,
    /// The port of its pages is not to be had.
    #[error("cannot listen on {address}: {error}; choose another --admin-address")]
    AdminPort {
        /// As given.
        address: SocketAddr,
        /// What the system says.
        error: std::io::Error,
    },
}

/// How to run a controller.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where the API server is; a pod's service account says it otherwise.
    pub kubeconfig: Option<PathBuf>,
    /// Where the Lease and the pods of `weir node` are.
    pub namespace: String,
    /// Label selector of the pods of `weir node`.
    pub node_selector: String,
    /// Type of the Services of Gateways where nothing else is said.
    pub service_type: ServiceType,
    /// Where `/livez`, `/readyz` and `/metrics` are.
    pub admin_address: Option<SocketAddr>,
    /// No other replica has this name.
    pub identity: String,
    /// The limits of everything.
    pub limits: Arc<Limits>,
    /// Its own pace.
    pub pace: ControllerLimits,
}

/// Runs until `stop`, then gives the leadership back. Poll it within a `LocalSet`.
///
/// # Errors
/// When it cannot begin, or knows nothing new any more. An API server that is out of reach is waited for.
pub async fn run(settings: Settings, stop: impl Future<Output = ()>) -> Result<(), ControllerError> {
    let config = client::config(settings.kubeconfig.as_deref()).await?;
    let client = client::client(&config, Agent::Controller)?;
    let meters = Arc::new(Meters::default());
    let readiness = Readiness::default();
    let mut unheard = Some(readiness.block("the API server"));
    if let Some(address) = settings.admin_address {
        let port = TcpListener::bind(address).await;
        let port = port.map_err(|error| ControllerError::AdminPort { address, error })?;
        let pages = Arc::new(ControllerPages { readiness, meters: Arc::clone(&meters) });
        tokio::task::spawn_local(server::serve_pages(port, pages, Access::ReadOnly));
    }
    let limits = settings.limits.api.clone();
    let follow = FollowSettings { node_name: String::new(), state_dir: None, limits };
    let desired = Kubernetes::start(config, follow)?;
    let terms = Terms {
        lease: settings.pace.lease_duration,
        renew_deadline: settings.pace.lease_renew_deadline,
        retry: settings.pace.lease_retry,
    };
    let api = Api::<Lease>::namespaced(client.clone(), &settings.namespace);
    let mut replica = Replica::new(api, LEASE_NAME, &settings.identity, terms);
    let leads_until = replica.leads();
    info!(identity = settings.identity, namespace = settings.namespace, "controller runs");
    let ended = tokio::select! {
        () = stop => {
            info!("told to end");
            Ok(())
        }
        () = replica.run(|| drop(unheard.take())) => Ok(()),
        () = lead_at_times(&settings, &client, &desired, &meters, leads_until) => Ok(()),
        error = unfollowed(desired.desired.clone()) => Err(error),
    };
    // What was being written has ended with its future.
    meters.leads(false);
    replica.resign().await;
    ended
}

/// Ends when nobody tells the desired state any more. Who led on would keep all replicas from writing what is new.
async fn unfollowed<T>(mut desired: watch::Receiver<T>) -> ControllerError {
    while desired.changed().await.is_ok() {}
    ControllerError::Unfollowed
}

/// Leads whenever it is this replica's turn.
async fn lead_at_times(
    settings: &Settings,
    client: &Client,
    desired: &Kubernetes,
    meters: &Arc<Meters>,
    mut leads_until: watch::Receiver<Option<Instant>>,
) {
    loop {
        if leads_until.wait_for(|until| until.is_some_and(|until| until > Instant::now())).await.is_err() {
            return;
        }
        meters.leads(true);
        let around = Surroundings {
            desired: desired.desired.clone(),
            service_type: settings.service_type,
            meters: Arc::clone(meters),
            limits: Arc::clone(&settings.limits),
            pace: settings.pace.clone(),
        };
        let writer = Writer::new(client.clone(), leads_until.clone());
        let pods =
            NodePods { namespace: settings.namespace.clone(), selector: settings.node_selector.clone() };
        let events = follow::start(client, &pods);
        tokio::select! {
            () = Leading::new(around, writer).run(events) => {
                error!("nothing more is heard of the API server's objects: begun again");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            () = lost(leads_until.clone()) => {}
        }
        meters.leads(false);
    }
}

/// Ends when this replica leads no longer.
async fn lost(mut leads_until: watch::Receiver<Option<Instant>>) {
    loop {
        let until = *leads_until.borrow_and_update();
        let Some(until) = until.filter(|until| *until > Instant::now()) else { return };
        tokio::select! {
            () = tokio::time::sleep_until(until.into()) => {}
            changed = leads_until.changed() => if changed.is_err() { return },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_replica_that_no_longer_follows_the_api_server_ends_with_an_error() {
        let (told, desired) = watch::channel(0);
        let ends = tokio::spawn(unfollowed(desired));
        told.send(1).unwrap();
        tokio::task::yield_now().await;
        assert!(!ends.is_finished());
        drop(told);
        assert!(ends.await.unwrap().to_string().contains("another replica"));
    }
}
