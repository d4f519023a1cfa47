//! The admin API: what this process serves, counts and decides, over a Unix socket.
//!
//! `server` speaks HTTP and picks a page; each page is a module that turns state into text or JSON.
//! Nothing here is on a request's path, and everything here is bounded.

pub mod server;

mod clusters;
mod config_dump;
mod explain;
pub(crate) mod health;
mod metrics;
mod query;
mod status;

use std::sync::Arc;

use gateway_common::decision::Decision;

use crate::capture::pod_table::PodStatus;
use crate::control::provider::kubernetes::freshness::Freshness;
use crate::control::report::StatusReport;
use crate::limits::Limits;
use crate::snapshot::Snapshot;
use crate::telemetry::Telemetry;
use crate::telemetry::endpoint_state::EndpointStates;

/// What the admin API asks the rest of the process.
pub trait AdminState: Send + Sync + 'static {
    /// What is served from.
    fn snapshot(&self) -> Arc<Snapshot>;
    /// What became of the configuration.
    fn report(&self) -> Arc<StatusReport>;
    /// What the process still waits for, or that it drains; ready when empty.
    fn pending(&self) -> Vec<&'static str>;
    /// Every pod that should be captured.
    fn pods(&self) -> Vec<PodStatus>;
    /// Why the datapath is not loaded, or `None` when it is.
    fn datapath_error(&self) -> Option<String>;
    /// The kernel's counters, by verdict.
    fn connects(&self) -> Vec<(&'static str, u64)>;
    /// The kernel's latest decisions, oldest first.
    fn decisions(&self) -> Vec<Decision>;
    /// Records, metrics and names.
    fn telemetry(&self) -> &Telemetry;
    /// Live state of endpoints.
    fn endpoint_states(&self) -> &dyn EndpointStates;
    /// `Limits::panic_threshold_percent` of the data plane.
    fn panic_threshold_percent(&self) -> u32 {
        Limits::default().panic_threshold_percent
    }
    /// How new what is known of the cluster is; `None` where a folder says it all.
    fn api(&self) -> Option<&Freshness> {
        None
    }
    /// Starts draining; the process ends when it is done.
    fn drain(&self);
}
